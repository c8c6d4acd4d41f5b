import { describe, expect, it } from 'vitest';
import { readStep, resumeAt } from './steps';

describe('the tour', () => {
  it('goes on where it was left', () => {
    expect(resumeAt(undefined)).toBe(1);
    expect(resumeAt({ step: 1, done: [] })).toBe(1);
    expect(resumeAt({ step: 3, done: [1, 2, 4] })).toBe(3);
    expect(resumeAt({ step: 9, done: [1, 2, 3, 4, 5, 6, 7, 8, 9] })).toBe(9);
  });
  it('knows its steps', () => {
    expect(readStep('5')).toBe(5);
    expect(readStep('10')).toBeNull();
    expect(readStep(undefined)).toBeNull();
    expect(readStep('x')).toBeNull();
  });
});
