import { describe, expect, it } from 'vitest';
import { faceOfProperty, faceOfBuilt, fade, faceOfDevice } from './faces';
import { compareWords, safeHref, sayEntry, sayKind, sayNumber, shorten } from './words';

const shown = 'amber basin cedar delta ember fjord';

describe('comparing six words', () => {
  it('agrees whatever the case, spaces and commas', () => {
    expect(compareWords(shown, ' Amber, BASIN cedar\ndelta ember  fjord ').same).toBe(true);
  });
  it('waits while a word is being typed', () => {
    expect(compareWords(shown, 'amber ba')).toEqual({ same: false, differsAt: null, typed: 2 });
  });
  it('names the first word that differs', () => {
    expect(compareWords(shown, 'amber basin copper ').differsAt).toBe(3);
    expect(compareWords(shown, 'amber ba ').differsAt).toBe(2);
  });
  it('does not agree with a beginning, nor with more', () => {
    expect(compareWords(shown, 'amber basin').same).toBe(false);
    expect(compareWords(shown, `${shown} gravel`).differsAt).toBe(7);
  });
});

describe('a link from the server', () => {
  it.each(['/devices/abc', 'https://owner.example/x'])('%s may be followed', (href) =>
    expect(safeHref(href)).toBe(href),
  );
  it.each(['javascript:alert(1)', '//evil.example', '/\\evil.example', 'data:text/html,x', '', null])(
    '%s may not',
    (href) => expect(safeHref(href)).toBeNull(),
  );
});

describe('what was not visible', () => {
  it('is never green, nor failed', () => {
    expect(faceOfProperty('not_visible').tone).toBe('quiet');
    expect(faceOfBuilt('unknown').tone).toBe('quiet');
  });
  it('is never zero', () => expect(sayNumber(null, 'port', 'ports')).toBe('ports: not visible'));
});

describe('old good news', () => {
  it('is no longer green', () => {
    const face = fade(faceOfDevice('active', true), true);
    expect(face.tone).toBe('quiet');
    expect(face.words).toBe('Active');
  });
  it('keeps bad news bad', () => expect(fade(faceOfDevice('quarantined', true), true).tone).toBe('bad'));
});

describe('kinds of entries', () => {
  it('are plain words', () => {
    expect(sayKind('gate.refused')).toBe('Refused');
    expect(sayKind('something_new.happened')).toBe('Something new happened');
    expect(sayKind('gate.opened').toLowerCase()).not.toContain('gate');
  });
});

describe('the words of an entry', () => {
  it('become a sentence where a machine told a change', () =>
    expect(sayEntry('posture.changed', 'port 23 opened by busybox')).toBe('Port 23 opened by busybox.'));
  it('leave the name of a device as it is', () =>
    expect(sayEntry('device.joined', 'plc-8 joined at Plant 2.')).toBe('plc-8 joined at Plant 2.'));
});

describe('a long hash', () => {
  it('keeps its two ends', () => expect(shorten('a'.repeat(30) + 'b'.repeat(30), 4)).toBe('aaaa…bbbb'));
});
