import type { RolloutWish, Selector } from '../../api/types';

/** Commands to take along. What people and makers named is quoted: a name is no part of a command. */

const PLAIN = /^[A-Za-z0-9_./:@%+,=-]+$/;

export function quote(word: string): string {
  return PLAIN.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

export const approveCommand = (product: string, version: string): string =>
  `fleetward owner approve ${quote(`${product}/${version}`)} --all`;

export const makerCommand = (product?: string): string =>
  `fleetward owner policy set maker ${product ? quote(product) : 'PRODUCT'} root.json`;

export const publishCommand = (product?: string): string =>
  `fleetward release publish ${product ? `${quote(product)}/VERSION` : 'PRODUCT/VERSION'} --data DIR`;

export function changeCommand(verb: string, rollout: string, reason: string): string {
  const why = reason.trim();
  return `fleetward rollout ${verb} ${quote(rollout.slice(0, 12))}${why ? ` --reason ${quote(why)}` : ''}`;
}

const flags = (name: string, words: readonly string[]): string => words.map((word) => ` --${name} ${quote(word)}`).join('');

function sayWhich(selector: Selector): string {
  const { devices = [], groups = [], models = [], sites = [] } = selector;
  const named = flags('device', devices) + flags('group', groups) + flags('model', models) + flags('site', sites);
  return named === '' ? ' --all' : named;
}

function sayCanaries(canaries: Selector | null): string | null {
  if (canaries === null) return '';
  const { devices = [], groups = [], models = [], sites = [] } = canaries;
  if (models.length + sites.length > 0 || (devices.length > 0 && groups.length > 0)) return null;
  return flags('canary', groups.length > 0 ? groups.map((each) => `group:${each}`) : devices);
}

/** The same rollout from a terminal; null where the command has no words for it. */
export function createCommand(wish: RolloutWish): string | null {
  const canaries = sayCanaries(wish.canaries);
  if (canaries === null) return null;
  const soak = wish.soak_seconds === 0 ? '0' : sayExactLength(wish.soak_seconds);
  const allowed = wish.allowed_failures > 0 ? ` --allow-failures ${wish.allowed_failures}` : '';
  return `fleetward rollout create ${quote(`${wish.product}/${wish.version}`)}${sayWhich(wish.selector)}${canaries} --waves ${quote(wish.waves.join(','))} --soak ${soak}${allowed}`;
}

function sayExactLength(seconds: number): string {
  for (const [unit, size] of [['d', 86_400], ['h', 3600], ['m', 60]] as const) {
    if (seconds % size === 0) return `${seconds / size}${unit}`;
  }
  return `${seconds}s`;
}
