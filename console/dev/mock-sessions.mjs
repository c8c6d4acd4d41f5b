// Made-up sessions: every state, short and long words. Nothing here is signed by anybody.
import { createHash } from 'node:crypto';
import { makeChanges } from './mock-changes.mjs';
import { wordsOf } from './mock-data.mjs';

const MINUTE = 60_000;
const iso = (age) => new Date(Date.now() - age).toISOString();
const hash = (text) => createHash('sha256').update(text).digest('hex');

const LONG = 'The pump reports pressure fault 17 after each cold start, and the service company wants to read the controller’s own log before somebody travels there with spare parts';
const STORIES = [
  { state: 'offered', person: 'Tom Adler', org: 'Pump Makers Ltd', reason: 'The pump does not start', scopes: ['a terminal as app', 'the machine\u2019s web page on port 8080'], seconds: 1800, age: 4 },
  { state: 'open', person: 'Mia Berg', org: 'Pump Makers Ltd', reason: 'Reading the log after the night\u2019s alarm', scopes: ['the logs of nginx.service'], seconds: 3600, age: 12, bytes: 81_233 },
  { state: 'asked', person: 'Tom Adler', org: 'Pump Makers Ltd', reason: LONG, scopes: ['reading files below /srv/application/with/a/very/long/folder/name/that/somebody/chose, 1000000 bytes at most', 'all logs'], seconds: 600, age: 30 },
  { state: 'granted', person: 'Ines Kowalczyk', org: '', reason: 'Yearly check', scopes: ['a terminal as root, who may change everything'], seconds: 900, age: 2, watched: true },
  { state: 'ended', person: 'Mia Berg', org: 'Pump Makers Ltd', reason: 'Firmware question', scopes: ['a terminal as app'], seconds: 600, age: 300, ended_by: 'closed', bytes: 1_204_411 },
  { state: 'ended', person: 'Tom Adler', org: 'Pump Makers Ltd', reason: 'Pressure sensor', scopes: ['the machine\u2019s port 8502'], seconds: 7200, age: 1500, ended_by: 'stopped', bytes: 44_120 },
  { state: 'denied', person: 'key q7f2k3', org: '', reason: 'Let me in', scopes: ['a terminal as root, who may change everything'], seconds: 86_400, age: 3000, ended_by: 'unknown_requester' },
  { state: 'stopped', person: 'Tom Adler', org: 'Pump Makers Ltd', reason: 'A try', scopes: ['a terminal as app'], seconds: 600, age: 4000 },
];

function makeRow(story, at, device) {
  const inside = ['open', 'ended'].includes(story.state);
  const granted = inside || story.state === 'granted';
  const session = granted ? hash(`grant ${at}`) : '';
  const asked = story.age * MINUTE;
  return {
    id: hash(`request ${at}`), device_id: device.id, device_name: device.name, site: device.site, state: story.state,
    requester: 'a'.repeat(32), person: story.person, org: story.org, reason: story.reason, case: at % 2 ? '' : `case-${at}`,
    scopes: story.scopes, seconds: story.seconds, asked_at: iso(asked), offered_at: story.state === 'asked' ? null : iso(asked - 4000),
    granted_at: granted ? iso(asked - MINUTE) : null, opened_at: inside ? iso(asked - 1.2 * MINUTE) : null,
    ended_at: ['ended', 'denied', 'stopped'].includes(story.state) ? iso(asked - (story.state === 'ended' ? 9 : 0.2) * MINUTE) : null,
    ended_by: story.ended_by ?? '', session, standing: '', words: session ? wordsOf(at) : '', recording_bytes: story.bytes ?? 0, break_glass: story.break_glass ?? false, watched: story.watched ?? false,
  };
}

export function makeSessions(fleet, scenario) {
  if (fleet.length === 0 || scenario === 'calm') return [];
  const many = scenario === 'big' ? 160 : STORIES.length;
  return Array.from({ length: many }, (_, at) => makeRow(STORIES[at % STORIES.length], at, fleet[at % Math.min(fleet.length, 6)]));
}

function makeSaid(much) {
  const words = much ? '3 findings, 16 changes' : 'nothing changed';
  return { digest: 'c'.repeat(64), here: true, words, finding_count: much ? 3 : 0, change_count: much ? 16 : 0, ...makeChanges(much) };
}

export function makeSession(row) {
  const steps = [{ at: row.asked_at, kind: 'request', who: row.person, words: `Asked: \u201c${row.reason}\u201d` }];
  const add = (at, kind, who, words) => at && steps.push({ at, kind, who, words });
  add(row.offered_at, 'offer', '', 'The device checked the request and would open.');
  add(row.granted_at, 'grant', 'Ada Lind and Ben Okoro', `Said yes to ${row.scopes.join(', ')}, for ${row.seconds / 60} min.`);
  add(row.opened_at, 'opened', '', 'The device opened the session.');
  if (row.state === 'denied') add(row.ended_at, 'denial', '', 'The device said no. The request is by nobody whom this machine\u2019s owner lets ask.');
  if (row.state === 'stopped') add(row.ended_at, 'stop', 'Ada Lind', 'Said no, or stop. \u201cnot today\u201d');
  if (row.state === 'ended') add(row.ended_at, 'receipt', '', 'The device says that it is over: who was inside left.');
  const over = row.state === 'ended';
  return {
    ...row, steps, request: 'AA', offer: row.offered_at ? 'AA' : '', grant: row.session ? 'AA' : '', entry: '', standing_document: '', denial: row.state === 'denied' ? 'AA' : '',
    receipt: over ? 'AA' : '', device_key: { key_id: row.device_id, public: 'AA', suite: 'es256' },
    people: row.session ? ['Ada Lind', 'Ben Okoro'] : [], wall: 'uid', sandbox: row.offered_at ? 'bubblewrap' : '',
    denied_words: row.state === 'denied' ? 'The request is by nobody whom this machine\u2019s owner lets ask.' : '',
    ended_who: over ? row.person : '', bytes_in: over ? 1200 : 0, bytes_out: over ? 340_000 : 0, recording_done: over,
    changes: over ? makeSaid(row.ended_by === 'closed') : null, not_compared: '',
  };
}

/** What the owner allowed ahead: a window tomorrow and one in a week, on the first three machines. */
export function makeAhead(fleet, scenario) {
  if (fleet.length === 0 || scenario === 'calm') return [];
  const day = 24 * 60 * MINUTE;
  return [{
    id: hash('ahead'), words: wordsOf(5), people: ['Ada Lind', 'Ben Okoro'], requesters: ['Tom Adler (Pump Makers Ltd)'],
    scopes: ['the logs', 'a terminal as app'], seconds: 1800, watched: true, reason: 'Weekly check of the filters', time_zone: 'Europe/Berlin',
    windows: [1, 8].map((days) => ({ not_before: iso(-days * day), not_after: iso(-days * day - 120 * MINUTE) })),
    issued_at: iso(day), stored_at: iso(day), revoked_at: null,
    machines: fleet.slice(0, 3).map((row, at) => ({ device_id: row.id, device_name: row.name, site: row.site, state: ['held', 'dropped', ''][at], next_window: 0, words: '', said_at: at < 2 ? iso(day) : null, signed: '' })),
    entries: [], envelope: 'AA', stop: '',
  }];
}
