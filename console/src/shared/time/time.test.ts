import { describe, expect, it } from 'vitest';
import { isStale, parseTime, sayAge, sayClock, sayDay, sayExact, sayLength } from './time';

const noon = Date.UTC(2026, 10, 23, 12, 0, 0);

describe('ages', () => {
  it.each([
    [0, 'just now'],
    [4_000, 'just now'],
    [40_000, '40 s ago'],
    [3 * 60_000, '3 min ago'],
    [2 * 3_600_000, '2 h ago'],
    [47 * 3_600_000, '47 h ago'],
    [4 * 86_400_000, '4 days ago'],
    [-60_000, 'in 1 min'],
  ])('%d ms is %s', (age, words) => expect(sayAge(noon - age, noon)).toBe(words));
  it('never says a negative length', () => expect(sayLength(-5)).toBe('0 s'));
});

describe('exact times', () => {
  it('carry their zone', () => {
    expect(sayExact(noon, 'UTC')).toMatch(/23 Nov 2026.*12:00:00 UTC/);
    expect(sayClock(noon, 'Europe/Berlin')).toBe('13:00');
  });
  it('name today and yesterday', () => {
    expect(sayDay(noon, noon + 1, 'UTC')).toBe('Today');
    expect(sayDay(noon - 86_400_000, noon, 'UTC')).toBe('Yesterday');
    expect(sayDay(noon - 9 * 86_400_000, noon, 'UTC')).toBe('Saturday 14 November');
  });
});

describe('staleness', () => {
  it('is true where nothing was ever seen', () => expect(isStale(null, noon, 'record')).toBe(true));
  it('begins after its limit, not at it', () => {
    expect(isStale(noon - 300_000, noon, 'connection')).toBe(false);
    expect(isStale(noon - 300_001, noon, 'connection')).toBe(true);
  });
});

describe('parsing', () => {
  it('gives null for nothing and for nonsense', () => {
    expect(parseTime(null)).toBeNull();
    expect(parseTime('soon')).toBeNull();
    expect(parseTime('2026-11-23T12:00:00.000Z')).toBe(noon);
  });
});
