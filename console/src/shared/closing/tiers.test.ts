import { describe, expect, it } from 'vitest';
import { faceOfTier, readPorts, sayCountdown } from './tiers';

describe('the three tiers', () => {
  it('are said by a word and a shape, and stale is one of its own', () => {
    expect(faceOfTier('yes').words).toBe('Yes');
    expect(faceOfTier('no').tone).toBe('bad');
    expect(faceOfTier('stale').icon).toBe('clock');
    expect(faceOfTier('unknown').tone).toBe('quiet');
  });
});

describe('a countdown', () => {
  it('is minutes and seconds, with hours where there are any', () => {
    expect(sayCountdown(598_000)).toBe('9:58');
    expect(sayCountdown(3_723_000)).toBe('1:02:03');
    expect(sayCountdown(-5)).toBe('0:00');
  });
});

describe('ports', () => {
  it('are read in any order, each once', () => {
    expect(readPorts('8080, 22 22')).toEqual([22, 8080]);
    expect(readPorts('')).toEqual([]);
  });
  it('are numbers from 1 to 65535 and nothing else', () => {
    for (const text of ['0', '65536', '-1', '22;flush', '1e3', '0x16', 'ssh']) expect(readPorts(text)).toBeNull();
  });
});
