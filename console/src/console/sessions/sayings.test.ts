import { describe, expect, it } from 'vitest';
import type { AccessDetail } from '../../api/types';
import { isOverdue, lengthInside, sayBytes, sayEnding, sayList, saySession } from './sayings';

const NOW = Date.parse('2026-11-26T12:00:00.000Z');
const row = {
  person: 'tom',
  org: 'Makers Ltd',
  device_name: 'Pump 7',
  state: 'ended',
  seconds: 600,
  opened_at: '2026-11-26T11:50:00.000Z',
  ended_at: '2026-11-26T11:55:00.000Z',
  people: ['ada', 'ben'],
} as unknown as AccessDetail;

describe('a session in one sentence', () => {
  it('says who was inside, how long, and by whose permission', () => {
    expect(saySession(row, NOW)).toBe('tom of Makers Ltd was inside Pump 7 for 5 min, let in by ada and ben.');
  });
  it('claims no permission that nobody gave', () => {
    const asked = { ...row, state: 'asked', people: [], opened_at: null, ended_at: null } as AccessDetail;
    expect(saySession(asked, NOW)).toBe('tom of Makers Ltd asks to enter Pump 7, which has not answered yet.');
  });
  it('has no end while somebody is inside', () => {
    const open = { ...row, state: 'open', ended_at: null } as AccessDetail;
    expect(lengthInside(open, NOW)).toBe(600_000);
    expect(isOverdue(open, NOW)).toBe(false);
    expect(isOverdue(open, NOW + 180_000)).toBe(true);
  });
});

describe('small words', () => {
  it('list people', () => {
    expect([sayList([]), sayList(['a']), sayList(['a', 'b', 'c'])]).toEqual(['', 'a', 'a, b and c']);
  });
  it('say sizes', () => {
    expect([sayBytes(7), sayBytes(1500), sayBytes(12_345_678), sayBytes(4e9)]).toEqual(['7 B', '1.5 kB', '12.3 MB', '4 GB']);
  });
  it('say an end that this page does not know', () => {
    expect(sayEnding('blown_up')).toBe('blown up');
  });
});
