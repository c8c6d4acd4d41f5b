import type { Ahead, WindowStand } from '../../api/ownerTypes';
import type { Face } from '../../shared/ui/State';

/** What is said of permissions given ahead. Pure. */

export const DAYS = ['Mon', 'Tue', 'Wed', 'Thu', 'Fri', 'Sat', 'Sun'] as const;

export interface Times {
  days: string[];
  date: string;
  from: string;
  to: string;
  weeks: number;
}

/** The form's times as the owner's program reads them. */
export function wordsOf(weekly: boolean, times: Times): { every: string; at: string[] } {
  if (!weekly) return { every: '', at: [`${times.date}T${times.from}-${times.to}`] };
  const days = DAYS.filter((day) => times.days.includes(day));
  return { every: `${days.join(',')} ${times.from}-${times.to}`, at: [] };
}

export const isComplete = (weekly: boolean, times: Times): boolean =>
  times.from !== '' && times.to !== '' && (weekly ? times.days.length > 0 : times.date !== '');

export function faceOfAhead(item: Ahead): Face {
  if (item.trouble !== '') return { tone: 'bad', icon: 'alert', words: 'Not believed' };
  if (item.revoked_by !== '') {
    return item.waiting_for.length > 0
      ? { tone: 'warn', icon: 'clock', words: `Taken back, but not yet at ${item.waiting_for.join(', ')}` }
      : { tone: 'quiet', icon: 'cross', words: 'Taken back; every machine has signed so' };
  }
  if (item.doubt !== '') return { tone: 'bad', icon: 'block', words: 'Of no force' };
  if (item.next_window === null) return { tone: 'quiet', icon: 'check', words: 'All windows are over' };
  if (item.open_now) return { tone: 'warn', icon: 'wave', words: 'Open now' };
  return { tone: 'accent', icon: 'clock', words: 'Ahead' };
}

const STANDS: Record<WindowStand, string> = {
  used: 'used',
  missed: 'not used',
  open: 'open now',
  ahead: 'ahead',
  revoked: 'taken back',
};

export const sayStand = (stand: WindowStand): string => STANDS[stand];

/** How many windows stand how, as "1 used, 2 not used, 9 ahead". */
export function countStands(stands: WindowStand[]): string {
  const names = Object.keys(STANDS) as WindowStand[];
  return names
    .map((name) => [stands.filter((each) => each === name).length, STANDS[name]] as const)
    .filter(([count]) => count > 0)
    .map(([count, words]) => `${count} ${words}`)
    .join(', ');
}

/** The time zone of this browser, by its name. */
export const zoneHere = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
