// Made-up answers in the shape of the API. For development of the pages only; never shipped.

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const iso = (age) => new Date(Date.now() - age).toISOString();
const ALPHABET = 'abcdefghijklmnopqrstuvwxyz234567';
const WORDS = 'amber basin cedar delta ember fjord gravel harbor island juniper kettle lantern meadow nectar orchard pebble quartz ripple saddle timber'.split(' ');

function chance(seed) {
  let state = seed * 2654435761 % 4294967296;
  return () => {
    state = (state * 1664525 + 1013904223) % 4294967296;
    return state / 4294967296;
  };
}

const idOf = (seed) => {
  const next = chance(seed + 7);
  return Array.from({ length: 32 }, () => ALPHABET[Math.floor(next() * 32)]).join('');
};
export const wordsOf = (seed) => {
  const next = chance(seed + 99);
  return Array.from({ length: 6 }, () => WORDS[Math.floor(next() * WORDS.length)]).join(' ');
};

const LONG = 'Infusion pump, ward 4 east, second bed from the window, serial 00000000000000001';
const SITES = ['Harbour', 'North hall', 'St Mary, wing 4'];
const KINDS = [
  ['active', 'connected', ''],
  ['active', 'connected', ''],
  ['active', 'connected', 'updates'],
  ['active', 'connected', 'exposed'],
  ['active', 'silent', 'silent'],
  ['quarantined', 'connected', 'quarantined'],
  ['pending', 'connected', 'waiting'],
  ['refused', 'never', ''],
];

function makeDevice(seed, scenario) {
  const [state, connection, need] = seed === 0 ? ['active', 'connected', 'updates'] : KINDS[seed % KINDS.length];
  const long = scenario === 'big' && seed % 3 === 1;
  const noRoot = scenario === 'noroot' || seed % 5 === 4;
  const unseen = connection === 'never' || state === 'refused';
  return {
    id: idOf(seed),
    name: seed === 0 ? 'workbench' : long ? `${LONG.slice(0, 74)} ${String(seed).padStart(5, '0')}` : `pump-${String(seed).padStart(2, '0')}`,
    site: scenario === 'big' && seed % 9 === 2 ? 'The old warehouse behind the north harbour, second floor, room 17, cold storage'.slice(0, 80) : SITES[seed % 3],
    state,
    confirmed: state === 'active' && seed % 4 !== 2,
    connection,
    model: seed === 0 ? 'Debian workstation' : 'Infusor 3000',
    maker: seed === 0 ? '' : 'Infusor Ltd',
    owner: 'Example clinics',
    simulated: seed !== 0,
    last_seen_at: unseen ? null : iso(connection === 'silent' ? 47 * MINUTE : 9_000),
    open_ports: noRoot || unseen ? null : seed === 0 ? 3 : seed % 4,
    updates_pending: unseen ? null : seed % 7,
    security_updates: unseen ? null : need === 'updates' ? 3 : 0,
    need,
    noRoot,
    seed,
  };
}

export function makeFleet(scenario) {
  const count = { empty: 0, big: 5000 }[scenario] ?? 13;
  return Array.from({ length: count }, (_, seed) => makeDevice(seed, scenario));
}

const CARDS = [
  ['waiting', 'A machine waits to be let in', 'Nobody but the owner can confirm it, and it does nothing until then.', 'See its words'],
  ['broken', 'Two machines may be using one identity', 'One of them was heard with an older key.', 'Look at it'],
  ['containment', 'One device is quarantined', 'It keeps working but is not updated while it is cut off.', 'Look at it'],
  ['exposure', 'Port 23 is reachable from the local network', 'Anybody on that network can try to log in by telnet.', 'See the port'],
  ['updates', '3 security updates wait on 2 devices', 'One of them mends a program that listens on the network.', 'See the updates'],
  ['silence', 'pump-04 has been silent for 47 minutes', 'Nothing that it last said is known to hold now.', 'Find the cause'],
  ['setup', 'Nobody witnesses the record yet', 'A witness notices when the server shows two people two records.', 'Add a witness'],
];
const CARD_SEEDS = [6, 7, 5, 3, 0, 4, null];

