// The owner's documents: root, policies, roster, head, lease, invitation, opening.

import { checkPeople } from "./breakglass.mjs";
import { type Json, type JsonObject, decode } from "./canonical.mjs";
import { type Envelope, type Holder, type Role, readEnvelope, signedBytes, verifyThreshold } from "./envelope.mjs";
import { Failure, malformed, refused, untrusted } from "./errors.mjs";
import { Fields, HEX64 } from "./fields.mjs";
import { type PublicKey, readKey, readKeyFields, sha256 } from "./keys.mjs";
import { type Access, readAccess } from "./session.mjs";
import { type Recovery, checkEpoch, checkRecovered, readRecovery } from "./handover.mjs";
import { hashLeaf, root as treeRoot, verifyInclusion } from "./merkle.mjs";

const ROLES = ["policy", "roster", "head", "invite", "lease", "approve"];
const MAX_LEASE = 400 * 86_400;
const NOTE_NAME = /^[!-*,-~]{1,256}$/;

export interface Root {
  owner: string;
  name: string;
  epoch: number;
  role: Role;
}

export interface Policy {
  owner: string;
  epoch: number;
  version: number;
  hash: string;
  leaseSeconds: number;
  keys: Role["keys"];
  neverPorts: number[];
  recordingKey: string;
  access: Access | undefined;
  fleetCa: string;
  name: string;
  recovery: Recovery | undefined;
  recovered: boolean;
  payload: JsonObject;
  roles: Map<string, Role>;
  openings: string[];
}

export interface Roster {
  version: number;
  count: number;
  entriesRoot: Buffer;
  hash: string;
}

export interface Head {
  version: number;
  hash: string;
  policyVersion: number;
  policyHash: string;
  rosterVersion: number;
  rosterHash: string;
}

function peopleCan(threshold: number, role: Role["keys"]): Role {
  const people = new Set([...role.values()].map((holder) => holder.person));
  if (threshold < 1 || threshold > people.size) malformed("bad_threshold");
  return { keys: role, threshold };
}

function readHolders(items: Json[], names: string[]): Role["keys"] {
  const holders: Role["keys"] = new Map();
  for (const item of items) {
    const holder = names.includes("org") && isPasskey(item) ? readPasskey(item) : readHolder(item, names);
    if (holders.has(holder.key.id)) malformed("duplicate_key");
    holders.set(holder.key.id, holder);
  }
  return holders;
}

function isPasskey(item: Json): boolean {
  return typeof item === "object" && !Array.isArray(item) && item["suite"] === "webauthn";
}

function readHolder(item: Json, names: string[]): Holder {
  const fields = new Fields(item, ["key_id", "person", "public", "suite", ...names]);
  for (const name of names) fields.text(name, 80);
  return { key: readKeyFields(fields), person: fields.text("person", 80, 1) };
}

function readPasskey(item: Json): Holder {
  const names = ["key_id", "org", "origins", "person", "public", "rp_id", "suite"];
  const fields = new Fields(item, names);
  fields.text("org", 80);
  const key = readKey("es256", fields.binary("public", 128));
  if (fields.keyId("key_id") !== key.id) malformed("bad_key_id");
  const passkey = { rpId: fields.text("rp_id", 253, 1), origins: fields.texts("origins", 16) };
  return { key, person: fields.text("person", 80, 1), passkey };
}

export function verifyRoot(data: Buffer, owner: string): Root {
  const value = decode(data, 16 * 1024);
  const payload = typeof value === "object" && !Array.isArray(value) ? value : malformed("object");
  if (payload["type"] !== "fleetward.owner-root.v1") malformed("wrong_type");
  if (sha256(signedBytes(payload)).toString("hex") !== owner) untrusted("another_owner");
  const names = ["created_at", "epoch", "keys", "name", "threshold", "type"];
  const fields = new Fields(payload, names);
  fields.integer("created_at");
  const name = fields.text("name", 80, 1);
  const role = peopleCan(fields.integer("threshold"), readHolders(fields.items("keys", 32), []));
  return { owner, name, epoch: fields.integer("epoch", 1), role };
}

function readNoteKey(value: Json): PublicKey {
  const key = readKeyFields(new Fields(value, ["key_id", "public", "suite"]));
  return key.suite === "ed25519" ? key : malformed("bad_key");
}

function readRoots(value: JsonObject): [string, string] {
  const fields = new Fields(value, [
    "director", "download_origins", "fleet_ca", "log_key", "makers", "recording_key", "server_ca",
    "witnesses",
  ]);
  fields.digest("server_ca");
  const fleetCa = fields.digest("fleet_ca");
  fields.text("director", 64);
  fields.texts("download_origins", 32);
  readNoteKey(fields.map("log_key"));
  for (const [name, key] of Object.entries(fields.map("witnesses"))) {
    if (!NOTE_NAME.test(name)) malformed("bad_note_name");
    readNoteKey(key);
  }
  for (const digest of Object.values(fields.map("makers"))) {
    if (typeof digest !== "string" || !HEX64.test(digest)) malformed("bad_field");
  }
  return [fields.text("recording_key", 256), fleetCa];
}

