/** What is said of the changes that a comparison found. Pure. */

export interface FoundChange {
  rule: string;
  severity: string;
  words: string;
  evidence: string;
  attack: string[];
}

export interface OneChange {
  kind: string;
  change: string;
  name: string;
  before: string;
  after: string;
}

const KINDS: Record<string, string> = {
  user: 'Users',
  group: 'Groups',
  key: 'SSH keys',
  sudo: 'Rules of who may become root',
  cron: 'Entries of cron',
  at: 'Jobs that wait for their time',
  unit: 'Services and timers',
  start: 'What is started by itself',
  boot: 'What runs at boot',
  preload: 'Libraries that load first',
  shell: 'What runs at a login',
  pam: 'How people are let in',
  sshd: 'The SSH server',
  raised: 'Programs with the rights of another',
  socket: 'Listening sockets',
  module: 'Modules of the kernel',
  program: 'Running programs',
  tool: 'Remote desktop tools',
  file: 'Files',
};

export const sayKind = (kind: string): string => KINDS[kind] ?? kind;

/** Changes by their kind, in the order in which they came. */
export function groupChanges(changes: OneChange[]): [string, OneChange[]][] {
  const groups = new Map<string, OneChange[]>();
  for (const one of changes) groups.set(one.kind, [...(groups.get(one.kind) ?? []), one]);
  return [...groups];
}

/** How it was and is, on one line; empty where the name says it all. */
export function sayHow(one: OneChange): string {
  if (one.before !== '' && one.after !== '') return `${one.before} → ${one.after}`;
  return one.after || one.before;
}

const VERBS: Record<string, string> = { added: 'new', removed: 'gone', changed: 'changed' };

export const sayChange = (change: string): string => VERBS[change] ?? change;
