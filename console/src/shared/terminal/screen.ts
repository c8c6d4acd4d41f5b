/**
 * The screen of a terminal that was recorded elsewhere: text in, cells out. Pure.
 *
 * It knows what the owner's program lets through and nothing else: text, the cursor, erasing,
 * scrolling, colours. Whatever it does not know it passes over. It never becomes markup.
 */

export interface Run {
  text: string;
  /** Class names for colour and weight; empty where there are none. */
  look: string;
}

interface Cell {
  char: string;
  look: string;
}

interface Pen {
  fore: number | null;
  back: number | null;
  bold: boolean;
  under: boolean;
  inverse: boolean;
}

const MAX_HISTORY = 2_000;
const MAX_SIDE = 500;
const PLAIN: Pen = { fore: null, back: null, bold: false, under: false, inverse: false };
const BLANK: Cell = { char: ' ', look: '' };
const FINAL = /[@-~]/;

const within = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

function lookOf(pen: Pen): string {
  const names: string[] = [];
  if (pen.fore !== null) names.push(`term-fg${pen.fore}`);
  if (pen.back !== null) names.push(`term-bg${pen.back}`);
  if (pen.bold) names.push('term-bold');
  if (pen.under) names.push('term-under');
  if (pen.inverse) names.push('term-inverse');
  return names.join(' ');
}

export class Screen {
  history: Cell[][] = [];
  private cells: Cell[][];
  private x = 0;
  private y = 0;
  private pen: Pen = PLAIN;
  private saved = { x: 0, y: 0, pen: PLAIN };
  private top = 0;
  private bottom: number;
  private main: Cell[][] | null = null;
  private held = '';

  constructor(public columns = 80, public rows = 24) {
    this.cells = this.blankRows(rows);
    this.bottom = rows - 1;
  }

  get cursor(): { x: number; y: number } {
    return { x: this.x, y: this.y };
  }

  resize(columns: number, rows: number): void {
    this.columns = within(columns, 1, MAX_SIDE);
    this.rows = within(rows, 1, MAX_SIDE);
    while (this.cells.length > this.rows) {
      // What is below the cursor is empty more often than not; only then do rows scroll away.
      if (this.y < this.cells.length - 1) this.cells.pop();
      else {
        this.keep(this.cells.shift());
        this.y -= 1;
      }
    }
    while (this.cells.length < this.rows) this.cells.push([]);
    this.top = 0;
    this.bottom = this.rows - 1;
    this.x = within(this.x, 0, this.columns - 1);
    this.y = within(this.y, 0, this.rows - 1);
  }

  feed(text: string): void {
    const all = this.held + text;
    this.held = '';
    for (let at = 0; at < all.length; ) {
      const code = all.codePointAt(at) ?? 0;
      if (code === 0x1b) {
        const used = this.escape(all, at);
        if (used === 0) {
          this.held = all.slice(at, at + 256);
          return;
        }
        at += used;
      } else {
        const char = String.fromCodePoint(code);
        this.put(char, code);
        at += char.length;
      }
    }
  }

  /** The rows that scrolled away and those of the screen, as runs of one look. */
  lines(): Run[][] {
    return [...this.history, ...this.cells].map(runsOf);
  }

  /** Everything as plain text, for a screen reader and for tests. */
  text(): string {
    return this.lines()
      .map((runs) => runs.map((run) => run.text).join('').trimEnd())
      .join('\n')
      .trimEnd();
  }

  private put(char: string, code: number): void {
    if (code === 0x0d) this.x = 0;
    else if (code === 0x0a || code === 0x0b || code === 0x0c) this.lineFeed();
    else if (code === 0x08) this.x = Math.max(0, this.x - 1);
    else if (code === 0x09) this.x = Math.min(this.columns - 1, (Math.floor(this.x / 8) + 1) * 8);
    else if (code >= 0x20 && !(code >= 0x7f && code <= 0x9f)) this.write(char);
  }

