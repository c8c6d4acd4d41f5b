import type { AccessDetail, AccessRow, AheadRow } from '../../api/types';
import { parseTime, sayClock, sayExact, sayLength } from '../../shared/time/time';

/** Words about sessions. Pure: the present moment is always an argument. */

/** "10 min": how long somebody may be inside. */
export const sayFor = (seconds: number): string => sayLength(seconds * 1000);

export const sayWho = (row: Pick<AccessRow, 'person' | 'org'>): string =>
  row.org ? `${row.person} of ${row.org}` : row.person;

/** "ada", "ada and ben", "ada, ben and eve". */
export function sayList(names: readonly string[]): string {
  if (names.length < 2) return names[0] ?? '';
  return `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
}

const ENDINGS: Record<string, string> = {
  closed: 'who was inside left',
  length: 'its time was over',
  idle: 'nothing moved in it any more',
  stopped: 'it was stopped',
  unwatched: 'nobody watched any more',
  panel: 'somebody pressed the button on the device',
  policy: 'a newer policy of the owner does not allow it',
  failed: 'something in it was not as it must be',
  restarted: 'the agent on the device ended',
};

export const sayEnding = (how: string): string => ENDINGS[how] ?? how.replaceAll('_', ' ');

export function sayBytes(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]] as const) {
    if (bytes >= size) return `${(bytes / size).toLocaleString('en-GB', { maximumFractionDigits: 1 })} ${unit}`;
  }
  return '';
}

/** How long somebody was inside, or has been until now. */
export function lengthInside(row: AccessRow, now: number): number | null {
  const opened = parseTime(row.opened_at);
  if (opened === null) return null;
  return Math.max(0, (parseTime(row.ended_at) ?? now) - opened);
}

/** Whether its time must be over although the device has not said so. */
export function isOverdue(row: AccessRow, now: number): boolean {
  const opened = parseTime(row.opened_at);
  return row.state === 'open' && opened !== null && now - opened > (row.seconds + 120) * 1000;
}

/** The one sentence of a session: who, where, when, with whose permission. */
const WHY_NOT: Record<string, string> = {
  nothing_looks: 'Nothing on this device looks at itself before and after sessions.',
  no_before: 'There was no look at the device before the session.',
  no_after: 'The look at the device after the session did not come.',
  failed: 'What was found could not be written down.',
};

export const sayNotCompared = (why: string): string =>
  WHY_NOT[why] ?? 'The device has not said what changed. An older agent does not look.';

export function saySession(row: AccessDetail, now: number): string {
  const who = sayWho(row);
  const by = row.people.length > 0 ? `, let in by ${sayList(row.people)}` : '';
  const length = lengthInside(row, now);
  const time = length === null ? '' : ` for ${sayLength(length)}`;
  switch (row.state) {
    case 'asked':
      return `${who} asks to enter ${row.device_name}, which has not answered yet.`;
    case 'offered':
      return `${who} asks to enter ${row.device_name}. Only its owner can say yes.`;
    case 'granted':
      return `${who} may enter ${row.device_name} now${by}.`;
    case 'open':
      return `${who} is inside ${row.device_name}${by}.`;
    case 'ended':
      return `${who} was inside ${row.device_name}${time}${by}.`;
    case 'denied':
      return `${row.device_name} did not let ${who} in.`;
    case 'stopped':
      return `${who} was not let into ${row.device_name}.`;
  }
}

/** The first window of a permission given ahead that is not over. */
export function nextAhead(row: Pick<AheadRow, 'windows'>, now: number): AheadRow['windows'][number] | null {
  return row.windows.find((each) => (parseTime(each.not_after) ?? 0) > now) ?? null;
}

export function sayWindow(window: AheadRow['windows'][number]): string {
  const begin = parseTime(window.not_before) ?? 0;
  const end = parseTime(window.not_after) ?? 0;
  return `${sayExact(begin).replace(/:\d\d (?=\S+$)/, ' ')} to ${sayClock(end)}`;
}

const HELD: Record<string, string> = {
  held: 'The device keeps it.',
  dropped: 'The device does not take it.',
  revoked: 'It was taken back.',
};

export function sayHeld(row: Pick<AheadRow, 'machines'>, device: string): string {
  const machine = row.machines.find((each) => each.device_id === device);
  return HELD[machine?.state ?? ''] ?? 'The device has not answered yet.';
}
