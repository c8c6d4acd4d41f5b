import type { Page, Time } from './types';

/** What the owner's own program says to its own page. */
export interface OwnerState {
  name: string;
  owner_root: string;
  policy: {
    version: number;
    epoch: number;
    people: { person: string; keys: OwnerKey[] }[];
    hash: string;
    roots: { name: string; value: string }[];
    thresholds: { scope: string; people: number }[];
    access: AccessRules;
  };
  roster: { version: number; count: number; hash: string };
  head: { version: number; lease_until: Time; hash: string };
  server: { url: string; reachable: boolean; words: string };
  same_host: boolean;
  same_host_words: string;
  recoveries: Recovery[];
}

/** Who may ask for sessions, and for what; rules are in words. */
export interface AccessRules {
  requesters: { person: string; org: string; words: string; may_delegate: boolean }[];
  rules: string[];
  sandbox_only: boolean;
  break_glass: { people: string[]; threshold: number; seconds: number; rules: string[] } | null;
}

/** A policy that recovery keys signed, and that machines take after a delay. */
export interface Recovery {
  version: number;
  people: string[];
  announced_at: Time;
  earliest_at: Time;
}

export interface OwnerKey {
  key_id: string;
  suite: string;
  scopes: string[];
  origins: string[];
}

/** A signature was made; `handed_over` is false while the server is not in reach. */
export interface Signed {
  id: string;
  state: string;
  roster: number;
  handed_over: boolean;
  words: string;
}

export interface PendingMachine {
  id: string;
  words: string;
  name_suggested: string;
  site: string;
  model: string;
  joined_at: Time;
  preapproved: boolean;
}

export interface RosterEntry {
  id: string;
  name: string;
  site: string;
  groups: string[];
  model: string;
  maker: string;
  state: 'active' | 'retired';
}

export type Pending = Pick<Page<PendingMachine>, 'items'>;
export type Roster = Pick<Page<RosterEntry>, 'items'>;

export interface Invitation {
  join: string;
  expires_at: Time;
  owner_root: string;
}

export interface Finding {
  id: string;
  words: string;
  entry?: string | number;
  device?: string;
}

export interface Verdict {
  proven: Finding[];
  contradicted: Finding[];
  unknown: { id: string; words: string; device: string; age_seconds: number | null }[];
  command: string;
  entries: number;
  as_of: Time;
}

/** What a runbook would do, of the very document whose hash the request names. */
export interface Run {
  name: string;
  version: number;
  description: string;
  run_as: string;
  seconds: number;
  steps: string[];
}

export interface ScopeWords {
  id: string;
  words: string;
  run: Run | null;
}

/** A request and what became of it. With `trouble` its papers are not believed. */
export interface Access {
  id: string;
  trouble: string;
  state: string;
  device_id: string;
  machine: string;
  site: string;
  person: string;
  org: string;
  reason: string;
  case: string;
  scopes: ScopeWords[];
  seconds: number;
  asked_at: Time | null;
  wall: string;
  sandbox: string;
  sandboxed: boolean;
  people_needed: number;
  must_watch: boolean;
  answerable: string;
  session: string;
  six_words: string;
  granted: ScopeWords[];
  granted_seconds: number;
  people: string[];
  /** Whether they allowed it ahead, in windows of time. */
  ahead: boolean;
  watched: boolean;
  opened_at: Time | null;
  ended_at: Time | null;
  ended_by: string;
  ended_who: string;
  denied: string;
  recording_bytes: number;
  break_glass: boolean;
  acknowledged: boolean;
}

export interface WindowSpan {
  words: string;
  not_before: Time;
  not_after: Time;
}

/** How one window stands on one machine. */
export type WindowStand = 'used' | 'missed' | 'open' | 'ahead' | 'revoked';

export interface WindowMachine {
  device_id: string;
  name: string;
  state: '' | 'held' | 'dropped' | 'revoked';
  words: string;
  windows: WindowStand[];
}

/** A permission given ahead, and what became of it. With `trouble` nothing of it is believed. */
export interface Ahead {
  id: string;
  trouble: string;
  six_words: string;
  allowed_by: string[];
  people: string[];
  scopes: ScopeWords[];
  seconds: number;
  watched: boolean;
  reason: string;
  time_zone: string;
  windows: WindowSpan[];
  next_window: number | null;
  open_now: boolean;
  doubt: string;
  revoked_by: string;
  waiting_for: string[];
  machines: WindowMachine[];
}

export interface AheadList {
  items: Ahead[];
  machines: ScopeWords[];
  people: string[];
  scopes: ScopeWords[];
}

