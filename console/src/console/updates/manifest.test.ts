import { describe, expect, it } from 'vitest';
import { readManifest } from './manifest';

const encode = (text: string): string => Buffer.from(text).toString('base64url');

describe('a manifest', () => {
  it('is shown by its parts, checks and rules', () => {
    const view = readManifest(encode(JSON.stringify({
      parts: [{ name: 'app', installer: 'directory', place: 'app', length: 12, sha256: 'ab', deltas: [{}, {}] }],
      health: { within_seconds: 60, steady_seconds: 10, checks: [{ kind: 'http', port: 8080, path: '/ok', status: 200 }, { kind: 'process', name: 'kioskd' }, { kind: 'command', path: 'bin/check', seconds: 5 }] },
      needs: [{ product: 'pump', least: 7 }], conflicts: [{ product: 'old', first: 1, last: 3 }], least_before: 9, agent: true,
    })));
    expect(view).toEqual({
      parts: [{ name: 'app', installer: 'directory', place: 'app', bytes: 12, sha256: 'ab', deltas: 2 }],
      checks: ['http port 8080 answers /ok with 200', 'the process kioskd runs', 'bin/check ends well within 5 s'],
      withinSeconds: 60, steadySeconds: 10, needs: ['pump from counter 7 on'], conflicts: ['old, counters 1 to 3'], leastBefore: 9,
      replacesAgent: true,
    });
  });
  it.each(['', '!', encode('nonsense'), encode('[]'), encode('{"parts":1}'), encode('null'), Buffer.from([0xff, 0xfe]).toString('base64url')])(
    '%j is none, and nothing is thrown', (data) => expect(readManifest(data)).toBeNull());
  it('keeps what is not as expected out of the page', () => {
    const view = readManifest(encode(JSON.stringify({ parts: [null, { name: 7, length: 'x' }], health: 3, needs: 'no' })));
    expect(view?.parts[1]).toEqual({ name: '', installer: '', place: '', bytes: 0, sha256: '', deltas: 0 });
    expect(view?.checks).toEqual([]);
    expect(view?.replacesAgent).toBe(false);
  });
});
