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
  authenticatorData?: Buffer;
  clientData?: Buffer;
}

export interface Holder {
  key: PublicKey;
  person: string;
  passkey?: { rpId: string; origins: string[] };
}

export interface Envelope {
  type: string;
  payload: JsonObject;
  signed: Buffer;
  hash: string;
  signatures: Signature[];
}

export interface Role {
  keys: Map<string, Holder>;
  threshold: number;
}

export function signedBytes(payload: JsonObject): Buffer {
  return Buffer.concat([
    Buffer.from(`fleetward-signed-v1\0${String(payload["type"])}\0`, "ascii"),
    encode(payload),
  ]);
}

function readSignature(value: Json): Signature {
  const named = typeof value === "object" && !Array.isArray(value) && value["suite"] === "webauthn";
  const more = named ? ["authenticator_data", "client_data"] : [];
  const fields = new Fields(value, ["key_id", "signature", "suite", ...more]);
  const signature = fromBase64url(fields.text("signature", 128));
  if (signature.length !== 64) malformed("bad_signature_length");
  const plain = {
    keyId: fields.keyId("key_id"),
    suite: fields.matching("suite", /^(ed25519|es256|webauthn)$/),
    value: signature,
  };
  if (!named) return plain;
  return {
    ...plain,
    authenticatorData: fields.binary("authenticator_data", 1024),
    clientData: fields.binary("client_data", 4096),
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

function check(envelope: Envelope, signature: Signature, holder: Holder): void {
  const { key, passkey } = holder;
  if (signature.suite !== (passkey ? "webauthn" : key.suite)) untrusted("bad_suite");
  if (!passkey) return verifySignature(key, signature.value, envelope.signed);
  const { authenticatorData, clientData } = signature;
  if (!authenticatorData || !clientData) return untrusted("bad_signature");
  checkClient(clientData, envelope, passkey.origins);
  if (authenticatorData.length < 37) malformed("bad_passkey");
  if (!authenticatorData.subarray(0, 32).equals(sha256(Buffer.from(passkey.rpId)))) {
    untrusted("passkey_rp_id");
  }
  if ((authenticatorData[32]! & 0x05) !== 0x05) untrusted("passkey_unverified");
  verifySignature(key, signature.value, Buffer.concat([authenticatorData, sha256(clientData)]));
}

function checkClient(data: Buffer, envelope: Envelope, origins: string[]): void {
  let said: Record<string, unknown>;
  try {
    said = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(data));
  } catch {
    return malformed("bad_passkey");
  }
  if (typeof said !== "object" || said === null || Array.isArray(said)) malformed("bad_passkey");
  if (said["type"] !== "webauthn.get") untrusted("passkey_type");
  const challenge = sha256(envelope.signed).toString("base64url");
  if (said["challenge"] !== challenge) untrusted("passkey_challenge");
  if (!origins.some((origin) => origin === said["origin"])) untrusted("passkey_origin");
  if ((said["crossOrigin"] ?? false) !== false || "topOrigin" in said) untrusted("passkey_framed");
}

export function verifyThreshold(envelope: Envelope, type: string, role: Role): string[] {
  if (envelope.type !== type) malformed("wrong_type");
  const people = new Set<string>();
  for (const signature of envelope.signatures) {
    const holder = role.keys.get(signature.keyId);
    if (!holder) continue;
    check(envelope, signature, holder);
    people.add(holder.person);
  }
  if (people.size < role.threshold) untrusted("too_few_signatures");
  return [...people].sort();
}

export function verifySingle(envelope: Envelope, type: string, key: PublicKey): void {
  verifyHolder(envelope, type, { key, person: "" });
}

export function verifyHolder(envelope: Envelope, type: string, holder: Holder): void {
  if (envelope.type !== type) malformed("wrong_type");
  const [only, ...others] = envelope.signatures;
  if (!only || others.length > 0 || only.keyId !== holder.key.id) return untrusted("wrong_signer");
  check(envelope, only, holder);
}
