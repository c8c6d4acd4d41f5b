import { TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link } from 'wouter';
import { owner } from '../../api/ownerClient';
import type { RosterEntry } from '../../api/ownerTypes';
import { AsOf } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Icon } from '../../shared/ui/Icon';
import { Page, Panel, Truncate } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { Pager, Table, sayCount, type Column } from '../../shared/ui/Table';
import { Retire } from './Retire';

const PER_PAGE = 50;

const COLUMNS: Column<RosterEntry>[] = [
  {
    id: 'name',
    title: 'Machine',
    width: 'minmax(0, 1.6fr)',
    cell: (row) => (
      <>
        <Truncate text={row.name} strong />
        <span className="small quiet truncate" title={row.id}>{row.id}</span>
      </>
    ),
  },
  { id: 'site', title: 'Site', width: 'minmax(0, 1fr)', cell: (row) => <Truncate text={row.site} /> },
  { id: 'model', title: 'Model', width: 'minmax(0, 1fr)', cell: (row) => <Truncate text={row.model || 'not known'} /> },
  {
    id: 'state',
    title: 'State',
    width: '110px',
    cell: (row) => (
      <State
        face={
          row.state === 'active'
            ? { tone: 'good', icon: 'check', words: 'Active' }
            : { tone: 'quiet', icon: 'cross', words: 'Retired' }
        }
      />
    ),
  },
  { id: 'retire', title: 'Change', width: '100px', cell: (row) => (row.state === 'active' ? <Retire machine={row} /> : null) },
];

/** What exists, by the owner's own list, whatever the server says. */
export function Machines() {
  const roster = useQuery({ queryKey: ['roster'], queryFn: owner.roster });
  const state = useQuery({ queryKey: ['state'], queryFn: owner.state });
  return (
    <Answer of={roster} lines={8} title="Machines">
      {(list) => {
        const active = list.items.filter((item) => item.state === 'active').length;
        return (
          <Page
            title="Machines"
            heading={`${sayCount(active)} ${active === 1 ? 'machine is' : 'machines are'} yours`}
            lead={
              state.data
                ? `Roster ${state.data.roster.version}, signed by you. The server can neither add to it nor hide from it.`
                : 'Signed by you. The server can neither add to it nor hide from it.'
            }
            aside={<AsOf at={new Date(roster.dataUpdatedAt).toISOString()} subject="page" label="read" />}
          >
            {list.items.length === 0 ? (
              <Empty title="No devices yet.">
                <Link href="/invite">Invite the first one</Link>
              </Empty>
            ) : (
              <List items={list.items} />
            )}
          </Page>
        );
      }}
    </Answer>
  );
}

function List({ items }: { items: RosterEntry[] }) {
  const [text, setText] = useState('');
  const [page, setPage] = useState(1);
  const wanted = text.toLowerCase();
  const found = items
    .filter((item) => `${item.name} ${item.site} ${item.id}`.toLowerCase().includes(wanted))
    .sort((a, b) => a.name.localeCompare(b.name, 'en', { numeric: true }) || a.id.localeCompare(b.id));
  return (
    <>
      <TextInput
        aria-label="Find a machine"
        placeholder="Name, site or id"
        leftSection={<Icon name="search" />}
        maw={360}
        mb={14}
        value={text}
        onChange={(event) => {
          setText(event.currentTarget.value);
          setPage(1);
        }}
      />
      {found.length === 0 ? (
        <p className="quiet">No machine by these words.</p>
      ) : (
        <Panel>
          <Table label="Machines" columns={COLUMNS} rows={found.slice((page - 1) * PER_PAGE, page * PER_PAGE)} keyOf={(row) => row.id} />
          <Pager page={page} perPage={PER_PAGE} total={found.length} noun={found.length === 1 ? 'machine' : 'machines'} onPage={setPage} />
        </Panel>
      )}
    </>
  );
}
