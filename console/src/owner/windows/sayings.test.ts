import { describe, expect, it } from 'vitest';
import type { Ahead } from '../../api/ownerTypes';
import { countStands, faceOfAhead, isComplete, wordsOf } from './sayings';

const TIMES = { days: ['Thu', 'Mon'], date: '2026-12-01', from: '02:00', to: '04:00', weeks: 4 };

const item = (part: Partial<Ahead>): Ahead => ({
  id: 'a', trouble: '', six_words: '', allowed_by: [], people: [], scopes: [], seconds: 60, watched: false, reason: '',
  time_zone: 'UTC', windows: [], next_window: 0, open_now: false, doubt: '', revoked_by: '', waiting_for: [], machines: [],
  ...part,
});

describe('permissions given ahead', () => {
  it('writes times as the program reads them', () => {
    expect(wordsOf(true, TIMES)).toEqual({ every: 'Mon,Thu 02:00-04:00', at: [] });
    expect(wordsOf(false, TIMES)).toEqual({ every: '', at: ['2026-12-01T02:00-04:00'] });
    expect(isComplete(true, { ...TIMES, days: [] })).toBe(false);
    expect(isComplete(false, { ...TIMES, date: '' })).toBe(false);
  });

  it('calls it done only when every machine has signed so', () => {
    expect(faceOfAhead(item({ revoked_by: 'Ada', waiting_for: ['pump-7'] })).words).toContain('not yet at pump-7');
    expect(faceOfAhead(item({ revoked_by: 'Ada' })).tone).toBe('quiet');
    expect(faceOfAhead(item({ doubt: 'no' })).words).toBe('Of no force');
    expect(faceOfAhead(item({ trouble: 'no' })).words).toBe('Not believed');
    expect(faceOfAhead(item({ open_now: true })).words).toBe('Open now');
    expect(faceOfAhead(item({ next_window: null })).words).toBe('All windows are over');
  });

  it('counts how windows stand', () => {
    expect(countStands(['used', 'missed', 'ahead', 'ahead'])).toBe('1 used, 1 not used, 2 ahead');
  });
});
