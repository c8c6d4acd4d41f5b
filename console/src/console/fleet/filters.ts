/** What the fleet page shows lives in its address, so that it survives a reload and can be sent on. */

export interface Filters {
  site: string;
  state: string;
  connection: string;
  need: string;
  q: string;
  sort: string;
  page: number;
}

export const PER_PAGE = 50;

export const STATES = [
  ['active', 'Active'],
  ['pending', 'Waits for the owner'],
  ['quarantined', 'Quarantined'],
  ['seen', 'Seen, not joined'],
  ['refused', 'Join refused'],
  ['retired', 'Retired'],
] as const;

export const CONNECTIONS = [
  ['connected', 'Connected'],
  ['silent', 'Silent'],
  ['never', 'Never connected'],
] as const;

export const NEEDS = [
  ['waiting', 'Waits to be let in'],
  ['quarantined', 'In quarantine'],
  ['exposed', 'Reachable by everybody'],
  ['updates', 'Lacks security updates'],
  ['silent', 'Silent'],
  ['unconfirmed', 'Not confirmed'],
] as const;

const SORTS = ['name', 'site', 'last_seen', 'need', 'updates', 'open_ports'];

const oneOf = (known: readonly (readonly [string, string])[], value: string | null): string =>
  known.some(([id]) => id === value) ? (value ?? '') : '';

/** Reads an address that anybody may have written: what is not known is left out. */
export function readFilters(search: URLSearchParams): Filters {
  const page = Number.parseInt(search.get('page') ?? '1', 10);
  const sort = search.get('sort') ?? '';
  return {
    site: search.get('site') ?? '',
    state: oneOf(STATES, search.get('state')),
    connection: oneOf(CONNECTIONS, search.get('connection')),
    need: oneOf(NEEDS, search.get('need')),
    q: (search.get('q') ?? '').slice(0, 200),
    sort: SORTS.includes(sort.replace(/^-/, '')) ? sort : '',
    page: Number.isSafeInteger(page) && page >= 1 && page <= 1_000_000 ? page : 1,
  };
}

/** A change of a filter starts at the first page; empty parts are not written. */
export function writeFilters(old: Filters, change: Partial<Filters>): URLSearchParams {
  const next = { ...old, page: 1, ...change };
  const search = new URLSearchParams();
  for (const key of ['site', 'state', 'connection', 'need', 'q', 'sort'] as const) {
    if (next[key] !== '') search.set(key, next[key]);
  }
  if (next.page > 1) search.set('page', String(next.page));
  return search;
}

export const isFiltered = (filters: Filters): boolean =>
  [filters.site, filters.state, filters.connection, filters.need, filters.q].some((part) => part !== '');
