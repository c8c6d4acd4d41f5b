// Made-up releases, rollouts and reports. For development of the pages only; never shipped.
import { createHash } from 'node:crypto';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const iso = (age) => new Date(Date.now() - age).toISOString();
const hash = (text) => createHash('sha256').update(text).digest('hex');
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

const LONG = 'a-product-with-a-name-as-long-as-a-name-can-beee';
const STORIES = [
  { product: 'kiosk', version: '1.2', counter: 12, age: 2 * HOUR, approvals: 0, installed: 0, fixes: ['CVE-2026-31337'], notes: 'Opens the drawer faster.' },
  { product: 'kiosk', version: '1.1', counter: 11, age: 3 * DAY, approvals: 1, installed: 9, fixes: ['CVE-2026-1001', 'CVE-2026-1002', 'CVE-2026-20488'], notes: 'A newer openssl.\nThe screen no longer flickers when the lid opens.' },
  { product: 'kiosk', version: '1.0', counter: 10, age: 60 * DAY, approvals: 1, installed: 2, fixes: [], notes: '' },
  { product: 'pump-firmware', version: '7.0.4', counter: 704, age: 9 * DAY, approvals: 1, rollouts: 0, installed: 11, fixes: [], notes: '', hardware: ['Infusor 3000', 'Infusor 3100'], reboot: true, support: 100 * DAY },
  { product: 'scanner', version: '2026.11', counter: 1, age: HOUR, approvals: 0, installed: 0, fixes: [], notes: '', offerable: false },
];
const BIG = { product: LONG, version: '2026.11.27-rc.1+build.20261127.0123456789abcdef~x', counter: 99, age: DAY, approvals: 1, installed: 4000, notes: 'word '.repeat(700).trim(), fixes: Array.from({ length: 60 }, (_, at) => `CVE-2026-${10_000 + at}`) };

const makeRelease = (story) => ({
  id: hash(`release ${story.product} ${story.version}`), repository: hash('repository'), product: story.product, version: story.version, counter: story.counter,
  path: `${story.product}/${story.version}/release.json`, released_at: iso(story.age + HOUR), published_at: iso(story.age), hardware: story.hardware ?? ['*'],
  reboot: story.reboot ?? false, notes: story.notes, fixes: story.fixes, support_ends_at: story.support ? iso(-story.support) : iso(-900 * DAY), size_bytes: 48_219_402,
  offerable: story.offerable ?? true, approvals: story.approvals, rollouts: story.rollouts ?? story.approvals, installed: story.installed,
});

const storiesOf = (scenario) => scenario === 'empty' || scenario === 'calm' ? [] : scenario === 'big' ? [BIG, ...STORIES] : STORIES;

function makeManifest(story) {
  return encode({
    type: 'fleetward.release.v1', product: story.product, version: story.version, counter: story.counter, conflicts: [{ product: 'scanner', first: 1, last: 3 }], needs: [{ product: 'pump-firmware', least: 700 }], least_before: 0,
    health: { within_seconds: 60, steady_seconds: 10, checks: [{ kind: 'http', port: 8080, path: '/healthz', status: 200 }, { kind: 'process', name: 'kioskd' }] },
    parts: [{ name: 'app', installer: 'directory', place: 'app', length: 8_219_402, segments: hash('s'), sha256: hash('app'), deltas: [{}], unpacked_bytes: 1, unpacked_files: 1 }, { name: 'system', installer: 'rauc', place: 'system', length: 40_000_000, segments: hash('s'), sha256: hash('system'), deltas: [] }],
  });
}

const approval = (story, more = {}) => ({
  id: hash(`approval ${story.version} ${more.kind ?? ''}`), kind: 'approval', product: story.product, version: story.version, release: hash(`release ${story.product} ${story.version}`), withdraws: '', machines: 'group ward-3, site Harbour',
  people: 'Ada Lind, Ben Okoro', reason: 'It mends the openssl weakness.', issued_at: iso(story.age - HOUR), not_before: iso(story.age - HOUR), not_after: iso(-80 * DAY), wait_seconds: 0, windows: 2, state: 'holds', envelope: 'AA', ...more,
});

