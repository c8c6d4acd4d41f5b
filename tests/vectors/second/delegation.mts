// Delegations: whether somebody may ask in a requester's place, and for what.

import { readEnvelope, type Holder, verifyHolder } from "./envelope.mjs";
import { malformed, refused, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey, readKeyFields } from "./keys.mjs";
import type { Policy } from "./owner.mjs";
import { readScopes, spell } from "./session.mjs";

export const MAX_DELEGATION_BYTES = 8 * 1024;
const DAY_MS = 86_400_000;

export interface Delegation {
  delegator: string;
  key: PublicKey;
  holder: Holder;
  devices: string[];
  scopes: Set<string>;
  seconds: number;
  notBefore: number;
  notAfter: number;
}

export function verifyDelegation(data: Buffer, policy: Policy): Delegation {
  const envelope = readEnvelope(data, MAX_DELEGATION_BYTES);
  const fields = new Fields(envelope.payload, [
    "delegator", "devices", "epoch", "issued_at", "key", "not_after", "not_before", "org", "owner",
    "person", "scopes", "seconds", "type",
  ]);
  const delegator = fields.keyId("delegator");
  const sender = policy.keys.get(delegator);
  if (!sender || !policy.access?.delegators.includes(delegator)) return untrusted("unknown_delegator");
  verifyHolder(envelope, "fleetward.delegation.v1", sender);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  const key = readKeyFields(new Fields(fields.map("key"), ["key_id", "public", "suite"]));
  const person = fields.text("person", 80, 1);
  const shown = asRead(person);
  const known = [...policy.keys.values()].some((holder) => asRead(holder.person) === shown);
  if (policy.keys.has(key.id) || known || shown === "") untrusted("known_delegate");
  fields.integer("issued_at");
  const [notBefore, notAfter] = [fields.integer("not_before"), fields.integer("not_after")];
  if (notAfter <= notBefore || notAfter - notBefore > 90 * DAY_MS) untrusted("delegation_too_long");
  fields.text("org", 80);
  const devices = fields.texts("devices", 64);
  const sorted = [...new Set(devices)].sort();
  if (devices.length === 0 || sorted.join() !== devices.join()) malformed("bad_field");
  if (!devices.every((device) => /^[a-z2-7]{32}$/.test(device))) malformed("bad_field");
  return {
    delegator: sender.person,
    key,
    holder: { key, person },
    devices,
    scopes: new Set(readScopes(fields.items("scopes", 8)).map(spell)),
    seconds: fields.integer("seconds", 1, 86_400),
    notBefore,
    notAfter,
  };
}

// A name without what an eye does not tell apart: case, width, spaces, marks that are not seen.
function asRead(name: string): string {
  return name.normalize("NFKC").toLowerCase().replace(/[\p{Cf}\p{Mn}\p{Zs}\u115f\u1160\u2800]/gu, "");
}

export function checkDelegated(
  delegation: Delegation, device: string, scopes: string[], seconds: number,
): void {
  if (!delegation.devices.includes(device)) refused("device_not_delegated");
  if (!scopes.every((scope) => delegation.scopes.has(scope))) refused("scope_not_delegated");
  if (seconds > delegation.seconds) refused("longer_than_delegated");
}

export function checkDelegationTime(delegation: Delegation, now: number, seconds: number): void {
  if (now < delegation.notBefore) refused("delegation_not_yet");
  if (now + seconds * 1000 > delegation.notAfter) refused("delegation_over");
}
