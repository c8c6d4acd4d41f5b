// What a machine says: statements under its identity key, and batches of its journal.

import { type JsonObject, decode } from "./canonical.mjs";
import { type Envelope, readEnvelope, verifySingle } from "./envelope.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey, readKey, readKeyFields, sha256 } from "./keys.mjs";

const MAX_STATEMENT = 16 * 1024;
const MAX_ENTRIES = 1000;
const NO_ROOT = sha256("").toString("hex");

function transport(fields: Fields): void {
  readKey("es256", fields.binary("transport", 128));
}

export function verifyJoin(data: Buffer): JsonObject {
  const envelope = readEnvelope(data, MAX_STATEMENT);
  if (envelope.type !== "fleetward.join.v1") malformed("wrong_type");
  const fields = new Fields(envelope.payload, [
    "facts", "invitation", "key", "lineage", "owner", "transport", "type",
  ]);
  const key = readKeyFields(new Fields(fields.map("key"), ["key_id", "public", "suite"]));
  if (key.suite !== "es256") untrusted("bad_key");
  verifySingle(envelope, "fleetward.join.v1", key);
  const names = ["hostname", "maker", "model", "simulated", "system"];
  const facts = new Fields(fields.map("facts"), names);
  for (const name of names.filter((n) => n !== "simulated")) facts.text(name, 80);
  facts.boolean("simulated");
  fields.digest("invitation");
  transport(fields);
  return {
    device: key.id, lineage: fields.integer("lineage", 1), owner: fields.digest("owner"),
  };
}

function speaker(envelope: Envelope, kind: string, key: PublicKey, names: string[]): Fields {
  verifySingle(envelope, `fleetward.${kind}.v1`, key);
  const fields = new Fields(envelope.payload, ["device", "owner", "type", ...names]);
  if (fields.keyId("device") !== key.id) untrusted("bad_device");
  fields.digest("owner");
  return fields;
}

export function verifyRenewal(data: Buffer, key: PublicKey): JsonObject {
  const envelope = readEnvelope(data, MAX_STATEMENT);
  const fields = speaker(envelope, "renewal", key, ["lineage", "transport"]);
  transport(fields);
  return { device: key.id, lineage: fields.integer("lineage", 1) };
}

export function verifyHello(data: Buffer, key: PublicKey, nonce: Buffer): JsonObject {
  const numbers = ["head_version", "lease_seconds_left", "policy_version", "roster_version"];
  const names = ["agent", "boot", "journal_head", "nonce", "sequence", "wall", ...numbers];
  const fields = speaker(readEnvelope(data, MAX_STATEMENT), "hello", key, names);
  if (!fields.binary("nonce", 32).equals(nonce)) untrusted("wrong_nonce");
  for (const name of numbers) fields.integer(name);
  fields.text("agent", 64);
  fields.text("boot", 64);
  fields.digest("journal_head");
  fields.matching("wall", /^(uid|none|simulated)$/);
  return { device: key.id, sequence: fields.integer("sequence") };
}

export function startOfChain(owner: string, device: string): Buffer {
  return sha256(`fleetward.journal-start.v1\0${owner}\0${device}`);
}

function readCheckpoint(value: JsonObject): void {
  const fields = new Fields(value, ["generation", "root", "size"]);
  const none = fields.digest("root") === NO_ROOT && fields.integer("size") === 0;
  if (fields.integer("generation") === 0 && !none) malformed("bad_field");
}

function splitLines(data: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  let start = 0;
  for (let end = data.indexOf(10); end >= 0; end = data.indexOf(10, start)) {
    lines.push(data.subarray(start, end));
    start = end + 1;
  }
  return [...lines, data.subarray(start)];
}

function readEntry(line: Buffer, sequence: number): string {
  const fields = new Fields(decode(line, 32 * 1024), ["at", "body", "boot", "kind", "seq"]);
  fields.integer("at");
  fields.text("boot", 64);
  fields.map("body");
  if (fields.integer("seq", 1) !== sequence) untrusted("bad_sequence");
  return fields.text("kind", 64, 1);
}

export function verifyBatch(data: Buffer, key: PublicKey, owner: string): JsonObject {
  if (data.length > 768 * 1024) malformed("too_large");
  const [header, ...lines] = splitLines(data);
  const envelope = readEnvelope(header!, 4096);
  const fields = new Fields(envelope.payload, [
    "boot", "checkpoint", "device", "first", "head", "last", "owner", "previous", "type",
  ]);
  readCheckpoint(fields.map("checkpoint"));
  fields.text("boot", 64);
  const first = fields.integer("first", 1);
  const last = fields.integer("last", 1);
  if (last < first || last - first >= MAX_ENTRIES) malformed("bad_batch_range");
  verifySingle(envelope, "fleetward.batch.v1", key);
  if (fields.keyId("device") !== key.id) untrusted("bad_device");
  if (fields.digest("owner") !== owner) untrusted("another_owner");
  const previous = fields.digest("previous");
  if (first === 1 && previous !== startOfChain(owner, key.id).toString("hex")) {
    untrusted("bad_chain");
  }
  if (lines.length !== last - first + 1) malformed("bad_batch_range");
  let chain: Buffer = Buffer.from(previous, "hex");
  for (const line of lines) chain = sha256("fleetward.journal.v1\0", chain, sha256(line));
  if (chain.toString("hex") !== fields.digest("head")) untrusted("bad_chain");
  const kinds = lines.map((line, at) => readEntry(line, first + at));
  return { first, hash: envelope.hash, head: chain.toString("hex"), kinds, last };
}
