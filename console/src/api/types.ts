/** What the server's API says, by its description. Times are RFC 3339 text in UTC. */

export type Time = string;

export interface Page<Item> {
  items: Item[];
  total: number;
  page: number;
  per_page: number;
}

/** A paged list of one device's facts; it may say how far the device could see. */
export interface FactPage<Item> extends Page<Item> {
  as_of?: Time | null;
  state?: 'shown' | 'partly' | 'not_visible';
  words?: string;
  next?: string;
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

export interface DeviceRow {
  id: string;
  name: string;
  site: string;
  state: DeviceState;
  confirmed: boolean;
  connection: Connection;
  model: string | null;
  maker: string | null;
  owner: string | null;
  simulated: boolean;
  last_seen_at: Time | null;
  open_ports: number | null;
  updates_pending: number | null;
  security_updates: number | null;
  need: string | null;
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
  evidence: { words: string; as_of: Time | null }[];
  next: string | null;
}

export interface Device extends DeviceRow {
  words: string;
  wall: string;
  sight: { root: boolean; words: string };
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
    os: string | null;
    kernel: string | null;
    packages: number | null;
    pending: number | null;
    security: number | null;
    inventory_digest: string | null;
  };
  properties: Property[];
  certificate: { not_after: Time | null; lineage: number | null; serial: string | null };
  identity: { key_id: string; suite: string; lineage: number | null };
  proof: {
    last_sequence: number | null;
    last_leaf: number | null;
    head_at: Time | null;
    journal_head: string | null;
  };
}

export interface PackageRow {
  name: string;
  version: string;
  ecosystem: string;
  pending_version?: string | null;
  security?: boolean | null;
}

export interface SocketRow {
  protocol: string;
  address: string;
  port: number;
  process: string | null;
  user: string | null;
  exposure: 'loopback' | 'lan' | 'all';
  package?: string | null;
}

export interface ProcessRow {
  pid: number;
  name: string;
  user: string | null;
  package?: string | null;
}

export interface UserRow {
  name: string;
  uid: number;
  can_login: boolean | null;
  words?: string | null;
  shell?: string | null;
}

export interface ServiceRow {
  name: string;
  state: string;
  user?: string | null;
  layers?: string[] | null;
  words?: string | null;
}

export type Seen = 'yes' | 'no' | 'partly' | 'not_visible';

export interface HardeningRow {
  path: string;
  package?: string | null;
  network_facing?: boolean | null;
  canary: Seen;
  nx: Seen;
  pie: Seen;
  relro: Seen;
  fortify: Seen;
}

export interface FactRow {
  id: string;
  name: string;
  value: string | null;
  state: 'shown' | 'not_visible';
  words?: string | null;
}

export interface HistoryItem {
  at: Time;
  kind: string;
  words: string;
  source: string;
  sequence: number | null;
  leaf: number | null;
  device_id?: string | null;
  device_name?: string | null;
}

export type RecordState = 'intact' | 'broken' | 'unknown';

export interface LogRecord {
  state: RecordState;
  size: number;
  generation: string | number;
  checkpoint: string | null;
  as_of: Time | null;
  words?: string;
  witnesses: { name: string; at: Time | null }[];
  devices: { id: string; name: string; head_at: Time | null; age_seconds: number | null }[];
}

export interface PendingDevice {
  id: string;
  suite: string;
  public: string;
  name_suggested: string;
  site: string;
  model: string | null;
  words: string;
  joined_at: Time;
  invitation: string | null;
  preapproved: boolean;
}

export interface DrillStep {
  id: string;
  attack: string;
  words: string;
  outcome: 'waiting' | 'refused' | 'accepted';
  reason: string | null;
  at: Time | null;
}

export interface Drill {
  id: string;
  state: string;
  device_id?: string;
  steps: DrillStep[];
}

export interface Doctor {
  checks: { id: string; state: 'ok' | 'warn' | 'bad'; words: string; next: string | null }[];
}

/** The tour: where it stands, and what its pages need to name. Every fact may be missing. */
export interface Tour {
  step: number;
  done: number[];
  goal?: string | null;
  facts?: {
    device_id?: string | null;
    waiting_device_id?: string | null;
    open_port_command?: string | null;
    close_port_command?: string | null;
    owner_console_command?: string | null;
    owner_console_url?: string | null;
    panel_command?: string | null;
    verify_command?: string | null;
    alter_command?: string | null;
    invite_command?: string | null;
    join_command?: string | null;
    reset_command?: string | null;
    drill_id?: string | null;
  };
}
