import type { PartState } from '../../api/types';
import { GROUPS } from './sayings';

/** What a rollout's list of machines shows lives in its address, which anybody may have written. */

export const PER_PAGE = 25;

export type Shown = 'all' | (typeof GROUPS)[number]['id'];

export interface Filters {
  shown: Shown;
  q: string;
  page: number;
}

export function readPage(search: URLSearchParams): number {
  const page = Number.parseInt(search.get('page') ?? '1', 10);
  return Number.isSafeInteger(page) && page >= 1 && page <= 1_000_000 ? page : 1;
}

export function readFilters(search: URLSearchParams): Filters {
  const wanted = search.get('show') ?? '';
  return {
    shown: GROUPS.find((group) => group.id === wanted)?.id ?? 'all',
    q: (search.get('q') ?? '').slice(0, 200),
    page: readPage(search),
  };
}

export function writeFilters(old: Filters, change: Partial<Filters>): URLSearchParams {
  const next = { ...old, page: 1, ...change };
  const search = new URLSearchParams();
  if (next.shown !== 'all') search.set('show', next.shown);
  if (next.q) search.set('q', next.q);
  if (next.page > 1) search.set('page', String(next.page));
  return search;
}

/** The states that the server is asked for; empty: all. */
export const statesOf = (shown: Shown): string =>
  ((GROUPS.find((group) => group.id === shown)?.states ?? []) as readonly PartState[]).join(',');

/** A part of an address as it was meant: a plus may stand there as it is, or written out. */
export function readPart(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}
