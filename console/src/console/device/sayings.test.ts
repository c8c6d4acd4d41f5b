import { describe, expect, it } from 'vitest';
import type { Layers, UserRow } from '../../api/types';
import { canLogIn, sayFact, sayLayers, sayLogin, sayWall } from './sayings';

const none: Layers = {
  own_user: null,
  no_new_privileges: null,
  seccomp: null,
  capabilities_dropped: null,
  namespaces: null,
  label: null,
};
const user: UserRow = {
  name: 'anna',
  uid: 1000,
  shell: '/bin/bash',
  can_log_in: false,
  password: 'locked',
  keys: 0,
  administrator: false,
};

describe('layers of a service', () => {
  it('are not visible where nothing was seen', () => expect(sayLayers(none)).toBeNull());
  it('name what stands, and that the rest was not seen', () => {
    expect(sayLayers({ ...none, own_user: true, seccomp: false })).toBe(
      'own user; the rest is not visible',
    );
  });
  it('say none only where all was seen', () => {
    const seen: Layers = {
      own_user: false,
      no_new_privileges: false,
      seccomp: false,
      capabilities_dropped: false,
      namespaces: [],
      label: '',
    };
    expect(sayLayers(seen)).toBe('None seen');
    expect(sayLayers({ ...seen, namespaces: ['mount'], label: 'cupsd' })).toBe(
      'apart in mount, confined as cupsd',
    );
  });
});

describe('logging in', () => {
  it('is unknown, not impossible, where nothing was visible', () => {
    expect(canLogIn({ ...user, password: 'not_visible' })).toBeNull();
    expect(canLogIn(user)).toBe(false);
    expect(canLogIn({ ...user, can_log_in: true, keys: null })).toBe(true);
  });
  it('is said in words', () => {
    expect(sayLogin({ ...user, password: 'set', keys: 2, administrator: true })).toBe(
      'By password, by 2 keys, may administer the machine',
    );
    expect(sayLogin(user)).toBe('No way');
  });
});

it('a fact says what it is about, seen or not', () => {
  expect(sayFact('Security modules: not visible')).toBe('Security modules');
  expect(sayFact('Secure Boot')).toBe('Secure Boot');
});

it('a wall is told in words, and one of a later agent as it is', () => {
  expect(sayWall('uid')).toContain('another user');
  expect(sayWall('namespace')).toBe('namespace');
});
