// Serial ports and runbooks: their scopes, and whether a machine runs a document.

import { type Json, type JsonObject } from "./canonical.mjs";
import { readEnvelope, verifyHolder } from "./envelope.mjs";
import { malformed, refused, untrusted } from "./errors.mjs";
import { Fields, HEX64 } from "./fields.mjs";
import { type Policy } from "./owner.mjs";

const BAUDS = [
  300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 500000,
  576000, 921600, 1000000, 1152000, 1500000, 2000000, 2500000, 3000000, 3500000, 4000000,
];
const NAME = /^[a-z][a-z0-9_]{0,31}$/;
const USER = /^[a-z_][a-z0-9_-]{0,31}$/;
const DAY = 86_400;
const CLASSES: Record<string, string> = {
  at: "@", colon: ":", comma: ",", dash: "-", digit: "0123456789", dot: ".", equals: "=",
  lower: "abcdefghijklmnopqrstuvwxyz", plus: "+", slash: "/", space: " ", underscore: "_",
  upper: "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
};
const INTERPRETERS = new Set(
  (
    "ash awk bash busybox bwrap chroot csh dash doas env expect fish gawk ionice ksh lua luajit " +
    "make mawk mksh nawk nice node nodejs nohup nsenter parallel perl php pypy python ruby " +
    "runuser script sed setpriv setsid sh ssh stdbuf su sudo systemd-run taskset tclsh tcsh time " +
    "timeout toybox unshare watch xargs zsh"
  ).split(" "),
);

export function checkPath(text: string): string {
  const good = /^\/dev(\/[A-Za-z0-9._:+@-]{1,64}){1,4}$/.test(text);
  const parts = text.split("/");
  return good && !parts.includes(".") && !parts.includes("..") ? text : malformed("bad_scope");
}

export function checkDigest(text: string): string {
  return text === "*" || HEX64.test(text) ? text : malformed("digest");
}

/** The path of a serial port's scope. */
export function readSerial(json: JsonObject): string {
  const fields = new Fields(json, ["baud", "kind", "path"]);
  if (!BAUDS.includes(fields.integer("baud"))) malformed("bad_scope");
  return checkPath(fields.text("path"));
}

export interface RunbookScope {
  digest: string;
  runAs: string;
  given: Map<string, string>;
}

export function readRunbookScope(json: JsonObject): RunbookScope {
  const fields = new Fields(json, ["arguments", "digest", "kind", "run_as"]);
  const map = fields.map("arguments");
  const names = Object.keys(map);
  if (names.length > 16 || !names.every((name) => NAME.test(name))) malformed("bad_scope");
  const read = new Fields(map, names);
  return {
    digest: fields.digest("digest"),
    runAs: fields.matching("run_as", USER),
    given: new Map(names.map((name) => [name, read.text(name, 256)])),
  };
}

interface Argument {
  name: string;
  fits(value: string): boolean;
}

function readArgument(value: Json): Argument {
  const kind = typeof value === "object" && !Array.isArray(value) ? value["kind"] : "";
  if (kind === "text") {
    const fields = new Fields(value, ["characters", "high", "kind", "low", "name"]);
    const classes = fields.texts("characters", 13);
    if (classes.length === 0) malformed("characters");
    const allowed = classes.map((c) => CLASSES[c] ?? malformed("characters")).join("");
    const low = fields.integer("low", 1, 256);
    const high = fields.integer("high", low, 256);
    const fits = (text: string): boolean =>
      text.length >= low && text.length <= high && [...text].every((c) => allowed.includes(c)) &&
      !text.startsWith("-") && !text.includes("..");
    return { name: fields.matching("name", NAME), fits };
  }
  if (kind === "integer") {
    const fields = new Fields(value, ["high", "kind", "low", "name"]);
    const low = fields.integer("low");
    const high = fields.integer("high", low);
    const fits = (text: string): boolean =>
      /^(0|[1-9][0-9]{0,15})$/.test(text) && BigInt(text) >= low && BigInt(text) <= high;
    return { name: fields.matching("name", NAME), fits };
  }
  if (kind !== "choice") return malformed("argument");
  const fields = new Fields(value, ["choices", "kind", "name"]);
  const choices = fields.texts("choices", 64);
  const good = choices.every((c) => [...c].length >= 1 && [...c].length <= 256);
  if (choices.length === 0 || !good) malformed("choices");
  return { name: fields.matching("name", NAME), fits: (text) => choices.includes(text) };
}

