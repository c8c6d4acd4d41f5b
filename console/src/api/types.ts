/** What the server's API says, by its description. Times are RFC 3339 text in UTC. */

export type Time = string;

export interface Page<Item> {
  items: Item[];
  total: number;
  page: number;
  per_page: number;
}

export interface Sight {
  level: 'full' | 'partial' | 'none';
  words: string;
}

/** A paged list of one device's facts, with its age and how much of it was seen. */
export interface FactPage<Item> extends Page<Item> {
  as_of: Time | null;
  sight: Sight;
}

export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  reason?: string;
  expected?: string;
  came?: string;
  next?: string;
}

export type Role = 'viewer' | 'operator' | 'admin';

export interface Person {
  id: string;
  name: string;
  role: Role;
}

export interface PasskeyState {
  registered: boolean;
  required: boolean;
}

export interface Session {
  person: Person;
  expires_at: Time | null;
  passkey: PasskeyState;
  /** True where this session may do nothing before it has a passkey. */
  passkey_only?: boolean;
}

export interface OpenedSession extends Session {
  token: string;
}

/** The options of a passkey ceremony, in WebAuthn's JSON form. */
export interface Ceremony {
  challenge_id: string;
  options: Record<string, unknown>;
}

export interface PersonRow extends Person {
  created_at: Time;
  last_seen_at: Time | null;
}

export interface Token {
  id: string;
  name: string;
  role: Role;
  scope: { sites: string[]; devices: string[] } | null;
  created_at: Time;
  expires_at: Time;
  last_used_at: Time | null;
}

export interface CreatedToken {
  id: string;
  token: string;
  expires_at: Time;
}

export interface Verb {
  label: string;
  href: string;
}

export interface Card {
  id: string;
  kind: string;
  title: string;
  where: string;
  why: string;
  since: Time;
  verb: Verb;
}

export interface Waiting {
  id: string;
  title: string;
  where: string;
  since: Time;
}

export interface Change {
  at: Time;
  device_id: string;
  device_name: string;
  kind: string;
  words: string;
}

export interface Today {
  sentence: string;
  as_of: Time;
  counts: { total: number; fine: number; need_you: number; silent: number; waiting: number };
  cards: Card[];
  waiting: Waiting[];
  changes: Change[];
  record: { state: RecordState; as_of: Time | null; size: number; words: string };
  first_run: boolean;
}

export type DeviceState = 'seen' | 'pending' | 'active' | 'quarantined' | 'retired' | 'refused';
export type Connection = 'connected' | 'silent' | 'never';

/** What a device needs, so that each counts once; empty where it needs nothing. */
export type Need = '' | 'waiting' | 'quarantined' | 'silent' | 'exposed' | 'updates' | 'unconfirmed';

export interface DeviceRow {
  id: string;
  name: string;
  site: string;
  state: DeviceState;
  confirmed: boolean;
  connection: Connection;
  model: string;
  maker: string;
  owner: string;
  simulated: boolean;
  last_seen_at: Time | null;
  open_ports: number | null;
  updates_pending: number | null;
  security_updates: number | null;
  need: Need;
}

export interface Site {
  site: string;
  total: number;
  fine: number;
  need_you: number;
  silent: number;
}

export type PropertyState = 'shown' | 'partly' | 'not_shown' | 'not_visible';

export interface Property {
  id: string;
  name: string;
  state: PropertyState;
  evidence: { words: string; as_of: Time; holds: boolean | null }[];
  next: string;
}

export interface Device extends DeviceRow {
  words: string;
  reason: string;
  agent: string;
  wall: string;
  system: string;
  joined_at: Time;
  sight: { root: boolean | null; words: string };
  trust: { level: string; words: string; as_of: Time | null };
  do_now: Card[];
  reachability: {
    as_of: Time | null;
    sockets_total: number | null;
    lan: number | null;
    loopback: number | null;
    state: 'shown' | 'not_visible';
    words: string;
  };
  software: {
    as_of: Time | null;
    os: string;
    kernel: string;
    packages: number | null;
    pending: number | null;
    security: number | null;
    inventory_digest: string | null;
    words: string;
  };
  properties: Property[];
  certificate: { not_after: Time | null; lineage: number; serial: string };
  identity: { key_id: string; suite: string; lineage: number };
  proof: {
    last_sequence: number;
    last_leaf: number | null;
    head_at: Time | null;
    journal_head: string | null;
  };
}

