// A made-up server for developing the pages: it serves the built bundles with the real policy headers
// and answers with made-up data. It checks nothing, proves nothing, and is never shipped.
//
//   node dev/mock-server.mjs [console port] [owner port]
//
// GET /dev/scenario?name=normal|big|empty|calm|noroot|error|down|lie|unreachable   changes what is answered
// GET /dev/reports                                                                 policy reports so far
import { randomBytes } from 'node:crypto';
import { readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { makeDetail, makeFacts, makeFleet, makeHistory, makeToday, wordsOf } from './mock-data.mjs';
import { makeAhead, makeSession, makeSessions } from './mock-sessions.mjs';
import { makeTiers } from './mock-closing.mjs';
import { answerUpdates } from './mock-updates.mjs';
import { makeOwner } from './mock-owner.mjs';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CONSOLE = join(ROOT, 'src/fleetward/server/web/static');
const OWNER = join(ROOT, 'src/fleetward/keyholder/console/static');
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml' };
const iso = (age) => new Date(Date.now() - age).toISOString();

let scenario = 'normal';
let fleet = makeFleet(scenario);
let owner = makeOwner(fleet);
const reports = [];
const streams = new Set();
const drills = new Map();
let tourDone = [1, 2];
let goal = null;

const publish = (topic, body = {}) => streams.forEach((stream) => stream.write(`event: ${topic}\ndata: ${JSON.stringify(body)}\n\n`));

function policy(nonce) {
  return [
    "default-src 'none'", "script-src 'self'", `style-src 'self'${nonce ? ` 'nonce-${nonce}'` : ''}`, "connect-src 'self'",
    "img-src 'self' data:", "font-src 'self'", "manifest-src 'self'", "require-trusted-types-for 'script'", 'trusted-types default',
    "frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'", 'report-uri /csp-report',
  ].join('; ');
}

/** The files of one program, read once: a build beside this server changes nothing here. */
function loadBundle(folder) {
  const names = readdirSync(folder, { recursive: true }).map(String).filter((name) => extname(name) !== '');
  return new Map(names.map((name) => [name, readFileSync(join(folder, name))]));
}

function serveFile(bundle, path, response) {
  const name = path.slice(1);
  const page = !bundle.has(name) || name === 'index.html';
  const nonce = randomBytes(16).toString('base64url');
  const file = page ? 'index.html' : name;
  let content = bundle.get(file);
  if (page) content = content.toString().replaceAll('__STYLE_NONCE__', nonce);
  response.writeHead(200, {
    'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
    'Content-Security-Policy': policy(page ? nonce : null),
    'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer', 'Cross-Origin-Opener-Policy': 'same-origin',
    'Cache-Control': 'no-store',
  });
  response.end(content);
}

const problem = (status, title, detail, next) => ({ status, body: { type: 'about:blank', status, title, detail, reason: 'made_up', next } });
const paged = (rows, search, extra = {}) => {
  const page = Number(search.get('page') ?? 1);
  const per_page = Number(search.get('per_page') ?? 50);
  return { items: rows.slice((page - 1) * per_page, page * per_page), total: rows.length, page, per_page, ...extra };
};

function listDevices(search) {
  const want = (key) => search.get(key);
  const sort = want('sort') || 'name';
  const by = { last_seen: 'last_seen_at', updates: 'updates_pending' }[sort.replace(/^-/, '')] ?? sort.replace(/^-/, '');
  const rows = fleet.filter((row) =>
    (!want('site') || row.site === want('site')) && (!want('state') || row.state === want('state')) &&
    (!want('connection') || row.connection === want('connection')) && (!want('need') || row.need === want('need')) &&
    (!want('q') || `${row.name} ${row.model} ${row.id}`.toLowerCase().includes(want('q').toLowerCase())));
  rows.sort((a, b) => String(a[by] ?? '').localeCompare(String(b[by] ?? ''), 'en', { numeric: true }) * (sort.startsWith('-') ? -1 : 1));
  return paged(rows, search);
}

function listSites() {
  const sites = [...new Set(fleet.map((row) => row.site))].sort();
  return { items: sites.map((site) => {
    const here = fleet.filter((row) => row.site === site);
    const silent = here.filter((row) => row.connection === 'silent').length;
    const need_you = here.filter((row) => ['updates', 'exposed', 'quarantined'].includes(row.need)).length;
    return { site, total: here.length, silent, need_you, fine: here.length - silent - need_you };
  }) };
}

const ATTACKS = ['Another owner', 'Another policy', 'Code to run', 'A false roster', 'An administrator’s order', 'A session without the owner', 'A permission by another key', 'A signature for something else'];
const REASONS = ['It was signed by an owner whom this machine does not know.', 'Policy 9 is not signed by the people of policy 2.', 'No such order exists: this machine runs no code from its server.', 'The roster’s signature is not the owner’s.', 'Only the owner’s keys can order that.', 'The request is by nobody whom the owner lets ask.', 'The permission is signed by nobody who may say yes.', 'The signature is for other words.'];

function startDrill() {
  const id = randomBytes(8).toString('hex');
  const steps = ATTACKS.map((attack, at) => ({ id: String(at), attack, words: 'Sent with everything that the server holds.', outcome: 'waiting', reason: '', answer: '', at: null }));
  const drill = { id, device_id: fleet[0].id, state: 'running', started_at: iso(0), steps };
  drills.set(id, drill);
  steps.forEach((step, at) => setTimeout(() => {
    Object.assign(step, { outcome: 'refused', answer: REASONS[at], reason: 'refused', at: iso(0) });
    if (at === ATTACKS.length - 1) drill.state = 'passed';
    publish('drill.changed', { drill_id: id });
  }, 700 * (at + 1)));
  return drill;
}

const person = { id: 'p1', name: 'Anna Example', role: 'admin' };
const session = () => ({ kind: 'session', person, expires_at: iso(-11 * 3_600_000), passkey: { registered: false, required: false }, passkey_only: false });

function deviceAnswer(method, parts, search) {
  const row = fleet.find((each) => each.id === parts[0]);
  if (!row) return problem(404, 'Not found', 'No device has this id.', 'Go back to the list and look there.');
  const [, what] = parts;
  if (!what) return { body: makeDetail(row) };
  if (method === 'POST') {
    row.state = what === 'quarantine' ? 'quarantined' : 'active';
    publish('device.changed', { device_id: row.id });
    return { body: { id: row.id, state: row.state } };
  }
  if (what === 'history') return { body: paged(makeHistory([row], row.seed), search) };
  const found = makeFacts(row, what);
  const facts = found?.filter((each) => JSON.stringify(each).includes(search.get('q') ?? ''));
  return facts ? { body: paged(facts, search, { as_of: iso(38_000), sight: { level: row.noRoot ? 'partial' : 'full', words: row.noRoot ? 'Without root: some of it is not visible.' : '' } }) } : problem(404, 'Not found', 'There is no such list.');
}

function accessAnswer(id, search) {
  const sessions = makeSessions(fleet, scenario);
  if (id) {
    const found = sessions.find((each) => each.id.startsWith(id));
    return found ? { body: makeSession(found) } : problem(404, 'Not found', 'No request of this id is known here.');
  }
  const states = (search.get('state') ?? '').split(',').filter(Boolean);
  const device = search.get('device_id');
  return { body: paged(sessions.filter((each) => (states.length === 0 || states.includes(each.state)) && (!device || each.device_id === device)), search) };
}

function consoleAnswer(method, path, search, body) {
  if (scenario === 'error' && !path.startsWith('/session')) return problem(500, 'Something broke here', 'The server could not answer. Its log has the entry 4f2a91.', 'Whoever runs the server finds the cause in its log.');
  const parts = path.slice(1).split('/');
  if (parts[0] === 'devices' && parts.length > 1) return deviceAnswer(method, parts.slice(1), search);
  if (parts[0] === 'access' && parts[1] === 'requests') return accessAnswer(parts[2], search);
  if (parts[0] === 'access' && parts[1] === 'standing') return { body: { items: makeAhead(fleet, scenario).filter((each) => !search.get('device_id') || each.machines.some((machine) => machine.device_id === search.get('device_id'))) } };
  if (parts[0] === 'closing-machines' && parts[1]) {
    const row = fleet.find((each) => each.id === parts[1]);
    return row ? { body: makeTiers(row) } : problem(404, 'Not found', 'No machine of this id is known here.');
  }
  if (parts[0] === 'updates') {
    const found = answerUpdates(method, parts.slice(1), search, body, fleet, scenario);
    if (method === 'POST' && parts[1] === 'rollouts') publish('update.changed', { what: 'rollout' });
    return found === undefined ? problem(404, 'Not found', 'There is no such release or rollout here.') : { body: found };
  }
  if (parts[0] === 'drills' && parts[1]) return { body: drills.get(parts[1]) };
  if (method === 'DELETE') return { status: 204 };
  if (parts[0] === 'updates' && parts[1] === 'devices') return { body: { device_id: parts[2], name: '', site: '', products: [], told: [], told_at: null, items: [], total: 0, page: 1, per_page: 20 } };
  switch (`${method} ${path}`) {
    case 'POST /session/redeem':
      return body.code === 'used' ? problem(401, 'Sign in first', 'This link was used or is older than 15 minutes.', 'Make another: fleetward login-link --data DIR, on the server’s own computer.') : { body: { ...session(), token: 'fws_made_up' } };
    case 'GET /session': return { body: session() };
    case 'GET /today': return { body: makeToday(fleet, scenario) };
    case 'GET /devices': return { body: listDevices(search) };
    case 'GET /sites': return { body: listSites() };
    case 'GET /timeline': return { body: paged(makeHistory(fleet, 0).filter((item) => !search.get('since') || item.at >= search.get('since')), search) };
    case 'GET /record': return { body: { state: scenario === 'lie' ? 'broken' : 'intact', size: 4182, generation: 1, checkpoint: 'fleetward.example/1\n4182\nqLk3vQe8j0b1Q0oJwSJqjQm0d2uJvB6N5i5m2m1d3nY=\n\n— fleetward-log 7f3aAbCd0123', as_of: iso(120_000), words: 'Entry 2,917 does not fit.', owner_root: 'a'.repeat(64), witnesses: [], devices: fleet.map((row) => ({ id: row.id, name: row.name, head_at: row.last_seen_at, age_seconds: row.last_seen_at ? 40 : null })) } };
    case 'GET /owner/pending': return { body: { items: fleet.filter((row) => row.state === 'pending').map((row) => ({ id: row.id, suite: 'es256', public: 'AAAA', name_suggested: row.name, site: row.site, model: row.model, words: wordsOf(row.seed), joined_at: iso(480_000), maker: '', invitation: 'i1', preapproved: false, simulated: true })) } };
    case 'POST /drills': return { body: startDrill() };
    case 'GET /doctor': return { body: { checks: [{ id: 'owner', state: 'warn', words: 'The owner’s folder lies on this computer, so whoever breaks into it can sign as the owner.', next: 'Make a new root on another computer, and join again.' }, { id: 'tls', state: 'ok', words: 'TLS is in order.', next: null }] } };
    case 'GET /tour': return { body: { step: 3, done: tourDone, goal, facts: { device_id: fleet[0]?.id ?? null, waiting_device_id: fleet[6]?.id ?? null, open_port_command: 'busybox nc -l -p 8023' } } };
    case 'POST /tour':
      if (body.done) tourDone = [...new Set([...tourDone, body.done])];
      goal = body.goal ?? goal;
      return { body: { step: body.step ?? 1, done: tourDone, goal, facts: {} } };
    case 'GET /persons': return { body: paged([{ ...person, created_at: iso(9e8), last_seen_at: iso(20_000) }, { id: 'p2', name: 'Bert Example', role: 'viewer', created_at: iso(9e8), last_seen_at: null }], search) };
    case 'POST /persons': return { status: 201, body: { id: 'p3', ...body, created_at: iso(0), last_seen_at: null } };
    case 'POST /login-links': return { status: 201, body: { url: 'http://console.localhost:8443/#code=fwl_made_up_made_up_made_up', expires_at: iso(-900_000) } };
    case 'GET /tokens': return { body: paged([{ id: 't1', name: 'Nightly report with a name that somebody made far too long, as somebody will do', role: 'viewer', scope: { sites: ['Harbour'], devices: [] }, created_at: iso(9e8), expires_at: iso(-9e8), last_used_at: iso(3_600_000) }], search) };
    case 'POST /tokens': return { status: 201, body: { id: 't2', token: 'fwt_made_up_made_up_made_up_made_up_made_up', expires_at: iso(-body.ttl_seconds * 1000) } };
    default: return problem(404, 'Not found', 'There is no such address.');
  }
}

async function readBody(request) {
  let text = '';
  for await (const part of request) text += part;
  return text;
}

function control(url, response) {
  if (url.pathname === '/dev/scenario') {
    scenario = url.searchParams.get('name') ?? 'normal';
    goal = null;
    fleet = makeFleet(scenario);
    owner = makeOwner(fleet);
    if (scenario === 'down') streams.forEach((stream) => stream.destroy());
    publish('lost');
  }
  response.writeHead(200, { 'Content-Type': 'application/json' });
  response.end(JSON.stringify({ scenario, reports }));
}

function openStream(request, response) {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  response.write(': still here\n\n');
  streams.add(response);
  const beat = setInterval(() => response.write(': still here\n\n'), 15_000);
  request.on('close', () => { clearInterval(beat); streams.delete(response); });
}

const serve = (bundle, answer) => async (request, response) => {
  const url = new URL(request.url, 'http://x');
  if (url.pathname.startsWith('/dev/')) return control(url, response);
  if (url.pathname === '/csp-report') {
    reports.push(await readBody(request));
    return response.writeHead(204).end();
  }
  if (!url.pathname.startsWith('/api/v1/')) return serveFile(bundle, url.pathname, response);
  if (scenario === 'down') return request.socket.destroy();
  const path = url.pathname.slice(7);
  if (path === '/stream') return openStream(request, response);
  if (path === '/record/export') return response.writeHead(200, { 'Content-Type': 'application/x-tar' }).end('made up');
  const text = await readBody(request);
  const { status = 200, body } = answer(request.method, path, url.searchParams, text ? JSON.parse(text) : {});
  response.writeHead(status, { 'Content-Type': status >= 400 ? 'application/problem+json' : 'application/json', 'Cache-Control': 'no-store' });
  return response.end(body === undefined ? '' : JSON.stringify(body));
};

const [consolePort = 8443, ownerPort = 8444] = process.argv.slice(2).map(Number);
createServer(serve(loadBundle(CONSOLE), consoleAnswer)).listen(consolePort, '127.0.0.1');
createServer(serve(loadBundle(OWNER), (method, path, _search, body) => {
  const found = owner(method, path, body, scenario);
  return found === undefined ? problem(404, 'Not found', 'There is no such address.') : { body: found };
})).listen(ownerPort, '127.0.0.1');
process.stdout.write(`made-up data: http://console.localhost:${consolePort}/#code=x  http://owner.localhost:${ownerPort}/#secret=x\n`);
