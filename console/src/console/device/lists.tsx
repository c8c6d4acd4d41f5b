import type {
  FactRow, HardeningRow, PackageRow, ProcessRow, Seen, ServiceRow, SocketRow, UserRow,
} from '../../api/types';
import { Truncate } from '../../shared/ui/Page';
import { Chip, State } from '../../shared/ui/State';
import type { Column } from '../../shared/ui/Table';
import { EXPOSURE, faceOfSeen } from '../../shared/words/faces';

/** The long lists of a device: the question that each answers, and its columns. */

export interface FactList<Row> {
  tab: string;
  question: string;
  noun: string;
  empty: string;
  /** What is said instead where the device cannot see everything. */
  unseen: string;
  columns: Column<Row>[];
  keyOf: (row: Row) => string;
}

const NOT_VISIBLE = <span className="quiet">Not visible</span>;
const text = (value: string | null | undefined) => (value ? <Truncate text={value} /> : NOT_VISIBLE);
const seen = (value: Seen) => <State face={faceOfSeen(value)} />;
const wide = 'minmax(0, 2fr)';
const mid = 'minmax(0, 1fr)';

const packages: FactList<PackageRow> = {
  tab: 'Packages',
  question: 'What is installed on it?',
  noun: 'packages',
  empty: 'No packages.',
  unseen: 'No packages are visible.',
  keyOf: (row) => `${row.ecosystem}/${row.name}/${row.version}`,
  columns: [
    { id: 'name', title: 'Package', width: wide, cell: (row) => <Truncate text={row.name} strong /> },
    { id: 'version', title: 'Version', width: mid, cell: (row) => <span className="mono">{row.version}</span> },
    { id: 'ecosystem', title: 'From', width: '90px', cell: (row) => row.ecosystem },
    {
      id: 'update',
      title: 'Update waiting',
      width: mid,
      cell: (row) =>
        row.pending_version ? (
          <Chip tone={row.security ? 'warn' : 'quiet'}>
            {row.pending_version}
            {row.security ? ', security' : ''}
          </Chip>
        ) : (
          <span className="quiet">None</span>
        ),
    },
  ],
};

const sockets: FactList<SocketRow> = {
  tab: 'Ports',
  question: 'Which ports are open on it?',
  noun: 'ports',
  empty: 'No open ports',
  unseen: 'None visible without root.',
  keyOf: (row) => `${row.protocol}/${row.address}/${row.port}/${row.process}`,
  columns: [
    { id: 'port', title: 'Port', width: '110px', cell: (row) => <strong className="mono">{row.port}/{row.protocol}</strong> },
    { id: 'exposure', title: 'Reachable from', width: '170px', cell: (row) => <Chip tone={EXPOSURE[row.exposure].tone}>{EXPOSURE[row.exposure].words}</Chip> },
    { id: 'process', title: 'Opened by', width: mid, cell: (row) => text(row.process) },
    { id: 'user', title: 'As user', width: mid, cell: (row) => text(row.user) },
    { id: 'address', title: 'Address', width: mid, cell: (row) => <span className="mono">{row.address}</span> },
  ],
};

const processes: FactList<ProcessRow> = {
  tab: 'Programs',
  question: 'Which programs run on it now?',
  noun: 'programs',
  empty: 'No programs.',
  unseen: 'No programs are visible.',
  keyOf: (row) => String(row.pid),
  columns: [
    { id: 'name', title: 'Program', width: wide, cell: (row) => <Truncate text={row.name} strong /> },
    { id: 'user', title: 'As user', width: mid, cell: (row) => text(row.user) },
    { id: 'package', title: 'Package', width: mid, cell: (row) => text(row.package) },
    { id: 'pid', title: 'Number', width: '90px', cell: (row) => <span className="mono">{row.pid}</span> },
  ],
};

const users: FactList<UserRow> = {
  tab: 'Log-ins',
  question: 'Who can log in on it?',
  noun: 'users',
  empty: 'Nobody can log in.',
  unseen: 'Users are not visible.',
  keyOf: (row) => row.name,
  columns: [
    { id: 'name', title: 'User', width: mid, cell: (row) => <Truncate text={row.name} strong /> },
    {
      id: 'login',
      title: 'Can log in',
      width: '140px',
      cell: (row) => (row.can_login === null ? <State face={faceOfSeen('not_visible')} /> : row.can_login ? 'Yes' : 'No'),
    },
    { id: 'words', title: 'How', width: wide, cell: (row) => row.words ?? <span className="mono">{row.shell}</span> },
    { id: 'uid', title: 'Number', width: '90px', cell: (row) => <span className="mono">{row.uid}</span> },
  ],
};

const services: FactList<ServiceRow> = {
  tab: 'Services',
  question: 'Which services does it keep running?',
  noun: 'services',
  empty: 'No services.',
  unseen: 'Services are not visible.',
  keyOf: (row) => row.name,
  columns: [
    { id: 'name', title: 'Service', width: mid, cell: (row) => <Truncate text={row.name} strong /> },
    { id: 'state', title: 'State', width: '120px', cell: (row) => row.state },
    { id: 'user', title: 'As user', width: '130px', cell: (row) => text(row.user) },
    {
      id: 'layers',
      title: 'Layers of defence',
      width: wide,
      cell: (row) =>
        row.layers === null || row.layers === undefined
          ? (row.words ?? NOT_VISIBLE)
          : row.layers.length === 0
            ? <span className="quiet">None</span>
            : row.layers.join(', '),
    },
  ],
};

const hardening: FactList<HardeningRow> = {
  tab: 'Hardening',
  question: 'How were its programs built?',
  noun: 'programs',
  empty: 'No running programs.',
  unseen: 'No programs are visible.',
  keyOf: (row) => row.path,
  columns: [
    {
      id: 'path',
      title: 'Program',
      width: 'minmax(0, 1.8fr)',
      cell: (row) => (
        <>
          <Truncate text={row.path} strong />
          <span className="small quiet">
            {row.package ?? 'package not known'}
            {row.network_facing ? ', faces the network' : ''}
          </span>
        </>
      ),
    },
    { id: 'canary', title: 'Stack canary', width: '118px', cell: (row) => seen(row.canary) },
    { id: 'nx', title: 'No-execute (NX)', width: '118px', cell: (row) => seen(row.nx) },
    { id: 'pie', title: 'Random place (PIE)', width: '118px', cell: (row) => seen(row.pie) },
    { id: 'relro', title: 'Fixed links (RELRO)', width: '118px', cell: (row) => seen(row.relro) },
    { id: 'fortify', title: 'Checked calls (FORTIFY)', width: '118px', cell: (row) => seen(row.fortify) },
  ],
};

const facts: FactList<FactRow> = {
  tab: 'Raw facts',
  question: 'What exactly did it report?',
  noun: 'facts',
  empty: 'No facts yet.',
  unseen: 'No facts are visible.',
  keyOf: (row) => row.id,
  columns: [
    { id: 'name', title: 'Fact', width: mid, cell: (row) => <strong>{row.name}</strong> },
    { id: 'value', title: 'Value', width: wide, cell: (row) => (row.state === 'not_visible' || row.value === null ? <State face={faceOfSeen('not_visible')} /> : <span className="mono">{row.value}</span>) },
    { id: 'words', title: 'In words', width: wide, cell: (row) => row.words ?? '' },
  ],
};

export const LISTS = { packages, sockets, processes, services, users, hardening, facts };
export type ListName = keyof typeof LISTS;
export const isListName = (name: string): name is ListName => Object.hasOwn(LISTS, name);