export function makeToday(fleet, scenario) {
  const count = (test) => fleet.filter(test).length;
  const silent = count((row) => row.connection === 'silent');
  const waiting = count((row) => row.state === 'pending');
  const need = count((row) => ['updates', 'exposed', 'quarantined'].includes(row.need));
  const calm = scenario === 'calm' || fleet.length === 0;
  const counts = calm
    ? { total: fleet.length, fine: fleet.length, need_you: 0, silent: 0, waiting: 0 }
    : { total: fleet.length, fine: fleet.length - silent - waiting - need, need_you: need, silent, waiting };
  const where = (seed) => (seed === null ? 'This server' : `${fleet[seed].name}, ${fleet[seed].site}`);
  return {
    sentence: calm ? `${counts.total} devices: all fine.` : `${counts.total} devices: ${counts.fine} fine, ${need} need you, ${silent} silent, ${waiting} waiting.`,
    as_of: iso(4_000),
    counts,
    cards: calm ? [] : CARDS.map(([kind, title, why, label], at) => ({
      id: `${kind}-${at}`, kind, title, why, where: where(CARD_SEEDS[at]), since: iso((at + 1) * 23 * MINUTE),
      verb: { label, href: kind === 'setup' ? '/proof' : `/devices/${fleet[CARD_SEEDS[at]].id}${kind === 'exposure' ? '?tab=sockets' : ''}` },
    })),
    waiting: calm ? [] : [{ id: 'w1', title: 'Infusor Ltd has not answered about the telnet port', where: fleet[3].name, since: iso(26 * HOUR) }],
    changes: fleet.length === 0 ? [] : makeHistory(fleet, 0).slice(0, 6).map(({ at, device_id, device_name, kind, words }) => ({ at, device_id, device_name, kind, words })),
    record: { state: 'intact', as_of: iso(2 * MINUTE), size: 4182, words: 'Intact: 4,182 entries, checked against the newest signed word of each device.' },
    first_run: true,
  };
}

const HAPPENED = [
  ['posture.changed', 'Port 23 opened by busybox, reachable from the local network', 'device'],
  ['gate.refused', 'Refused an owner policy: it was signed by another owner', 'device'],
  ['device.quarantined', 'Quarantined by Anna: telnet was open', 'server'],
  ['posture.inventory', 'New inventory: 1,043 packages, 12 open ports', 'device'],
  ['agent.started', 'Agent started', 'device'],
  ['owner.confirmed', 'Confirmed by the owner as roster 4', 'owner'],
  ['transport.renewed', 'Certificate renewed for 24 h', 'device'],
  ['session.opened', 'Anna signed in by a link', 'server'],
];

export function makeHistory(fleet, offset) {
  return Array.from({ length: 120 }, (_, at) => {
    const device = fleet[(at * 3 + offset) % Math.max(1, fleet.length)];
    const [kind, words, source] = HAPPENED[(at + offset) % HAPPENED.length];
    return {
      at: iso(at * at * 5 * MINUTE + 40_000), kind, words, source: source === 'device' ? 'machine' : 'record',
      sequence: source === 'device' ? 200 - at : null, leaf: 4181 - at,
      device_id: device?.id ?? null, device_name: device?.name ?? null,
    };
  });
}

const PROPERTIES = [
  ['root-of-trust', 'Hardware root of trust', 'not_shown', 'The identity key is a file, not in a security chip.', 'Use a TPM where the machine has one.'],
  ['small-core', 'Small trusted core', 'partly', 'The agent runs in two separate programs; the rest of the system is not separated.', 'Run uplink as its own user.'],
  ['defence-in-depth', 'Defence in depth', 'partly', '9 of 14 services have at least two layers.', 'Add a sandbox to cups.'],
  ['compartments', 'Compartments', 'not_visible', 'Not visible without root.', 'Install the agent as a service.'],
  ['certificates', 'Certificate-based identity', 'shown', 'It signs in by a certificate of 24 h; no password was found.', null],
  ['renewal', 'Renewable security', 'partly', '3 security updates wait.', 'Install them.'],
  ['reporting', 'Failure reporting', 'shown', 'Crashes are kept and reported.', null],
];