export interface AheadWish {
  machines: string[];
  people: string[];
  scopes: string[];
  every: string;
  weeks: number;
  at: string[];
  skip: string[];
  time_zone: string;
  seconds: number;
  watched: boolean;
  reason: string;
}

export interface PreparedAhead {
  standing: string;
  six_words: string;
  machines: string[];
  people: string[];
  scopes: ScopeWords[];
  seconds: number;
  watched: boolean;
  reason: string;
  windows: WindowSpan[];
  people_needed: number;
  passkey: PasskeyChoice | null;
  own_key: boolean;
}

export interface AheadSaid {
  id: string;
  words: string;
}

/** What changed during a session; rows only in the state `compared`. */
export interface WhatChanged {
  state: 'open' | 'compared' | 'not_compared' | 'missing' | 'false';
  words: string;
  findings: { rule: string; severity: string; words: string; evidence: string; attack: string[] }[];
  changes: { kind: string; change: string; name: string; before: string; after: string }[];
  left: number;
  notes: string[];
}

export interface AccessList {
  items: Access[];
  more: number;
}

export interface Prepared {
  grant: string;
  six_words: string;
  scopes: ScopeWords[];
  seconds: number;
  watched: boolean;
  passkey: PasskeyChoice | null;
  own_key: boolean;
  /** Who has signed it already, where it takes several people. */
  said: string[];
}

/** A no or a stop that a passkey may sign; its challenge is that document. */
export interface PreparedEnding {
  stop: string;
  passkey: PasskeyChoice;
}

export interface PhoneRow {
  id: string;
  name: string;
  added_at: Time;
  seen_at: Time;
  ends_at: Time;
  over: boolean;
  offered_person: string;
  offered_words: string;
}

export interface Phones {
  items: PhoneRow[];
  /** Empty while phones are not served. */
  address: string;
  /** Empty while none is served. */
  certificate_ends_at: Time | '';
  most: number;
}

/** A one-use code; `squares` is a QR code, a row of 0 and 1 each. */
export interface PhoneCode {
  address: string;
  code: string;
  squares: string[];
  seconds: number;
}

export interface EnrolledPhone {
  secret: string;
  name: string;
  ends_at: Time;
}

/** What a phone is told of itself. */
export interface ThisPhone {
  owner: string;
  name: string;
  ends_at: Time;
  reachable: boolean;
  words: string;
  passkeys: { person: string; key_id: string }[];
  offered_words: string;
  offered_person: string;
}

/** What the browser needs to ask for a passkey's yes; the challenge is the grant that is shown. */
export interface PasskeyChoice {
  challenge: string;
  rp_id: string;
  names: string[];
  people: string[];
}

export interface PasskeyYes {
  authenticator_data: string;
  client_data: string;
  signature: string;
}

export interface BegunPasskey {
  challenge: string;
  rp_id: string;
  user_id: string;
  person: string;
  others: string[];
}

export interface PolicySigned {
  version: number;
  handed_over: boolean;
  words: string;
}

export interface Answered {
  id: string;
  session: string;
  words: string;
  watched: boolean;
}

/** Seconds since the begin, what it is, and its text, made harmless by the owner's program. */
export type RecordedEvent = [number, 'o' | 'i' | 'r' | 'm', string];

export interface Screening {
  events: RecordedEvent[];
  next: number;
  done: boolean;
  state: 'whole' | 'open' | 'short' | 'false' | 'long';
  words: string;
  beats: string;
}

export type TierState = 'yes' | 'no' | 'unknown' | 'stale';

export interface Tier {
  number: number;
  title: string;
  state: TierState;
  words: string;
  as_of: Time | null;
}

/** A machine as the Closing page shows it; `closed` is from the machine's own signed report. */
export interface ClosingMachine {
  id: string;
  name: string;
  site: string;
  connected: boolean;
  simulated: boolean;
  tiers: Tier[];
  ports: { name: string; process: string; closed: boolean }[];
  looked_at: Time | null;
  peers: { port: number; address: string }[];
  peers_more: number;
  peers_at: Time | null;
  closed: string;
  said: string;
  trouble: string;
}

/** A closing that machines hold on trial. */
export interface Trial {
  id: string;
  words: string;
  reason: string;
  machines: string[];
  others: string[];
  cut: string[];
  ends_at: Time;
}

export interface ClosingPage {
  machines: ClosingMachine[];
  more: number;
  trials: Trial[];
}

export interface CloseWish {
  devices: string[];
  everywhere: boolean;
  tcp: number[];
  udp: number[];
  local_access: ('ssh' | 'telnet')[];
  restore_seconds: number;
  reason: string;
}

export interface ClosedSigned {
  id: string;
  words: string;
}
