import { describe, expect, it } from 'vitest';
import { changeCommand, createCommand, quote } from './commands';
import { readFilters, readPart, statesOf, writeFilters } from './filters';
import { EMPTY_FORM, readForm } from './wish';

describe('a rollout as it is filled in', () => {
  it('is to all machines, carefully, unless somebody says otherwise', () => {
    const wish = readForm('kiosk', '1.1', EMPTY_FORM);
    expect(wish).toMatchObject({ selector: { devices: [], groups: [], models: [], sites: [] }, canaries: null, waves: ['1%', '10%', '50%', '100%'], allowed_failures: 0 });
    expect(wish && createCommand(wish)).toBe('fleetward rollout create kiosk/1.1 --all --waves 1%,10%,50%,100% --soak 1d');
  });
  it('asks nothing of the server while no site is named: nothing named is everybody', () => {
    expect(readForm('kiosk', '1.1', { ...EMPTY_FORM, which: 'sites' })).toBeNull();
  });
  it('names sites, canaries and failures, in the command too', () => {
    const wish = readForm('kiosk', '1.1', { which: 'sites', named: ["St Mary's"], canaries: ['abc'], pace: 'normal', allowed: 2 });
    expect(wish).toMatchObject({ selector: { sites: ["St Mary's"], groups: [] }, canaries: { devices: ['abc'] }, soak_seconds: 3600 });
    expect(wish && createCommand(wish)).toBe(
      "fleetward rollout create kiosk/1.1 --site 'St Mary'\\''s' --canary abc --waves 10%,50%,100% --soak 1h --allow-failures 2",
    );
  });
});

describe('what goes into a shell', () => {
  it.each([['a b', "'a b'"], ['$(reboot)', "'$(reboot)'"], ['a;b', "'a;b'"], ['`x`', "'`x`'"], ["'", "''\\'''"], ['', "''"], ['a\nb', "'a\nb'"]])(
    '%j is one word', (text, quoted) => expect(quote(text)).toBe(quoted));
  it('has the reason only where there is one', () => {
    expect(changeCommand('pause', 'f'.repeat(32), ' ')).toBe(`fleetward rollout pause ${'f'.repeat(12)}`);
    expect(changeCommand('continue', 'f'.repeat(32), 'the cable')).toContain("--reason 'the cable'");
  });
});

describe('a list of machines in the address', () => {
  it('comes back as it was written', () => {
    const filters = readFilters(new URLSearchParams('show=failed&q=http&page=3'));
    expect(filters).toEqual({ shown: 'failed', q: 'http', page: 3 });
    expect(readFilters(writeFilters(filters, { page: 3 }))).toEqual(filters);
    expect(statesOf('failed')).toBe('failed,rolled_back');
    expect(statesOf('all')).toBe('');
  });
  it('leaves out what nobody knows', () =>
    expect(readFilters(new URLSearchParams('show=happy&page=-1'))).toEqual({ shown: 'all', q: '', page: 1 }));
  it('takes a part of the path as it was meant, even a broken one', () =>
    expect([readPart('1.0%2Bb'), readPart('1.0+b'), readPart('%')]).toEqual(['1.0+b', '1.0+b', '%']));
});
