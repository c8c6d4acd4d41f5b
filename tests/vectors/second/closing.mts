// Closings: the owner's order, its confirmation, and what a machine says of them.

import { type Json, type JsonObject } from "./canonical.mjs";
import { readEnvelope, verifySingle, verifyThreshold } from "./envelope.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey } from "./keys.mjs";
import { type Policy, role } from "./owner.mjs";

const CLOSING = "fleetward.closing.v1";
const KEPT = "fleetward.closing-kept.v1";
const REPORT = "fleetward.closing-report.v1";
const WAYS = ["ssh", "telnet"];
const OUTCOMES = ["applied", "kept", "restored", "refused", "undone"];

/** One set has one spelling: in order, each once. */
function ordered<T>(values: T[], before: (a: T, b: T) => boolean): T[] {
  return values.every((v, at) => at === 0 || before(values[at - 1] as T, v)) ? values : malformed("bad_order");
}

function ports(fields: Fields, name: string): JsonObject[] {
  const rows = fields.items(name, 128).map((value: Json) => {
    const row = new Fields(value, ["port", "protocol"]);
    return { port: row.integer("port", 1, 65535), protocol: row.matching("protocol", /^(tcp|udp)$/) };
  });
  return ordered(rows, (a, b) => a.protocol < b.protocol || (a.protocol === b.protocol && a.port < b.port));
}

function ways(fields: Fields, name: string): string[] {
  const found = fields.texts(name, WAYS.length);
  if (!found.every((way) => WAYS.includes(way))) malformed("bad_field");
  return ordered(found, (a, b) => a < b);
}

function checkSubject(fields: Fields, policy: Policy): void {
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
}

export function verifyClosing(data: Buffer, policy: Policy, device: string): JsonObject {
  const envelope = readEnvelope(data, 64 * 1024);
  if (envelope.type !== CLOSING) malformed("wrong_type");
  const fields = new Fields(envelope.payload, [
    "devices", "epoch", "issued_at", "local_access", "owner", "ports", "reason", "restore_seconds",
    "serial", "type",
  ]);
  checkSubject(fields, policy);
  const people = verifyThreshold(envelope, CLOSING, role(policy, "approve"));
  if (envelope.payload["devices"] !== "all") {
    const named = ordered(fields.texts("devices"), (a, b) => a < b);
    if (named.length < 1 || named.length > 1000) malformed("bad_field");
    if (!named.every((id) => /^[a-z2-7]{32}$/.test(id))) malformed("bad_field");
    if (!named.includes(device)) untrusted("another_device");
  }
  fields.integer("issued_at");
  fields.text("reason", 200);
  return {
    hash: envelope.hash,
    local_access: ways(fields, "local_access"),
    people,
    ports: ports(fields, "ports"),
    restore_seconds: fields.integer("restore_seconds", 60, 86_400),
    serial: fields.integer("serial", 1),
  };
}

export function verifyKept(data: Buffer, policy: Policy): JsonObject {
  const envelope = readEnvelope(data, 8192);
  if (envelope.type !== KEPT) malformed("wrong_type");
  const fields = new Fields(envelope.payload, ["closing", "epoch", "issued_at", "owner", "type"]);
  checkSubject(fields, policy);
  const people = verifyThreshold(envelope, KEPT, role(policy, "approve"));
  fields.integer("issued_at");
  return { closing: fields.digest("closing"), people };
}

export function verifyReport(data: Buffer, key: PublicKey, owner: string): JsonObject {
  const envelope = readEnvelope(data, 16 * 1024);
  verifySingle(envelope, REPORT, key);
  const fields = new Fields(envelope.payload, [
    "at", "closed", "closing", "cut", "device", "listening", "local_access", "outcome", "owner",
    "rule", "seconds_left", "serial", "still_runs", "type", "words",
  ]);
  if (fields.keyId("device") !== key.id || fields.digest("owner") !== owner) untrusted("another_device");
  const outcome = fields.text("outcome", 16);
  if (!OUTCOMES.includes(outcome)) malformed("bad_field");
  for (const name of ["cut", "listening"]) fields.texts(name, 64);
  for (const name of ["at", "serial"]) fields.integer(name);
  ways(fields, "local_access");
  ways(fields, "still_runs");
  fields.text("rule", 64);
  fields.text("words", 500);
  return {
    closed: ports(fields, "closed"),
    closing: fields.digest("closing"),
    outcome,
    seconds_left: fields.integer("seconds_left", 0, 86_400),
  };
}
