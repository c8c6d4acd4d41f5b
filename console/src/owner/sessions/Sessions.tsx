import { useQuery } from '@tanstack/react-query';
import { Link } from 'wouter';
import { owner } from '../../api/ownerClient';
import type { Access } from '../../api/ownerTypes';
import { Age } from '../../shared/time/AsOf';
import { Answer, Empty } from '../../shared/ui/Answer';
import { Page, Panel, Truncate } from '../../shared/ui/Page';
import { BreakGlass } from '../../shared/ui/BreakGlass';
import { State } from '../../shared/ui/State';
import { Table, type Column } from '../../shared/ui/Table';
import { faceOfAccess, isLive, isWaiting, sayPermission, sayWho } from './sayings';
import './sessions.css';

const COLUMNS: Column<Access>[] = [
  {
    id: 'machine',
    title: 'Machine',
    width: 'minmax(0, 1.2fr)',
    cell: (row) => (
      <>
        <Link href={`/sessions/${row.id}`}>{row.machine || row.id.slice(0, 16)}</Link>
        <span className="small quiet truncate">{row.site}</span>
      </>
    ),
  },
  { id: 'who', title: 'Who', width: 'minmax(0, 1.2fr)', cell: (row) => <Truncate text={row.trouble ? '' : sayWho(row)} /> },
  { id: 'by', title: 'Permission by', width: 'minmax(0, 1fr)', cell: (row) => <Truncate text={sayPermission(row)} /> },
  { id: 'when', title: 'Asked', width: '120px', cell: (row) => (row.asked_at ? <Age at={row.asked_at} /> : null) },
  {
    id: 'state',
    title: 'State',
    width: 'minmax(0, 1.2fr)',
    cell: (row) => (
      <>
        <State face={faceOfAccess(row)} /> <BreakGlass of={row} />
        {row.ended_by !== '' && <span className="small quiet truncate">{row.ended_by}</span>}
      </>
    ),
  },
];

/** Who is and was inside, with whose permission, and how it ended. */
export function Sessions() {
  const access = useQuery({ queryKey: ['access'], queryFn: owner.access });
  return (
    <Answer of={access} lines={8} title="Sessions">
      {(list) => {
        const rows = list.items.filter((item) => !isWaiting(item));
        const inside = rows.filter(isLive).length;
        return (
          <Page
            title="Sessions"
            heading={inside === 0 ? 'Nobody is inside' : inside === 1 ? 'Somebody is inside' : `${inside} are inside`}
            lead="Each was opened by the machine itself, with the permission of the people named. What happened is in its recording, which only your key opens."
          >
            {rows.length === 0 ? (
              <Empty title="No session yet." />
            ) : (
              <Panel>
                <Table label="Sessions" columns={COLUMNS} rows={rows} keyOf={(row) => row.id} />
              </Panel>
            )}
            {list.more > 0 && (
              <p className="small quiet access-block">
                {list.more} older ones are listed by <code>fleetward owner session list</code>.
              </p>
            )}
          </Page>
        );
      }}
    </Answer>
  );
}
