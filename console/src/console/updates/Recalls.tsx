import { Button } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { api } from '../../api/client';
import type { Recall } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { CopyLine } from '../../shared/ui/Copy';
import { Icon } from '../../shared/ui/Icon';
import { Page, Panel, Section } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { Table, sayCount, type Column } from '../../shared/ui/Table';
import { faceOfRecall } from './recall';
import './updates.css';
import './recall.css';

/** All recalls: what is open, and what was. */
export default function Recalls() {
  const recalls = useQuery({ queryKey: ['updates', 'recalls'], queryFn: api.recalls });
  return (
    <Answer of={recalls} lines={8} title="Recalls">
      {({ items }) => <RecallsPage recalls={items} />}
    </Answer>
  );
}

const COLUMNS: Column<Recall>[] = [
  { id: 'title', title: 'Recall', width: 'minmax(0, 1.5fr)', cell: (row) => <Link href={`/updates/recalls/${row.id}`} className="recall-title">{row.title}</Link> },
  { id: 'about', title: 'Of', width: 'minmax(0, 1fr)', cell: (row) => <span className="recall-title">{row.about}</span> },
  { id: 'state', title: 'Stands', width: '170px', cell: (row) => <State face={faceOfRecall(row)} /> },
  {
    id: 'done',
    title: 'Done, proven',
    width: '130px',
    cell: (row) => (
      <span className="number">
        {sayCount(row.tally.updated + row.tally.retired)} of {sayCount(row.tally.found)}
      </span>
    ),
  },
  { id: 'at', title: 'Opened', width: '110px', cell: (row) => <Age at={row.opened_at} /> },
];

function RecallsPage({ recalls }: { recalls: Recall[] }) {
  const open = recalls.filter((each) => each.state === 'open');
  const past = recalls.filter((each) => each.state !== 'open');
  return (
    <Page
      title="Recalls"
      heading={sayHeading(open)}
      lead="A recall finds the machines that have a fault, tells people, and shows what is proven. It changes no machine."
      above={
        <Link href="/updates" className="back">
          <Icon name="left" />
          Updates
        </Link>
      }
      aside={
        recalls.length > 0 && (
          <Button component={Link} href="/updates/recalls/new">
            Open a recall
          </Button>
        )
      }
    >
      {recalls.length === 0 ? (
        <Empty title="Nothing was ever recalled here.">
          <p>When a version turns out to be dangerous, open a recall: it names every machine that runs it, also those that are silent now and those that join later.</p>
          <p>
            <Button component={Link} href="/updates/recalls/new">
              Open a recall
            </Button>
          </p>
          <p className="quiet small">Or from a terminal; it says first whom it finds:</p>
          <CopyLine text="fleetward recall open PRODUCT --version :1.1 --fix 1.2 --title TITLE --why WHY --dry-run" label="the command that looks whom a recall would find" />
        </Empty>
      ) : (
        <>
          {open.length > 0 && (
            <Section title="Open">
              <Panel>
                <Table label="Open recalls" columns={COLUMNS} rows={open} keyOf={(row) => row.id} />
              </Panel>
            </Section>
          )}
          {past.length > 0 && (
            <Section title="Closed and cancelled">
              <Panel>
                <Table label="Closed and cancelled recalls" columns={COLUMNS} rows={past} keyOf={(row) => row.id} />
              </Panel>
            </Section>
          )}
        </>
      )}
    </Page>
  );
}

function sayHeading(open: Recall[]): string {
  if (open.length === 0) return 'No recall is open.';
  const machines = open.reduce((sum, each) => sum + each.tally.affected + each.tally.unknown, 0);
  const recalls = open.length === 1 ? 'One recall is open' : `${open.length} recalls are open`;
  return machines === 0 ? `${recalls}; all that they found is proven to be done.` : `${recalls}; ${sayCount(machines)} ${machines === 1 ? 'machine is' : 'machines are'} not proven to be done.`;
}
