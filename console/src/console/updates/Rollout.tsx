import { Select } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link, useParams, useSearchParams } from 'wouter';
import { api } from '../../api/client';
import type { Rollout as RolloutData, RolloutDeed, RolloutDetail, RolloutPart } from '../../api/types';
import { Age, AsOf } from '../../shared/time/AsOf';
import { Answer } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Facts, Page, Panel, Section } from '../../shared/ui/Page';
import { SearchBox } from '../../shared/ui/SearchBox';
import { State } from '../../shared/ui/State';
import { Pager, Table, sayCount, type Column } from '../../shared/ui/Table';
import { PER_PAGE, readFilters, statesOf, writeFilters, type Filters } from './filters';
import { RolloutActions } from './RolloutActions';
import { RolloutBody } from './RolloutPanel';
import { Why } from './ReleaseMachines';
import { GROUPS, countGroup, faceOfPart, faceOfRollout, sayGroup, sayMachines, saySoak } from './sayings';
import './updates.css';

/** One rollout: its waves, the machines by state, and what people did of it. */
export default function Rollout() {
  const { id = '' } = useParams<{ id: string }>();
  const [search, setSearch] = useSearchParams();
  const filters = readFilters(search);
  const rollout = useQuery({
    queryKey: ['updates', 'rollout', id, filters],
    queryFn: () => api.rollout(id, { state: statesOf(filters.shown), q: filters.q, page: filters.page, per_page: PER_PAGE }),
    placeholderData: keepPreviousData,
  });
  const change = (part: Partial<Filters>): void =>
    setSearch((old) => writeFilters(readFilters(old), part), { replace: !('page' in part) });
  return (
    <Answer of={rollout} lines={12} title="Rollout">
      {(detail) => <RolloutPage detail={detail} filters={filters} change={change} at={rollout.dataUpdatedAt} />}
    </Answer>
  );
}

interface RolloutPageProps {
  detail: RolloutDetail;
  filters: Filters;
  change: (part: Partial<Filters>) => void;
  at: number;
}

function RolloutPage({ detail, filters, change, at }: RolloutPageProps) {
  const { rollout } = detail;
  return (
    <Page
      title={`Rollout of ${rollout.product} ${rollout.version}`}
      above={
        <Link href="/updates" className="back">
          <Icon name="left" />
          Updates
        </Link>
      }
      heading={<span className="device-title">{sayHeading(rollout)}</span>}
      lead={
        <span className="who-states">
          <State face={faceOfRollout(rollout.state)} />
          <Link href={`/updates/releases/${rollout.product}/${rollout.version}`} className="small">
            {rollout.product} {rollout.version}
          </Link>
          <span className="small">
            made by {rollout.created_by} <Age at={rollout.created_at} />, changed <Age at={rollout.changed_at} />
          </span>
        </span>
      }
      aside={<AsOf at={new Date(at).toISOString()} subject="page" label="checked" />}
    >
      <div className="panel rollout">
        <RolloutBody rollout={rollout} />
        <RolloutActions rollout={rollout} />
      </div>
      <Machines detail={detail} filters={filters} change={change} />
      <div className="session-grid">
        <Deeds deeds={detail.deeds} />
        <Asked rollout={rollout} />
      </div>
    </Page>
  );
}

function sayHeading(rollout: RolloutData): string {
  const done = rollout.counts.committed ?? 0;
  return `${sayCount(done)} of ${sayMachines(rollout.machines)} ${done === 1 ? 'runs' : 'run'} ${rollout.product} ${rollout.version}`;
}

const COLUMNS: Column<RolloutPart>[] = [
  {
    id: 'name',
    title: 'Machine',
    width: 'minmax(0, 1.4fr)',
    cell: (row) => <Link href={`/devices/${row.device_id}`} className="truncate" title={row.name}>{row.name || row.device_id}</Link>,
  },
  { id: 'site', title: 'Site', width: 'minmax(0, 1fr)', cell: (row) => <span className="truncate" title={row.site}>{row.site}</span> },
  { id: 'wave', title: 'Wave', width: '90px', cell: (row) => (row.wave === 0 ? <span title="It was told of the release before there was a rollout.">before</span> : <span className="number">{row.wave}</span>) },
  { id: 'state', title: 'State', width: '150px', cell: (row) => <State face={faceOfPart(row.state)} /> },
  { id: 'why', title: 'It says', width: 'minmax(0, 1.8fr)', cell: (row) => <Why cause={row.cause} words={row.words} /> },
  { id: 'at', title: 'Since', width: '110px', cell: (row) => <Age at={row.ended_at ?? row.offered_at ?? row.placed_at} /> },
];

function Machines({ detail, filters, change }: Omit<RolloutPageProps, 'at'>) {
  const { rollout } = detail;
  const groups = GROUPS.map((group) => ({ value: group.id, label: sayGroup(group, countGroup(rollout.counts, group.states)) }));
  return (
    <Section title="Machines" aside={<span className="small quiet">states are what each machine signed</span>}>
      {rollout.exposure === 0 ? (
        <p className="quiet small">No machine is let in yet. {rollout.waits}</p>
      ) : (
        <>
          <div className="updates-filters" role="search">
            <SearchBox label="Name, site, id or cause" value={filters.q} onSearch={(q) => change({ q })} className="filter-text" />
            <Select
              aria-label="Which machines"
              placeholder={`All ${sayCount(rollout.exposure)} that are in`}
              clearable
              data={groups}
              value={filters.shown === 'all' ? null : filters.shown}
              onChange={(value) => change({ shown: (value ?? 'all') as Filters['shown'] })}
            />
          </div>
          {detail.total === 0 ? (
            <div className="panel empty">No machine of this rollout is like that.</div>
          ) : (
            <Panel>
              <Table label="Machines of this rollout" columns={COLUMNS} rows={detail.items} keyOf={(row) => row.device_id} />
              <Pager page={detail.page} perPage={detail.per_page} total={detail.total} noun={detail.total === 1 ? 'machine' : 'machines'} onPage={(page) => change({ page })} />
            </Panel>
          )}
        </>
      )}
    </Section>
  );
}

function Deeds({ deeds }: { deeds: RolloutDeed[] }) {
  return (
    <Section title="What people did" aside={<Link href="/timeline" className="small">Timeline</Link>}>
      {deeds.length === 0 ? (
        <p className="quiet small">Nothing that this server still has at hand. The record has all of it.</p>
      ) : (
        <ol className="panel rows updates-deeds">
          {deeds.map((deed) => (
            <li key={`${deed.at}${deed.kind}`}>
              <span>{deed.words}</span>
              <span className="small quiet">
                {deed.who}, <Age at={deed.at} />
              </span>
            </li>
          ))}
        </ol>
      )}
    </Section>
  );
}

function Asked({ rollout }: { rollout: RolloutData }) {
  const facts: [string, React.ReactNode][] = [
    ['For', rollout.selector],
    ['First', rollout.canaries || 'No canaries'],
    ['Between waves', saySoak(rollout.soak_seconds)],
    ['May fail', rollout.allowed_failures === 0 ? 'None' : sayMachines(rollout.allowed_failures)],
    ['Told of it', `${sayMachines(rollout.offered)} so far`],
    ['Its id', <span key="id" className="mono">{rollout.id}</span>],
  ];
  if (rollout.bandwidth > 0) facts.splice(4, 0, ['Speed', `${sayCount(Math.round(rollout.bandwidth / 1024))} KiB a second and machine at most`]);
  return (
    <Section title="What was asked for">
      <div className="panel panel-pad">
        <Facts facts={facts} />
      </div>
    </Section>
  );
}
