import type { AccessState } from '../../api/types';

/** What the page of sessions shows lives in its address. */

export const PER_PAGE = 25;

/** Groups that a person thinks in; each is one or more states of the server. */
export const SHOWN = [
  ['all', 'All', []],
  ['waiting', 'Waiting', ['asked', 'offered']],
  ['live', 'Now', ['granted', 'open']],
  ['over', 'Over', ['ended']],
  ['no', 'Said no', ['denied', 'stopped']],
] as const satisfies readonly (readonly [string, string, readonly AccessState[]])[];

export type Shown = (typeof SHOWN)[number][0];

export interface Filters {
  shown: Shown;
  device: string;
  page: number;
}

const groupOf = (state: string): Shown | undefined =>
  SHOWN.find(([, , states]) => (states as readonly string[]).includes(state))?.[0];

/** Reads an address that anybody may have written. A state of the server leads to its group. */
export function readFilters(search: URLSearchParams): Filters {
  const wanted = search.get('state') ?? '';
  const page = Number.parseInt(search.get('page') ?? '1', 10);
  const device = search.get('device') ?? '';
  return {
    shown: SHOWN.find(([id]) => id === wanted)?.[0] ?? groupOf(wanted) ?? 'all',
    device: /^[a-z2-7]{32}$/.test(device) ? device : '',
    page: Number.isSafeInteger(page) && page >= 1 && page <= 1_000_000 ? page : 1,
  };
}

export function writeFilters(old: Filters, change: Partial<Filters>): URLSearchParams {
  const next = { ...old, page: 1, ...change };
  const search = new URLSearchParams();
  if (next.shown !== 'all') search.set('state', next.shown);
  if (next.device) search.set('device', next.device);
  if (next.page > 1) search.set('page', String(next.page));
  return search;
}

/** What the server is asked for. */
export const statesOf = (shown: Shown): string =>
  (SHOWN.find(([id]) => id === shown)?.[2] ?? []).join(',');
