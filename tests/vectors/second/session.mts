// Sessions: what a policy lets be asked, and whether a machine opens one.

import { type BreakGlass, readBreakGlass, readMark, rulesFor, standIns } from "./breakglass.mjs";
import { type Json, type JsonObject, encode } from "./canonical.mjs";
import {
  type Delegation, MAX_DELEGATION_BYTES, checkDelegated, checkDelegationTime, verifyDelegation,
} from "./delegation.mjs";
import { type Envelope, type Holder, type Role, readEnvelope, verifyHolder, verifySingle, verifyThreshold } from "./envelope.mjs";
import { malformed, refused, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey } from "./keys.mjs";
import { type Policy, role } from "./owner.mjs";
import { checkDigest, checkPath, readRunbookScope, readSerial } from "./runbook.mjs";

const KINDS = ["terminal", "root", "tcp", "logs", "files", "serial", "runbook"];
const LISTS: Record<string, string> = {
  terminal: "profiles", logs: "units", files: "roots", serial: "paths", runbook: "digests",
};
const KEY_ID = /^[a-z2-7]{32}$/;
const DAY = 86_400;

export interface Rule {
  threshold: number;
  seconds: number;
  watched: boolean;
  allowed: string[];
  ports: number[][];
  signers: string[];
}

export interface Access {
  requesters: string[];
  rules: Map<string, Rule>;
  walls: string;
  delegators: string[];
  breakGlass: BreakGlass | undefined;
}

export interface Scope {
  json: JsonObject;
  kind: string;
  target: string;
  port: number;
  asRoot: boolean;
}

export interface Moment {
  boot: string;
  now: number;
  lease: number;
  sandboxed: boolean;
}

export interface Session {
  hash: string;
  people: string[];
  request: Request;
  scopes: Scope[];
  seconds: number;
}

function profile(text: string): string {
  return /^[a-z_][a-z0-9_-]{0,31}$/.test(text) && text !== "root" ? text : malformed("bad_scope");
}

function unit(text: string): string {
  const good = /^[A-Za-z0-9@._:-]{1,128}$/.test(text) && !text.startsWith("-");
  return text === "*" || good ? text : malformed("bad_scope");
}

function folder(text: string): string {
  const parts = text.split("/").slice(1);
  const good = parts.every((p) => p !== "" && p !== "." && p !== ".." && [...p].length <= 255);
  return text.startsWith("/") && text.length > 1 && good ? text : malformed("bad_scope");
}

const CHECKS: Record<string, (text: string) => string> = {
  terminal: profile,
  logs: unit,
  files: folder,
  serial: checkPath,
  runbook: checkDigest,
};

export function readAccess(value: Json): Access {
  const object = typeof value === "object" && !Array.isArray(value) ? value : malformed("access");
  const kinds = KINDS.filter((kind) => kind in object);
  const optional = ["break_glass", "delegators"].filter((name) => name in object);
  const fields = new Fields(value, ["requesters", "walls", ...kinds, ...optional]);
  const requesters = fields.texts("requesters", 128);
  const delegators = optional.includes("delegators") ? fields.texts("delegators", 128) : [];
  if (!delegators.every((id) => requesters.includes(id))) malformed("bad_role");
  return {
    delegators,
    requesters,
    rules: new Map(kinds.map((kind) => [kind, readRule(kind, fields.map(kind))])),
    walls: fields.matching("walls", /^(any|sandbox)$/),
    breakGlass: optional.includes("break_glass")
      ? readBreakGlass(fields.map("break_glass"), KINDS, readRule)
      : undefined,
  };
}

function readRule(kind: string, value: JsonObject): Rule {
  const list = LISTS[kind];
  const more = kind === "tcp" ? ["ports"] : list ? [list] : [];
  if (kind === "runbook") more.push("signers");
  const fields = new Fields(value, ["seconds", "threshold", "watched", ...more]);
  const ports = kind === "tcp" ? fields.items("ports", 64).map(readPorts) : [];
  return {
    threshold: fields.integer("threshold", 1, 32),
    seconds: fields.integer("seconds", 1, DAY),
    watched: fields.boolean("watched"),
    allowed: list ? fields.texts(list, 64).map(CHECKS[kind]!) : [],
    ports,
    signers: kind === "runbook" ? readSigners(fields) : [],
  };
}

