import type { Access, RecordedEvent } from '../../api/ownerTypes';
import type { Face } from '../../shared/ui/State';

/** What is said of requests and sessions. Pure. */

export const isWaiting = (item: Access): boolean => item.state === 'asked' || item.state === 'offered';
export const isLive = (item: Access): boolean => item.state === 'granted' || item.state === 'open';
export const wasInside = (item: Access): boolean => isLive(item) || item.state === 'ended';

export function faceOfAccess(item: Access): Face {
  if (item.trouble !== '') return { tone: 'bad', icon: 'alert', words: 'Not believed' };
  switch (item.state) {
    case 'asked':
      return { tone: 'quiet', icon: 'clock', words: 'Waits for the machine' };
    case 'offered':
      return { tone: 'warn', icon: 'clock', words: 'Waits for you' };
    case 'granted':
      return { tone: 'accent', icon: 'clock', words: 'Granted, opens' };
    case 'open':
      return { tone: 'warn', icon: 'wave', words: 'Somebody is inside' };
    case 'ended':
      return { tone: 'quiet', icon: 'check', words: 'Ended' };
    case 'denied':
      return { tone: 'bad', icon: 'block', words: 'Refused by the machine' };
    case 'stopped':
      return { tone: 'quiet', icon: 'cross', words: 'Refused by you' };
    default:
      return { tone: 'quiet', icon: 'empty', words: item.state || 'Not known' };
  }
}

export function sayWho(item: Pick<Access, 'person' | 'org'>): string {
  return item.org === '' ? item.person : `${item.person} of ${item.org}`;
}

/** Whose yes it was, and whether it was given ahead. */
export function sayPermission(item: Pick<Access, 'people' | 'ahead'>): string {
  const people = item.people.join(' and ') || 'nobody';
  return item.ahead ? `${people}, ahead` : people;
}

export function sayMinutes(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

const LENGTHS = [300, 600, 900, 1800, 3600, 7200, 14_400, 28_800];

/** The lengths that an approver can give: what was asked for, and less. */
export function lengthsUpTo(seconds: number): { value: string; label: string }[] {
  const shorter = LENGTHS.filter((each) => each < seconds);
  return [...shorter, seconds].map((each) => ({ value: String(each), label: sayMinutes(each) }));
}

const MOST_PAUSE = 2;

/** When each event is shown in a replay: as it was, but nobody waits out a coffee break. */
export function timesOf(events: RecordedEvent[]): number[] {
  let shown = 0;
  let before = 0;
  return events.map(([at]) => {
    shown += Math.min(Math.max(at - before, 0), MOST_PAUSE);
    before = at;
    return shown;
  });
}

export function sayClockOf(seconds: number): string {
  const whole = Math.floor(seconds);
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

export function readSize(text: string): [number, number] | null {
  const found = /^(\d{1,4})x(\d{1,4})$/.exec(text);
  return found ? [Number(found[1]), Number(found[2])] : null;
}