export function makeDetail(row) {
  const unseen = row.last_seen_at === null;
  const { noRoot, seed } = row;
  const age = row.connection === 'silent' ? 47 * MINUTE : 38_000;
  return {
    ...row,
    words: wordsOf(seed),
    reason: row.state === 'quarantined' ? 'Telnet was open.' : '',
    agent: '0.1.0',
    system: 'Debian GNU/Linux 12',
    joined_at: iso(30 * HOUR),
    wall: noRoot ? 'none' : 'own user',
    sight: { root: unseen ? null : !noRoot, words: noRoot ? 'Without root: other users’ programs and their ports are not visible.' : 'With root: everything is visible.' },
    trust: {
      level: unseen ? 'L0' : 'L2',
      words: unseen ? 'Not trusted: its join was refused, because its invitation was for another owner.' : 'It is the machine that you confirmed: it holds its own key, kept in a file, and signed its word with it.',
      as_of: unseen ? null : iso(age),
    },
    do_now: row.need === 'updates' ? [{ id: 'u', kind: 'updates', title: '3 security updates wait', where: row.name, why: 'One mends openssh-server, which listens on the network.', since: iso(5 * HOUR), verb: { label: 'See them', href: `/devices/${row.id}?tab=packages` } }] : row.state === 'quarantined' ? [{ id: 'q', kind: 'containment', title: 'In quarantine', where: row.site, why: 'Telnet was open.', since: iso(5 * HOUR), verb: { label: 'Let it back', href: `/devices/${row.id}` } }] : row.connection === 'silent' ? [{ id: 's', kind: 'silence', title: 'Not heard of', where: row.site, why: 'What is shown here grows old.', since: iso(47 * MINUTE), verb: { label: 'See its timeline', href: `/devices/${row.id}?tab=timeline` } }] : [],
    reachability: {
      as_of: unseen ? null : iso(age), sockets_total: noRoot ? null : row.open_ports, lan: noRoot ? null : 1, loopback: noRoot ? null : 2,
      state: noRoot ? 'not_visible' : 'shown',
      words: unseen ? 'Nothing is known yet.' : noRoot ? 'Which ports are open is not visible without root.' : row.open_ports === 0 ? 'Nothing can reach it: no port is open.' : 'One port is reachable from the local network; two are for this machine only.',
    },
    software: unseen
      ? { as_of: null, os: '', kernel: '', packages: null, pending: null, security: null, inventory_digest: null, words: '' }
      : { as_of: iso(age), os: 'Debian GNU/Linux 12 (bookworm)', kernel: '6.1.0-28-amd64', packages: 1043, pending: row.updates_pending, security: row.security_updates, inventory_digest: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855', words: '' },
    properties: PROPERTIES.map(([id, name, state, words, next]) => ({ id, name, state: unseen ? 'not_visible' : state, evidence: unseen ? [] : [{ words, as_of: iso(age), holds: state === 'not_visible' ? null : state === 'shown' }], next: next ?? '' })),
    certificate: { not_after: unseen ? null : iso(-19 * HOUR), lineage: 3, serial: '4f2a91c07e' },
    identity: { key_id: row.id, suite: 'es256', lineage: 3 },
    proof: { last_sequence: 214, last_leaf: 4181, head_at: unseen ? null : iso(age), journal_head: '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08' },
  };
}

export function makeFacts(row, list) {
  const { noRoot, seed } = row;
  if (row.last_seen_at === null) return [];
  switch (list) {
    case 'packages':
      return Array.from({ length: 1043 }, (_, at) => ({ manager: at % 11 === 0 ? 'pypi' : 'dpkg', name: `lib${WORDS[at % 20]}${at}`, version: `${at % 5}.${at % 17}.${at % 9}-1+deb12u${at % 4}`, arch: 'amd64', source: '', update: at < 3 ? '9.9.1-2' : null, security: at < 3 }));
    case 'sockets':
      return noRoot ? [] : Array.from({ length: row.open_ports }, (_, at) => ({ proto: 'tcp', address: at ? '127.0.0.1' : '0.0.0.0', port: [23, 631, 5432, 8080][at], exposure: at ? 'loopback' : 'all', process: ['busybox', 'cupsd', 'postgres', 'a-program-with-a-name-that-is-much-longer-than-it-should-be'][at], executable: '/usr/bin/x', user: ['root', 'root', 'postgres', 'anna'][at], unit: null, package: at ? 'cups' : null }));
    case 'processes':
    case 'hardening':
      return Array.from({ length: 23 }, (_, at) => ({ executable: `/usr/sbin/${['sshd', 'cupsd', 'cron'][at % 3]}${at}`, package: at % 5 ? 'openssh-server' : null, users: at % 3 ? ['root'] : ['anna', 'root'], network: at < 3 ? 'all' : '', canary: 'yes', nx: 'yes', pie: at % 6 ? 'yes' : 'no', relro: at % 4 ? 'yes' : 'partial', fortify: noRoot ? 'unknown' : 'yes', note: '' }));
    case 'users':
      return [{ name: 'root', uid: 0, shell: '/bin/bash', can_log_in: false, password: noRoot ? 'not_visible' : 'locked', keys: noRoot ? null : 0, administrator: true }, { name: 'anna', uid: 1000, shell: '/bin/bash', can_log_in: true, password: 'set', keys: 2, administrator: false }];
    case 'services':
      return ['ssh', 'cups', 'cron', 'fleetward-agent'].map((unit, at) => ({ unit: `${unit}.service`, state: 'running', enabled: true, user: at === 3 ? 'fleetward' : 'root', executable: null, package: null, layers: { own_user: noRoot ? null : at === 3, no_new_privileges: noRoot ? null : at % 2 === 1, seccomp: noRoot ? null : at === 3, capabilities_dropped: null, namespaces: noRoot ? null : at === 3 ? ['mount'] : [], label: noRoot ? null : '' } }));
    case 'facts':
      return [{ group: 'firmware', key: 'secure_boot', value: seed % 2 ? 'on' : null, words: seed % 2 ? 'Only signed kernels start.' : 'Not visible on this machine.' }, { group: 'kernel', key: 'aslr', value: '2', words: 'Addresses are random.' }];
    default:
      return null;
  }
}