function readSigners(fields: Fields): string[] {
  const signers = fields.texts("signers", 16);
  return signers.every((id) => KEY_ID.test(id)) ? signers : malformed("signers");
}

function readPorts(pair: Json): number[] {
  if (!Array.isArray(pair) || pair.length !== 2) return malformed("bad_scope");
  const [first, last] = pair;
  if (typeof first !== "number" || typeof last !== "number") return malformed("bad_scope");
  return first >= 1 && first <= last && last <= 65535 ? [first, last] : malformed("bad_scope");
}

function readScope(value: Json): Scope {
  const json = typeof value === "object" && !Array.isArray(value) ? value : malformed("bad_scope");
  const kind = json["kind"];
  const scope = { json, target: "", port: 0, asRoot: false };
  switch (kind) {
    case "terminal":
      return { ...scope, kind, target: profile(new Fields(json, ["kind", "profile"]).text("profile")) };
    case "root":
      new Fields(json, ["kind"]);
      return { ...scope, kind };
    case "tcp": {
      const fields = new Fields(json, ["kind", "mode", "port"]);
      fields.matching("mode", /^(http|raw)$/);
      return { ...scope, kind, port: fields.integer("port", 1, 65535) };
    }
    case "logs":
      return { ...scope, kind, target: unit(new Fields(json, ["kind", "unit"]).text("unit")) };
    case "files": {
      const fields = new Fields(json, ["kind", "mode", "most_bytes", "root"]);
      fields.matching("mode", /^(read|write)$/);
      fields.integer("most_bytes", 1, 2 ** 40);
      return { ...scope, kind, target: folder(fields.text("root")) };
    }
    case "serial":
      return { ...scope, kind, target: readSerial(json) };
    case "runbook": {
      const { digest, runAs } = readRunbookScope(json);
      return { ...scope, kind, target: digest, asRoot: runAs === "root" };
    }
    default:
      return malformed("bad_scope");
  }
}

export function readScopes(items: Json[]): Scope[] {
  const scopes = items.map(readScope);
  const spelled = new Set(scopes.map(spell));
  return scopes.length > 0 && spelled.size === scopes.length ? scopes : malformed("bad_scope");
}

export const spell = (scope: Scope): string => encode(scope.json).toString();

function permits(rule: Rule, scope: Scope): boolean {
  switch (scope.kind) {
    case "tcp":
      return rule.ports.some(([first, last]) => first! <= scope.port && scope.port <= last!);
    case "logs":
    case "runbook":
      return rule.allowed.includes("*") || rule.allowed.includes(scope.target);
    case "files":
      return rule.allowed.some((r) => scope.target === r || scope.target.startsWith(`${r}/`));
    case "terminal":
    case "serial":
      return rule.allowed.includes(scope.target);
    default:
      return true;
  }
}

export function checkRules(
  policy: Policy, scopes: Scope[], seconds: number, marked = false,
): Rule[] {
  const named = rulesFor(policy, marked, seconds);
  // A runbook that runs as root is a terminal as root too.
  const kinds = (scope: Scope): string[] => [scope.kind, ...(scope.asRoot ? ["root"] : [])];
  return scopes.flatMap((scope) =>
    kinds(scope).map((kind) => checkRule(policy, named, scope, kind, seconds)),
  );
}

function checkRule(
  policy: Policy, named: Map<string, Rule>, scope: Scope, kind: string, seconds: number,
): Rule {
  const rule = named.get(kind) ?? refused("scope_not_in_policy");
  if (scope.kind === "tcp" && policy.neverPorts.includes(scope.port)) refused("port_never");
  if (kind === scope.kind && !permits(rule, scope)) refused("scope_not_allowed");
  return seconds <= rule.seconds ? rule : refused("too_long");
}

