// Public keys in their one spelling, key ids, and signatures.

import { createHash, createPublicKey, verify } from "node:crypto";

import { malformed, untrusted } from "./errors.mjs";
import type { Fields } from "./fields.mjs";

const PREFIX: Record<string, { head: Buffer; size: number }> = {
  ed25519: { head: Buffer.from("302a300506032b6570032100", "hex"), size: 44 },
  es256: {
    head: Buffer.from("3059301306072a8648ce3d020106082a8648ce3d03010703420004", "hex"),
    size: 91,
  },
};
const ALPHABET = "abcdefghijklmnopqrstuvwxyz234567";
const P = 2n ** 255n - 19n;

export interface PublicKey {
  suite: string;
  spki: Buffer;
  id: string;
}

export function sha256(...parts: (Buffer | string)[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function keyId(spki: Buffer): string {
  let bits = "";
  for (const byte of sha256(spki).subarray(0, 20)) bits += byte.toString(2).padStart(8, "0");
  return bits.replace(/.{5}/g, (five) => ALPHABET[parseInt(five, 2)]!);
}

const mod = (n: bigint): bigint => ((n % P) + P) % P;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let b = mod(base), e = exponent; e > 0n; e >>= 1n, b = mod(b * b)) {
    if (e & 1n) result = mod(result * b);
  }
  return result;
}

const inverse = (n: bigint): bigint => power(n, P - 2n);
const D = mod(-121665n * inverse(121666n));

/** Whether eight times the point with this y is the neutral element. Signs of x do not matter. */
function hasSmallOrder(y: bigint): boolean {
  // Only x * x is needed: doubling gives y' = (y*y + x*x) / (1 - d*x*x*y*y), and x'*x' follows.
  let yy = y;
  for (let doubled = 0; doubled < 3; doubled++) {
    const square = mod(yy * yy);
    const xx = mod((square - 1n) * inverse(D * square + 1n));
    yy = mod((square + xx) * inverse(1n - D * xx * square));
  }
  return yy === 1n;
}

export function readKey(suite: string, spki: Buffer): PublicKey {
  const form = PREFIX[suite];
  if (!form) return malformed("unknown_suite");
  const { head, size } = form;
  if (spki.length !== size || !spki.subarray(0, head.length).equals(head)) malformed("bad_key");
  if (suite === "ed25519") {
    const little = Buffer.from(spki.subarray(head.length)).reverse();
    const y = BigInt(`0x${little.toString("hex")}`) & (2n ** 255n - 1n);
    if (y >= P || hasSmallOrder(y)) malformed("bad_key");
  }
  try {
    createPublicKey({ key: spki, format: "der", type: "spki" });
  } catch {
    malformed("bad_key");
  }
  return { suite, spki, id: keyId(spki) };
}

export function readKeyFields(fields: Fields): PublicKey {
  const key = readKey(fields.text("suite"), fields.binary("public", 128));
  return fields.keyId("key_id") === key.id ? key : malformed("bad_key_id");
}

export function verifySignature(key: PublicKey, signature: Buffer, message: Buffer): void {
  if (signature.length !== 64) untrusted("bad_signature");
  const loaded = createPublicKey({ key: key.spki, format: "der", type: "spki" });
  const good =
    key.suite === "ed25519"
      ? verify(null, message, loaded, signature)
      : verify("sha256", message, { key: loaded, dsaEncoding: "ieee-p1363" }, signature);
  if (!good) untrusted("bad_signature");
}
