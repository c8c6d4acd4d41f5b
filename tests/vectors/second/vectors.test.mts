// Every published vector, run by this implementation. FLEETWARD_VECTORS names their folder.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import { type JsonObject, decode, encode, fromBase64url as b } from "./canonical.mjs";
import { verifyClosing, verifyKept, verifyReport } from "./closing.mjs";
import { readEnvelope, verifySingle, verifyThreshold } from "./envelope.mjs";
import { Failure } from "./errors.mjs";
import { readAddress, readJoinString } from "./join.mjs";
import { type PublicKey, readKey, verifySignature } from "./keys.mjs";
import { startOfChain, verifyBatch, verifyHello, verifyJoin, verifyRenewal } from "./machine.mjs";
import { hashLeaf, root, verifyConsistency, verifyInclusion } from "./merkle.mjs";
import { verifyCheckpoint, verifyCosignature } from "./note.mjs";
import * as owner from "./owner.mjs";
import { verifyComparison, verifyReceipt } from "./receipt.mjs";
import * as release from "./release.mjs";
import { type Session, verifySession, verifyStop } from "./session.mjs";
import { verifyTakeOver } from "./handover.mjs";
import { runOf } from "./runbook.mjs";
import { type Wanted, verifyEntry, verifyStanding, verifyState, verifyStopAhead } from "./standing.mjs";
import { type View, Waiting, advance, firstView, readBundle } from "./view.mjs";
import { deviceWords, sixWords } from "./words.mjs";

// The vectors' own JSON is trusted and untyped: this is the one place where `any` is used.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Given = any;

const folder = process.env["FLEETWARD_VECTORS"] ?? ".";
const load = (name: string): Given => JSON.parse(readFileSync(join(folder, name), "utf8"));
const list: string[] = load("wordlist.json");
const hex = (text: string): Buffer => Buffer.from(text, "hex");
const keyOf = (g: Given): PublicKey => readKey(g.suite, b(g.public));
const policyOf = (g: Given): owner.Policy =>
  owner.verifyChain(owner.verifyRoot(b(g.root), g.owner), g.policies.map(b));
const sessionOf = (g: Given): Session => {
  const documents = { request: b(g.request), offer: b(g.offer), grant: b(g.grant) };
  const moment = { boot: g.boot, now: g.now, lease: g.lease, sandboxed: g.sandboxed };
  return verifySession(documents, policyOf(g), keyOf(g.device), moment);
};
const chainOf = (g: Given): owner.Policy[] =>
  g.policies.map((_: string, at: number) =>
    policyOf({ ...g, policies: g.policies.slice(0, at + 1) }),
  );
const rosterOf = (g: Given): owner.Roster => owner.verifyRoster(b(g.roster), policyOf(g));

function runView(given: Given): JsonObject {
  let view: View | undefined;
  const steps = given.bundles.map((data: string) => {
    try {
      const bundle = readBundle(b(data));
      view = view ? advance(view, bundle) : firstView(given.anchor, bundle);
    } catch (error) {
      if (error instanceof Failure) return { family: error.family };
      throw error;
    }
    return {
      confirmed: view.entry?.state === "active",
      head: view.head?.version ?? 0,
      lease: view.lease?.serial ?? 0,
      policy: view.policies.length,
      roster: view.roster?.version ?? 0,
    };
  });
  return { steps };
}

function runWaiting(given: Given): JsonObject {
  let view: View | undefined;
  const steps = given.bundles.map((data: string, at: number) => {
    try {
      const bundle = readBundle(b(data));
      view = view ? advance(view, bundle, given.waited[at]) : firstView(given.anchor, bundle);
    } catch (error) {
      if (error instanceof Waiting) return { waits: error.policy.hash, seconds: error.before.recovery!.delay };
      if (error instanceof Failure) return { family: error.family };
      throw error;
    }
    const policy = view.policies.at(-1)!;
    return { policy: policy.version, name: policy.name || view.root.name };
  });
  return { steps };
}

