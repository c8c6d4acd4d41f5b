import { describe, expect, it } from 'vitest';
import type { Rollout, UpdatesOverview } from '../../api/types';
import { deedsOf } from './deeds';
import { faceOfRelease, faceOfSupport, needOf, otherFailures, pointsOf, sayFresh, sayHeadline, sayPercent, saySafe, saySize, viewStages } from './sayings';

const rollout = (change: Partial<Rollout> = {}): Rollout => ({
  id: 'a'.repeat(32), product: 'kiosk', version: '1.1', release: 'r', machines: 13, selector: 'all machines', canaries: '', stages: [],
  soak_seconds: 3600, allowed_failures: 0, forgiven_failures: 0, bandwidth: 0, state: 'running', words: '', waits: '', promise: 4, promise_words: '',
  exposure: 3, offered: 3, counts: {}, failures: [], created_by: 'Anna', created_at: '', changed_at: '', ...change,
} as Rollout);
const overview = (change: Partial<UpdatesOverview> = {}): UpdatesOverview => ({
  as_of: '', makers: ['kiosk'], machines: 13, current: 11, products: [], rollouts: [], failures: [], ...change,
});

describe('the headline', () => {
  it('says how many run what was approved, and what is held first', () => {
    const rollouts = [rollout(), rollout({ state: 'held' })];
    expect(sayHeadline(overview({ rollouts }))).toBe('11 of 13 machines run the newest that the owner approved; 1 rollout is held; 1 rollout is under way.');
  });
  it.each([
    [{ current: 13 }, 'All 13 machines run the newest that the owner approved.'],
    [{ machines: 1, current: 1 }, 'The one machine runs the newest that the owner approved.'],
    [{ current: 1 }, '1 of 13 machines runs the newest that the owner approved.'],
    [{ machines: 10_000, current: 0 }, '0 of 10,000 machines run the newest that the owner approved.'],
    [{ machines: 0, current: 0 }, 'Nothing is approved for any machine yet.'],
  ])('%j', (change, words) => expect(sayHeadline(overview(change))).toBe(words));
});

describe('whether it is safe to go on', () => {
  it('is no while something is held', () =>
    expect(saySafe(overview({ rollouts: [rollout({ state: 'held' })] }))).toMatch(/^Not safe to go on yet: .*kiosk 1\.1/));
  it('names failures that were allowed', () =>
    expect(saySafe(overview({ rollouts: [rollout({ counts: { failed: 1, rolled_back: 1 } })] }))).toMatch(/^2 machines failed/));
  it('takes silence for no yes', () => expect(saySafe(overview({ rollouts: [rollout()] }))).toContain('say nothing'));
});

describe('waves', () => {
  const stages = [
    { words: 'canaries', limit: 2, open: true },
    { words: '10%', limit: 4, open: true },
    { words: '50', limit: 50, open: false },
    { words: '100%', limit: null, open: false },
  ];
  it('are done, open or waiting, and count what is in beyond the one before', () => {
    const views = viewStages({ stages, machines: 13, exposure: 3, state: 'held' });
    expect(views.map((each) => [each.title, each.inside, each.size, each.words])).toEqual([
      ['Canaries', 2, 2, 'done'],
      ['Wave 2: 10%', 1, 2, 'held'],
      ['Wave 3: 50 machines', 0, 9, 'waits'],
      ['Wave 4: 100%', 0, 0, 'waits'],
    ]);
  });
  it('never shrink where a limit is below what came before', () => {
    const views = viewStages({ stages: [{ words: 'canaries', limit: 5, open: true }, { words: '1%', limit: 5, open: false }], machines: 13, exposure: 5, state: 'running' });
    expect(views.map((each) => each.size)).toEqual([5, 0]);
  });
  it('are all done when the rollout is', () => {
    const [only] = viewStages({ stages: [{ words: '100%', limit: null, open: true }], machines: 13, exposure: 13, state: 'done' });
    expect(only?.stands).toBe('done');
  });
});