export interface Request {
  hash: string;
  requester: string;
  holder: Holder;
  people: string[];
  delegation: Delegation | undefined;
  scopes: Scope[];
  seconds: number;
  marked: boolean;
}

const marks = (payload: JsonObject, ...names: string[]): string[] =>
  names.filter((name) => name in payload);

export function verifyRequest(data: Buffer, policy: Policy, device: string): Request {
  const envelope = readEnvelope(data, 16 * 1024);
  const fields = new Fields(envelope.payload, [
    "case", "device", "epoch", "issued_at", "nonce", "owner", "reason", "requester", "scopes",
    "seconds", "session_key", "type", ...marks(envelope.payload, "break_glass", "delegation"),
  ]);
  const requester = fields.keyId("requester");
  const delegation =
    "delegation" in envelope.payload
      ? verifyDelegation(fields.binary("delegation", MAX_DELEGATION_BYTES), policy)
      : undefined;
  const holder = findHolder(policy, requester, delegation);
  verifyHolder(envelope, "fleetward.request.v1", holder);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  if (fields.keyId("device") !== device) untrusted("another_device");
  if (fields.binary("session_key", 32).length !== 32) malformed("bad_field");
  if (fields.binary("nonce", 16).length !== 16) malformed("bad_field");
  const scopes = readScopes(fields.items("scopes", 8));
  const seconds = fields.integer("seconds", 1, DAY);
  const marked = readMark(envelope.payload);
  checkRules(policy, scopes, seconds, marked);
  if (delegation) checkDelegated(delegation, device, scopes.map(spell), seconds);
  fields.text("reason", 500, 1);
  fields.text("case", 100);
  fields.integer("issued_at");
  const people = delegation ? [holder.person, delegation.delegator] : [holder.person];
  return { hash: envelope.hash, requester, holder, people, delegation, scopes, seconds, marked };
}

function findHolder(policy: Policy, requester: string, sent: Delegation | undefined): Holder {
  if (sent) return sent.key.id === requester ? sent.holder : untrusted("unknown_requester");
  const holder = policy.keys.get(requester);
  const asks = policy.access?.requesters.includes(requester) ?? false;
  return holder && asks ? holder : untrusted("unknown_requester");
}

export interface Offer {
  hash: string;
  boot: string;
  policyHash: string;
  policyVersion: number;
}

export function verifyOffer(data: Buffer, key: PublicKey, policy: Policy, request: Request): Offer {
  const envelope = readEnvelope(data, 4096);
  verifySingle(envelope, "fleetward.offer.v1", key);
  const fields = new Fields(envelope.payload, [
    "boot", "device", "epoch", "issued_at", "nonce", "owner", "policy", "request", "sandbox",
    "session_key", "type", "wall",
  ]);
  if (fields.keyId("device") !== key.id) untrusted("another_device");
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch") !== policy.epoch) untrusted("another_owner");
  if (fields.digest("request") !== request.hash) untrusted("another_request");
  if (fields.binary("nonce", 32).length !== 32) malformed("bad_field");
  if (fields.binary("session_key", 32).length !== 32) malformed("bad_field");
  fields.matching("wall", /^(uid|none|simulated)$/);
  fields.matching("sandbox", /^(bubblewrap|none)$/);
  fields.integer("issued_at");
  const under = new Fields(fields.map("policy"), ["hash", "version"]);
  return {
    hash: envelope.hash,
    boot: fields.text("boot", 64, 1),
    policyHash: under.digest("hash"),
    policyVersion: under.integer("version", 1),
  };
}

