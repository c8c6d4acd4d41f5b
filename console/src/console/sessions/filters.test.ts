import { describe, expect, it } from 'vitest';
import { readFilters, statesOf, writeFilters } from './filters';

const read = (text: string) => readFilters(new URLSearchParams(text));

describe('filters of sessions in the address', () => {
  it('come back as they were written', () => {
    const filters = read(`state=live&device=${'a'.repeat(32)}&page=3`);
    expect(filters).toEqual({ shown: 'live', device: 'a'.repeat(32), page: 3 });
    expect(read(writeFilters(filters, { page: 3 }).toString())).toEqual(filters);
  });
  it('take a state of the server for its group', () => {
    expect(read('state=offered').shown).toBe('waiting');
    expect(statesOf('waiting')).toBe('asked,offered');
    expect(statesOf('all')).toBe('');
  });
  it('leave out what nobody knows', () => {
    expect(read('state=happy&device=../x&page=-1')).toEqual({ shown: 'all', device: '', page: 1 });
  });
});
