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
  };
  roster: { version: number; count: number; hash: string };
  head: { version: number; lease_until: Time; hash: string };
  server: { url: string; reachable: boolean; words: string };
  same_host: boolean;
  same_host_words: string;
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

export interface ScopeWords {
  id: string;
  words: string;
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
  watched: boolean;
  opened_at: Time | null;
  ended_at: Time | null;
  ended_by: string;
  ended_who: string;
  denied: string;
  recording_bytes: number;
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