/** Whether a machine with this key opens the session, now. */
export function verifySession(
  documents: { request: Buffer; offer: Buffer; grant: Buffer },
  policy: Policy,
  key: PublicKey,
  here: Moment,
): Session {
  const request = verifyRequest(documents.request, policy, key.id);
  const offer = verifyOffer(documents.offer, key, policy, request);
  const envelope = readEnvelope(documents.grant, 64 * 1024);
  if (envelope.type !== "fleetward.grant.v1") malformed("wrong_type");
  const fields = new Fields(envelope.payload, [
    "device", "epoch", "idle_seconds", "not_after", "not_before", "offer", "owner", "policy",
    "recording_key", "request", "scopes", "seconds", "type", "watched",
    ...marks(envelope.payload, "break_glass"),
  ]);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  if (fields.keyId("device") !== key.id) untrusted("another_device");
  const under = new Fields(fields.map("policy"), ["hash", "version"]);
  if (under.integer("version", 1) !== policy.version) untrusted("another_policy");
  if (under.digest("hash") !== policy.hash) untrusted("another_policy");
  if (fields.digest("request") !== request.hash) untrusted("another_request");
  if (fields.digest("offer") !== offer.hash) untrusted("another_offer");
  if (offer.boot !== here.boot) untrusted("old_boot");
  const scopes = readScopes(fields.items("scopes", 8));
  const asked = new Set(request.scopes.map(spell));
  if (!scopes.every((scope) => asked.has(spell(scope)))) untrusted("wider_than_request");
  const seconds = fields.integer("seconds", 1, DAY);
  if (seconds > request.seconds) untrusted("longer_than_request");
  const { marked } = request;
  if (readMark(envelope.payload) !== marked) untrusted("another_kind_of_grant");
  const rules = checkRules(policy, scopes, seconds, marked);
  const people = countPeople(envelope, policy, request, rules);
  if (rules.some((r) => r.watched) && !fields.boolean("watched")) untrusted("not_watched");
  fields.boolean("watched");
  const recording = fields.text("recording_key", 256, 1);
  if (recording !== policy.recordingKey) untrusted("another_recording_key");
  if (policy.access?.walls === "sandbox" && !here.sandboxed) refused("no_sandbox");
  if (here.now < fields.integer("not_before")) refused("not_yet");
  if (here.now >= fields.integer("not_after")) refused("expired");
  if (here.lease <= 0) refused("lease_expired");
  if (request.delegation) checkDelegationTime(request.delegation, here.now, seconds);
  fields.integer("idle_seconds", 10, 3600);
  return { hash: envelope.hash, people, request, scopes, seconds };
}

function countPeople(envelope: Envelope, policy: Policy, request: Request, rules: Rule[]): string[] {
  const approvers = request.marked ? standIns(policy) : role(policy, "approve");
  const keys: Role["keys"] = new Map(
    [...approvers.keys].filter(([, holder]) => !request.people.includes(holder.person)),
  );
  const threshold = Math.max(approvers.threshold, ...rules.map((rule) => rule.threshold));
  return verifyThreshold(envelope, "fleetward.grant.v1", { keys, threshold });
}

/** Who ends the session by this stop. */
export function verifyStop(data: Buffer, policy: Policy, session: Session): string {
  const envelope = readEnvelope(data, 4096);
  const named = envelope.signatures[0]?.keyId ?? "";
  const { request } = session;
  const own = named === request.requester ? request.holder : undefined;
  const other = request.marked ? standIns(policy).keys.get(named) : undefined;
  const holder =
    role(policy, "approve").keys.get(named) ?? other ?? own ?? untrusted("wrong_signer");
  verifyHolder(envelope, "fleetward.stop.v1", holder);
  const names = ["issued_at", "owner", "reason", "subject", "type"];
  const said = "what" in envelope.payload;
  const fields = new Fields(envelope.payload, said ? [...names, "what"] : names);
  if (said) fields.matching("what", /^standing$/);
  if (fields.digest("owner") !== policy.owner) untrusted("another_session");
  if (fields.digest("subject") !== session.hash) untrusted("another_session");
  fields.integer("issued_at");
  fields.text("reason", 200);
  return holder.person;
}
