import { describe, expect, it } from 'vitest';
import { isFiltered, readFilters, writeFilters } from './filters';

const read = (text: string) => readFilters(new URLSearchParams(text));

describe('filters in the address', () => {
  it('come back as they were written', () => {
    const filters = read('site=North+hall&state=active&q=pump&sort=-last_seen&page=3');
    expect(read(writeFilters(filters, { page: 3 }).toString())).toEqual(filters);
  });
  it('start at the first page when one changes', () => {
    expect(writeFilters(read('page=7'), { state: 'pending' }).toString()).toBe('state=pending');
  });
  it('leave out what nobody knows', () => {
    expect(read('state=happy&sort=secret&page=-3&connection=x')).toMatchObject({
      state: '',
      sort: '',
      page: 1,
      connection: '',
    });
  });
  it('know when they hide something', () => {
    expect(isFiltered(read('sort=name&page=2'))).toBe(false);
    expect(isFiltered(read('need=updates'))).toBe(true);
  });
});