function readRules(payload: JsonObject, holders: Role["keys"]): Access | undefined {
  if (!("access" in payload)) return undefined;
  const access = readAccess(payload["access"]!);
  const named = access.requesters.map((id) => holders.get(id));
  const signers = (access.rules.get("runbook")?.signers ?? []).map((id) => holders.get(id));
  const plain = [...named, ...signers].every((holder) => holder && !holder.passkey);
  if (!plain) malformed("bad_role");
  if (access.breakGlass) checkPeople(access.breakGlass, holders);
  return access;
}

function readRoles(value: JsonObject, holders: Role["keys"]): Map<string, Role> {
  const fields = new Fields(value, ROLES);
  return new Map(
    ROLES.map((name) => {
      const role = new Fields(fields.map(name), ["keys", "threshold"]);
      const members: Role["keys"] = new Map();
      for (const id of role.texts("keys", 256)) {
        const holder = holders.get(id) ?? malformed("bad_role");
        if (holder.passkey && name !== "approve") malformed("bad_role");
        members.set(id, holder);
      }
      return [name, peopleCan(role.integer("threshold"), members)];
    }),
  );
}

function readPolicy(envelope: Envelope): Policy {
  const fields = new Fields(envelope.payload, [
    "epoch", "issued_at", "keys", "lease_seconds", "never_ports", "openings", "owner", "roles", "roots",
    "type", "version", ...["access", "name", "recovery"].filter((name) => name in envelope.payload),
  ]);
  fields.integer("issued_at");
  const [recordingKey, fleetCa] = readRoots(fields.map("roots"));
  const holders = readHolders(fields.items("keys", 256), ["org"]);
  const ports = fields.items("never_ports", 64);
  const good = ports.every((p) => typeof p === "number" && p > 0 && p < 65536);
  if (!good || new Set(ports).size !== ports.length) malformed("bad_field");
  const openings = fields.texts("openings", 64);
  if (!openings.every((digest) => HEX64.test(digest))) malformed("bad_field");
  const roles = readRoles(fields.map("roles"), holders);
  const access = readRules(envelope.payload, holders);
  const used = new Set([...roles.values()].flatMap((role) => [...role.keys.keys()]));
  for (const id of access?.requesters ?? []) used.add(id);
  return {
    openings,
    owner: fields.digest("owner"),
    epoch: fields.integer("epoch", 1),
    version: fields.integer("version", 1),
    hash: envelope.hash,
    leaseSeconds: fields.integer("lease_seconds", 60, MAX_LEASE),
    roles,
    keys: holders,
    neverPorts: ports.filter((p) => typeof p === "number"),
    recordingKey,
    access,
    fleetCa,
    name: "name" in envelope.payload ? fields.text("name", 80, 1) : "",
    recovery: readRecovery(envelope.payload, holders, used),
    recovered: false,
    payload: envelope.payload,
  };
}

export function role(policy: Policy, name: string): Role {
  return policy.roles.get(name)!;
}

const POLICY = "fleetward.owner-policy.v1";

/** Whether recovery keys signed it, and not the people of the policy before. */
function isRecovered(envelope: Envelope, before: Policy): boolean {
  try {
    verifyThreshold(envelope, POLICY, role(before, "policy"));
    return false;
  } catch (error) {
    const few = error instanceof Failure && error.reason === "too_few_signatures";
    if (!few || !before.recovery) throw error;
    verifyThreshold(envelope, POLICY, before.recovery.role);
    return true;
  }
}

/** The policy after `before`, ordinary or recovered, or the first one of `root`. */
export function verifyPolicy(data: Buffer, root: Root, before?: Policy): Policy {
  const envelope = readEnvelope(data);
  const recovered = before ? isRecovered(envelope, before) : false;
  if (!before) verifyThreshold(envelope, POLICY, root.role);
  const policy = { ...readPolicy(envelope), recovered };
  if (policy.version !== (before?.version ?? 0) + 1) untrusted("wrong_version");
  if (policy.owner !== root.owner) untrusted("another_owner");
  if (!before) {
    if (policy.epoch !== root.epoch) untrusted("another_owner");
    if (policy.name !== "") untrusted("renamed_owner");
  } else if (recovered) checkRecovered(before.payload, policy.payload);
  else checkEpoch(before, policy);
  verifyThreshold(envelope, POLICY, role(policy, "policy"));
  return policy;
}

export function verifyChain(root: Root, chain: Buffer[]): Policy {
  let policy: Policy | undefined;
  for (const data of chain) policy = verifyPolicy(data, root, policy);
  return policy ?? malformed("no_policy");
}

function open(data: Buffer, policy: Policy, kind: string, roleName: string, names: string[]): {
  envelope: Envelope;
  fields: Fields;
} {
  const envelope = readEnvelope(data);
  verifyThreshold(envelope, `fleetward.${kind}.v1`, role(policy, roleName));
  const fields = new Fields(envelope.payload, ["epoch", "issued_at", "owner", "type", ...names]);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  fields.integer("issued_at");
  return { envelope, fields };
}

