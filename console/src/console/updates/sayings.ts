import type { ApprovalRow, Outcome, PartState, ProductFailure, ProductOverview, ReleaseRow, Rollout, RolloutState, Stage, UpdatesOverview } from '../../api/types';
import { sayLength } from '../../shared/time/time';
import type { Face } from '../../shared/ui/State';

/** Words about updates. Pure: the present moment is always an argument. */

const number = new Intl.NumberFormat('en-GB');
export const sayMachines = (count: number): string => `${number.format(count)} ${count === 1 ? 'machine' : 'machines'}`;
export const sayRollouts = (count: number): string => `${number.format(count)} ${count === 1 ? 'rollout' : 'rollouts'}`;
const is = (count: number): string => (count === 1 ? 'is' : 'are');

/** The one sentence of the page: whether the fleet is up to date, and what stands still. */
export function sayHeadline(overview: UpdatesOverview): string {
  const parts = [sayCurrent(overview)];
  for (const [state, words] of [['held', 'held'], ['paused', 'paused'], ['running', 'under way']] as const) {
    const count = overview.rollouts.filter((each) => each.state === state).length;
    if (count > 0) parts.push(`${sayRollouts(count)} ${is(count)} ${words}`);
  }
  return `${parts.join('; ')}.`;
}

function sayCurrent({ machines, current }: UpdatesOverview): string {
  if (machines === 0) return 'Nothing is approved for any machine yet';
  if (current === machines) {
    return machines === 1 ? 'The one machine runs the newest that the owner approved' : `All ${sayMachines(machines)} run the newest that the owner approved`;
  }
  return `${number.format(current)} of ${sayMachines(machines)} ${current === 1 ? 'runs' : 'run'} the newest that the owner approved`;
}

/** Whether it is safe to go on, as far as machines have said. */
export function saySafe(overview: UpdatesOverview): string {
  const held = overview.rollouts.filter((each) => each.state === 'held');
  if (held.length > 0) {
    return `Not safe to go on yet: somebody has to look at ${held.map((each) => `${each.product} ${each.version}`).join(' and ')} first. No other machine gets ${held.length === 1 ? 'it' : 'them'} meanwhile.`;
  }
  const failed = overview.rollouts.reduce((sum, each) => sum + countFailures(each), 0);
  if (failed > 0) return `${sayMachines(failed)} failed in rollouts, within what was allowed. Look at the causes before you let more in.`;
  const running = overview.rollouts.filter((each) => each.state === 'running');
  if (running.length > 0) return 'Nothing has failed so far in what rolls out. Machines that say nothing open no further wave.';
  return 'Nothing rolls out now. Each machine installs only what its maker signed and its owner approved, whatever this server says.';
}

export const countFailures = (rollout: Pick<Rollout, 'counts'>): number =>
  (rollout.counts.failed ?? 0) + (rollout.counts.rolled_back ?? 0);

/** "at most 4 machines can have it before somebody looks" is the server's; how far it went is ours. */
export function sayUsed(rollout: Pick<Rollout, 'exposure' | 'machines' | 'counts'>): string {
  const done = rollout.counts.committed ?? 0;
  return `${number.format(rollout.exposure)} of ${sayMachines(rollout.machines)} ${rollout.exposure === 1 ? 'is' : 'are'} let in so far; ${done === 0 ? 'none runs' : done === 1 ? '1 runs' : `${number.format(done)} run`} it.`;
}

const ROLLOUT_FACES: Record<RolloutState, Face> = {
  running: { tone: 'accent', icon: 'wave', words: 'Running' },
  held: { tone: 'bad', icon: 'alert', words: 'Held' },
  paused: { tone: 'warn', icon: 'clock', words: 'Paused' },
  cancelled: { tone: 'quiet', icon: 'cross', words: 'Cancelled' },
  done: { tone: 'good', icon: 'check', words: 'Done' },
};
export const faceOfRollout = (state: RolloutState): Face => ROLLOUT_FACES[state];

const PART_FACES: Record<PartState, Face> = {
  placed: { tone: 'quiet', icon: 'clock', words: 'Let in' },
  offered: { tone: 'quiet', icon: 'clock', words: 'Told of it' },
  accepted: { tone: 'accent', icon: 'download', words: 'Fetching' },
  installed: { tone: 'accent', icon: 'half', words: 'On trial' },
  committed: { tone: 'good', icon: 'check', words: 'Runs it' },
  refused: { tone: 'warn', icon: 'block', words: 'Refused it' },
  rolled_back: { tone: 'bad', icon: 'alert', words: 'Went back' },
  failed: { tone: 'bad', icon: 'cross', words: 'Failed' },
  passed: { tone: 'quiet', icon: 'check', words: 'Has a newer one' },
};
export const faceOfPart = (state: PartState): Face => PART_FACES[state];