  private write(char: string): void {
    if (this.x >= this.columns) {
      this.x = 0;
      this.lineFeed();
    }
    const row = this.row(this.y);
    while (row.length < this.x) row.push(BLANK);
    row[this.x] = { char, look: lookOf(this.pen) };
    this.x += 1;
  }

  private row(y: number): Cell[] {
    return (this.cells[y] ??= []);
  }

  private lineFeed(): void {
    if (this.y === this.bottom) this.scroll(1);
    else this.y = Math.min(this.rows - 1, this.y + 1);
  }

  private scroll(by: number): void {
    for (let n = 0; n < Math.min(Math.abs(by), this.rows); n += 1) {
      if (by > 0) {
        const [gone] = this.cells.splice(this.top, 1);
        if (this.top === 0 && this.main === null) this.keep(gone);
        this.cells.splice(this.bottom, 0, []);
      } else {
        this.cells.splice(this.bottom, 1);
        this.cells.splice(this.top, 0, []);
      }
    }
  }

  private keep(row: Cell[] | undefined): void {
    if (row) this.history.push(row);
    if (this.history.length > MAX_HISTORY) this.history.shift();
  }

  /** Reads the sequence at `at`; returns its length, 0 when it is not all there yet. */
  private escape(text: string, at: number): number {
    const next = text[at + 1];
    if (next === undefined) return 0;
    if (next === '[') {
      for (let end = at + 2; end < text.length; end += 1) {
        if (FINAL.test(text[end] ?? '')) {
          this.control(text.slice(at + 2, end), text[end] ?? '');
          return end - at + 1;
        }
      }
      return text.length - at > 128 ? 2 : 0;
    }
    if (next === '(' || next === ')') return text[at + 2] === undefined ? 0 : 3;
    if (next === '7') this.saved = { x: this.x, y: this.y, pen: this.pen };
    else if (next === '8') this.restore();
    else if (next === 'D') this.lineFeed();
    else if (next === 'E') {
      this.x = 0;
      this.lineFeed();
    } else if (next === 'M') this.reverseFeed();
    return 2;
  }

  private restore(): void {
    this.x = within(this.saved.x, 0, this.columns - 1);
    this.y = within(this.saved.y, 0, this.rows - 1);
    this.pen = this.saved.pen;
  }

  private reverseFeed(): void {
    if (this.y === this.top) this.scroll(-1);
    else this.y = Math.max(0, this.y - 1);
  }

  private control(parameters: string, final: string): void {
    if (parameters.startsWith('?')) {
      if (final === 'h' || final === 'l') this.mode(parameters.slice(1), final === 'h');
      return;
    }
    const numbers = parameters.split(';').map((part) => Number.parseInt(part, 10) || 0);
    const by = Math.max(1, numbers[0] ?? 1);
    const go = (x: number, y: number): void => {
      this.x = within(x, 0, this.columns - 1);
      this.y = within(y, 0, this.rows - 1);
    };
    const acts: Record<string, () => void> = {
      A: () => go(this.x, this.y - by),
      B: () => go(this.x, this.y + by),
      e: () => go(this.x, this.y + by),
      C: () => go(this.x + by, this.y),
      a: () => go(this.x + by, this.y),
      D: () => go(this.x - by, this.y),
      E: () => go(0, this.y + by),
      F: () => go(0, this.y - by),
      G: () => go(by - 1, this.y),
      '`': () => go(by - 1, this.y),
      d: () => go(this.x, by - 1),
      H: () => go(Math.max(1, numbers[1] ?? 1) - 1, by - 1),
      f: () => go(Math.max(1, numbers[1] ?? 1) - 1, by - 1),
      J: () => this.eraseScreen(numbers[0] ?? 0),
      K: () => this.eraseLine(numbers[0] ?? 0),
      L: () => this.shiftLines(by, true),
      M: () => this.shiftLines(by, false),
      P: () => this.row(this.y).splice(this.x, Math.min(by, MAX_SIDE)),
      '@': () => this.row(this.y).splice(this.x, 0, ...Array.from({ length: Math.min(by, MAX_SIDE) }, () => BLANK)),
      X: () => this.blank(this.y, this.x, this.x + by),
      S: () => this.scroll(by),
      T: () => this.scroll(-by),
      r: () => this.region(numbers),
      m: () => this.draw(numbers),
    };
    acts[final]?.();
  }

