import type { NextStep, Recall, RecallWish, RecalledMachine, ReleaseRow, Standing } from '../../api/types';
import { parseTime, sayAge } from '../../shared/time/time';
import type { Face } from '../../shared/ui/State';
import { quote } from './commands';
import type { DeedOf } from './DeedButtons';
import { readPage } from './filters';

/** Words, filters and forms of recalls. Pure: the present moment is always an argument. */

const FACES: Record<Standing, Face> = {
  affected: { tone: 'bad', icon: 'alert', words: 'Affected' },
  unknown: { tone: 'warn', icon: 'hidden', words: 'Not known' },
  updated: { tone: 'good', icon: 'check', words: 'Updated' },
  retired: { tone: 'good', icon: 'check', words: 'Retired' },
};
export const faceOfStanding = (standing: Standing): Face => FACES[standing];

export function faceOfRecall(recall: Pick<Recall, 'state' | 'overdue' | 'tally'>): Face {
  if (recall.state === 'cancelled') return { tone: 'quiet', icon: 'cross', words: 'Cancelled' };
  const open = recall.tally.affected + recall.tally.unknown;
  if (recall.state === 'closed') {
    return open > 0 ? { tone: 'warn', icon: 'half', words: 'Closed, not proven' } : { tone: 'good', icon: 'check', words: 'Closed, proven' };
  }
  if (open === 0) return { tone: 'good', icon: 'check', words: 'Open, all proven' };
  return recall.overdue ? { tone: 'bad', icon: 'alert', words: 'Overdue' } : { tone: 'warn', icon: 'clock', words: 'Open' };
}

/** How old what is known of a machine is: never just "fine". */
export function sayHeard(machine: Pick<RecalledMachine, 'connected' | 'last_heard_at'>, now: number): string {
  if (machine.connected) return 'Connected';
  const at = parseTime(machine.last_heard_at);
  return at === null ? 'Never heard of' : `Silent, last heard ${sayAge(at, now)}`;
}

export function sayRuns(machine: Pick<RecalledMachine, 'version' | 'found_version' | 'standing'>): string {
  if (machine.version === '') return 'Has named no version';
  const was = machine.found_version;
  return was !== '' && was !== machine.version ? `${machine.version}, was ${was}` : machine.version;
}

export const WHO: Record<NextStep['who'], string> = {
  maker: 'The maker',
  owner: 'The owner',
  operator: 'You',
  technician: 'A technician',
};

/** Which machines a page shows; it lives in the address, which anybody may have written. */
export const SHOWN = [
  { id: 'open', label: 'Not done', standing: 'affected,unknown', silent: false },
  { id: 'affected', label: 'Affected', standing: 'affected', silent: false },
  { id: 'unknown', label: 'Not known', standing: 'unknown', silent: false },
  { id: 'silent', label: 'Not done and not connected', standing: 'affected,unknown', silent: true },
  { id: 'done', label: 'Done, with proof', standing: 'updated,retired', silent: false },
] as const;
export type Shown = (typeof SHOWN)[number]['id'] | 'all';

export interface Filters {
  shown: Shown;
  q: string;
  page: number;
}

export function readFilters(search: URLSearchParams): Filters {
  return {
    shown: SHOWN.find((each) => each.id === search.get('show'))?.id ?? 'all',
    q: (search.get('q') ?? '').slice(0, 200),
    page: readPage(search),
  };
}

export function writeFilters(old: Filters, change: Partial<Filters>): URLSearchParams {
  const next = { ...old, page: 1, ...change };
  const search = new URLSearchParams();
  if (next.shown !== 'all') search.set('show', next.shown);
  if (next.q) search.set('q', next.q);
  if (next.page > 1) search.set('page', String(next.page));
  return search;
}

export const questionOf = ({ shown, q, page }: Filters, perPage: number) => {
  const group = SHOWN.find((each) => each.id === shown);
  return { standing: group?.standing ?? '', silent: group?.silent ? 'true' : '', q, page, per_page: perPage };
};

/** The form. Texts are what somebody typed; nothing is sent before it can be a recall. */
export interface Form {
  product: string;
  versions: string[];
  remedy: RecallWish['remedy'];
  fix: string;
  models: string[];
  title: string;
  why: string;
  advisories: string[];
  until: string;
}

export const EMPTY: Form = { product: '', versions: [], remedy: 'patch', fix: '', models: [], title: '', why: '', advisories: [], until: '' };

