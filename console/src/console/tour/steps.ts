import type { Tour } from '../../api/types';

/** The nine steps, and where somebody stands in them. Pure. */

export const STEPS = [
  { id: 1, title: 'Come in', question: 'You are in' },
  { id: 2, title: 'Your machine', question: 'This is your machine' },
  { id: 3, title: 'Change something', question: 'Change something, and watch' },
  { id: 4, title: 'Let one in', question: 'Let a machine in' },
  { id: 5, title: 'Let a technician in', question: 'Let a technician in, this once' },
  { id: 6, title: 'Bring new software', question: 'Bring new software, good and broken' },
  { id: 7, title: 'Steal the server', question: 'What if somebody steals this server?' },
  { id: 8, title: 'Catch a lie', question: 'Would you notice a lie?' },
  { id: 9, title: 'Keep it', question: 'Keep it, or start afresh' },
] as const;

export const LAST = STEPS.length;

export function readStep(text: string | undefined): number | null {
  const step = Number.parseInt(text ?? '', 10);
  return step >= 1 && step <= LAST ? step : null;
}

/** Where to go on: the first step that is not done, or the last. */
export function resumeAt(tour: Pick<Tour, 'step' | 'done'> | undefined): number {
  if (!tour) return 1;
  const open = STEPS.find((step) => !tour.done.includes(step.id));
  return open?.id ?? LAST;
}
