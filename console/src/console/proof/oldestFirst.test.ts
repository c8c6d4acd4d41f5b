import { expect, it } from 'vitest';
import { oldestFirst } from './oldestFirst';

it('puts silence first, then age, then the name', () => {
  const heads = [
    { name: 'b', head_at: '2026-11-23T12:00:00.000Z' },
    { name: 'never', head_at: null },
    { name: 'a', head_at: '2026-11-23T12:00:00.000Z' },
    { name: 'old', head_at: '2026-11-20T12:00:00.000Z' },
  ];
  expect(oldestFirst(heads).map((each) => each.name)).toEqual(['never', 'old', 'a', 'b']);
});
