import type { Face } from '../ui/State';

/** The three tiers in a person's words; the same in both programs. Pure. */

export type TierState = 'yes' | 'no' | 'unknown' | 'stale';

const FACES: Record<TierState, Face> = {
  yes: { tone: 'good', icon: 'check', words: 'Yes' },
  no: { tone: 'bad', icon: 'cross', words: 'No' },
  unknown: { tone: 'quiet', icon: 'hidden', words: 'Cannot be known yet' },
  stale: { tone: 'warn', icon: 'clock', words: 'Stale' },
};

export const faceOfTier = (state: TierState): Face => FACES[state];

/** A countdown as 9:58, or 1:02:03. */
export function sayCountdown(ms: number): string {
  const all = Math.max(0, Math.floor(ms / 1000));
  const hours = Math.floor(all / 3600);
  const minutes = Math.floor((all % 3600) / 60);
  const seconds = String(all % 60).padStart(2, '0');
  return hours > 0 ? `${hours}:${String(minutes).padStart(2, '0')}:${seconds}` : `${minutes}:${seconds}`;
}

/** Reads "22, 8080" as ports; null where something is none. */
export function readPorts(text: string): number[] | null {
  const parts = text.split(/[\s,;]+/).filter((part) => part !== '');
  const ports = parts.map(Number);
  const good = parts.every((part, at) => {
    const port = ports[at] ?? 0;
    return /^[0-9]{1,5}$/.test(part) && port >= 1 && port <= 65535;
  });
  return good ? [...new Set(ports)].sort((a, b) => a - b) : null;
}
