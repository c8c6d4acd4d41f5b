// What was allowed ahead: the document, an entry by one of its windows, a machine's word, a stop.

import { type Json } from "./canonical.mjs";
import { type Role, readEnvelope, verifyHolder, verifySingle, verifyThreshold } from "./envelope.mjs";
import { malformed, refused, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type PublicKey } from "./keys.mjs";
import { type Policy, role } from "./owner.mjs";
import {
  type Moment, type Scope, checkRules, readScopes, spell, verifyOffer, verifyRequest,
} from "./session.mjs";

const DAY = 86_400;
const DAY_MS = DAY * 1000;

export interface Window {
  begin: number;
  end: number;
}

export interface Standing {
  hash: string;
  devices: string[];
  requesters: string[];
  people: string[];
  scopes: Scope[];
  seconds: number;
  windows: Window[];
}

export interface Wanted {
  here: Moment;
  lastUsed: number;
  signed: number;
  doubt: string;
  pressed: boolean;
}

function sorted(fields: Fields, name: string, most: number): string[] {
  const values = fields.texts(name, most);
  const good = values.every((each) => /^[a-z2-7]{32}$/.test(each));
  const inOrder = values.join() === [...values].sort().join();
  return good && inOrder && values.length > 0 ? values : malformed(name);
}

function readWindows(items: Json[], issued: number): Window[] {
  const windows = items.map((value) => {
    const fields = new Fields(value, ["not_after", "not_before"]);
    return { begin: fields.integer("not_before"), end: fields.integer("not_after") };
  });
  windows.forEach((each, at) => {
    const length = each.end - each.begin;
    const before = windows[at - 1];
    if (length <= 0 || length > DAY_MS || (before && each.begin < before.end)) {
      malformed("bad_window");
    }
  });
  const [first, last] = [windows[0], windows.at(-1)];
  if (!first || !last || first.end <= issued) return malformed("bad_window");
  return last.end - issued > 400 * DAY_MS ? malformed("bad_window") : windows;
}

/** Whether the document is in force under this policy. */
export function verifyStanding(data: Buffer, policy: Policy): Standing {
  const envelope = readEnvelope(data, 64 * 1024);
  if (envelope.type !== "fleetward.standing.v1") malformed("wrong_type");
  const fields = new Fields(envelope.payload, [
    "devices", "epoch", "idle_seconds", "issued_at", "owner", "reason", "recording_key",
    "requesters", "scopes", "seconds", "series", "time_zone", "type", "watched", "windows",
  ]);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  const requesters = sorted(fields, "requesters", 16);
  if (!requesters.every((each) => policy.access?.requesters.includes(each))) {
    untrusted("unknown_requester");
  }
  const scopes = readScopes(fields.items("scopes", 8));
  const seconds = fields.integer("seconds", 1, DAY);
  const rules = checkRules(policy, scopes, seconds);
  const asking = requesters.map((each) => policy.keys.get(each)?.person);
  const approvers = role(policy, "approve");
  const keys: Role["keys"] = new Map(
    [...approvers.keys].filter(([, holder]) => !asking.includes(holder.person)),
  );
  const threshold = Math.max(approvers.threshold, ...rules.map((rule) => rule.threshold));
  const people = verifyThreshold(envelope, "fleetward.standing.v1", { keys, threshold });
  const watched = fields.boolean("watched");
  if (rules.some((rule) => rule.watched) && !watched) untrusted("not_watched");
  const recording = fields.text("recording_key", 256, 1);
  if (recording !== policy.recordingKey) untrusted("another_recording_key");
  const windows = readWindows(fields.items("windows", 64), fields.integer("issued_at"));
  if (fields.binary("series", 16).length !== 16) malformed("bad_field");
  fields.integer("idle_seconds", 10, 3600);
  fields.text("reason", 500, 1);
  fields.text("time_zone", 64, 1);
  const devices = sorted(fields, "devices", 64);
  return { hash: envelope.hash, devices, requesters, people, scopes, seconds, windows };
}

