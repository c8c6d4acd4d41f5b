/** Ages and dates in words. Pure: the present moment is always an argument. */

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export function parseTime(text: string | null | undefined): number | null {
  if (!text) return null;
  const value = Date.parse(text);
  return Number.isNaN(value) ? null : value;
}

const plural = (count: number, one: string, many: string): string =>
  `${count} ${count === 1 ? one : many}`;

/** A length of time in its largest whole unit: "40 s", "3 min", "2 h", "4 days". */
export function sayLength(milliseconds: number): string {
  const length = Math.max(0, milliseconds);
  if (length < MINUTE) return `${Math.floor(length / SECOND)} s`;
  if (length < HOUR) return `${Math.floor(length / MINUTE)} min`;
  if (length < 2 * DAY) return `${Math.floor(length / HOUR)} h`;
  return plural(Math.floor(length / DAY), 'day', 'days');
}

export function sayAge(at: number, now: number): string {
  const age = now - at;
  if (age < -5 * SECOND) return `in ${sayLength(-age)}`;
  return age < 5 * SECOND ? 'just now' : `${sayLength(age)} ago`;
}

/** The exact moment with its zone, for whoever hovers or focuses. */
export function sayExact(at: number, zone?: string): string {
  return new Intl.DateTimeFormat('en-GB', {
    weekday: 'short',
    day: 'numeric',
    month: 'short',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    timeZoneName: 'short',
    timeZone: zone,
  }).format(at);
}

export function sayClock(at: number, zone?: string): string {
  return new Intl.DateTimeFormat('en-GB', {
    hour: '2-digit',
    minute: '2-digit',
    timeZone: zone,
  }).format(at);
}

export function sayDay(at: number, now: number, zone?: string): string {
  const day = (moment: number): string =>
    new Intl.DateTimeFormat('en-GB', {
      weekday: 'long',
      day: 'numeric',
      month: 'long',
      timeZone: zone,
    }).format(moment);
  const text = day(at);
  if (text === day(now)) return 'Today';
  return text === day(now - DAY) ? 'Yesterday' : text;
}

/** After this long without news a group of facts is called stale. */
export const STALE_AFTER = {
  connection: 5 * MINUTE,
  reachability: 2 * HOUR,
  software: 26 * HOUR,
  trust: 26 * HOUR,
  record: HOUR,
  page: 2 * MINUTE,
} as const;

export type Subject = keyof typeof STALE_AFTER;

export function isStale(at: number | null, now: number, subject: Subject): boolean {
  return at === null || now - at > STALE_AFTER[subject];
}