/** What a report says that became of an attempt. */
const OUTCOME_FACES: Record<Exclude<Outcome, ''>, Face> = {
  accepted: { tone: 'accent', icon: 'download', words: 'Accepted' },
  refused: { tone: 'warn', icon: 'block', words: 'Refused' },
  installed: { tone: 'accent', icon: 'half', words: 'On trial' },
  committed: { tone: 'good', icon: 'check', words: 'Installed' },
  rolled_back: { tone: 'bad', icon: 'alert', words: 'Went back by itself' },
  failed: { tone: 'bad', icon: 'cross', words: 'Failed, nothing changed' },
};
export const faceOfOutcome = (outcome: Outcome): Face | null => (outcome === '' ? null : OUTCOME_FACES[outcome]);

/** The groups in which the machines of a rollout are counted and shown. */
export const GROUPS = [
  { id: 'committed', states: ['committed'], tone: 'good', one: 'runs it', words: 'run it' },
  { id: 'under_way', states: ['accepted', 'installed'], tone: 'accent', one: 'under way', words: 'under way' },
  { id: 'placed', states: ['placed'], tone: 'quiet', one: 'let in, nothing said yet', words: 'let in, nothing said yet' },
  { id: 'failed', states: ['failed', 'rolled_back'], tone: 'bad', one: 'failed', words: 'failed' },
  { id: 'refused', states: ['refused'], tone: 'warn', one: 'refused it', words: 'refused it' },
  { id: 'passed', states: ['passed'], tone: 'quiet', one: 'has a newer one', words: 'have a newer one' },
] as const satisfies readonly { id: string; states: readonly PartState[]; tone: Face['tone']; one: string; words: string }[];

export const countGroup = (counts: Rollout['counts'], states: readonly PartState[]): number =>
  states.reduce((sum, state) => sum + (counts[state] ?? 0), 0);

export const sayGroup = (group: (typeof GROUPS)[number], count: number): string =>
  `${number.format(count)} ${count === 1 ? group.one : group.words}`;

/** Failures that no open rollout shows already. */
export const otherFailures = ({ failures, rollouts }: UpdatesOverview): ProductFailure[] =>
  failures.filter((each) => !rollouts.some((rollout) => rollout.product === each.product && rollout.version === each.version));

export interface StageView {
  title: string;
  /** How many machines may be in with it open, of all stages so far. */
  upTo: number;
  /** How many come with it beyond the one before. */
  size: number;
  /** How many of these are in. */
  inside: number;
  stands: 'done' | 'open' | 'waiting';
  words: string;
}

/** The waves of a rollout as they are drawn. Limits count all machines from the first stage on. */
export function viewStages(rollout: Pick<Rollout, 'stages' | 'machines' | 'exposure' | 'state'>): StageView[] {
  const newest = rollout.stages.filter((stage) => stage.open).length - 1;
  let before = 0;
  return rollout.stages.map((stage, at) => {
    const upTo = Math.max(before, stage.limit === null ? rollout.machines : Math.min(stage.limit, rollout.machines));
    const size = upTo - before;
    const inside = Math.max(0, Math.min(rollout.exposure - before, size));
    const isDone = at < newest || (at === newest && rollout.state === 'done');
    const stands = isDone ? 'done' : at === newest ? 'open' : 'waiting';
    before = upTo;
    return { title: sayStage(stage, at), upTo, size, inside, stands, words: sayStands(stands, rollout.state) };
  });
}

const sayStage = (stage: Stage, at: number): string =>
  stage.words === 'canaries' ? 'Canaries' : `Wave ${at + 1}: ${/^\d+$/.test(stage.words) ? sayMachines(Number(stage.words)) : stage.words}`;

function sayStands(stands: StageView['stands'], state: RolloutState): string {
  if (stands === 'done') return 'done';
  if (stands === 'waiting') return 'waits';
  return state === 'held' ? 'held' : state === 'paused' ? 'paused' : state === 'cancelled' ? 'cancelled' : 'open';
}

