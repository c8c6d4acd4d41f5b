import { describe, expect, it } from 'vitest';
import type { Access } from '../../api/ownerTypes';
import { faceOfAccess, lengthsUpTo, readSize, sayClockOf, sayMinutes, timesOf } from './sayings';

const item = (state: string, trouble = ''): Access => ({ state, trouble }) as Access;

describe('a request', () => {
  it('whose papers are not believed is never anything else', () =>
    expect(faceOfAccess(item('open', 'Not believed: x')).words).toBe('Not believed'));
  it('of a state that is new here is never green', () => expect(faceOfAccess(item('new')).tone).toBe('quiet'));
  it('with somebody inside asks for attention', () => expect(faceOfAccess(item('open')).tone).toBe('warn'));
});

describe('lengths', () => {
  it('are what was asked for, and less', () =>
    expect(lengthsUpTo(600).map((each) => each.value)).toEqual(['300', '600']));
  it('keep an odd one', () => expect(lengthsUpTo(420).at(-1)).toEqual({ value: '420', label: '7 min' }));
  it('are said', () => expect([sayMinutes(3600), sayMinutes(90)]).toEqual(['1 h', '90 s']));
});

describe('a replay', () => {
  it('shortens long pauses and never goes back', () =>
    expect(timesOf([[0, 'o', ''], [1, 'o', ''], [100, 'o', ''], [99, 'o', '']])).toEqual([0, 1, 3, 3]));
  it('has a clock', () => expect(sayClockOf(125.9)).toBe('2:05'));
  it('reads sizes alone', () => expect([readSize('80x24'), readSize('80x24;')]).toEqual([[80, 24], null]));
});
