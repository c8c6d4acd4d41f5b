import { describe, expect, it } from 'vitest';
import type { AccessDetail } from '../../api/types';
import { isOverdue, lengthInside, nextAhead, sayBytes, sayEnding, sayHeld, sayList, saySession, sayWindow } from './sayings';

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

describe('what was allowed ahead', () => {
  const windows = [
    { not_before: '2026-11-24T02:00:00.000Z', not_after: '2026-11-24T04:00:00.000Z' },
    { not_before: '2026-12-01T02:00:00.000Z', not_after: '2026-12-01T04:00:00.000Z' },
  ];

  it('names the next window and what the device said', () => {
    expect(nextAhead({ windows }, NOW)).toBe(windows[1]);
    expect(nextAhead({ windows: windows.slice(0, 1) }, NOW)).toBeNull();
    expect(sayWindow(windows[1]!)).toContain('1 Dec 2026');
    expect(sayHeld({ machines: [] }, 'a')).toContain('not answered');
  });
});