export const sayDays = (days: number): string => (days === 0 ? 'less than a day' : days === 1 ? '1 day' : `${number.format(days)} days`);

export const sayPercent = (part: number, whole: number): string =>
  whole === 0 ? 'none' : part === whole ? '100 %' : `${Math.min(99, Math.floor((100 * part) / whole))} %`;

/** "13 of 13 (100 %) are at most 30 days behind". */
export function sayFresh(product: Pick<ProductOverview, 'fresh' | 'machines' | 'goal_days'>): string {
  const { fresh, machines, goal_days } = product;
  return `${number.format(fresh)} of ${number.format(machines)} (${sayPercent(fresh, machines)}) ${is(fresh)} at most ${goal_days === 1 ? '1 day' : `${goal_days} days`} behind`;
}

/** Points of a small line of the share that is fresh, 0 to 1, oldest first; days without machines are left out. */
export function pointsOf(history: ProductOverview['history']): number[] {
  return history.filter((day) => day.machines > 0).map((day) => day.fresh / day.machines);
}

/** What stands between a release and the machines; the first thing that is missing. */
export type ReleaseNeed = 'maker' | 'approval' | 'rollout' | 'none';
type Stands = Pick<ReleaseRow, 'offerable' | 'approvals' | 'rollouts'>;

export function needOf(release: Stands): ReleaseNeed {
  if (!release.offerable) return 'maker';
  if (release.approvals === 0) return 'approval';
  return release.rollouts === 0 ? 'rollout' : 'none';
}

export function faceOfRelease(release: Stands): Face {
  switch (needOf(release)) {
    case 'maker':
      return { tone: 'warn', icon: 'person', words: 'Maker not named' };
    case 'approval':
      return { tone: 'warn', icon: 'clock', words: 'Waits for the owner' };
    case 'rollout':
      return { tone: 'warn', icon: 'wave', words: 'Waits for a rollout' };
    case 'none':
      return { tone: 'quiet', icon: 'policy', words: 'Approved, in a rollout' };
  }
}

const HALF_A_YEAR_MS = 183 * 86_400_000;

/** "5 months", whole ones of the calendar; days where there are fewer than two, years where many. */
export function sayMonths(from: number, to: number): string {
  const [begin, end] = [new Date(from), new Date(to)];
  const whole = (end.getUTCFullYear() - begin.getUTCFullYear()) * 12 + end.getUTCMonth() - begin.getUTCMonth();
  const months = end.getUTCDate() < begin.getUTCDate() ? whole - 1 : whole;
  if (months < 2) return sayLength(to - from);
  return months < 36 ? `${months} months` : `${Math.floor(months / 12)} years`;
}

export function faceOfSupport(ends: number | null, now: number): Face {
  if (ends === null) return { tone: 'quiet', icon: 'empty', words: 'The maker has not said' };
  if (ends <= now) return { tone: 'bad', icon: 'alert', words: `Ended ${sayMonths(ends, now)} ago` };
  const words = `Ends in ${sayMonths(now, ends)}`;
  return ends - now <= HALF_A_YEAR_MS ? { tone: 'warn', icon: 'clock', words } : { tone: 'quiet', icon: 'check', words };
}

/** "4.2 MB"; decimal units. */
export function saySize(bytes: number): string {
  if (bytes < 1000) return `${bytes} B`;
  const [unit, size] = bytes >= 1e9 ? ['GB', 1e9] : bytes >= 1e6 ? ['MB', 1e6] : ['kB', 1e3] as [string, number];
  return `${(bytes / size).toLocaleString('en-GB', { maximumFractionDigits: 1 })} ${unit}`;
}

export const saySoak = (seconds: number): string => (seconds === 0 ? 'no quiet time' : `${sayLength(seconds * 1000)} of quiet`);

const APPROVAL_FACES: Record<ApprovalRow['state'], Face> = {
  holds: { tone: 'quiet', icon: 'policy', words: 'In force, as stored' },
  later: { tone: 'quiet', icon: 'clock', words: 'Begins later' },
  over: { tone: 'quiet', icon: 'cross', words: 'Over' },
  withdrawn: { tone: 'warn', icon: 'block', words: 'Withdrawn' },
  old_epoch: { tone: 'warn', icon: 'cross', words: 'By people who decided before' },
  withdraws: { tone: 'warn', icon: 'block', words: 'A withdrawal' },
};
export const faceOfApproval = (state: ApprovalRow['state']): Face => APPROVAL_FACES[state];
