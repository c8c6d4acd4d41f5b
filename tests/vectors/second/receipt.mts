// Receipts of sessions, and what changed on the machine: the document that a receipt names.

import { type Json, type JsonObject, decode } from "./canonical.mjs";
import { readEnvelope, verifySingle } from "./envelope.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields, HEX64 } from "./fields.mjs";
import { type PublicKey, sha256 } from "./keys.mjs";

const ENDINGS =
  /^(closed|length|idle|stopped|unwatched|panel|policy|failed|restarted)$/;
const NOT_COMPARED = /^(nothing_looks|no_before|no_after|failed)$/;
const MAX_DOCUMENT = 200 * 1024;

const RECEIPT = [
  "bytes_in", "bytes_out", "device", "ended_at", "ended_by", "ended_who", "opened_at", "owner",
  "recording_head", "records", "session", "type",
];

/** Says which of some optional fields an object has; whether they may, their reader says. */
function present(value: Json, names: string[]): string[] {
  if (typeof value !== "object" || Array.isArray(value)) return malformed("bad_fields");
  return names.filter((name) => name in value);
}

export interface Receipt {
  session: string;
  changes: string;
  findings: number;
  not_compared: string;
}

export function verifyReceipt(data: Buffer, key: PublicKey, owner: string): Receipt {
  const envelope = readEnvelope(data, 8192);
  verifySingle(envelope, "fleetward.receipt.v1", key);
  const more = present(envelope.payload, ["changes", "findings", "not_compared"]);
  const fields = new Fields(envelope.payload, [...RECEIPT, ...more]);
  if (fields.keyId("device") !== key.id || fields.digest("owner") !== owner) {
    untrusted("another_device");
  }
  for (const name of ["opened_at", "ended_at", "bytes_in", "bytes_out", "records"]) {
    fields.integer(name);
  }
  fields.matching("ended_by", ENDINGS);
  fields.text("ended_who", 80);
  fields.digest("recording_head");
  const said = more.join();
  if (!["", "changes,findings", "not_compared"].includes(said)) malformed("bad_field");
  return {
    session: fields.digest("session"),
    changes: said === "changes,findings" ? fields.digest("changes") : "",
    findings: said === "changes,findings" ? fields.integer("findings", 0, 1e9) : 0,
    not_compared: said === "not_compared" ? fields.matching("not_compared", NOT_COMPARED) : "",
  };
}

/** An optional field stands there only with another value than its default. */
function unlikeDefault(value: JsonObject, names: string[]): void {
  for (const name of names) {
    const given = value[name];
    const empty = Array.isArray(given) && given.length === 0;
    if (given === "" || given === false || empty) malformed("comparison_not_canonical");
  }
}

function readRow(row: Json, names: string[], optional: string[]): Fields {
  const more = present(row, optional);
  unlikeDefault(row as JsonObject, more);
  const fields = new Fields(row, [...names, ...more]);
  for (const name of [...names, ...more]) {
    if (name === "attack") fields.items("attack", 4);
    else if (name === "number") fields.integer("number", 0, 1e9);
    else fields.text(name);
  }
  return fields;
}

export function verifyComparison(
  document: Buffer,
  digest: string,
  session: string,
): { findings: number; changes: number } {
  if (!HEX64.test(digest) || sha256(document).toString("hex") !== digest) {
    untrusted("comparison_other_digest");
  }
  if (document.length > MAX_DOCUMENT) malformed("comparison_too_large");
  const value = decode(document, MAX_DOCUMENT);
  const more = present(value, ["changes", "findings", "late", "left", "restarted", "unseen"]);
  unlikeDefault(value as JsonObject, more);
  const names = ["after_at", "before_at", "device", "ended_at", "opened_at", "session", "type"];
  const fields = new Fields(value, [...names, ...more]);
  fields.matching("type", /^fleetward\.comparison\.v1$/);
  for (const name of ["before_at", "opened_at", "ended_at", "after_at"]) fields.integer(name);
  fields.text("device");
  if (more.includes("late")) fields.boolean("late");
  if (more.includes("restarted")) fields.boolean("restarted");
  if (more.includes("unseen")) fields.texts("unseen", 50);
  const rows = (name: string, most: number): Json[] =>
    more.includes(name) ? fields.items(name, most) : [];
  const findings = rows("findings", 100);
  const changes = rows("changes", 2000);
  for (const row of findings) {
    readRow(row, ["evidence", "rule", "severity", "words"], ["attack"])
      .matching("severity", /^(info|notice|warning)$/);
  }
  for (const row of changes) {
    readRow(row, ["change", "kind", "name"], ["after", "before"])
      .matching("change", /^(added|removed|changed)$/);
  }
  const count = { findings: findings.length, changes: changes.length };
  for (const row of rows("left", 64)) {
    const left = readRow(row, ["kind", "number"], []);
    count[left.text("kind") === "finding" ? "findings" : "changes"] += left.integer("number");
  }
  if (fields.digest("session") !== session) untrusted("comparison_other_session");
  return count;
}
