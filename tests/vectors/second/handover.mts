// Keys that change hands: handovers by epoch, recovery keys, offers to take a fleet over.

import { type Json, type JsonObject, encode } from "./canonical.mjs";
import { type Role, readEnvelope, verifyThreshold } from "./envelope.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { keyId, readKeyFields } from "./keys.mjs";

const DAY = 86_400;
/** What a recovered policy may change; the rest must be as it was. */
const FREE = ["access", "issued_at", "keys", "openings", "recovery", "roles", "version"];

export interface Recovery {
  role: Role;
  delay: number;
}

/** The recovery keys of a policy: they do nothing else. */
export function readRecovery(payload: JsonObject, holders: Role["keys"], used: Set<string>): Recovery | undefined {
  if (!("recovery" in payload)) return undefined;
  const fields = new Fields(payload["recovery"]!, ["delay_seconds", "keys", "threshold"]);
  const keys: Role["keys"] = new Map();
  for (const id of fields.texts("keys", 32)) {
    const holder = holders.get(id);
    if (!holder || holder.passkey || used.has(id)) return malformed("bad_role");
    keys.set(id, holder);
  }
  const threshold = fields.integer("threshold");
  const people = new Set([...keys.values()].map((holder) => holder.person));
  if (threshold < 1 || threshold > people.size) malformed("bad_threshold");
  return { role: { keys, threshold }, delay: fields.integer("delay_seconds", DAY, 90 * DAY) };
}

const same = (a: Json | undefined, b: Json | undefined): boolean =>
  a === undefined || b === undefined ? a === b : encode(a).equals(encode(b));
const isMap = (value: Json | undefined): value is JsonObject =>
  typeof value === "object" && !Array.isArray(value);

/** A recovery names new people and changes nothing else. */
export function checkRecovered(before: JsonObject, after: JsonObject): void {
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    if (!FREE.includes(name) && !same(before[name], after[name])) untrusted("recovery_too_wide");
  }
  const [old, now] = [before["recovery"], after["recovery"]];
  if (isMap(old) && isMap(now) && Number(now["delay_seconds"]) < Number(old["delay_seconds"])) {
    untrusted("recovery_too_wide");
  }
  narrowed(before["access"], after["access"]);
}

function narrowed(before: Json | undefined, after: Json | undefined): void {
  if (after === undefined || same(before, after)) return;
  if (!isMap(before) || !isMap(after)) return untrusted("recovery_too_wide");
  for (const [name, value] of Object.entries(after)) {
    const was = before[name];
    const fewer =
      name === "requesters" && Array.isArray(value) && Array.isArray(was) &&
      value.every((each) => was.includes(each));
    if (!fewer && !same(was, value)) untrusted("recovery_too_wide");
  }
}

export interface Held {
  epoch: number;
  name: string;
  keys: Role["keys"];
  recordingKey: string;
  fleetCa: string;
}

/** The epoch rises by one, under a name, and no key of the owner before stands. */
export function checkEpoch(before: Held, after: Held): void {
  if (after.epoch === before.epoch) {
    if (after.name !== before.name) untrusted("renamed_owner");
    return;
  }
  if (after.epoch < before.epoch) untrusted("old_epoch");
  if (after.epoch !== before.epoch + 1) untrusted("skipped_epoch");
  if (after.name === "") untrusted("unnamed_owner");
  const old = allKeys(before);
  if (allKeys(after).some((id) => old.includes(id))) untrusted("old_key_kept");
}

function allKeys(held: Held): string[] {
  const [, spki] = held.recordingKey.split(":");
  const recording = spki === undefined ? held.recordingKey : keyId(Buffer.from(spki, "base64url"));
  return [...held.keys.keys(), recording, held.fleetCa].filter((id) => id !== "");
}

export function verifyTakeOver(data: Buffer): JsonObject {
  const envelope = readEnvelope(data, 16 * 1024);
  const fields = new Fields(envelope.payload, [
    "fleet_ca", "issued_at", "keys", "name", "org", "person", "recording_key", "type",
  ]);
  const names = ["approver", "refresh", "root"];
  const said = new Fields(fields.map("keys"), names);
  const keys: Role["keys"] = new Map();
  const ids: JsonObject = {};
  for (const name of names) {
    const key = readKeyFields(new Fields(said.map(name), ["key_id", "public", "suite"]));
    if (keys.has(key.id)) malformed("duplicate_key");
    keys.set(key.id, { key, person: name });
    ids[name] = key.id;
  }
  verifyThreshold(envelope, "fleetward.take-over-offer.v1", { keys, threshold: 3 });
  fields.digest("fleet_ca");
  fields.text("org", 80);
  fields.text("person", 80, 1);
  fields.text("recording_key", 256, 1);
  fields.integer("issued_at");
  return { hash: envelope.hash, keys: ids, name: fields.text("name", 80, 1) };
}
