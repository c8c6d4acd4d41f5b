import type { Visit } from '../../api/technicianTypes';
import type { Face } from '../../shared/ui/State';

/** What is said of a visit. Pure. */

export function faceOfVisit(visit: Visit): Face {
  switch (visit.phase) {
    case 'waiting':
      return visit.machine_ready
        ? { tone: 'warn', icon: 'clock', words: 'Waits for the owner' }
        : { tone: 'quiet', icon: 'clock', words: `Waits for ${visit.machine}` };
    case 'opening':
      return { tone: 'accent', icon: 'clock', words: 'Allowed, opens' };
    case 'open':
      return { tone: 'accent', icon: 'wave', words: 'You are inside' };
    case 'over':
      return visit.failed ? { tone: 'bad', icon: 'cross', words: 'Over' } : { tone: 'quiet', icon: 'check', words: 'Ended' };
  }
}

export const sayPeople = (people: string[]): string =>
  people.length < 2 ? (people[0] ?? 'nobody') : `${people.slice(0, -1).join(', ')} and ${people.at(-1)}`;

export const sayAnyOf = (people: string[]): string =>
  people.length < 2 ? (people[0] ?? 'nobody') : `${people.slice(0, -1).join(', ')} or ${people.at(-1)}`;

/** "24:10", or with hours "1:24:10". */
export function sayLeft(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (value: number): string => String(value).padStart(2, '0');
  return hours > 0 ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

export function sayMinutes(seconds: number): string {
  if (seconds % 3600 === 0) return `${seconds / 3600} h`;
  return seconds % 60 === 0 ? `${seconds / 60} min` : `${seconds} s`;
}

/** How it ended and by whom, as one sentence. */
export function sayEnd(visit: Visit): string {
  if (visit.over_by === '') return visit.over_words;
  if (visit.over_by.startsWith('left')) return 'You left it.';
  const who = visit.over_who === '' ? '' : ` by ${visit.over_who}`;
  const told = `Stopped by ${visit.over_who}. `;
  if (who !== '' && visit.over_words.startsWith(told)) return `It was ended${who} because: ${visit.over_words.slice(told.length)}`;
  return `It was ended${who}: ${visit.over_by}.`;
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

export function saySize(bytes: number): string {
  let value = Math.max(0, bytes);
  let unit = 0;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}