/** Under what a machine with this key lets somebody in by an entry, now. */
export function verifyEntry(
  documents: { request: Buffer; offer: Buffer; standing: Buffer; entry: Buffer },
  policy: Policy,
  key: PublicKey,
  wanted: Wanted,
): { people: string[]; seconds: number; session: string } {
  const { here } = wanted;
  const request = verifyRequest(documents.request, policy, key.id);
  const offer = verifyOffer(documents.offer, key, policy, request);
  const standing = verifyStanding(documents.standing, policy);
  const envelope = readEnvelope(documents.entry, 4096);
  const holder = policy.keys.get(request.requester) ?? untrusted("unknown_requester");
  verifyHolder(envelope, "fleetward.entry.v1", holder);
  const fields = new Fields(envelope.payload, [
    "device", "epoch", "offer", "owner", "request", "standing", "type", "window",
  ]);
  if (fields.digest("owner") !== policy.owner) untrusted("another_owner");
  if (fields.integer("epoch", 1) !== policy.epoch) untrusted("old_epoch");
  if (fields.keyId("device") !== key.id) untrusted("another_device");
  if (fields.digest("request") !== request.hash) untrusted("another_request");
  if (fields.digest("offer") !== offer.hash) untrusted("another_offer");
  if (offer.boot !== here.boot) untrusted("old_boot");
  if (offer.policyVersion !== policy.version) untrusted("another_policy");
  if (offer.policyHash !== policy.hash) untrusted("another_policy");
  if (fields.digest("standing") !== standing.hash) untrusted("another_standing");
  if (!standing.devices.includes(key.id)) untrusted("device_not_allowed");
  if (!standing.requesters.includes(request.requester)) untrusted("requester_not_allowed");
  const allowed = new Set(standing.scopes.map(spell));
  if (!request.scopes.every((scope) => allowed.has(spell(scope)))) untrusted("wider_than_standing");
  const place = fields.integer("window", 0, 63);
  const window = standing.windows[place] ?? untrusted("no_such_window");
  if (place <= wanted.lastUsed) refused("window_used");
  if (policy.access?.walls === "sandbox" && !here.sandboxed) refused("no_sandbox");
  const left = timeLeft(window, wanted);
  if (here.lease <= 0) refused("lease_expired");
  const seconds = Math.min(request.seconds, standing.seconds, Math.max(1, Math.floor(left / 1000)));
  return { people: standing.people, seconds, session: envelope.hash };
}

function timeLeft(window: Window, wanted: Wanted): number {
  const { now } = wanted.here;
  const length = window.end - window.begin;
  if (window.end <= wanted.signed) refused("expired");
  if (wanted.pressed) return length;
  if (wanted.doubt !== "" || now < wanted.signed) refused("clock_untrusted");
  if (now < window.begin) refused("not_yet");
  if (now >= window.end) refused("expired");
  return Math.min(length, window.end - now);
}

/** What a machine with this key says that it keeps. */
export function verifyState(
  data: Buffer,
  key: PublicKey,
  owner: string,
): { next: number; standing: string; state: string } {
  const envelope = readEnvelope(data, 4096);
  verifySingle(envelope, "fleetward.standing-state.v1", key);
  const fields = new Fields(envelope.payload, [
    "at", "device", "next_window", "owner", "standing", "state", "type", "words",
  ]);
  if (fields.keyId("device") !== key.id) untrusted("another_device");
  if (fields.digest("owner") !== owner) untrusted("another_device");
  fields.integer("at");
  fields.text("words", 500);
  return {
    next: fields.integer("next_window", 0, 64),
    standing: fields.digest("standing"),
    state: fields.matching("state", /^(held|dropped|revoked)$/),
  };
}

/** Which approver stops what, of something that was not seen yet. */
export function verifyStopAhead(
  data: Buffer,
  policy: Policy,
): { person: string; subject: string; what: string } {
  const envelope = readEnvelope(data, 4096);
  const named = envelope.signatures[0]?.keyId ?? "";
  const holder = role(policy, "approve").keys.get(named) ?? untrusted("wrong_signer");
  verifyHolder(envelope, "fleetward.stop.v1", holder);
  const names = ["issued_at", "owner", "reason", "subject", "type"];
  const said = "what" in envelope.payload;
  const fields = new Fields(envelope.payload, said ? [...names, "what"] : names);
  if (fields.digest("owner") !== policy.owner) untrusted("another_session");
  fields.integer("issued_at");
  fields.text("reason", 200);
  const what = said ? fields.matching("what", /^standing$/) : "";
  return { person: holder.person, subject: fields.digest("subject"), what };
}