describe('what can be done', () => {
  const verbs = (change: Partial<Rollout>): string[] => deedsOf(rollout(change)).map((deed) => deed.verb);
  it('offers no resume while more failed than is allowed', () => {
    expect(verbs({ state: 'held', counts: { failed: 1 } })).toEqual(['continue', 'offer-again', 'cancel']);
    expect(verbs({ state: 'held', counts: { failed: 1 }, forgiven_failures: 1 })).toContain('resume');
  });
  it('is nothing after a cancel', () => expect(verbs({ state: 'cancelled' })).toEqual([]));
  it('asks why wherever more machines get it or nobody does', () => {
    const asks = deedsOf(rollout({ counts: { failed: 1 } })).filter((deed) => deed.reason).map((deed) => deed.verb);
    expect(asks).toEqual(['hold', 'continue', 'cancel']);
  });
});

describe('shares', () => {
  it('are whole only when all are', () => {
    expect(sayPercent(9_999, 10_000)).toBe('99 %');
    expect(sayPercent(3, 3)).toBe('100 %');
    expect(sayPercent(0, 0)).toBe('none');
    expect(sayFresh({ fresh: 1, machines: 2, goal_days: 1 })).toBe('1 of 2 (50 %) is at most 1 day behind');
  });
  it('leave out days without machines', () =>
    expect(pointsOf([{ day: '', machines: 0, fresh: 0 }, { day: '', machines: 4, fresh: 3 }])).toEqual([0.75]));
});

describe('a release', () => {
  it('is never green: this server only stored it', () => {
    for (const offerable of [true, false]) for (const approvals of [0, 1]) expect(faceOfRelease({ offerable, approvals, rollouts: approvals }).tone).not.toBe('good');
  });
  it('names the first thing that is missing', () => {
    expect(needOf({ offerable: false, approvals: 0, rollouts: 0 })).toBe('maker');
    expect(needOf({ offerable: true, approvals: 0, rollouts: 1 })).toBe('approval');
    expect(needOf({ offerable: true, approvals: 2, rollouts: 0 })).toBe('rollout');
    expect(needOf({ offerable: true, approvals: 2, rollouts: 1 })).toBe('none');
  });
  it('warns half a year before its support ends', () => {
    const day = 86_400_000;
    expect(faceOfSupport(null, 0).tone).toBe('quiet');
    expect(faceOfSupport(184 * day, 0).tone).toBe('quiet');
    expect(faceOfSupport(182 * day, 0).tone).toBe('warn');
    expect(faceOfSupport(0, day).tone).toBe('bad');
  });
  it('counts months as the calendar does', () => {
    const at = (text: string): number => Date.parse(`${text}T00:00:00.000Z`);
    expect(faceOfSupport(at('2027-05-27'), at('2026-11-27')).words).toBe('Ends in 6 months');
    expect(faceOfSupport(at('2027-05-26'), at('2026-11-27')).words).toBe('Ends in 5 months');
    expect(faceOfSupport(at('2027-01-10'), at('2026-11-27')).words).toBe('Ends in 44 days');
    expect(faceOfSupport(at('2031-12-31'), at('2026-11-27')).words).toBe('Ends in 5 years');
    expect(faceOfSupport(at('2026-01-01'), at('2026-11-27')).words).toBe('Ended 10 months ago');
  });
  it('has a size', () => expect([saySize(999), saySize(48_219_402), saySize(3e9)]).toEqual(['999 B', '48.2 MB', '3 GB']));
});

describe('failures', () => {
  it('are said once: not beside the rollout that shows them', () => {
    const failure = { product: 'kiosk', version: '1.1', cause: 'health', count: 1, devices: [] };
    expect(otherFailures(overview({ failures: [failure], rollouts: [rollout()] }))).toEqual([]);
    expect(otherFailures(overview({ failures: [{ ...failure, version: '1.0' }], rollouts: [rollout()] }))).toHaveLength(1);
  });
});