function makeDetail(story, scenario) {
  const first = story.counter === 10 || story.product !== 'kiosk';
  return {
    release: makeRelease(story), manifest: makeManifest(story), before: first ? '' : '1.0', components: story.product === 'pump-firmware' ? null : 412,
    added: first ? [] : ['libwebp 1.4.0', 'zstd 1.5.6'], removed: first ? [] : ['python3.9 3.9.2'], changed: first ? [] : ['openssl 3.0.1 to 3.0.13', ...Array.from({ length: scenario === 'big' ? 200 : 12 }, (_, at) => `library-${at} 1.${at} to 1.${at + 1}`)],
    approvals: story.approvals === 0 ? [] : [approval(story), approval(story, { kind: 'standing', release: '', machines: 'all machines', wait_seconds: 259_200, windows: 0, reason: '', state: 'withdrawn' })],
  };
}

const changed = new Map();

function makeRollouts(fleet, scenario) {
  if (fleet.length === 0 || scenario === 'calm') return [];
  const machines = scenario === 'big' ? 10_000 : 13;
  const stages = (open, sizes) => sizes.map(([words, limit], at) => ({ words, limit, open: at < open }));
  const row = (id, more) => ({
    id: hash(id).slice(0, 32), product: 'kiosk', version: '1.1', release: hash('release kiosk 1.1'), machines, selector: 'all machines', canaries: '', soak_seconds: 3600, allowed_failures: 0, forgiven_failures: 0, bandwidth: 0, state: 'running', words: '', waits: '', promise: 4, failures: [],
    created_by: 'Anna Example', created_at: iso(5 * HOUR), changed_at: iso(HOUR), exposure: 3, offered: 3, counts: {}, promise_words: '', stages: [], ...more,
  });
  const bad = scenario === 'big' ? 37 : 1;
  return [
    row('held', {
      state: 'held', words: `${bad} ${bad === 1 ? 'machine' : 'machines'} failed: ${bad} by health: http /healthz.`, stages: stages(2, [['canaries', 2], ['10%', scenario === 'big' ? 1000 : 4], ['50%', scenario === 'big' ? 5000 : 6], ['100%', null]]), canaries: 'devices workbench and pump-01',
      promise: scenario === 'big' ? 1000 : 4, promise_words: `At most ${scenario === 'big' ? 1000 : 4} of ${machines} machines can have it before all of these have said how it went. If any fails, nobody else gets it before somebody looks.`, exposure: scenario === 'big' ? 1000 : 3, counts: { committed: scenario === 'big' ? 900 : 1, rolled_back: bad, installed: 1, refused: 0 },
      failures: [{ cause: 'health: http /healthz', count: bad, devices: [fleet[1].id], words: 'Port 8080 gave no answer in 60 s; the release before runs again.' }],
    }),
    row('running', {
      product: 'pump-firmware', version: '7.0.4', release: hash('release pump-firmware 7.0.4'), selector: 'site Harbour', stages: stages(1, [['3', 3], ['100%', null]]), waits: 'The next wave opens in 43 min.', counts: { committed: 2, placed: 1 }, promise: 13,
      promise_words: `All of ${machines} machines can have it before somebody looks: no wave stands in between.`, allowed_failures: 20, soak_seconds: 86_400,
    }),
    row('done', { version: '1.0', release: hash('release kiosk 1.0'), state: 'done', stages: stages(1, [['100%', null]]), exposure: machines, offered: machines, counts: { committed: machines - 2, passed: 2 }, changed_at: iso(50 * DAY), promise_words: `All of ${machines} machines can have it before somebody looks: no wave stands in between.` }),
  ].map((each) => ({ ...each, ...changed.get(each.id) }));
}

function makeParts(rollout, fleet) {
  const states = Object.entries(rollout.counts).flatMap(([state, count]) => Array.from({ length: Math.min(count, 400) }, () => state));
  return states.map((state, at) => {
    const device = fleet[at % fleet.length];
    const failed = state === 'rolled_back' || state === 'failed';
    return { device_id: device.id, name: device.name, site: device.site, wave: at % 3, state, cause: failed ? 'health: http /healthz' : '', words: failed ? 'Port 8080 gave no answer in 60 s; the release before runs again.' : '', placed_at: iso(4 * HOUR), offered_at: iso(3 * HOUR), ended_at: ['committed', 'rolled_back'].includes(state) ? iso(2 * HOUR) : null };
  });
}

