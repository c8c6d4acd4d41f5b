import type { RolloutWish, Selector } from '../../api/types';

/** A rollout as somebody fills it in, and what it asks of the server. */

export const PACES = [
  { id: 'careful', label: 'Careful', words: '1 %, 10 %, half, all; a day of quiet in between', waves: ['1%', '10%', '50%', '100%'], soak_seconds: 86_400 },
  { id: 'normal', label: 'Normal', words: '10 %, half, all; an hour of quiet in between', waves: ['10%', '50%', '100%'], soak_seconds: 3600 },
  { id: 'at_once', label: 'All at once', words: 'One wave: nothing holds a bad release back', waves: ['100%'], soak_seconds: 0 },
] as const;
export type Pace = (typeof PACES)[number]['id'];

export const WHICH = [
  { id: 'all', label: 'All machines' },
  { id: 'sites', label: 'Sites' },
  { id: 'groups', label: 'Groups' },
  { id: 'models', label: 'Models' },
] as const;
export type Which = (typeof WHICH)[number]['id'];

export interface Form {
  which: Which;
  named: string[];
  /** Ids of machines that come first, and that everybody else waits for; empty: none. */
  canaries: string[];
  pace: Pace;
  allowed: number;
}

export const EMPTY_FORM: Form = { which: 'all', named: [], canaries: [], pace: 'careful', allowed: 0 };

const NOBODY: Selector = { devices: [], groups: [], models: [], sites: [] };

/** What the server is asked; null while something is missing. */
export function readForm(product: string, version: string, form: Form): RolloutWish | null {
  const pace = PACES.find((each) => each.id === form.pace);
  if (!pace || (form.which !== 'all' && form.named.length === 0)) return null;
  return {
    product,
    version,
    selector: form.which === 'all' ? NOBODY : { ...NOBODY, [form.which]: form.named },
    canaries: form.canaries.length === 0 ? null : { ...NOBODY, devices: form.canaries },
    waves: [...pace.waves],
    soak_seconds: pace.soak_seconds,
    allowed_failures: form.allowed,
    bandwidth: 0,
  };
}
