import type { Layers, UserRow } from '../../api/types';

/** Rows of a device in a person's words. Pure; what is null was not visible, and is said so. */

const LAYERS: [keyof Layers, string][] = [
  ['own_user', 'own user'],
  ['no_new_privileges', 'no new privileges'],
  ['seccomp', 'filtered system calls'],
  ['capabilities_dropped', 'few capabilities'],
];

/** The layers that stand, or null where none of them could be seen. */
export function sayLayers(layers: Layers): string | null {
  const known = Object.values(layers).some((value) => value !== null);
  if (!known) return null;
  const standing = LAYERS.filter(([key]) => layers[key] === true).map(([, words]) => words);
  if (layers.namespaces && layers.namespaces.length > 0) {
    standing.push(`apart in ${layers.namespaces.join(', ')}`);
  }
  if (layers.label) standing.push(`confined as ${layers.label}`);
  const hidden = Object.values(layers).some((value) => value === null);
  const words = standing.length > 0 ? standing.join(', ') : 'None seen';
  return hidden ? `${words}; the rest is not visible` : words;
}

const PASSWORDS: Record<UserRow['password'], string> = {
  set: 'by password',
  empty: 'with no password at all',
  locked: '',
  not_visible: 'password not visible',
};

/** How an account can log in. */
export function sayLogin(user: UserRow): string {
  const ways = [PASSWORDS[user.password]];
  if (user.keys === null) ways.push('keys not visible');
  else if (user.keys > 0) ways.push(`by ${user.keys === 1 ? '1 key' : `${user.keys} keys`}`);
  if (user.administrator) ways.push('may administer the machine');
  const words = ways.filter((way) => way !== '').join(', ');
  return words === '' ? 'No way' : words.charAt(0).toUpperCase() + words.slice(1);
}

/** Whether an account can log in; unknown where neither its password nor its keys were visible. */
export function canLogIn(user: UserRow): boolean | null {
  if (user.can_log_in) return true;
  return user.password === 'not_visible' || user.keys === null ? null : false;
}

/** What a fact is about; whether it was seen stands beside it. */
export const sayFact = (words: string): string => words.replace(/: not visible\.?$/, '');

const WALLS: Record<string, string> = {
  uid: 'The part that talks with the network runs as another user',
  none: 'None: both parts run as one user. Installed as a service they are apart',
  simulated: 'None: a simulated device is one process with others',
};

/** What stands between the two parts of an agent. */
export const sayWall = (wall: string): string => WALLS[wall] ?? wall;