const checks: Record<string, (g: Given) => unknown> = {
  "canonical.decode": (g) => (decode(b(g.data)), {}),
  "canonical.encode": (g) => ({ data: encode(g.value).toString("base64url") }),
  "key.read": (g) => ({ key_id: keyOf(g).id }),
  "key.verify": (g) => (verifySignature(keyOf(g), b(g.signature), b(g.message)), {}),
  "envelope.threshold": (g) => {
    const keys = new Map<string, { key: PublicKey; person: string }>();
    for (const row of g.keys) keys.set(keyOf(row).id, { key: keyOf(row), person: row.person });
    const envelope = readEnvelope(b(g.envelope));
    const people = verifyThreshold(envelope, g.type, { keys, threshold: g.threshold });
    return { people, hash: envelope.hash };
  },
  "envelope.single": (g) => {
    const envelope = readEnvelope(b(g.envelope));
    verifySingle(envelope, g.type, keyOf(g));
    return { hash: envelope.hash };
  },
  "policy.chain": (g) => {
    const { epoch, hash, version } = policyOf(g);
    return { epoch, hash, version };
  },
  "roster.entry": (g) => {
    const roster = rosterOf(g);
    const entry = owner.verifyEntry(roster, b(g.entry), g.index, g.proof.map(b), g.device);
    return { name: entry.name, state: entry.state, version: roster.version };
  },
  "roster.whole": (g) => {
    const roster = rosterOf(g);
    const entries = owner.verifyEntries(roster, g.entries.map(b));
    return { devices: entries.map((e) => e.device), hash: roster.hash };
  },
  head: (g) => {
    const head = owner.verifyHead(b(g.head), policyOf(g));
    return {
      hash: head.hash, policy_version: head.policyVersion, roster_version: head.rosterVersion,
      version: head.version,
    };
  },
  lease: (g) => {
    const policy = policyOf(g);
    const lease = owner.verifyLease(b(g.lease), policy, owner.verifyHead(b(g.head), policy));
    return { seconds: lease.seconds, serial: lease.serial };
  },
  invitation: (g) => owner.verifyInvitation(b(g.invitation), policyOf(g), g.now),
  session: (g) => {
    const found = sessionOf(g);
    return {
      people: found.people, scopes: found.scopes.map((s) => s.json), seconds: found.seconds,
      session: found.hash, words: sixWords(hex(found.hash), list),
    };
  },
  "session.stop": (g) => ({ person: verifyStop(b(g.stop), policyOf(g), sessionOf(g)) }),
  runbook: (g) => runOf(b(g.runbook), policyOf(g), g.scope),
  standing: (g) => {
    const found = verifyStanding(b(g.standing), policyOf(g));
    return {
      hash: found.hash, people: found.people, scopes: found.scopes.map((s) => s.json),
      seconds: found.seconds, windows: found.windows.map((each) => [each.begin, each.end]),
      words: sixWords(hex(found.hash), list),
    };
  },
  "standing.entry": (g) => {
    const papers = {
      request: b(g.request), offer: b(g.offer), standing: b(g.standing), entry: b(g.entry),
    };
    const here = { boot: g.boot, now: g.now, lease: g.lease, sandboxed: g.sandboxed };
    const wanted: Wanted = {
      here, lastUsed: g.last_used, signed: g.signed, doubt: g.doubt, pressed: g.pressed,
    };
    return verifyEntry(papers, policyOf(g), keyOf(g.device), wanted);
  },
  "standing.state": (g) => verifyState(b(g.word), keyOf(g), g.owner),
  "standing.stop": (g) => verifyStopAhead(b(g.stop), policyOf(g)),
  receipt: (g) => verifyReceipt(b(g.receipt), keyOf(g.device), g.owner),
  comparison: (g) => verifyComparison(b(g.document), g.digest, g.session),
  closing: (g) => verifyClosing(b(g.closing), policyOf(g), g.device),
  "closing.kept": (g) => verifyKept(b(g.kept), policyOf(g)),
  "closing.report": (g) => verifyReport(b(g.report), keyOf(g), g.owner),
  opening: (g) => owner.verifyOpening(b(g.opening), chainOf(g)),
  join_string: (g) => readJoinString(g.text),
  address: (g) => readAddress(g.text),
  "statement.join": (g) => verifyJoin(b(g.statement)),
  "statement.renewal": (g) => verifyRenewal(b(g.statement), keyOf(g)),
  "statement.hello": (g) => verifyHello(b(g.statement), keyOf(g), b(g.nonce)),
  "journal.start": (g) => ({ head: startOfChain(g.owner, g.device).toString("hex") }),
  "journal.batch": (g) => verifyBatch(b(g.batch), keyOf(g), g.owner),
  "merkle.root": (g) => ({
    root: root(g.leaves.map((leaf: string) => hashLeaf(b(leaf)))).toString("hex"),
  }),
  "merkle.inclusion": (g) => {
    verifyInclusion(hashLeaf(b(g.leaf)), g.index, g.size, g.path.map(b), hex(g.root));
    return {};
  },
  "merkle.consistency": (g) => {
    const roots = [hex(g.old_root), hex(g.new_root)] as const;
    verifyConsistency(g.old_size, roots[0], g.new_size, roots[1], g.proof.map(b));
    return {};
  },
  "note.checkpoint": (g) => {
    const note = verifyCheckpoint(g.note, g.origin, keyOf(g));
    return { root: note.root.toString("hex"), size: note.size };
  },
  "note.cosignature": (g) => ({ at: verifyCosignature(g.note, g.name, keyOf(g)) }),
  "words.digest": (g) => ({ words: sixWords(hex(g.digest), list) }),
  "words.device": (g) => ({ words: deviceWords(g.owner, g.device, list) }),
  view: runView,
  "view.waiting": runWaiting,
  "policy.turns": (g) => {
    const { name } = owner.verifyRoot(b(g.root), g.owner);
    const turns = chainOf(g).map((p) => ({ epoch: p.epoch, name: p.name || name, recovered: p.recovered }));
    return { turns };
  },
  "takeover.offer": (g) => verifyTakeOver(b(g.offer)),
  "release.manifest": (g) => release.readManifest(b(g.manifest)).found,
  "release.segments": (g) => ({
    segments: release.listSegments(Buffer.concat(Array<Buffer>(g.times).fill(b(g.data)))),
  }),
  "release.selector": (g) => {
    const selector = release.readSelector(g.selector);
    return { all: selector === "all", selects: release.selects(selector, b(g.entry)) };
  },
  "release.windows": (g) => ({
    holds: release.readWindows(g.windows).map((window) => release.holds(window, g.day, g.minute)),
  }),
  "release.approval": (g) => {
    const manifest = release.readManifest(b(g.manifest));
    const moment = { manifest, knownSince: g.known_since, now: g.now };
    return release.verifyApproval(b(g.approval), policyOf(g), moment);
  },
  "release.withdrawal": (g) => release.verifyWithdrawal(b(g.withdrawal), policyOf(g)),
  "release.report": (g) => release.verifyUpdateReport(b(g.report), keyOf(g), g.owner),
};

function resolve(value: Given, shared: Record<string, string>): Given {
  if (typeof value === "string") return shared[value] ?? value;
  if (Array.isArray(value)) return value.map((item) => resolve(item, shared));
  if (typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v, shared)]));
}

/** Families are part of the formats; reasons depend on the order of checks as well. */
function withoutReasons(expect: Given): Given {
  if (!expect.steps) return expect;
  return { steps: expect.steps.map((s: Given) => (s.family ? { family: s.family } : s)) };
}

for (const name of readdirSync(folder).filter((n) => n.endsWith(".json"))) {
  if (name === "wordlist.json") continue;
  const { cases, shared } = load(name);
  for (const entry of cases) {
    test(`${name}: ${entry.name}`, () => {
      const check = checks[entry.check];
      assert.ok(check, `no implementation of ${entry.check}`);
      const given = resolve(entry.input, shared);
      if (entry.expect) {
        assert.deepEqual(JSON.parse(JSON.stringify(check(given))), withoutReasons(entry.expect));
        return;
      }
      assert.throws(
        () => check(given),
        (error) => error instanceof Failure && error.family === entry.refused.family,
      );
    });
  }
}