export interface PackageRow {
  manager: string;
  name: string;
  version: string;
  arch: string;
  source: string;
  update: string | null;
  security: boolean;
}

/** Null is not visible. */
export interface SocketRow {
  proto: string;
  address: string;
  port: number;
  exposure: 'loopback' | 'lan' | 'all';
  process: string | null;
  executable: string | null;
  user: string | null;
  unit: string | null;
  package: string | null;
}

export interface UserRow {
  name: string;
  uid: number;
  shell: string;
  can_log_in: boolean;
  password: 'set' | 'empty' | 'locked' | 'not_visible';
  keys: number | null;
  administrator: boolean;
}

/** Layers of defence around a service; null is not visible. */
export interface Layers {
  own_user: boolean | null;
  no_new_privileges: boolean | null;
  seccomp: boolean | null;
  capabilities_dropped: boolean | null;
  namespaces: string[] | null;
  label: string | null;
}

export interface ServiceRow {
  unit: string;
  state: 'running' | 'stopped';
  enabled: boolean | null;
  user: string | null;
  executable: string | null;
  package: string | null;
  layers: Layers;
}

export type Built = 'yes' | 'no' | 'partial' | 'unknown';

export interface ProgramRow {
  executable: string;
  package: string | null;
  users: string[];
  network: '' | 'loopback' | 'lan' | 'all';
  canary: Built;
  nx: Built;
  pie: Built;
  relro: Built;
  fortify: Built;
  note: string;
}

export interface FactRow {
  group: string;
  key: string;
  value: string | null;
  words: string;
}

export interface HistoryItem {
  at: Time;
  kind: string;
  words: string;
  source: 'machine' | 'record';
  sequence: number | null;
  leaf: number | null;
  device_id: string | null;
  device_name: string | null;
}

export type RecordState = 'intact' | 'broken' | 'unknown';

export interface LogRecord {
  state: RecordState;
  size: number;
  generation: number;
  checkpoint: string | null;
  as_of: Time | null;
  words: string;
  owner_root: string;
  witnesses: { name: string; at: Time | null; size: number | null }[];
  devices: { id: string; name: string; head_at: Time | null; age_seconds: number | null }[];
}

export interface PendingDevice {
  id: string;
  suite: string;
  public: string;
  name_suggested: string;
  site: string;
  model: string;
  maker: string;
  words: string;
  joined_at: Time;
  invitation: string;
  preapproved: boolean;
  simulated: boolean;
}

export interface DrillStep {
  id: string;
  attack: string;
  words: string;
  outcome: 'waiting' | 'refused' | 'accepted' | 'unanswered';
  reason: string;
  /** What the machine itself said to it. */
  answer: string;
  at: Time | null;
}

export interface Drill {
  id: string;
  device_id: string;
  state: 'running' | 'passed' | 'failed' | 'unanswered';
  started_at: Time;
  steps: DrillStep[];
}

export interface Doctor {
  checks: { id: string; state: 'ok' | 'warn' | 'bad'; words: string; next: string | null }[];
}

/** The tour: where it stands, and what its pages need to name. Every fact may be missing. */
export interface Tour {
  step: number;
  done: number[];
  goal: string | null;
  facts: {
    device_id?: string | null;
    waiting_device_id?: string | null;
    open_port_command?: string | null;
    close_port_command?: string | null;
    owner_console_command?: string | null;
    owner_console_url?: string | null;
    panel_command?: string | null;
    export_command?: string | null;
    verify_command?: string | null;
    alter_command?: string | null;
    invite_command?: string | null;
    join_command?: string | null;
    reset_command?: string | null;
    drill_id?: string | null;
  };
}
