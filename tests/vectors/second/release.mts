// Releases: the maker's manifest, the owner's approval and withdrawal, the machine's report.

import { type Json, type JsonObject, decode } from "./canonical.mjs";
import { type Envelope, readEnvelope, verifySingle, verifyThreshold } from "./envelope.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey, sha256 } from "./keys.mjs";
import { type Policy, role } from "./owner.mjs";

const APPROVAL = "fleetward.release-approval.v1";
const STANDING = "fleetward.release-standing.v1";
const WITHDRAWAL = "fleetward.release-withdrawal.v1";
const REPORT = "fleetward.update-report.v1";
const PRODUCT = /^[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?$/;
const VERSION = /^[0-9A-Za-z][0-9A-Za-z.+~_-]{0,63}$/;
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;
const PATH = /^[A-Za-z0-9_+=@,][A-Za-z0-9_+=@,.~-]{0,119}(?:\/[A-Za-z0-9_+=@,][A-Za-z0-9_+=@,.~-]{0,119})*$/;
const ZONE = /^[A-Za-z][A-Za-z0-9_+-]{0,31}(?:\/[A-Za-z0-9_+-]{1,32}){0,2}$/;
const KEY_ID = /^[a-z2-7]{32}$/;
const UNPACKED = ["directory", "dpkg", "agent"];
const INSTALLERS = [...UNPACKED, "file-slot", "rauc"];
const OUTCOMES = ["accepted", "refused", "installed", "committed", "rolled_back", "failed"];
const LARGEST = 64 * 1024 ** 3;
const SEGMENT = 4 * 1024 * 1024;
const YEAR_SECONDS = 365 * 86_400;
const CHECKS: Record<string, string[]> = {
  command: ["arguments", "part", "path", "seconds"],
  file: ["part", "path"],
  http: ["path", "port", "status"],
  port: ["port"],
  process: ["name"],
};

export interface Manifest {
  product: string;
  version: string;
  counter: number;
  hash: string;
  agent: boolean;
  found: JsonObject;
}

interface Selector {
  devices: string[];
  groups: string[];
  models: string[];
  sites: string[];
}

interface Window {
  days: number[];
  from: number;
  to: number;
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && !Array.isArray(value);

/** The relative path of a file below a part. */
function path(fields: Fields, name: string): string {
  const text = fields.matching(name, PATH);
  return text.length > 256 ? malformed(name) : text;
}

function blob(fields: Fields): string {
  fields.integer("length", 1, LARGEST);
  fields.digest("segments");
  return fields.digest("sha256");
}

function readPart(value: Json): { installer: string; name: string; place: string; hook: string; blobs: string[]; deltas: string[] } {
  const given = isObject(value) ? value : malformed("a part");
  const archive = UNPACKED.includes(given["installer"] as string);
  const names = ["deltas", "installer", "length", "name", "place", "segments", "sha256"];
  if (archive) names.push("unpacked_bytes", "unpacked_files");
  if ("hook" in given) names.push("hook");
  const fields = new Fields(given, names);
  const installer = fields.text("installer");
  if (!INSTALLERS.includes(installer)) malformed("installer");
  if (archive) {
    fields.integer("unpacked_bytes", 0, LARGEST);
    fields.integer("unpacked_files", 0, 1_000_000);
  }
  const deltas = fields.items("deltas", 8).map((each) => {
    const delta = new Fields(each, ["length", "segments", "sha256", "source"]);
    delta.digest("source");
    return blob(delta);
  });
  return {
    installer, deltas, blobs: [blob(fields)], name: fields.matching("name", NAME),
    place: fields.matching("place", NAME), hook: "hook" in given ? path(fields, "hook") : "",
  };
}

function readCheck(value: Json): { kind: string; part: string } {
  const kind = isObject(value) ? value["kind"] : undefined;
  if (typeof kind !== "string" || !Object.keys(CHECKS).includes(kind)) return malformed("kind");
  const names = CHECKS[kind]!;
  const fields = new Fields(value, ["kind", ...names]);
  if (kind === "process") fields.matching("name", /^[A-Za-z0-9_.+:@-]{1,15}$/);
  if (names.includes("port")) fields.integer("port", 1, 65535);
  if (kind === "http") {
    fields.matching("path", /^\/[A-Za-z0-9._~/-]{0,255}$/);
    fields.integer("status", 100, 599);
  }
  if (!names.includes("part")) return { kind, part: "" };
  path(fields, "path");
  if (kind === "command") {
    fields.integer("seconds", 1, 300);
    for (const each of fields.items("arguments", 16)) new Fields({ each }, ["each"]).text("each");
  }
  return { kind, part: fields.text("part", 32, 1) };
}

function readHealth(value: JsonObject, unpacked: string[]): string[] {
  const fields = new Fields(value, ["checks", "steady_seconds", "within_seconds"]);
  fields.integer("within_seconds", 5, 3600);
  fields.integer("steady_seconds", 0, 3600);
  const checks = fields.items("checks", 16).map(readCheck);
  if (!checks.every(({ part }) => part === "" || unpacked.includes(part))) malformed("bad_check");
  return checks.map(({ kind }) => kind);
}

function readOthers(fields: Fields): void {
  for (const each of fields.items("needs", 32)) {
    const needed = new Fields(each, ["least", "product"]);
    needed.matching("product", PRODUCT);
    needed.integer("least", 1);
  }
  for (const each of fields.items("conflicts", 32)) {
    const conflict = new Fields(each, ["first", "last", "product"]);
    conflict.matching("product", PRODUCT);
    conflict.integer("last", conflict.integer("first"));
  }
}

export function readManifest(data: Buffer): Manifest {
  const value = decode(data, 256 * 1024);
  const names = [
    "agent", "conflicts", "counter", "fixes", "hardware", "health", "least_before", "needs", "notes", "parts",
    "product", "reboot", "released_at", "support_ends_at", "type", "version",
  ];
  const hasList = isObject(value) && "sbom" in value;
  const fields = new Fields(value, hasList ? [...names, "sbom"] : names);
  fields.matching("type", /^fleetward\.release\.v1$/);
  const parts = fields.items("parts", 32).map(readPart);
  const called = parts.map(({ name }) => name);
  if (!parts.length || new Set(called).size !== called.length) malformed("bad_parts");
  const archives = parts.filter(({ installer }) => UNPACKED.includes(installer)).map(({ name }) => name);
  const checks = readHealth(fields.map("health"), archives);
  const hardware = fields.texts("hardware", 64);
  if (!hardware.length || hardware.includes("") || (hardware.includes("*") && hardware.length > 1)) {
    malformed("bad_hardware");
  }
  readOthers(fields);
  for (const name of ["least_before", "released_at", "support_ends_at"]) fields.integer(name);
  const agent = fields.boolean("agent");
  const reboot = fields.boolean("reboot");
  const own = parts.filter(({ installer }) => installer === "agent");
  if (own.length && !agent) malformed("agent_not_marked");
  if (own.length && (parts.length > 1 || reboot || own[0]!.hook)) malformed("agent_not_alone");
  fields.text("notes", 4000);
  fields.texts("fixes", 256);
  const list = hasList ? [blob(new Fields(fields.map("sbom"), ["length", "segments", "sha256"]))] : [];
  const product = fields.matching("product", PRODUCT);
  const version = fields.matching("version", VERSION);
  const counter = fields.integer("counter", 1);
  const hash = sha256(data).toString("hex");
  const named = [...parts.flatMap((p) => p.blobs), ...parts.flatMap((p) => p.deltas), ...list];
  const found = {
    agent, checks, counter, hardware, hash, blobs: [...new Set(named)],
    parts: parts.map((p) => `${p.installer} ${p.place} ${p.hook}`),
    path: `${product}/${version}/release.json`,
  };
  return { product, version, counter, hash, agent, found };
}

export function listSegments(data: Buffer): string {
  let list = "";
  for (let at = 0; at < data.length; at += SEGMENT) {
    list += sha256(data.subarray(at, at + SEGMENT)).toString("hex");
  }
  return list;
}

/** By code points, as other languages sort, and not by UTF-16. UTF-8 keeps that order. */
const before = (a: string, b: string): boolean => Buffer.compare(Buffer.from(a), Buffer.from(b)) < 0;

const isSorted = (texts: string[]): boolean =>
  texts.every((text, at) => at === 0 || before(texts[at - 1] as string, text));

export function readSelector(value: Json): Selector | "all" {
  if (value === "all") return "all";
  const fields = new Fields(value, ["devices", "groups", "models", "sites"]);
  const devices = fields.texts("devices", 1000);
  if (!devices.every((id) => KEY_ID.test(id))) malformed("a device");
  const [groups, models, sites] = ["groups", "models", "sites"].map((name) => fields.texts(name, 64));
  const selector = { devices, groups: groups!, models: models!, sites: sites! };
  const words = selector.groups.length + selector.models.length + selector.sites.length;
  if (devices.length > 0 === words > 0) malformed("bad_selector");
  return Object.values(selector).every(isSorted) ? selector : malformed("bad_selector");
}

export function selects(selector: Selector | "all", entry: Buffer): boolean {
  if (selector === "all") return true;
  const machine = decode(entry, 4096) as JsonObject;
  if (selector.devices.length) return selector.devices.includes(machine["key_id"] as string);
  const { groups, models, sites } = selector;
  const mine = machine["groups"] as string[];
  return (
    (!groups.length || groups.some((group) => mine.includes(group))) &&
    (!models.length || models.includes(machine["model"] as string)) &&
    (!sites.length || sites.includes(machine["site"] as string))
  );
}

export function readWindows(values: Json[]): Window[] {
  if (values.length > 16) malformed("bad_window");
  return values.map((value) => {
    const fields = new Fields(value, ["days", "from", "to", "zone"]);
    const days = fields.items("days", 7).map((day) => {
      return typeof day === "number" && day >= 0 && day < 7 ? day : malformed("days");
    });
    if (!days.length || !days.every((day, at) => at === 0 || (days[at - 1] as number) < day)) {
      malformed("days");
    }
    fields.matching("zone", ZONE);
    return { days, from: fields.integer("from", 0, 1439), to: fields.integer("to", 0, 1440) };
  });
}

export function holds(window: Window, day: number, minute: number): boolean {
  const { days, from, to } = window;
  if (from < to) return days.includes(day) && from <= minute && minute < to;
  return (days.includes(day) && minute >= from) || (days.includes((day + 6) % 7) && minute < to);
}

function checkSubject(fields: Fields, policy: Policy): void {
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
}

function approvalFields(envelope: Envelope): Fields {
  const own = envelope.type === STANDING ? ["wait_seconds"] : ["agent", "counter", "release", "version"];
  return new Fields(envelope.payload, [
    "epoch", "issued_at", "not_after", "not_before", "owner", "product", "reason", "selector", "type",
    "windows", ...own,
  ]);
}

export interface Moment {
  manifest: Manifest;
  knownSince: number;
  now: number;
}

export function verifyApproval(data: Buffer, policy: Policy, moment: Moment): JsonObject {
  const envelope = readEnvelope(data, 64 * 1024);
  const standing = envelope.type === STANDING;
  if (!standing && envelope.type !== APPROVAL) malformed("wrong_type");
  const people = verifyThreshold(envelope, envelope.type, role(policy, "approve"));
  const fields = approvalFields(envelope);
  checkSubject(fields, policy);
  const begins = fields.integer("not_before");
  const ends = fields.integer("not_after", begins + 1);
  const product = fields.matching("product", PRODUCT);
  fields.integer("issued_at");
  fields.text("reason", 200);
  readSelector(envelope.payload["selector"]!);
  readWindows(fields.items("windows"));
  const { manifest, knownSince, now } = moment;
  let names = product === manifest.product;
  let opens = begins;
  if (standing) {
    names &&= !manifest.agent;
    opens = Math.max(begins, knownSince + fields.integer("wait_seconds", 0, YEAR_SECONDS) * 1000);
  } else {
    fields.matching("version", VERSION);
    fields.integer("counter", 1);
    const saysAgent = fields.boolean("agent");
    names &&= fields.digest("release") === manifest.hash && (!manifest.agent || saysAgent);
  }
  return {
    allows: names && opens <= now && now < ends, hash: envelope.hash, names, opens_at: opens, people,
    standing,
  };
}

export function verifyWithdrawal(data: Buffer, policy: Policy): JsonObject {
  const envelope = readEnvelope(data, 8192);
  const people = verifyThreshold(envelope, WITHDRAWAL, { ...role(policy, "approve"), threshold: 1 });
  const fields = new Fields(envelope.payload, [
    "approval", "epoch", "issued_at", "owner", "reason", "type",
  ]);
  checkSubject(fields, policy);
  fields.text("reason", 200);
  fields.integer("issued_at");
  return { approval: fields.digest("approval"), person: people[0]! };
}

const digestOrNothing = (fields: Fields, name: string): string =>
  fields.text(name, 64) === "" ? "" : fields.digest(name);

export function verifyUpdateReport(data: Buffer, key: PublicKey, owner: string): JsonObject {
  const envelope = readEnvelope(data, 16 * 1024);
  verifySingle(envelope, REPORT, key);
  const said = Object.hasOwn(envelope.payload, "counters") ? ["counters"] : [];
  const fields = new Fields(envelope.payload, [
    "approval", "at", "attempt", "counter", "device", "findings", "installed", "outcome", "owner",
    "product", "release", "rule", "simulated", "slots", "type", "version", "words", ...said,
  ]);
  if (said.length > 0 && !["doubted", "tpm"].includes(fields.text("counters", 16))) malformed("counters");
  if (fields.keyId("device") !== key.id || fields.digest("owner") !== owner) untrusted("another_device");
  const outcome = fields.text("outcome", 16);
  if (!OUTCOMES.includes(outcome)) malformed("outcome");
  for (const name of ["at", "attempt", "counter"]) fields.integer(name);
  for (const [name, most] of Object.entries({ product: 48, rule: 64, version: 64, words: 1000 })) {
    fields.text(name, most);
  }
  fields.boolean("simulated");
  digestOrNothing(fields, "approval");
  for (const each of fields.items("findings", 16)) {
    const finding = new Fields(each, ["check", "good", "words"]);
    finding.text("check", 200);
    finding.boolean("good");
    finding.text("words", 200);
  }
  const slots = fields.items("slots", 32).map((each) => {
    const slot = new Fields(each, ["active", "place"]);
    return `${slot.text("place", 64)} ${digestOrNothing(slot, "active")}`;
  });
  return { floors: readInstalled(fields), outcome, release: digestOrNothing(fields, "release"), slots };
}

function readInstalled(fields: Fields): JsonObject {
  const floors: JsonObject = {};
  for (const each of fields.items("installed", 32)) {
    const installed = new Fields(each, ["counter", "floor", "product", "release", "version"]);
    const product = installed.text("product", 48, 1);
    if (Object.hasOwn(floors, product)) malformed("a product twice");
    installed.text("version", 64);
    installed.integer("counter");
    digestOrNothing(installed, "release");
    floors[product] = installed.integer("floor");
  }
  return floors;
}
