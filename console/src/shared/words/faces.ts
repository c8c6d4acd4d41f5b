import type { AccessState, Built, Connection, DeviceState, PropertyState, RecordState } from '../../api/types';
import type { Face, Tone } from '../ui/State';

/** How each state looks and what it is called. Pure; 'not visible' is never green, zero or failed. */

export function faceOfDevice(state: DeviceState, confirmed: boolean): Face {
  switch (state) {
    case 'active':
      return confirmed
        ? { tone: 'good', icon: 'check', words: 'Active' }
        : { tone: 'warn', icon: 'half', words: 'Active, unconfirmed' };
    case 'pending':
      return { tone: 'warn', icon: 'clock', words: 'Waits for the owner' };
    case 'seen':
      return { tone: 'quiet', icon: 'empty', words: 'Seen, not joined' };
    case 'quarantined':
      return { tone: 'bad', icon: 'block', words: 'Quarantined' };
    case 'retired':
      return { tone: 'quiet', icon: 'cross', words: 'Retired' };
    case 'refused':
      return { tone: 'bad', icon: 'cross', words: 'Join refused' };
  }
}

export function faceOfConnection(connection: Connection): Face {
  switch (connection) {
    case 'connected':
      return { tone: 'good', icon: 'wave', words: 'Connected' };
    case 'silent':
      return { tone: 'warn', icon: 'clock', words: 'Silent' };
    case 'never':
      return { tone: 'quiet', icon: 'empty', words: 'Never connected' };
  }
}

export function faceOfProperty(state: PropertyState): Face {
  switch (state) {
    case 'shown':
      return { tone: 'good', icon: 'check', words: 'Shown' };
    case 'partly':
      return { tone: 'warn', icon: 'half', words: 'Partly' };
    case 'not_shown':
      return { tone: 'bad', icon: 'cross', words: 'Not shown' };
    case 'not_visible':
      return { tone: 'quiet', icon: 'hidden', words: 'Not visible' };
  }
}

export const NOT_VISIBLE: Face = { tone: 'quiet', icon: 'hidden', words: 'Not visible' };

/** How a program was built; what could not be read is not visible, never a no. */
export function faceOfBuilt(built: Built): Face {
  switch (built) {
    case 'yes':
      return { tone: 'good', icon: 'check', words: 'Yes' };
    case 'partial':
      return { tone: 'warn', icon: 'half', words: 'Partly' };
    case 'no':
      return { tone: 'bad', icon: 'cross', words: 'No' };
    case 'unknown':
      return NOT_VISIBLE;
  }
}

export function faceOfRecord(state: RecordState): Face {
  switch (state) {
    case 'intact':
      return { tone: 'good', icon: 'proof', words: 'Intact' };
    case 'broken':
      return { tone: 'bad', icon: 'alert', words: 'Broken' };
    case 'unknown':
      return { tone: 'quiet', icon: 'empty', words: 'Not known yet' };
  }
}

export function faceOfSession(state: AccessState): Face {
  switch (state) {
    case 'asked':
      return { tone: 'quiet', icon: 'clock', words: 'Waits for the device' };
    case 'offered':
      return { tone: 'warn', icon: 'person', words: 'Waits for the owner' };
    case 'granted':
      return { tone: 'accent', icon: 'check', words: 'Allowed, not begun' };
    case 'open':
      return { tone: 'accent', icon: 'session', words: 'Inside now' };
    case 'ended':
      return { tone: 'quiet', icon: 'check', words: 'Over' };
    case 'denied':
      return { tone: 'bad', icon: 'block', words: 'The device said no' };
    case 'stopped':
      return { tone: 'quiet', icon: 'cross', words: 'Stopped' };
  }
}

/** Old good news is no good news: a stale green is grey, and keeps its word. */
export function fade(face: Face, stale: boolean): Face {
  return stale && face.tone === 'good' ? { ...face, tone: 'quiet', icon: 'clock' } : face;
}

const CARD_TONES: [RegExp, Tone][] = [
  [/^breakglass|-held$/, 'bad'],
  [/record|identity|broken|refus/, 'bad'],
  [/quarantin|contain/, 'bad'],
  [/expos|port|chang|updat|recall|silen|wait|confirm|pending/, 'warn'],
];

export function toneOfCard(kind: string): Tone {
  return CARD_TONES.find(([pattern]) => pattern.test(kind))?.[1] ?? 'accent';
}

export const EXPOSURE: Record<'loopback' | 'lan' | 'all', { words: string; tone: Tone }> = {
  loopback: { words: 'Only this machine', tone: 'quiet' },
  lan: { words: 'Local network', tone: 'warn' },
  all: { words: 'Every network', tone: 'bad' },
};
