/** Small pure functions over words that people read and type. */

export interface Compared {
  same: boolean;
  /** Where the first difference is, counted from 1; null when nothing is wrong so far. */
  differsAt: number | null;
  typed: number;
}

const split = (text: string): string[] =>
  text.toLowerCase().normalize('NFKC').split(/[^\p{L}\p{N}]+/u).filter((word) => word !== '');

/** Compares words as they were typed with the ones that are shown; a started word may be unfinished. */
export function compareWords(shown: string, typed: string): Compared {
  const want = split(shown);
  const have = split(typed);
  const unfinished = /[\p{L}\p{N}]$/u.test(typed) ? have.length - 1 : -1;
  for (const [at, word] of have.entries()) {
    const expected = want[at];
    const fits = expected === word || (at === unfinished && expected?.startsWith(word));
    if (!fits) return { same: false, differsAt: at + 1, typed: have.length };
  }
  const same = have.length === want.length && have.every((word, at) => word === want[at]);
  return { same, differsAt: null, typed: have.length };
}

/** A link that may be followed: a page of this program, or a whole web address. Else null. */
export function safeHref(href: string | null | undefined): string | null {
  if (!href) return null;
  if (/^\/(?![/\\])/.test(href)) return href;
  return /^https?:\/\/[^\s]+$/i.test(href) ? href : null;
}

export const isOutside = (href: string): boolean => !href.startsWith('/');

/** Words for a kind of entry: "posture.changed" is "Change". */
const KINDS: [RegExp, string][] = [
  [/^breakglass\./, 'BREAK-GLASS'],
  [/^posture\.changed/, 'Change'],
  [/^posture\.inventory/, 'Inventory'],
  [/joined/, 'Joined'],
  [/^agent\./, 'Agent'],
  [/\.refused$|refus/, 'Refused'],
  [/^gate\.(accepted|refreshed)/, 'Owner'],
  [/^gate\.reduced|quarantin|readmit/, 'Containment'],
  [/^clock\./, 'Clock'],
  [/^journal\.|^store\./, 'Record'],
  [/^transport\./, 'Identity'],
  [/^(session|person|passkey|token|login)/, 'People'],
  [/^(owner|document)\./, 'Owner'],
  [/^(record|intake)\./, 'Record'],
  [/^access\./, 'Session'],
  [/^drill\./, 'Drill'],
  [/^recall\./, 'Recall'],
  [/^support\./, 'Support'],
  [/^(update|rollout)\.|^document\.update/, 'Update'],
  [/^device\./, 'Device'],
];

export function sayKind(kind: string): string {
  const found = KINDS.find(([pattern]) => pattern.test(kind));
  if (found) return found[1];
  const plain = kind.replaceAll(/[._]/g, ' ').replaceAll(/\b(law|leaf|gate|guard)\b/g, '').trim();
  return plain === '' ? 'Entry' : plain.charAt(0).toUpperCase() + plain.slice(1);
}

/** What an entry says, as a sentence: machines tell a change in the middle of one. */
export function sayEntry(kind: string, words: string): string {
  if (!kind.startsWith('posture.changed') || words === '') return words;
  const begun = words.charAt(0).toUpperCase() + words.slice(1);
  return /[.!?…]$/.test(begun) ? begun : `${begun}.`;
}

/** A hash or an id in groups that an eye can follow; the middle left out. */
export function shorten(text: string, keep = 10): string {
  return text.length <= keep * 2 + 1 ? text : `${text.slice(0, keep)}…${text.slice(-keep)}`;
}

export const sayNumber = (value: number | null | undefined, one: string, many: string): string =>
  value === null || value === undefined
    ? `${many}: not visible`
    : `${new Intl.NumberFormat('en-GB').format(value)} ${value === 1 ? one : many}`;
