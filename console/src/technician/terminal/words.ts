/**
 * What our page and the terminal's frame say to each other, over one message port.
 *
 * The frame draws what a machine sends, so our page takes nothing from it but these four, and looks
 * at each before it uses it. The frame has no secret, no network and no origin.
 */
export type ToFrame =
  | { kind: 'output'; data: Uint8Array }
  | { kind: 'over' }
  | { kind: 'focus' };

export type FromFrame =
  | { kind: 'ready'; columns: number; rows: number }
  | { kind: 'size'; columns: number; rows: number }
  | { kind: 'input'; text: string }
  | { kind: 'taken'; bytes: number }
  | { kind: 'out' };

export const HELLO = 'fleetward.terminal.v1';
/** Characters that a person types or pastes at once; what is longer comes in pieces. */
export const MAX_INPUT = 16 * 1024;
const MAX_CELLS = 1000;

const isCount = (value: unknown, most: number): value is number =>
  typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= most;

/** What the frame said, or null for anything that is not of the list. */
export function readFromFrame(value: unknown): FromFrame | null {
  if (typeof value !== 'object' || value === null) return null;
  const said = value as Record<string, unknown>;
  const { kind, columns, rows, text, bytes } = said;
  if (kind === 'out') return { kind };
  if (kind === 'ready' || kind === 'size') {
    const fits = isCount(columns, MAX_CELLS) && isCount(rows, MAX_CELLS) && columns > 0 && rows > 0;
    return fits ? { kind, columns, rows } : null;
  }
  if (kind === 'input') return typeof text === 'string' && text.length <= MAX_INPUT ? { kind, text } : null;
  if (kind === 'taken') return isCount(bytes, Number.MAX_SAFE_INTEGER) ? { kind, bytes } : null;
  return null;
}
