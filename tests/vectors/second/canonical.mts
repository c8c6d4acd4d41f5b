// Canonical JSON by its five rules: a parser that knows no other spelling.

import { malformed } from "./errors.mjs";

export type Json = boolean | number | string | Json[] | JsonObject;
export interface JsonObject {
  [key: string]: Json;
}

const MAX_DEPTH = 16;
const MAX_KEY = 128;
const SHORT: Record<string, string> = {
  b: "\b", t: "\t", n: "\n", f: "\f", r: "\r", '"': '"', "\\": "\\",
};
const LETTER = new Map(Object.entries(SHORT).map(([letter, meant]) => [meant, letter]));

function spell(text: string): string {
  let out = '"';
  for (const c of text) {
    const letter = LETTER.get(c);
    if (letter !== undefined) out += `\\${letter}`;
    else if (c < " ") out += `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
    else out += c;
  }
  return out + '"';
}

export function write(value: Json): string {
  if (typeof value === "string") return spell(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `[${value.map(write).join(",")}]`;
  const keys = Object.keys(value).sort();
  return `{${keys.map((k) => `${spell(k)}:${write(value[k]!)}`).join(",")}}`;
}

export function encode(value: Json): Buffer {
  return Buffer.from(write(value), "utf8");
}

class Reader {
  private at = 0;

  constructor(private readonly text: string) {}

  whole(): Json {
    const value = this.value(0);
    if (this.at !== this.text.length) malformed("bytes_behind");
    return value;
  }

  private take(token: string): boolean {
    if (!this.text.startsWith(token, this.at)) return false;
    this.at += token.length;
    return true;
  }

  private need(token: string): void {
    if (!this.take(token)) malformed("not_canonical");
  }

  private value(depth: number): Json {
    if (depth > MAX_DEPTH) malformed("too_deep");
    if (this.take("true")) return true;
    if (this.take("false")) return false;
    if (this.take("{")) return this.object(depth);
    if (this.take("[")) return this.list(depth);
    return this.text[this.at] === '"' ? this.string() : this.integer();
  }

  private list(depth: number): Json[] {
    const items: Json[] = [];
    if (this.take("]")) return items;
    do items.push(this.value(depth + 1));
    while (this.take(","));
    this.need("]");
    return items;
  }

  private object(depth: number): JsonObject {
    const fields: JsonObject = Object.create(null) as JsonObject;
    if (this.take("}")) return fields;
    let before: string | undefined;
    do {
      const key = this.string();
      if (!/^[ -~]*$/.test(key) || key.length > MAX_KEY) malformed("bad_key");
      if (before !== undefined && key <= before) malformed("not_canonical");
      before = key;
      this.need(":");
      fields[key] = this.value(depth + 1);
    } while (this.take(","));
    this.need("}");
    return fields;
  }

  private integer(): number {
    const found = /^(0|-?[1-9][0-9]{0,15})(?![0-9.eE])/.exec(this.text.slice(this.at, this.at + 20));
    if (!found) malformed("not_an_integer");
    const number = Number(found[0]);
    if (!Number.isSafeInteger(number)) malformed("integer_range");
    this.at += found[0].length;
    return number;
  }

  private string(): string {
    this.need('"');
    let out = "";
    for (;;) {
      const c = this.text[this.at++];
      if (c === undefined || c < " ") malformed("not_json");
      if (c === '"') break;
      out += c === "\\" ? this.escape() : c;
    }
    return out;
  }

  private escape(): string {
    const letter = this.text[this.at++] ?? "";
    const meant = SHORT[letter];
    if (meant !== undefined) return meant;
    const digits = this.text.slice(this.at, this.at + 4);
    if (letter !== "u" || !/^00[01][0-9a-f]$/.test(digits)) malformed("not_canonical");
    const c = String.fromCharCode(parseInt(digits, 16));
    if (LETTER.has(c)) malformed("not_canonical");
    this.at += 4;
    return c;
  }
}

export function decode(data: Buffer, maxBytes = 8 * 1024 * 1024): Json {
  if (data.length > maxBytes) malformed("too_large");
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(data);
  } catch {
    return malformed("not_utf8");
  }
  return new Reader(text).whole();
}

export function fromBase64url(text: string): Buffer {
  const data = Buffer.from(text, "base64url");
  if (data.toString("base64url") !== text) malformed("not_base64url");
  return data;
}