  private mode(names: string, on: boolean): void {
    if (!/^(47|1047|1049)$/.test(names)) return;
    if (on && this.main === null) {
      this.main = this.cells;
      this.cells = this.blankRows(this.rows);
    } else if (!on && this.main !== null) {
      this.cells = this.main;
      this.main = null;
      this.resize(this.columns, this.rows);
    }
  }

  private region(numbers: number[]): void {
    this.top = within((numbers[0] || 1) - 1, 0, this.rows - 1);
    this.bottom = within((numbers[1] || this.rows) - 1, this.top, this.rows - 1);
    this.x = 0;
    this.y = 0;
  }

  private shiftLines(by: number, insert: boolean): void {
    if (this.y < this.top || this.y > this.bottom) return;
    for (let n = 0; n < Math.min(by, this.rows); n += 1) {
      this.cells.splice(insert ? this.bottom : this.y, 1);
      this.cells.splice(insert ? this.y : this.bottom, 0, []);
    }
  }

  private eraseScreen(how: number): void {
    if (how >= 2) {
      this.cells = this.blankRows(this.rows);
      if (how === 3) this.history = [];
      return;
    }
    this.eraseLine(how);
    const [first, last] = how === 0 ? [this.y + 1, this.rows] : [0, this.y];
    for (let y = first; y < last; y += 1) this.cells[y] = [];
  }

  private eraseLine(how: number): void {
    if (how === 0) this.row(this.y).length = Math.min(this.row(this.y).length, this.x);
    else if (how === 1) this.blank(this.y, 0, this.x + 1);
    else this.cells[this.y] = [];
  }

  private blank(y: number, from: number, to: number): void {
    const row = this.row(y);
    for (let x = from; x < Math.min(to, row.length); x += 1) row[x] = BLANK;
  }

  private draw(numbers: number[]): void {
    for (let at = 0; at < numbers.length; at += 1) {
      const code = numbers[at] ?? 0;
      if (code === 38 || code === 48) {
        at += numbers[at + 1] === 2 ? 4 : 2; // colours beyond the sixteen are left as they are
        continue;
      }
      this.pen = change(this.pen, code);
    }
  }

  private blankRows(rows: number): Cell[][] {
    return Array.from({ length: rows }, () => []);
  }
}

function change(pen: Pen, code: number): Pen {
  if (code === 0) return PLAIN;
  if (code === 1) return { ...pen, bold: true };
  if (code === 4) return { ...pen, under: true };
  if (code === 7) return { ...pen, inverse: true };
  if (code === 22) return { ...pen, bold: false };
  if (code === 24) return { ...pen, under: false };
  if (code === 27) return { ...pen, inverse: false };
  if (code >= 30 && code <= 37) return { ...pen, fore: code - 30 };
  if (code === 39) return { ...pen, fore: null };
  if (code >= 40 && code <= 47) return { ...pen, back: code - 40 };
  if (code === 49) return { ...pen, back: null };
  if (code >= 90 && code <= 97) return { ...pen, fore: code - 82 };
  if (code >= 100 && code <= 107) return { ...pen, back: code - 92 };
  return pen;
}

function runsOf(row: Cell[]): Run[] {
  const runs: Run[] = [];
  for (const cell of row) {
    const { char, look } = cell ?? BLANK;
    const last = runs.at(-1);
    if (last && last.look === look) last.text += char;
    else runs.push({ text: char, look });
  }
  return runs;
}