function makeOverview(fleet, scenario, goal) {
  const machines = scenario === 'big' ? 10_000 : 13;
  const stories = storiesOf(scenario);
  const products = [...new Set(stories.map((story) => story.product))];
  const behind = (count, version) => Array.from({ length: Math.min(count, 100) }, (_, at) => ({ device_id: fleet[at % fleet.length].id, name: fleet[at % fleet.length].name, site: fleet[at % fleet.length].site, version: at % 3 === 2 ? '' : version, days: Math.max(0, 41 - at) }));
  return {
    as_of: iso(0), makers: scenario === 'empty' ? [] : products.length > 0 ? ['kiosk', 'pump-firmware'] : ['kiosk'], machines: products.length > 0 ? machines : 0, current: products.length > 0 ? machines - 2 : 0,
    products: products.map((product) => {
      const known = product === 'kiosk' || product === LONG;
      const lacking = known ? (scenario === 'big' ? 912 : 4) : 0;
      const all = product === 'scanner' ? 0 : machines;
      return {
        product, newest: product === 'scanner' ? '' : stories.find((story) => story.product === product && story.approvals > 0)?.version ?? '', machines: all, silent: lacking ? Math.floor(Math.min(lacking, 100) / 3) : 0, current: all - lacking, fresh: all - Math.floor(lacking / 2), goal_days: goal,
        versions: product === 'kiosk' ? { '1.1': 9, '1.0': 3 } : product === 'scanner' ? {} : { '7.0.4': 11 }, behind: all ? behind(lacking, '1.0') : [],
        history: all ? Array.from({ length: 40 }, (_, at) => ({ day: iso((40 - at) * DAY), machines: all, fresh: Math.round(all * Math.min(1, 0.55 + at * 0.01 + (at % 5) * 0.02)) })) : [],
      };
    }),
    rollouts: makeRollouts(fleet, scenario).filter((each) => !['done', 'cancelled'].includes(each.state)),
    failures: products.length > 0 ? [{ product: 'kiosk', version: '1.1', cause: 'health: http /healthz', count: 1, devices: [fleet[1].id] }] : [],
  };
}

function makeDeviceUpdates(row, search) {
  const runs = row.need === 'updates' || row.seed === 0;
  const report = (at, more) => ({ id: hash(`report ${at}`), product: 'kiosk', version: '1.1', outcome: 'committed', attempt: 1, rule: '', cause: '', words: 'All checks held.', findings: [{ check: 'http 8080 /healthz', good: true, words: '' }, { check: 'process kioskd', good: true, words: '' }], said_at: iso(at), at: iso(at), simulated: row.simulated, report: 'AA', ...more });
  const items = runs ? [
    report(HOUR, { attempt: 2, outcome: 'committed' }),
    report(2 * HOUR, { outcome: 'rolled_back', rule: 'health', cause: 'health: http 8080 /healthz', words: 'It did not answer within 60 s, so 1.0 runs again.', findings: [{ check: 'process kioskd', good: true, words: '' }, { check: 'http 8080 /healthz', good: false, words: 'connection refused' }] }),
    report(3 * DAY, { version: '1.1', outcome: 'refused', rule: 'outside_window', words: 'Its windows are closed now: it waits until 22:00.', findings: [] }),
    report(60 * DAY, { version: '1.0' }),
  ] : [];
  return {
    device_id: row.id, name: row.name, site: row.site, counters: runs ? 'file' : null, told: runs ? ['kiosk 1.2'] : [], told_at: runs ? iso(HOUR) : null,
    products: runs ? [
      { product: 'kiosk', version: '1.1', counter: 11, floor: 10, since: iso(HOUR), days_behind: 3, newest: '1.2', outcome: 'committed', target: '1.1', attempt: 2, cause: '', words: '', said_at: iso(HOUR) },
      { product: 'pump-firmware', version: '7.0.4', counter: 704, floor: 700, since: iso(9 * DAY), days_behind: 0, newest: '7.0.4', outcome: 'committed', target: '7.0.4', attempt: 1, cause: '', words: '', said_at: iso(9 * DAY) },
    ] : [],
    ...cut(items, search),
  };
}

