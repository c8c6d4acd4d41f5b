/** Lines of a log as they come in pieces; the oldest go when there are too many. Pure. */

export const MOST_LINES = 5_000;
const MOST_CHARACTERS = 4_000;

export interface Kept {
  lines: string[];
  /** The beginning of a line whose end has not come yet. */
  rest: string;
  dropped: number;
}

export const nothingKept = (): Kept => ({ lines: [], rest: '', dropped: 0 });

export function keepText(kept: Kept, text: string): Kept {
  const parts = (kept.rest + text).split('\n');
  let rest = parts.pop() ?? '';
  if (rest.length > MOST_CHARACTERS) {
    parts.push(rest);
    rest = '';
  }
  const all = [...kept.lines, ...parts.map((line) => line.slice(0, MOST_CHARACTERS))];
  const over = Math.max(0, all.length - MOST_LINES);
  return { lines: over > 0 ? all.slice(over) : all, rest, dropped: kept.dropped + over };
}

export const findLines = (lines: string[], wanted: string): string[] => {
  const low = wanted.toLowerCase();
  return low === '' ? lines : lines.filter((line) => line.toLowerCase().includes(low));
};
