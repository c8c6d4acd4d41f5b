// A machine's view of its owner: what it believes after each bundle, by ten rules.

import { type Json, decode } from "./canonical.mjs";
import { readEnvelope } from "./envelope.mjs";
import { Failure, malformed, refused, untrusted } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import {
  type Entry, type Head, type Lease, type Policy, type Root, type Roster, verifyEntry, verifyHead,
  verifyLease, verifyPolicy, verifyRoot, verifyRoster,
} from "./owner.mjs";

export interface Anchor {
  owner: string;
  device: string;
  policy_version: number;
  policy_hash: string;
}

export interface View {
  anchor: Anchor;
  rootBytes: Buffer;
  root: Root;
  policies: Policy[];
  head?: Head;
  roster?: Roster;
  entry?: Entry;
  lease?: Lease;
  serial: number;
}

interface Bundle {
  root: Buffer;
  policies: Buffer[];
  head: Buffer;
  roster: Buffer;
  entry: Buffer;
  index: number;
  proof: Buffer[];
  lease: Buffer;
}

/** A recovered policy came that the machine has not waited for. */
export class Waiting extends Failure {
  constructor(
    readonly policy: Policy,
    readonly before: Policy,
  ) {
    super("Refused", "recovery_waits");
  }
}

export function readBundle(data: Buffer): Bundle {
  const fields = new Fields(decode(data, 700 * 1024), [
    "entry", "entry_index", "entry_proof", "head", "lease", "policies", "root", "roster",
  ]);
  const part = (name: string): Buffer => fields.binary(name, 256 * 1024);
  const many = (name: string, most: number, bytes: number): Buffer[] =>
    fields.items(name, most).map((item: Json) => {
      const one = new Fields({ item }, ["item"]).binary("item", bytes);
      return one.length === 0 ? malformed("bad_field") : one;
    });
  return {
    root: part("root"),
    policies: many("policies", 4096, 256 * 1024),
    head: part("head"),
    roster: part("roster"),
    entry: part("entry"),
    index: fields.integer("entry_index"),
    proof: many("entry_proof", 64, 32),
    lease: part("lease"),
  };
}

export function firstView(anchor: Anchor, bundle: Bundle): View {
  const root = verifyRoot(bundle.root, anchor.owner); // 1.
  const policies: Policy[] = [];
  for (const data of bundle.policies) {
    const policy = verifyPolicy(data, root, policies.at(-1)); // 2.
    if (policy.recovered && policy.version > anchor.policy_version) refused("recovery_waits"); // 10.
    policies.push(policy);
  }
  const lowest = policies[anchor.policy_version - 1]; // 4.
  if (lowest?.hash !== anchor.policy_hash) untrusted("policy_below_lowest");
  return takeHead({ anchor, rootBytes: bundle.root, root, policies, serial: 0 }, bundle);
}

/** A machine takes a recovered policy when it has waited for it; `waited` are hashes. */
export function waitsFor(view: View | undefined, policy: Policy, waited: string[]): boolean {
  const known = view?.policies[policy.version - 1]?.hash === policy.hash;
  return policy.recovered && !known && !waited.includes(policy.hash);
}

export function advance(view: View, bundle: Bundle, waited: string[] = []): View {
  if (bundle.root.length > 0 && !bundle.root.equals(view.rootBytes)) untrusted("another_owner"); // 1.
  const policies = [...view.policies];
  for (const data of bundle.policies) {
    takePolicy(view.root, policies, data);
    if (waitsFor(view, policies.at(-1)!, waited)) throw new Waiting(policies.at(-1)!, policies.at(-2)!);
  }
  return takeHead({ ...view, policies }, bundle);
}

function takePolicy(root: Root, policies: Policy[], data: Buffer): void {
  const { hash, payload } = readEnvelope(data);
  const version = payload["version"];
  const known = typeof version === "number" ? policies[version - 1] : undefined;
  if (known?.hash === hash) return;
  const before = known ? policies[known.version - 2] : policies.at(-1);
  const policy = verifyPolicy(data, root, before); // 2.
  if (known) untrusted("forked_policy"); // 3.
  policies.push(policy);
}

function takeHead(view: View, bundle: Bundle): View {
  const policy = view.policies.at(-1)!;
  const { head: old } = view;
  if (bundle.head.length === 0) {
    if (old && old.policyHash !== policy.hash) untrusted("mixed_documents"); // 6.
    if (bundle.roster.length > 0 || bundle.entry.length > 0) untrusted("mixed_documents");
    if (!old && bundle.lease.length > 0) untrusted("mixed_documents");
    return old ? takeLease(view, bundle, policy, old) : view;
  }
  const head = verifyHead(bundle.head, policy);
  if (old && head.version < old.version) untrusted("old_head"); // 5.
  if (old && head.version === old.version && head.hash !== old.hash) untrusted("forked_head");
  if (head.policyVersion !== policy.version || head.policyHash !== policy.hash) {
    untrusted("mixed_documents"); // 6.
  }
  return takeLease(takeRoster({ ...view, head }, bundle, policy, head), bundle, policy, head);
}

function takeRoster(view: View, bundle: Bundle, policy: Policy, head: Head): View {
  const roster = verifyRoster(bundle.roster, policy);
  if (roster.version !== head.rosterVersion || roster.hash !== head.rosterHash) {
    untrusted("mixed_documents"); // 6.
  }
  const { roster: old } = view;
  if (old && roster.version < old.version) untrusted("old_roster"); // 7.
  if (old && roster.version === old.version && roster.hash !== old.hash) untrusted("forked_roster");
  if (bundle.entry.length > 0) {
    const { device } = view.anchor;
    const entry = verifyEntry(roster, bundle.entry, bundle.index, bundle.proof, device); // 8.
    return { ...view, roster, entry };
  }
  const keep = old?.version === roster.version;
  return { ...view, roster, entry: keep ? view.entry : undefined };
}

function takeLease(view: View, bundle: Bundle, policy: Policy, head: Head): View {
  if (bundle.lease.length === 0) {
    return { ...view, lease: view.lease?.head === head.hash ? view.lease : undefined };
  }
  const lease = verifyLease(bundle.lease, policy, head); // 9.
  if (lease.hash === view.lease?.hash) return view;
  if (lease.serial <= view.serial) untrusted("old_lease");
  return { ...view, lease, serial: lease.serial };
}