function cut(rows, search) {
  const page = Number(search.get('page') ?? 1);
  const per_page = Number(search.get('per_page') ?? 50);
  return { items: rows.slice((page - 1) * per_page, page * per_page), total: rows.length, page, per_page };
}

const STATES = { pause: 'paused', resume: 'running', hold: 'held', continue: 'running', cancel: 'cancelled', 'offer-again': 'running' };

/** What is answered below /updates; undefined where there is nothing. */
export function answerUpdates(method, parts, search, body, fleet, scenario) {
  const [what, one, two, three] = parts;
  if (what === 'overview') return makeOverview(fleet, scenario, Number(search.get('goal_days') ?? 30));
  if (what === 'recalls' && method === 'GET' && !one) return { items: [] };
  if (what === 'devices') {
    const row = fleet.find((each) => each.id === one);
    return row && makeDeviceUpdates(row, search);
  }
  if (what === 'releases' && !one) return { items: storiesOf(scenario).map(makeRelease) };
  if (what === 'releases') {
    const story = storiesOf(scenario).find((each) => each.product === one && each.version === decodeURIComponent(two));
    if (!story || three !== 'devices') return story && makeDetail(story, scenario);
    const rows = fleet.slice(0, story.installed).map((each, at) => ({ device_id: each.id, name: each.name, site: each.site, simulated: each.simulated, runs: at > 0, version: at > 0 ? story.version : '1.0', outcome: at > 0 ? 'committed' : 'rolled_back', cause: at > 0 ? '' : 'health: http /healthz', words: at > 0 ? '' : 'It did not answer within 60 s.', said_at: iso(HOUR) }));
    return { runs: Math.max(0, rows.length - 1), failed: Math.min(1, rows.length), ...cut(rows.filter((each) => JSON.stringify(each).includes(search.get('q') ?? '')), search) };
  }
  if (what === 'rollout-forecasts') {
    const machines = body.selector.sites?.length || body.selector.groups?.length || body.selector.models?.length ? 4 : fleet.length;
    const once = body.waves.length === 1;
    return { machines, approved: machines - 1, already: 0, promise: once ? machines : 1, promise_words: once ? `All of ${machines} machines can have it before somebody looks: no wave stands in between.` : `At most 1 of ${machines} machines can have it before all of these have said how it went. If any fails, nobody else gets it before somebody looks.`, stages: [...(body.canaries ? [{ words: 'canaries', limit: body.canaries.devices.length, open: false }] : []), ...body.waves.map((words) => ({ words, limit: words === '100%' ? null : Math.max(1, Math.floor((machines * parseFloat(words)) / 100)), open: false }))] };
  }
  const rollouts = makeRollouts(fleet, scenario);
  if (what === 'rollouts' && !one) return method === 'POST' ? rollouts[1] : { items: rollouts };
  const rollout = rollouts.find((each) => each.id.startsWith(one));
  if (!rollout) return undefined;
  if (method === 'POST') {
    changed.set(rollout.id, { state: STATES[two], words: body.reason });
    return { ...rollout, ...changed.get(rollout.id) };
  }
  const states = (search.get('state') ?? '').split(',').filter(Boolean);
  const wanted = makeParts(rollout, fleet).filter((each) => (states.length === 0 || states.includes(each.state)) && JSON.stringify(each).includes(search.get('q') ?? ''));
  const deeds = [{ at: iso(HOUR), kind: 'rollout.continued', who: 'Anna Example', words: `The rollout of ${rollout.product} ${rollout.version} was continued: the cable was loose.` }, { at: iso(5 * HOUR), kind: 'rollout.created', who: 'Anna Example', words: `A rollout of ${rollout.product} ${rollout.version} to all machines was made. At most 4 of 13 machines can have it before somebody looks.` }];
  return { rollout, deeds, ...cut(wanted, search) };
}
