// The signed envelope: what a signature covers, and who must have signed.

import { type Json, type JsonObject, decode, encode, fromBase64url } from "./canonical.mjs";
import { malformed, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey, sha256, verifySignature } from "./keys.mjs";

const TYPE = /^fleetward\.[a-z0-9.-]{1,54}$/;

interface Signature {
  keyId: string;
  suite: string;
  value: Buffer;
}

export interface Envelope {
  type: string;
  payload: JsonObject;
  signed: Buffer;
  hash: string;
  signatures: Signature[];
}

export interface Role {
  keys: Map<string, { key: PublicKey; person: string }>;
  threshold: number;
}

export function signedBytes(payload: JsonObject): Buffer {
  return Buffer.concat([
    Buffer.from(`fleetward-signed-v1\0${String(payload["type"])}\0`, "ascii"),
    encode(payload),
  ]);
}

function readSignature(value: Json): Signature {
  const fields = new Fields(value, ["key_id", "signature", "suite"]);
  const signature = fromBase64url(fields.text("signature", 128));
  if (signature.length !== 64) malformed("bad_signature_length");
  return {
    keyId: fields.keyId("key_id"),
    suite: fields.matching("suite", /^(ed25519|es256)$/),
    value: signature,
  };
}

export function readEnvelope(data: Buffer, maxBytes = 256 * 1024): Envelope {
  const fields = new Fields(decode(data, maxBytes), ["payload", "signatures"]);
  const payload = fields.map("payload");
  const type = payload["type"];
  if (typeof type !== "string" || !TYPE.test(type)) return malformed("bad_type_string");
  const signatures = fields.items("signatures", 32).map(readSignature);
  if (new Set(signatures.map((s) => s.keyId)).size !== signatures.length) {
    malformed("duplicate_signature");
  }
  const signed = signedBytes(payload);
  return { type, payload, signed, hash: sha256(signed).toString("hex"), signatures };
}

function check(envelope: Envelope, signature: Signature, key: PublicKey): void {
  if (signature.suite !== key.suite) untrusted("bad_suite");
  verifySignature(key, signature.value, envelope.signed);
}

export function verifyThreshold(envelope: Envelope, type: string, role: Role): string[] {
  if (envelope.type !== type) malformed("wrong_type");
  const people = new Set<string>();
  for (const signature of envelope.signatures) {
    const holder = role.keys.get(signature.keyId);
    if (!holder) continue;
    check(envelope, signature, holder.key);
    people.add(holder.person);
  }
  if (people.size < role.threshold) untrusted("too_few_signatures");
  return [...people].sort();
}

export function verifySingle(envelope: Envelope, type: string, key: PublicKey): void {
  if (envelope.type !== type) malformed("wrong_type");
  const [only, ...others] = envelope.signatures;
  if (!only || others.length > 0 || only.keyId !== key.id) return untrusted("wrong_signer");
  check(envelope, only, key);
}
