import type { Card } from '../../api/types';
import { toneOfCard } from '../../shared/words/faces';

/** What somebody came for. It changes the order of the home page, never what is on it. */
export type Goal = 'update' | 'reach' | 'protect' | 'comply';

export const GOALS: { id: Goal; title: string; words: string }[] = [
  { id: 'update', title: 'Keep them up to date', words: 'Updates come first.' },
  { id: 'reach', title: 'Reach them', words: 'Silent and waiting devices come first.' },
  { id: 'protect', title: 'Protect them', words: 'Open ports and exposure come first.' },
  { id: 'comply', title: 'Show that it is in order', words: 'Record and proof come first.' },
];

const KEY = 'fleetward.goal';

const MATCHES: Record<Goal, RegExp> = {
  update: /updat|software/,
  reach: /silen|wait|pending|confirm|connect/,
  protect: /expos|port|quarantin|contain|harden/,
  comply: /record|identity|proof|confirm/,
};

const SOMEBODY_WAITS = /wait|pending|confirm/;

export const isGoal = (text: string | null | undefined): text is Goal =>
  GOALS.some((goal) => goal.id === text);

export function readGoal(): Goal | null {
  const kept = localStorage.getItem(KEY);
  return isGoal(kept) ? kept : null;
}

export function keepGoal(goal: Goal): void {
  localStorage.setItem(KEY, goal);
}

/** The server's order, but that after who waits and what is grave come the cards of the goal. */
export function orderCards(cards: Card[], goal: Goal | null): Card[] {
  if (goal === null) return cards;
  const rank = (card: Card): number =>
    toneOfCard(card.kind) === 'bad' || SOMEBODY_WAITS.test(card.kind) ? 0 : MATCHES[goal].test(card.kind) ? 1 : 2;
  return cards
    .map((card, at) => ({ card, at }))
    .sort((a, b) => rank(a.card) - rank(b.card) || a.at - b.at)
    .map(({ card }) => card);
}
