// Made-up answers of the owner's own program. For development of the pages only; never shipped.
import { makeChanges } from './mock-changes.mjs';
import { makeClosingPage } from './mock-closing.mjs';
import { wordsOf } from './mock-data.mjs';

const iso = (age) => new Date(Date.now() - age).toISOString();
const HASH = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';

const ID = (digit) => digit.repeat(64);
const WORDS = 'valuable honeydew effort breeze wildcat decent';
const SCOPES = [{ id: 'terminal:app', words: 'a terminal as app' }, { id: 'tcp:8080/http', words: 'the machine\u2019s web page on port 8080' }];
const asked = (id, state, more) => ({
  id, trouble: '', state, device_id: 'mtpsg75ztnlpkjvs5h5rk64fe5pt2l43', machine: 'pump-04', site: 'Ward 3', person: 'Tom Example', org: 'Makers Ltd', reason: 'The pump does not start after the update.', case: 'C-118',
  scopes: SCOPES, seconds: 1800, asked_at: iso(4 * 60_000), wall: 'the agent\u2019s network half runs as a user of its own', sandbox: 'what runs in the session is in a sandbox', sandboxed: true, people_needed: 1, must_watch: false, answerable: '',
  session: '', six_words: '', granted: [], granted_seconds: 0, people: [], watched: false, opened_at: null, ended_at: null, ended_by: '', ended_who: '', denied: '', recording_bytes: 0, break_glass: false, acknowledged: false, ...more,
});
const inside = { session: ID('e'), six_words: WORDS, granted: SCOPES.slice(0, 1), granted_seconds: 900, people: ['Anna Example'], opened_at: iso(3 * 60_000) };
const EVENTS = [[0, 'r', '80x20'], [0.1, 'm', 'terminal opened as app'], [0.4, 'o', '\u001b[32mapp@pump-04\u001b[0m:~$ '], [1.4, 'o', 'systemctl status pump\r\n\u001b[31m\u25cf\u001b[0m pump.service\r\n   Active: \u001b[1;31mfailed\u001b[0m\r\n'], [9, 'o', '\u001b[32mapp@pump-04\u001b[0m:~$ ']];
const accessOf = (scenario) => scenario === 'empty' || scenario === 'calm' ? [] : [
  asked(ID('a'), 'offered', {}),
  asked(ID('b'), 'asked', { scopes: [{ id: 'root', words: 'a terminal as root, who may change everything' }], sandbox: '', sandboxed: false, wall: '', answerable: 'pump-04 has not answered yet: it may be off. Without its offer there is nothing to say yes to.' }),
  { ...asked(ID('c'), 'offered', {}), trouble: 'Not believed: The offer is of another machine.', machine: '', person: '', org: '', scopes: [] },
  asked(ID('d'), 'open', { ...inside, watched: true }),
  asked(ID('e'), 'ended', { ...inside, ended_at: iso(60_000), ended_by: 'left by who was inside', ended_who: 'Tom Example' }),
];

