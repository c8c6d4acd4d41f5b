// BREAK-GLASS: whose yes counts when the usual approvers are away, and for what.

import { type JsonObject } from "./canonical.mjs";
import { type Role } from "./envelope.mjs";
import { malformed, refused } from "./errors.mjs";
import { Fields } from "./fields.mjs";
import { type Policy } from "./owner.mjs";
import { type Rule } from "./session.mjs";

const SHIFT = 8 * 3600;
const LEAST_PEOPLE = 2;

export interface BreakGlass {
  keys: string[];
  threshold: number;
  seconds: number;
  rules: Map<string, Rule>;
}

export function readBreakGlass(
  value: JsonObject,
  known: string[],
  readRule: (kind: string, value: JsonObject) => Rule,
): BreakGlass {
  const fields = new Fields(value, ["keys", "kinds", "seconds", "threshold"]);
  const named = fields.map("kinds");
  const kinds = known.filter((kind) => kind in named);
  const each = new Fields(named, kinds);
  const keys = fields.texts("keys", 32);
  if (!keys.every((key) => /^[a-z2-7]{32}$/.test(key))) malformed("keys");
  return {
    keys,
    threshold: fields.integer("threshold", LEAST_PEOPLE, 32),
    seconds: fields.integer("seconds", 1, SHIFT),
    rules: new Map(kinds.map((kind) => [kind, readRule(kind, each.map(kind))])),
  };
}

/** The keys are the policy's, and of as many people as it takes. */
export function checkPeople(rules: BreakGlass, keys: Role["keys"]): void {
  const people = rules.keys.map((id) => keys.get(id)?.person ?? malformed("bad_role"));
  if (new Set(people).size < rules.threshold) malformed("bad_threshold");
}

/** Whether a document says so: true, or not there. */
export function readMark(payload: JsonObject): boolean {
  if (!("break_glass" in payload)) return false;
  return payload["break_glass"] === true ? true : malformed("break_glass");
}

export function rulesFor(policy: Policy, marked: boolean, seconds: number): Map<string, Rule> {
  if (!marked) return policy.access?.rules ?? new Map();
  const rules = policy.access?.breakGlass ?? refused("no_break_glass");
  return seconds <= rules.seconds ? rules.rules : refused("too_long");
}

/** Who may say yes, the one who asks left out by the caller. */
export function standIns(policy: Policy): Role {
  const rules = policy.access?.breakGlass ?? refused("no_break_glass");
  const keys = new Map(rules.keys.map((id) => [id, policy.keys.get(id)!]));
  return { keys, threshold: Math.max(LEAST_PEOPLE, rules.threshold) };
}