export function verifyRoster(data: Buffer, policy: Policy): Roster {
  const names = ["count", "entries_root", "version"];
  const { envelope, fields } = open(data, policy, "roster", "roster", names);
  return {
    version: fields.integer("version", 1),
    count: fields.integer("count"),
    entriesRoot: Buffer.from(fields.digest("entries_root"), "hex"),
    hash: envelope.hash,
  };
}

export interface Entry {
  device: string;
  name: string;
  state: string;
}

function readEntry(data: Buffer): Entry {
  const fields = new Fields(decode(data, 4096), [
    "groups", "key_id", "maker", "model", "name", "public", "site", "state", "suite",
  ]);
  const key = readKeyFields(fields);
  if (key.suite !== "es256") malformed("bad_key");
  for (const name of ["site", "model", "maker"]) fields.text(name, 80);
  fields.texts("groups", 64);
  const state = fields.matching("state", /^(active|retired)$/);
  return { device: key.id, name: fields.text("name", 80, 1), state };
}

export function verifyEntry(
  roster: Roster, entry: Buffer, index: number, proof: Buffer[], device: string,
): Entry {
  verifyInclusion(hashLeaf(entry), index, roster.count, proof, roster.entriesRoot);
  const read = readEntry(entry);
  return read.device === device ? read : untrusted("another_device");
}

export function verifyEntries(roster: Roster, entries: Buffer[]): Entry[] {
  if (entries.length !== roster.count) untrusted("hidden_machine");
  if (!treeRoot(entries.map(hashLeaf)).equals(roster.entriesRoot)) untrusted("bad_entries");
  const read = entries.map(readEntry);
  read.forEach((entry, at) => {
    if (at > 0 && read[at - 1]!.device >= entry.device) untrusted("bad_order");
  });
  return read;
}

export function verifyHead(data: Buffer, policy: Policy): Head {
  const { envelope, fields } = open(data, policy, "head", "head", ["policy", "roster", "version"]);
  const onPolicy = new Fields(fields.map("policy"), ["hash", "version"]);
  const onRoster = new Fields(fields.map("roster"), ["hash", "version"]);
  return {
    version: fields.integer("version", 1),
    hash: envelope.hash,
    policyVersion: onPolicy.integer("version", 1),
    policyHash: onPolicy.digest("hash"),
    rosterVersion: onRoster.integer("version", 1),
    rosterHash: onRoster.digest("hash"),
  };
}

export interface Lease {
  serial: number;
  seconds: number;
  hash: string;
  head: string;
}

export function verifyLease(data: Buffer, policy: Policy, head: Head): Lease {
  const { envelope, fields } = open(data, policy, "lease", "lease", ["head", "seconds", "serial"]);
  if (fields.digest("head") !== head.hash) untrusted("another_head");
  const seconds = fields.integer("seconds", 60, MAX_LEASE);
  if (seconds > policy.leaseSeconds) untrusted("lease_too_long");
  return { serial: fields.integer("serial", 1), seconds, hash: envelope.hash, head: head.hash };
}

export function verifyInvitation(data: Buffer, policy: Policy, now: number): JsonObject {
  const { envelope, fields } = open(data, policy, "invitation", "invite", [
    "expires_at", "nonce", "preapproved", "site", "uses",
  ]);
  if (fields.binary("nonce", 32).length < 16) malformed("bad_field");
  const found = {
    expires_at: fields.integer("expires_at"),
    id: envelope.hash,
    preapproved: fields.boolean("preapproved"),
    site: fields.text("site", 80),
    uses: fields.integer("uses", 1, 100_000),
  };
  if (now >= found.expires_at) refused("invitation_expired");
  return found;
}

/** The opening of a generation, under the policy of `chain` that it names. */
export function verifyOpening(data: Buffer, chain: Policy[]): JsonObject {
  const payload = readEnvelope(data).payload;
  if (payload["type"] !== "fleetward.generation.v1") malformed("wrong_type");
  const named = new Fields(payload["policy"] ?? malformed("bad_field"), ["hash", "version"]);
  const version = named.integer("version", 1);
  const policyHash = named.digest("hash");
  const policy =
    chain.find((each) => each.version === version && each.hash === policyHash) ??
    untrusted("unknown_policy");
  const names = ["generation", "last_known", "policy", "reason"];
  const { envelope, fields } = open(data, policy, "generation", "policy", names);
  const later = chain.filter((each) => each.version > version);
  if (later.length > 0 && !later.some((each) => each.openings.includes(envelope.hash))) {
    untrusted("retired_policy");
  }
  const known = new Fields(fields.map("last_known"), ["generation", "root", "size"]);
  known.digest("root");
  fields.text("reason", 500);
  const generation = fields.integer("generation", 2);
  if (generation !== known.integer("generation", 1) + 1) untrusted("wrong_generation");
  return { generation, policy_version: version, size: known.integer("size") };
}
