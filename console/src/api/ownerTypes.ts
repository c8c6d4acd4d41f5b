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
    roots?: { name: string; value: string }[];
    thresholds?: { scope: string; people: number }[];
  };
  roster: { version: number; count: number; hash: string };
  head: { version: number; lease_until: Time; hash: string };
  server: { url: string; reachable: boolean; words: string };
  same_host: boolean;
  same_host_words: string;
}

export type OwnerKey = string | { key_id: string; suite?: string; scopes?: string[]; words?: string };

export interface PendingMachine {
  id: string;
  words: string;
  name_suggested: string;
  site: string;
  model: string | null;
  joined_at: Time;
  preapproved: boolean;
}

export interface RosterEntry {
  id: string;
  name: string;
  site: string;
  groups: string[];
  model: string | null;
  maker: string | null;
  state: 'active' | 'retired';
}

export type Pending = Pick<Page<PendingMachine>, 'items'>;
export type Roster = Pick<Page<RosterEntry>, 'items'>;

export interface Invitation {
  join: string;
  expires_at: Time;
  owner_root: string;
}

export interface Verdict {
  proven: { words: string }[];
  contradicted: { words: string; entry: string | number }[];
  unknown: { words: string; device: string; age_seconds: number | null }[];
  command: string;
}
