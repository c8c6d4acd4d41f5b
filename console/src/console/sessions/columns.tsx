import { Link } from 'wouter';
import type { AccessRow } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { BreakGlass } from '../../shared/ui/BreakGlass';
import { State } from '../../shared/ui/State';
import type { Column } from '../../shared/ui/Table';
import { faceOfSession } from '../../shared/words/faces';
import { sayFor, sayWho } from './sayings';

function Who({ row }: { row: AccessRow }) {
  return (
    <div className="session-who">
      <Link href={`/sessions/${row.id}`} title={row.reason}>
        {sayWho(row)}
      </Link>
      <span className="truncate small quiet" title={row.reason}>
        “{row.reason}”
      </span>
    </div>
  );
}

function Where({ row }: { row: AccessRow }) {
  return (
    <div className="session-where">
      <Link href={`/devices/${row.device_id}`} className="truncate" title={row.device_name}>
        {row.device_name || row.device_id}
      </Link>
      <span className="truncate small quiet" title={row.site}>{row.site}</span>
    </div>
  );
}

function What({ row }: { row: AccessRow }) {
  const scopes = row.scopes.join(', ');
  return (
    <div className="session-what" title={scopes}>
      <span>{scopes}</span>
      <span className="small quiet">for {sayFor(row.seconds)}</span>
    </div>
  );
}

function Stand({ row }: { row: AccessRow }) {
  return (
    <>
      <State face={faceOfSession(row.state)} />
      {row.standing && <span className="small quiet">allowed ahead</span>}
    </>
  );
}

function When({ row }: { row: AccessRow }) {
  if (row.ended_at) return <Age at={row.ended_at} />;
  if (row.opened_at) return <span>since <Age at={row.opened_at} /></span>;
  return <span>asked <Age at={row.asked_at} /></span>;
}

const WHERE: Column<AccessRow> = { id: 'where', title: 'Device', width: 'minmax(0, 1.3fr)', cell: (row) => <Where row={row} /> };

/** The columns of the list; a device's own page leaves the device out. */
export const sessionColumns = (withDevice: boolean): Column<AccessRow>[] => [
  { id: 'who', title: 'Who', width: 'minmax(0, 1.7fr)', cell: (row) => <Who row={row} /> },
  ...(withDevice ? [WHERE] : []),
  { id: 'what', title: 'What', width: 'minmax(0, 1.7fr)', cell: (row) => <What row={row} /> },
  { id: 'state', title: 'State', width: '178px', cell: (row) => <><Stand row={row} /> <BreakGlass of={row} /></> },
  { id: 'when', title: 'When', width: '132px', cell: (row) => <span className="small quiet"><When row={row} /></span> },
];