export function makeOwner(fleet) {
  const state = {
    pending: fleet.filter((row) => row.state === 'pending').slice(0, 3).map((row) => ({
      id: row.id, words: wordsOf(row.seed), name_suggested: row.name, site: row.site, model: row.model, joined_at: iso(8 * 60_000), preapproved: row.seed > 20,
    })),
    roster: fleet.filter((row) => ['active', 'quarantined'].includes(row.state)).map(({ id, name, site, model, maker }, at) => ({
      id, name, site, model, maker, groups: [], state: at % 7 === 6 ? 'retired' : 'active',
    })),
  };
  return (method, path, body, scenario) => {
    switch (`${method} ${path}`) {
      case 'GET /state':
        return {
          name: 'Example clinics', owner_root: HASH,
          policy: {
            version: 2, epoch: 1, hash: HASH,
            people: [{ person: 'Anna Example', keys: [{ key_id: 'mtpsg75ztnlpkjvs5h5rk64fe5pt2l43', suite: 'es256', scopes: ['roster'], origins: [] }, { key_id: 'q5dy7xw2m4hiefqzrvb3d6lcsm7tkoan', suite: 'ed25519', scopes: ['roster', 'policy'], origins: [] }, { key_id: 'r7dy7xw2m4hiefqzrvb3d6lcsm7tkoan', suite: 'webauthn', scopes: ['approve'], origins: ['http://owner.localhost:7480'] }] }, { person: 'Bert Example', keys: [{ key_id: 'lmh6nqp3r5tzvxw2m4hiefqzrvb3d6lc', suite: 'ed25519', scopes: ['policy'], origins: [] }] }],
            access: {
              requesters: [{ person: 'Tom Adler', org: 'Pump Makers Ltd', words: 'uptown pollen sombrero town energy shipmate', may_delegate: true }, { person: 'A person with a name that somebody made far too long', org: '', words: 'candle harbor violin quarter meadow lantern', may_delegate: false }],
              rules: ['terminal app: 60 min at most, 1 person says yes', 'tcp 8000-8999, 502: 60 min at most, 1 person says yes', 'root: 15 min at most, 2 people say yes, watched'],
              sandbox_only: true, break_glass: scenario === 'calm' ? null : { people: ['Anna Example', 'Bert Example'], threshold: 2, seconds: 3600, rules: ['root: 15 min at most, 2 people say yes, watched'] },
            },
            thresholds: [{ scope: 'policy', people: 2 }, { scope: 'roster', people: 1 }],
            roots: [{ name: 'Server certificate authority', value: HASH }, { name: 'Record key', value: 'fleetward-log+7f3a+AbCd' }],
          },
          roster: { version: 4, count: state.roster.length, hash: HASH },
          head: { version: 7, lease_until: iso(-6 * 86_400_000), hash: HASH },
          server: { url: 'http://console.localhost:8443/', reachable: scenario !== 'unreachable', words: 'It was last heard 3 minutes ago. What you sign is kept here and sent when it is back.' },
          recoveries: scenario === 'big' ? [{ version: 8, people: ['Nora Ndiaye'], announced_at: new Date(Date.now() - 3600e3).toISOString(), earliest_at: new Date(Date.now() + 6 * 86400e3).toISOString() }] : [],
          same_host: scenario !== 'unreachable',
          same_host_words: 'The owner’s keys lie on the server’s own computer. Whoever breaks into this computer can sign as you. The cure is a new root, made on another computer, and joining again.',
        };
      case 'GET /pending': return { items: state.pending };
      case 'GET /roster': return { items: state.roster };
      case 'POST /confirm': {
        state.pending = state.pending.filter((item) => item.id !== body.device_id);
        state.roster.push({ id: body.device_id, name: body.name, site: body.site, model: '', maker: '', groups: [], state: 'active' });
        return { id: body.device_id, state: 'active', roster: 5, handed_over: scenario !== 'unreachable', words: `${body.name} is active on roster 5.` };
      }
      case 'POST /retire': {
        const found = state.roster.find((item) => item.id === body.device_id);
        if (found) found.state = 'retired';
        return { id: body.device_id, state: 'retired', roster: 5, handed_over: true, words: '' };
      }
      case 'POST /recovery/refuse': return { version: 8, handed_over: true, words: 'Policy 8 is signed. Machines have it as soon as they hear.' };
      case 'POST /invitations': return { join: `fw1.${HASH}${HASH}${HASH}`, expires_at: iso(-body.ttl_seconds * 1000), owner_root: HASH };
      case 'POST /verify': return {
        entries: 4182, as_of: iso(0),
        proven: [{ id: 'tree', words: '4,182 entries are there, unaltered and in order, under a checkpoint that the log key signed.' }, { id: 'heads', words: 'The signed words of 11 devices agree with it.' }],
        contradicted: scenario === 'lie' ? [{ id: 'altered', words: 'Its content is not what the record’s tree holds: it was altered after it was written.', entry: 2917 }] : [],
        unknown: [{ id: 'tail', words: 'What it did after its newest signed word cannot be known yet.', device: 'pump-04', age_seconds: 2820 }],
        command: `fleetward audit verify record --root ${HASH}`,
      };
      case 'GET /closing': return makeClosingPage(fleet, scenario);
      case 'POST /closing/close': return { id: ID('c'), words: 'Signed, and handed over for 1 machine.' };
      case 'POST /closing/open': return { id: ID('c'), words: 'All is opened again, and handed over for 1 machine.' };
      case 'POST /closing/keep': return { id: ID('c'), words: 'Kept on 2 machines.' };
      case 'GET /access': return { items: accessOf(scenario), more: 0 };
      case 'POST /access/prepare': return { grant: ID('f'), six_words: WORDS, scopes: SCOPES, seconds: body.seconds, watched: body.watched, passkey: null, own_key: true, said: [] };
      case 'POST /access/approve': return { id: ID('a'), session: ID('f'), words: 'Granted. It opens when pump-04 has it.', watched: false };
      case 'GET /phones': return { items: scenario === 'empty' ? [] : [{ id: '0123456789', name: 'Anna\u2019s phone', added_at: iso(9 * 86_400_000), seen_at: iso(3_600_000), ends_at: iso(-81 * 86_400_000), over: false, offered_person: '', offered_words: '' }], address: '', certificate_ends_at: '', most: 5 };
      case 'POST /access/deny': return { id: body.id, session: '', words: 'You said no. pump-04 obeys as soon as it hears it.', watched: false };
      case 'POST /access/stop': return { id: body.id, session: '', words: 'Stopped. pump-04 obeys as soon as it hears it.', watched: false };
      default: {
        const [, , id, what] = path.split('/');
        if (path.startsWith('/access/') && path.endsWith('/changes')) return { state: 'compared', words: 'Compared: 3 findings, 16 changes.', ...makeChanges(true) };
        if (!path.startsWith('/access/') || method !== 'GET') return undefined;
        if (what === 'recording') return { events: EVENTS, next: EVENTS.length, done: true, state: 'whole', words: 'All 5 records are there, as the machine signed them.', beats: '' };
        return accessOf(scenario).find((item) => item.id === id);
      }
    }
  };
}
