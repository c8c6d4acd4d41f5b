import { Link } from 'wouter';
import type { DeviceRow } from '../../api/types';
import { Age } from '../../shared/time/AsOf';
import { Truncate } from '../../shared/ui/Page';
import { State } from '../../shared/ui/State';
import { sayCount, type Column } from '../../shared/ui/Table';
import { faceOfConnection, faceOfDevice, fade } from '../../shared/words/faces';

const NOT_VISIBLE = <span className="quiet">Not visible</span>;

function Name({ row }: { row: DeviceRow }) {
  return (
    <div className="device-name">
      <Link href={`/devices/${row.id}`} title={row.name}>
        {row.name}
      </Link>
      <span className="device-sub">
        {row.simulated && <span className="simulated">simulated</span>}
        <span className="truncate" title={row.model}>
          {row.model || 'Model not known'}
        </span>
      </span>
    </div>
  );
}

const isSilent = (row: DeviceRow): boolean => row.connection !== 'connected';

/** What a silent device said last is known to hold no more: it is quiet. */
const toneOf = (row: DeviceRow): string => (isSilent(row) ? 'number quiet' : 'number');

function Updates({ row }: { row: DeviceRow }) {
  if (row.security_updates === null) return NOT_VISIBLE;
  if (row.security_updates > 0 && !isSilent(row)) {
    return <strong className="tone-warn toned number">{sayCount(row.security_updates)} security</strong>;
  }
  if (row.security_updates > 0) return <span className={toneOf(row)}>{sayCount(row.security_updates)} security</span>;
  return <span className={toneOf(row)}>{row.updates_pending ? `${sayCount(row.updates_pending)} other` : 'None'}</span>;
}

/** The columns of the list; what a device could not see is said, never counted as zero. */
export const DEVICE_COLUMNS: Column<DeviceRow>[] = [
  { id: 'name', title: 'Device', width: 'minmax(0, 2.2fr)', sort: 'name', cell: (row) => <Name row={row} /> },
  { id: 'site', title: 'Site', width: 'minmax(0, 1.1fr)', sort: 'site', cell: (row) => <Truncate text={row.site} /> },
  {
    id: 'state',
    title: 'State',
    width: '188px',
    cell: (row) => <State face={fade(faceOfDevice(row.state, row.confirmed), isSilent(row))} />,
  },
  {
    id: 'seen',
    title: 'Last seen',
    width: '116px',
    sort: 'last_seen',
    cell: (row) => (
      <div>
        {isSilent(row) && <State face={faceOfConnection(row.connection)} />}
        <div className="small quiet">{row.last_seen_at && <Age at={row.last_seen_at} />}</div>
      </div>
    ),
  },
  {
    id: 'ports',
    title: 'Open ports',
    width: '96px',
    sort: 'open_ports',
    cell: (row) => (row.open_ports === null ? NOT_VISIBLE : <span className={toneOf(row)}>{sayCount(row.open_ports)}</span>),
  },
  { id: 'updates', title: 'Updates', width: '104px', sort: 'updates', cell: (row) => <Updates row={row} /> },
];
