import type { Time } from './types';

/** What the technician's own program says to its own page. */

/** One scope of the grant, by its place in it. `address`: a page's origin, or host and port. */
export interface Given {
  place: number;
  kind: 'terminal' | 'root' | 'tcp' | 'logs' | 'files' | (string & {});
  words: string;
  name: string;
  mode: string;
  most_bytes: number;
  address: string;
}

export interface Visit {
  phase: 'waiting' | 'opening' | 'open' | 'over';
  request: string;
  device_id: string;
  machine: string;
  site: string;
  person: string;
  org: string;
  reason: string;
  case: string;
  asked_at: Time;
  asked: string[];
  seconds: number;
  machine_ready: boolean;
  /** Why the server does not answer, while it does not. */
  unreachable: string;
  approvers: string[];
  approvers_needed: number;
  people: string[];
  six_words: string;
  watched: boolean;
  given: Given[];
  left_seconds: number;
  /** The origin of the terminal's frame. */
  frame: string;
  over_words: string;
  over_by: string;
  over_who: string;
  over_at: Time | null;
  failed: boolean;
}

export interface TerminalState {
  id: string;
  open: boolean;
  words: string;
}

/** `name` is what is asked for, `shown` what may be shown of it. */
export interface FileRow {
  name: string;
  shown: string;
  kind: string;
  size: number;
  modified: number;
}

export interface Folder {
  path: string;
  items: FileRow[];
  odd: number;
}

export interface Ticket {
  address: string;
  name: string;
  size: number;
}

export interface Transfer {
  id: string;
  name: string;
  up: boolean;
  moved: number;
  size: number;
  state: 'begun' | 'moving' | 'done' | 'failed';
  trouble: string;
  sha256: string;
}

export interface Transfers {
  items: Transfer[];
  moved: Record<string, number>;
}
