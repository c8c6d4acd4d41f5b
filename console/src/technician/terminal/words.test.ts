import { describe, expect, it } from 'vitest';
import { MAX_INPUT, readFromFrame } from './words';

describe('what the frame may say', () => {
  it('is one of a list', () => {
    expect(readFromFrame({ kind: 'input', text: 'ls\r' })).toEqual({ kind: 'input', text: 'ls\r' });
    expect(readFromFrame({ kind: 'size', columns: 80, rows: 24 })).toEqual({ kind: 'size', columns: 80, rows: 24 });
    expect(readFromFrame({ kind: 'out', more: 1 })).toEqual({ kind: 'out' });
  });
  it('is nothing else', () => {
    const bad = [null, 'input', {}, { kind: 'leave' }, { kind: 'input', text: 7 }, { kind: 'size', columns: 0, rows: 1 },
      { kind: 'size', columns: 1e9, rows: 1 }, { kind: 'size', columns: 1.5, rows: 1 }, { kind: 'taken', bytes: -1 },
      { kind: 'input', text: 'x'.repeat(MAX_INPUT + 1) }, { kind: 'ready', columns: '80', rows: 24 }];
    for (const each of bad) expect(readFromFrame(each)).toBeNull();
  });
});