type Word = string | { hole: string };

function readStep(value: Json): Word[] {
  if (!Array.isArray(value) || value.length < 1 || value.length > 64) return malformed("bad_step");
  const step = value.map((word): Word => {
    if (typeof word === "object" && !Array.isArray(word)) {
      return { hole: new Fields(word, ["argument"]).matching("argument", NAME) };
    }
    return new Fields({ word }, ["word"]).text("word");
  });
  const program = step[0]!;
  if (typeof program !== "string") return malformed("bad_step");
  const parts = program.split("/");
  const whole = parts.slice(1).every((p) => p !== "" && p !== "." && p !== ".." && [...p].length <= 255);
  if (!program.startsWith("/") || parts.length < 2 || !whole) malformed("bad_step");
  const name = parts[parts.length - 1]!;
  const runsOthers = INTERPRETERS.has(name) || INTERPRETERS.has(name.replace(/[0-9.-]*$/, ""));
  if (runsOthers && step.some((word) => typeof word !== "string")) malformed("open_interpreter");
  return step;
}

/** The steps that a machine runs for this scope, under this policy. */
export function runOf(data: Buffer, policy: Policy, json: JsonObject): JsonObject {
  const scope = readRunbookScope(json);
  const envelope = readEnvelope(data, 64 * 1024);
  const kind = "fleetward.runbook.v1";
  if (envelope.type !== kind) malformed("wrong_type");
  const rule = policy.access?.rules.get("runbook") ?? refused("scope_not_in_policy");
  const named = envelope.payload["signer"];
  const holder = typeof named === "string" ? policy.keys.get(named) : undefined;
  if (!holder || !rule.signers.includes(named as string)) return untrusted("unknown_signer");
  verifyHolder(envelope, kind, holder);
  const fields = new Fields(envelope.payload, [
    "arguments", "description", "name", "run_as", "seconds", "signer", "steps", "type", "version",
  ]);
  const name = fields.matching("name", /^[a-z0-9][a-z0-9._-]{0,63}$/);
  const declared = fields.items("arguments", 16).map(readArgument);
  const steps = fields.items("steps", 32).map(readStep);
  const names = declared.map((argument) => argument.name);
  if (new Set(names).size !== names.length) malformed("duplicate_argument");
  if (steps.length === 0) malformed("bad_step");
  const words = steps.flat();
  const used = new Set(words.flatMap((word) => (typeof word === "string" ? [] : [word.hole])));
  if (used.size !== names.length || !names.every((n) => used.has(n))) malformed("arguments");
  const mixed = (word: Word): boolean =>
    typeof word === "string" && names.some((n) => word.includes(`{${n}}`));
  if (words.some(mixed)) malformed("placeholder_in_text");
  fields.text("description", 500);
  const version = fields.integer("version", 1);
  const runAs = fields.matching("run_as", USER);
  const seconds = fields.integer("seconds", 1, DAY);
  if (!rule.allowed.includes("*") && !rule.allowed.includes(envelope.hash)) {
    refused("scope_not_allowed");
  }
  if (scope.digest !== envelope.hash) untrusted("another_runbook");
  if (scope.runAs !== runAs) untrusted("another_user");
  if ([...scope.given.keys()].some((n) => !names.includes(n))) refused("unknown_argument");
  for (const argument of declared) {
    const value = scope.given.get(argument.name) ?? refused("missing_argument");
    if (!argument.fits(value)) refused("bad_argument");
  }
  const filled = steps.map((step) =>
    step.map((word) => (typeof word === "string" ? word : scope.given.get(word.hole)!)),
  );
  return { argv: filled, name, run_as: runAs, seconds, version };
}
