import type { Built, FactRow, PackageRow, ProgramRow, ServiceRow, SocketRow, UserRow } from '../../api/types';
import { Truncate } from '../../shared/ui/Page';
import { Chip, State } from '../../shared/ui/State';
import type { Column } from '../../shared/ui/Table';
import { EXPOSURE, NOT_VISIBLE, faceOfBuilt } from '../../shared/words/faces';
import { canLogIn, sayFact, sayLayers, sayLogin } from './sayings';

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

const UNSEEN = <State face={NOT_VISIBLE} />;
const text = (value: string | null) =>
  value === null ? UNSEEN : value === '' ? <span className="quiet">none</span> : <Truncate text={value} />;
const built = (value: Built) => <State face={faceOfBuilt(value)} />;
const wide = 'minmax(0, 2fr)';
const mid = 'minmax(0, 1fr)';

function Program({ row }: { row: ProgramRow }) {
  const facing = row.network === 'lan' || row.network === 'all';
  return (
    <>
      <Truncate text={row.executable} strong />
      <span className="small quiet">
        {row.package ?? 'Of no known package'}
        {facing ? ', faces the network' : ''}
        {row.note ? `. ${row.note}` : ''}
      </span>
    </>
  );
}

const packages: FactList<PackageRow> = {
  tab: 'Packages',
  question: 'What is installed on it?',
  noun: 'packages',
  empty: 'No packages.',
  unseen: 'No packages are visible.',
  keyOf: (row) => `${row.manager}/${row.name}/${row.version}/${row.arch}`,
  columns: [
    { id: 'name', title: 'Package', width: wide, cell: (row) => <Truncate text={row.name} strong /> },
    { id: 'version', title: 'Version', width: mid, cell: (row) => <span className="mono">{row.version}</span> },
    { id: 'manager', title: 'Kept by', width: '90px', cell: (row) => row.manager },
    {
      id: 'update',
      title: 'Update waiting',
      width: mid,
      cell: (row) =>
        row.update === null ? (
          <span className="quiet">None known</span>
        ) : (
          <span className="update">
            <span className="mono">{row.update}</span>
            {row.security && <Chip tone="warn">Security</Chip>}
          </span>
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
  keyOf: (row) => `${row.proto}/${row.address}/${row.port}/${row.executable}`,
  columns: [
    { id: 'port', title: 'Port', width: '110px', cell: (row) => <strong className="mono">{row.port}/{row.proto}</strong> },
    {
      id: 'exposure',
      title: 'Reachable from',
      width: '170px',
      cell: (row) => <Chip tone={EXPOSURE[row.exposure].tone}>{EXPOSURE[row.exposure].words}</Chip>,
    },
    { id: 'process', title: 'Opened by', width: mid, cell: (row) => text(row.process) },
    { id: 'user', title: 'As user', width: mid, cell: (row) => text(row.user) },
    { id: 'package', title: 'Package', width: mid, cell: (row) => text(row.package) },
    { id: 'address', title: 'Address', width: mid, cell: (row) => <span className="mono">{row.address}</span> },
  ],
};

const processes: FactList<ProgramRow> = {
  tab: 'Programs',
  question: 'Which programs run on it now?',
  noun: 'programs',
  empty: 'No programs.',
  unseen: 'No programs are visible.',
  keyOf: (row) => row.executable,
  columns: [
    { id: 'name', title: 'Program', width: wide, cell: (row) => <Truncate text={row.executable} strong /> },
    { id: 'users', title: 'As user', width: mid, cell: (row) => (row.users.length > 0 ? <Truncate text={row.users.join(', ')} /> : UNSEEN) },
    { id: 'package', title: 'Package', width: mid, cell: (row) => text(row.package) },
    {
      id: 'network',
      title: 'Reachable from',
      width: '170px',
      cell: (row) =>
        row.network === '' ? (
          <span className="quiet">No port seen</span>
        ) : (
          <Chip tone={EXPOSURE[row.network].tone}>{EXPOSURE[row.network].words}</Chip>
        ),
    },
  ],
};

const users: FactList<UserRow> = {
  tab: 'Log-ins',
  question: 'Who can log in on it?',
  noun: 'users',
  empty: 'Nobody can log in.',
  unseen: 'Users are not visible.',
  keyOf: (row) => `${row.uid}/${row.name}`,
  columns: [
    { id: 'name', title: 'User', width: mid, cell: (row) => <Truncate text={row.name} strong /> },
    {
      id: 'login',
      title: 'Can log in',
      width: '140px',
      cell: (row) => {
        const can = canLogIn(row);
        return can === null ? UNSEEN : can ? 'Yes' : 'No';
      },
    },
    { id: 'how', title: 'How', width: wide, cell: (row) => sayLogin(row) },
    { id: 'shell', title: 'Shell', width: mid, cell: (row) => <span className="mono">{row.shell}</span> },
  ],
};

const services: FactList<ServiceRow> = {
  tab: 'Services',
  question: 'Which services does it keep running?',
  noun: 'services',
  empty: 'No services.',
  unseen: 'Services are not visible.',
  keyOf: (row) => row.unit,
  columns: [
    { id: 'unit', title: 'Service', width: mid, cell: (row) => <Truncate text={row.unit} strong /> },
    { id: 'state', title: 'State', width: '110px', cell: (row) => (row.state === 'running' ? 'Running' : 'Stopped') },
    { id: 'user', title: 'As user', width: '140px', cell: (row) => text(row.user) },
    { id: 'layers', title: 'Layers of defence', width: wide, cell: (row) => sayLayers(row.layers) ?? UNSEEN },
  ],
};

const hardening: FactList<ProgramRow> = {
  tab: 'Hardening',
  question: 'How were its programs built?',
  noun: 'programs',
  empty: 'No running programs.',
  unseen: 'No programs are visible.',
  keyOf: (row) => row.executable,
  columns: [
    { id: 'program', title: 'Program', width: 'minmax(0, 1.8fr)', cell: (row) => <Program row={row} /> },
    { id: 'canary', title: 'Stack canary', width: '118px', cell: (row) => built(row.canary) },
    { id: 'nx', title: 'No-execute (NX)', width: '118px', cell: (row) => built(row.nx) },
    { id: 'pie', title: 'Random place (PIE)', width: '118px', cell: (row) => built(row.pie) },
    { id: 'relro', title: 'Fixed links (RELRO)', width: '118px', cell: (row) => built(row.relro) },
    { id: 'fortify', title: 'Checked calls (FORTIFY)', width: '118px', cell: (row) => built(row.fortify) },
  ],
};

const facts: FactList<FactRow> = {
  tab: 'Raw facts',
  question: 'What exactly did it report?',
  noun: 'facts',
  empty: 'No facts yet.',
  unseen: 'No facts are visible.',
  keyOf: (row) => `${row.group}/${row.key}`,
  columns: [
    {
      id: 'words',
      title: 'Fact',
      width: wide,
      cell: (row) => (
        <>
          <strong>{sayFact(row.words)}</strong>
          <span className="small quiet mono fact-key">{row.key}</span>
        </>
      ),
    },
    { id: 'value', title: 'Value', width: mid, cell: (row) => (row.value === null ? UNSEEN : <span className="mono">{row.value}</span>) },
    { id: 'group', title: 'Of', width: '110px', cell: (row) => row.group },
  ],
};

export const LISTS = { packages, sockets, processes, services, users, hardening, facts };
export type ListName = keyof typeof LISTS;
export const isListName = (name: string): name is ListName => Object.hasOwn(LISTS, name);