/** What a link to the form says: a release that is recalled, or one that mends those before it. */
export function readStart(search: URLSearchParams, releases: ReleaseRow[]): Form {
  const product = (search.get('product') ?? '').slice(0, 48);
  const fix = (search.get('fix') ?? '').slice(0, 64);
  const version = (search.get('version') ?? '').slice(0, 64);
  const mine = releases.filter((each) => each.product === product).sort((one, two) => two.counter - one.counter);
  const release = mine.find((each) => each.version === fix);
  if (release) {
    const before = mine.find((each) => each.counter < release.counter);
    const what = release.fixes.length > 0 ? release.fixes.join(', ') : 'what its maker mended';
    return {
      ...EMPTY,
      product,
      fix,
      versions: before ? [`:${before.version}`] : [],
      title: `${product} before ${fix}`.slice(0, 120),
      why: `${product} ${fix} removes ${what}.`.slice(0, 2000),
      advisories: release.fixes.slice(0, 32).filter((each) => /^[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}$/.test(each)),
    };
  }
  const recalled = mine.find((each) => each.version === version);
  const newer = recalled && mine[0] && mine[0].counter > recalled.counter ? mine[0].version : '';
  return { ...EMPTY, product, versions: version ? [version] : [], fix: newer, title: version ? `${product} ${version}` : '' };
}

/** A day that is named is there to its end: it is overdue when the day has passed. */
const DAY_END = 'T23:59:59.999Z';

/** The recall that the form asks for; null while something is missing. */
export function readForm(form: Form): RecallWish | null {
  const title = form.title.trim();
  const why = form.why.trim();
  if (title === '' || why === '') return null;
  if (form.product === '' && (form.models.length === 0 || form.remedy === 'patch')) return null;
  if (form.remedy === 'patch' && form.fix === '') return null;
  return {
    title,
    why,
    remedy: form.remedy,
    product: form.product,
    versions: form.product === '' ? [] : form.versions,
    fix_version: form.remedy === 'patch' ? form.fix : '',
    advisories: form.advisories,
    machines: form.models.length > 0 ? { models: form.models, sites: [], groups: [], devices: [] } : null,
    until: form.until === '' ? null : `${form.until}${DAY_END}`,
  };
}

/** The same recall from a terminal. */
export function openCommand(wish: RecallWish): string {
  const flags = (name: string, words: readonly string[] = []): string => words.map((word) => ` --${name} ${quote(word)}`).join('');
  const what = wish.remedy === 'patch' ? flags('fix', [wish.fix_version ?? '']) : ` --${wish.remedy}`;
  const until = wish.until ? ` --until ${wish.until.slice(0, 10)}` : '';
  return (
    `fleetward recall open${wish.product ? ` ${quote(wish.product)}` : ''}${flags('version', wish.versions)}` +
    `${flags('model', wish.machines?.models)}${what}${flags('advisory', wish.advisories)}${until}` +
    ` --title ${quote(wish.title)} --why ${quote(wish.why)}`
  );
}

export type Verb = 'acknowledge' | 'close' | 'reopen' | 'cancel';

export type RecallDeed = DeedOf<Verb>;

/** What somebody can do of a recall, and what each means. */
export function deedsOf(recall: Recall): RecallDeed[] {
  const open = recall.tally.affected + recall.tally.unknown;
  const acknowledge: RecallDeed = {
    verb: 'acknowledge',
    button: 'I know of it…',
    title: 'Answer for this recall?',
    words: 'Your name stands beside it, and nobody is reminded any more, until the day that it was to be over has passed. It changes no machine.',
    confirm: 'I answer for it',
    done: 'Your name stands beside it.',
    reason: false,
  };
  const close: RecallDeed = {
    verb: 'close',
    button: 'Close…',
    title: open > 0 ? 'Close it though it is not over?' : 'Close this recall?',
    words:
      open > 0
        ? `${open === 1 ? 'One machine is' : `${open} machines are`} not proven to be done, and will stand here as not proven. Nobody is told any more. Say why.`
        : 'Every machine that it found is proven to be done. Keep the proof. Machines that come later are still found, and named.',
    confirm: open > 0 ? 'Close it, not proven' : 'Close it',
    done: 'Closed.',
    reason: open > 0,
    alarm: open > 0,
  };
  const cancel: RecallDeed = {
    verb: 'cancel',
    button: 'Cancel…',
    title: 'Was this recall a mistake?',
    words: 'It ends, and finds nobody any more. What was written stays in the record.',
    confirm: 'Cancel it',
    done: 'Cancelled.',
    reason: true,
    alarm: true,
  };
  const reopen: RecallDeed = {
    verb: 'reopen',
    button: 'Open again…',
    title: 'Open this recall again?',
    words: 'People are told anew, and whoever is not done is waited for.',
    confirm: 'Open it again',
    done: 'It is open again.',
    reason: false,
  };
  if (recall.state === 'cancelled') return [reopen];
  if (recall.state === 'closed') return [reopen, cancel];
  return [...(recall.acknowledged_at === null && open > 0 ? [acknowledge] : []), close, cancel];
}

export function changeCommand(verb: Verb, recall: string, reason: string): string {
  const why = reason.trim();
  return `fleetward recall ${verb} ${quote(recall.slice(0, 12))}${why ? ` --reason ${quote(why)}` : ''}`;
}
