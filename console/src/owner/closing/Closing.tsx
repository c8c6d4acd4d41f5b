import { Checkbox, Group, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { owner } from '../../api/ownerClient';
import type { ClosingMachine, ClosingPage, ClosedSigned } from '../../api/ownerTypes';
import { faceOfTier } from '../../shared/closing/tiers';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page, Panel, Truncate } from '../../shared/ui/Page';
import { Note, State } from '../../shared/ui/State';
import { Pager, Table, sayCount, type Column } from '../../shared/ui/Table';
import { CloseForm } from './CloseForm';
import { OpenAgain } from './OpenAgain';
import { Trials } from './Trials';
import './closing.css';

const PER_PAGE = 50;

/** What is open on which machine, and closing it: on trial first, and kept when all still answer. */
export function Closing() {
  const page = useQuery({ queryKey: ['closing'], queryFn: owner.closing, refetchInterval: 5_000 });
  const [done, setDone] = useState<ClosedSigned | null>(null);
  return (
    <Answer of={page} lines={8} title="Closing">
      {(data) => (
        <Page
          title="Closing"
          heading={sayHeading(data)}
          lead="You sign what each machine closes against everybody but itself. It holds on trial: without your word in time the machine opens again by itself, so that no mistake locks you out."
        >
          {done && (
            <div className="owner-done">
              <Note tone="good" icon="check" live>{done.words}</Note>
            </div>
          )}
          <Trials trials={data.trials} onDone={setDone} />
          {data.machines.length === 0 ? (
            <Empty title="No devices yet.">
              <Link href="/invite">Invite the first one</Link>
            </Empty>
          ) : (
            <Choose data={data} onDone={setDone} />
          )}
        </Page>
      )}
    </Answer>
  );
}

function sayHeading(data: ClosingPage): string {
  const open = data.machines.filter((machine) => machine.tiers[1]?.state === 'no').length;
  if (data.machines.length === 0) return 'Nothing to close';
  if (open === 0) return 'No machine is known to have local access open';
  return open === 1 ? 'Local access is open on 1 machine' : `Local access is open on ${sayCount(open)} machines`;
}

function Choose({ data, onDone }: { data: ClosingPage; onDone: (done: ClosedSigned) => void }) {
  const [text, setText] = useState('');
  const [page, setPage] = useState(1);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const wanted = text.toLowerCase();
  const found = data.machines.filter((item) => `${item.name} ${item.site} ${item.id}`.toLowerCase().includes(wanted));
  const picked = data.machines.filter((item) => chosen.has(item.id));
  const toggle = (ids: string[], on: boolean): void =>
    setChosen((old) => new Set(on ? [...old, ...ids] : [...old].filter((id) => !ids.includes(id))));
  const all = found.length > 0 && found.every((item) => chosen.has(item.id));
  return (
    <>
      <div className="closing-bar">
        <TextInput
          aria-label="Find a machine"
          placeholder="Name, site or id"
          leftSection={<Icon name="search" />}
          value={text}
          onChange={(event) => {
            setText(event.currentTarget.value);
            setPage(1);
          }}
        />
        <Checkbox
          label={`All ${sayCount(found.length)} shown`}
          checked={all}
          indeterminate={!all && picked.length > 0}
          onChange={(event) => toggle(found.map((item) => item.id), event.currentTarget.checked)}
        />
        <Group gap="sm">
          <CloseForm machines={picked} onDone={onDone} />
          <OpenAgain machines={picked} onDone={onDone} />
        </Group>
      </div>
      {found.length === 0 ? (
        <p className="quiet">No machine by these words.</p>
      ) : (
        <Panel>
          <Table
            label="Machines and their tiers"
            columns={columns(chosen, (id, on) => toggle([id], on))}
            rows={found.slice((page - 1) * PER_PAGE, page * PER_PAGE)}
            keyOf={(row) => row.id}
          />
          <Pager page={page} perPage={PER_PAGE} total={found.length} noun={found.length === 1 ? 'machine' : 'machines'} onPage={setPage} />
        </Panel>
      )}
      {data.more > 0 && (
        <p className="small quiet access-block">
          {sayCount(data.more)} more machines are closed by <code>fleetward owner close</code>.
        </p>
      )}
      <p className="small quiet access-block">
        Tiers and open ports are what machines reported last, as the server hands it on. What is closed, each machine
        has signed; that was checked here.
      </p>
    </>
  );
}

function columns(chosen: ReadonlySet<string>, choose: (id: string, on: boolean) => void): Column<ClosingMachine>[] {
  return [
    {
      id: 'machine',
      title: 'Machine',
      width: 'minmax(0, 1.3fr)',
      cell: (row) => (
        <Checkbox
          label={<span className="closing-name"><Truncate text={row.name} strong /><span className="small quiet truncate">{row.site}{row.connected ? '' : ', not connected'}</span></span>}
          aria-label={`Choose ${row.name}`}
          checked={chosen.has(row.id)}
          onChange={(event) => choose(row.id, event.currentTarget.checked)}
        />
      ),
    },
    {
      id: 'tiers',
      title: 'Encrypted, local access off, permission required',
      width: 'minmax(0, 2fr)',
      cell: (row) => (
        <ul className="closing-tiers">
          {row.tiers.map((tier) => (
            <li key={tier.number}>
              <span className="small quiet">{tier.title}</span>{' '}
              <State face={faceOfTier(tier.state)} title={tier.words} />
            </li>
          ))}
          {row.tiers.length === 0 && <li className="small quiet">The server knows nothing of it.</li>}
        </ul>
      ),
    },
    { id: 'open', title: 'Waits for others', width: 'minmax(0, 1.3fr)', cell: (row) => <OpenPorts row={row} /> },
    {
      id: 'closed',
      title: 'Closed by you',
      width: 'minmax(0, 1.2fr)',
      cell: (row) => (
        <>
          {row.trouble === '' ? <span>{row.closed || <span className="quiet">nothing</span>}</span> : <span className="toned tone-bad">{row.trouble}</span>}
        </>
      ),
    },
  ];
}

const SHOWN_PORTS = 6;

function OpenPorts({ row }: { row: ClosingMachine }) {
  const open = row.ports.filter((port) => !port.closed);
  if (row.looked_at === null) return <span className="quiet">not known yet</span>;
  if (open.length === 0) return <span className="quiet">nothing</span>;
  return (
    <span className="small">
      {open.slice(0, SHOWN_PORTS).map((port) => `${port.name}${port.process ? ` ${port.process}` : ''}`).join(', ')}
      {open.length > SHOWN_PORTS && `, and ${open.length - SHOWN_PORTS} more`}
    </span>
  );
}

