import { describe, expect, it } from 'vitest';
import { findLines, keepText, MOST_LINES, nothingKept } from './keep';

describe('lines of a log', () => {
  it('are whole, however they come', () => {
    const kept = keepText(keepText(nothingKept(), 'one\ntw'), 'o\nthree');
    expect([kept.lines, kept.rest]).toEqual([['one', 'two'], 'three']);
  });
  it('are bounded in number and length', () => {
    const kept = keepText(nothingKept(), 'x\n'.repeat(MOST_LINES + 7));
    expect([kept.lines.length, kept.dropped]).toEqual([MOST_LINES, 7]);
    expect(keepText(nothingKept(), 'y'.repeat(50_000)).lines[0]).toHaveLength(4_000);
  });
  it('are found by a part of them', () => {
    expect(findLines(['Pump ok', 'door'], 'pUMP')).toEqual(['Pump ok']);
  });
});
