import { describe, expect, it } from 'vitest';
import { Screen } from './screen';

const show = (text: string, columns = 20, rows = 4): Screen => {
  const screen = new Screen(columns, rows);
  screen.feed(text);
  return screen;
};

describe('a recorded screen', () => {
  it('shows lines, returns and tabs', () => {
    expect(show('one\r\ntwo\rT\r\n\tx').text()).toBe('one\nTwo\n        x');
  });
  it('moves the cursor and erases', () => {
    expect(show('abc\x1b[2Dx\x1b[K').text()).toBe('ax');
    expect(show('a\r\nb\x1b[H\x1b[2Jz').text()).toBe('z');
  });
  it('wraps, scrolls, and keeps what scrolled away', () => {
    expect(show('abcdef', 3).text()).toBe('abc\ndef');
    const screen = show('1\r\n2\r\n3\r\n4\r\n5');
    expect(screen.history).toHaveLength(1);
    expect(screen.text()).toBe('1\n2\n3\n4\n5');
  });
  it('comes back from the alternate screen', () => {
    expect(show('shell\x1b[?1049hvim\x1b[?1049l').text()).toBe('shell');
  });
  it('knows colours by name only', () => {
    const [line] = show('\x1b[31;1mred\x1b[0m plain\x1b[38;2;9;9;9mx').lines();
    expect(line).toEqual([
      { text: 'red', look: 'term-fg1 term-bold' },
      { text: ' plainx', look: '' },
    ]);
  });
  it('becomes smaller without losing its lines', () => {
    const screen = show('1\r\n2', 20, 24);
    screen.resize(20, 10);
    screen.feed('\r\n3');
    expect([screen.text(), screen.history.length]).toEqual(['1\n2\n3', 0]);
    screen.resize(20, 2);
    expect([screen.text(), screen.history.length]).toEqual(['1\n2\n3', 1]);
  });
  it('waits for the rest of a sequence', () => {
    const screen = show('a\x1b[3');
    screen.feed('1mb');
    expect(screen.lines()[0]?.at(-1)).toEqual({ text: 'b', look: 'term-fg1' });
  });
  it('passes over what it does not know', () => {
    expect(show('a\x1b[6nb\x1b[?25lc\x1b#8d\x07').text()).toContain('abc');
  });
  it('cannot be made endless', () => {
    const screen = show(`\x1b[${'9'.repeat(200)}Bx\x1b[99999@y\x1b[99999S`);
    expect(screen.lines().length).toBeLessThan(20);
    expect(() => screen.resize(10 ** 9, 10 ** 9)).not.toThrow();
    expect(screen.columns).toBe(500);
  });
  it('keeps markup as text', () => {
    expect(show('<img src=x>').text()).toBe('<img src=x>');
  });
});
