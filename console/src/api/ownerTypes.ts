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
