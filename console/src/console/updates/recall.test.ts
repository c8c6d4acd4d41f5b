import { describe, expect, it } from 'vitest';
import type { Recall, ReleaseRow } from '../../api/types';
import { EMPTY, changeCommand, deedsOf, faceOfRecall, openCommand, questionOf, readFilters, readForm, readStart, sayHeard, sayRuns, writeFilters } from './recall';

const tally = { found: 4, affected: 1, unknown: 1, updated: 1, retired: 1, silent: 1 };
const recall = (part: Partial<Recall>): Recall => ({ state: 'open', overdue: false, acknowledged_at: null, tally, ...part }) as Recall;
const over = { ...tally, affected: 0, unknown: 0 };

describe('how a recall stands', () => {
  it('is never good while a machine is not proven', () => {
    expect(faceOfRecall(recall({}))).toMatchObject({ words: 'Open', tone: 'warn' });
    expect(faceOfRecall(recall({ overdue: true }))).toMatchObject({ words: 'Overdue', tone: 'bad' });
    expect(faceOfRecall(recall({ state: 'closed' }))).toMatchObject({ words: 'Closed, not proven', tone: 'warn' });
    expect(faceOfRecall(recall({ state: 'closed', tally: over }))).toMatchObject({ words: 'Closed, proven', tone: 'good' });
    expect(faceOfRecall(recall({ tally: over }))).toMatchObject({ tone: 'good' });
  });
  it('wants a reason to be closed while it is not over, and none after', () => {
    expect(deedsOf(recall({})).map((each) => [each.verb, each.reason])).toEqual([['acknowledge', false], ['close', true], ['cancel', true]]);
    expect(deedsOf(recall({ tally: over })).map((each) => [each.verb, each.reason])).toEqual([['close', false], ['cancel', true]]);
    expect(deedsOf(recall({ state: 'closed' })).map((each) => each.verb)).toEqual(['reopen', 'cancel']);
    expect(deedsOf(recall({ state: 'cancelled' })).map((each) => each.verb)).toEqual(['reopen']);
  });
});

describe('words', () => {
  it('gives silence its age, and never calls it fine', () => {
    const now = Date.parse('2026-11-27T12:00:00.000Z');
    expect(sayHeard({ connected: true, last_heard_at: null }, now)).toBe('Connected');
    expect(sayHeard({ connected: false, last_heard_at: '2026-11-27T10:00:00.000Z' }, now)).toContain('last heard 2 h ago');
    expect(sayHeard({ connected: false, last_heard_at: null }, now)).toBe('Never heard of');
    expect(sayRuns({ version: '', found_version: '', standing: 'unknown' })).toBe('Has named no version');
    expect(sayRuns({ version: '1.1', found_version: '1.0', standing: 'updated' })).toBe('1.1, was 1.0');
  });
});

describe('the list in the address', () => {
  it('takes nothing that it does not know', () => {
    expect(readFilters(new URLSearchParams('show=evil&page=-1&q=x'))).toEqual({ shown: 'all', q: 'x', page: 1 });
    expect(questionOf(readFilters(new URLSearchParams('show=silent')), 25)).toEqual({ standing: 'affected,unknown', silent: 'true', q: '', page: 1, per_page: 25 });
    expect(writeFilters({ shown: 'open', q: '', page: 3 }, { q: 'a' }).toString()).toBe('show=open&q=a');
  });
});

describe('the form', () => {
  const release = (version: string, counter: number, fixes: string[] = []): ReleaseRow => ({ product: 'kiosk', version, counter, fixes }) as unknown as ReleaseRow;
  const all = [release('1.0', 10), release('1.1', 11, ['CVE-2026-1']), release('1.2', 12)];
  it('is ready to be sent when it comes from the release that mends', () => {
    const form = readStart(new URLSearchParams('product=kiosk&fix=1.1'), all);
    expect(form).toMatchObject({ versions: [':1.0'], fix: '1.1', advisories: ['CVE-2026-1'], title: 'kiosk before 1.1' });
    const wish = readForm(form);
    expect(wish && openCommand(wish)).toBe(
      "fleetward recall open kiosk --version :1.0 --fix 1.1 --advisory CVE-2026-1 --title 'kiosk before 1.1' --why 'kiosk 1.1 removes CVE-2026-1.'",
    );
  });
  it('names the newest as the cure of a release that is recalled', () => {
    expect(readStart(new URLSearchParams('product=kiosk&version=1.0'), all)).toMatchObject({ versions: ['1.0'], fix: '1.2', why: '' });
    expect(readStart(new URLSearchParams('product=kiosk&version=1.2'), all)).toMatchObject({ fix: '' });
    expect(readStart(new URLSearchParams('product=other&fix=9'), all)).toMatchObject({ versions: [], fix: '' });
  });
  it('asks nothing while something is missing, and quotes what it says', () => {
    const full = { ...EMPTY, product: 'kiosk', fix: '1.2', title: "it's $(x)", why: 'w' };
    expect(readForm({ ...full, why: ' ' })).toBeNull();
    expect(readForm({ ...full, fix: '' })).toBeNull();
    expect(readForm({ ...full, product: '', remedy: 'stop' })).toBeNull();
    const wish = readForm({ ...full, product: '', remedy: 'stop', models: ['X 1'], until: '2027-01-02' });
    expect(wish).toMatchObject({ product: '', versions: [], fix_version: '', until: '2027-01-02T23:59:59.999Z' });
    expect(wish && openCommand(wish)).toBe("fleetward recall open --model 'X 1' --stop --until 2027-01-02 --title 'it'\\''s $(x)' --why w");
    expect(changeCommand('close', 'f'.repeat(32), 'a b')).toBe(`fleetward recall close ${'f'.repeat(12)} --reason 'a b'`);
  });
});
