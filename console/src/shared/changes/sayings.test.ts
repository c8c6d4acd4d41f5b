import { expect, test } from 'vitest';
import { groupChanges, sayChange, sayHow, sayKind, type OneChange } from './sayings';

const one = (kind: string, name: string, before = '', after = ''): OneChange => ({
  kind,
  change: 'changed',
  name,
  before,
  after,
});

test('changes stand together by their kind, in the order in which they came', () => {
  const groups = groupChanges([one('user', 'eve'), one('file', '/a'), one('user', 'tom')]);
  expect(groups.map(([kind, rows]) => [kind, rows.map((row) => row.name)])).toEqual([
    ['user', ['eve', 'tom']],
    ['file', ['/a']],
  ]);
  expect(groupChanges([])).toEqual([]);
});

test('how it was and is stands on one line', () => {
  expect(sayHow(one('file', '/a', '0644', '4755'))).toBe('0644 → 4755');
  expect(sayHow(one('file', '/a', '', 'file 0644'))).toBe('file 0644');
  expect(sayHow(one('module', 'x'))).toBe('');
});

test('a kind that this console does not know is shown as it came', () => {
  expect(sayKind('user')).toBe('Users');
  expect(sayKind('firmware')).toBe('firmware');
  expect(sayChange('added')).toBe('new');
});
