// Typed fields of an object whose names are known exactly.

import { type Json, type JsonObject, fromBase64url } from "./canonical.mjs";
import { malformed } from "./errors.mjs";

const UNSEEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029\ufeff]/;
export const HEX64 = /^[0-9a-f]{64}$/;
const KEY_ID = /^[a-z2-7]{32}$/;
const MAX_TEXT = 1024;
const MAX_ITEMS = 4096;

export class Fields {
  private readonly value: JsonObject;

  constructor(value: Json, names: string[]) {
    this.value =
      typeof value === "object" && !Array.isArray(value) ? value : malformed("bad_fields");
    const present = Object.keys(this.value).sort().join();
    if (present !== [...names].sort().join()) malformed("other_fields");
  }

  text(name: string, most = MAX_TEXT, least = 0): string {
    const value = this.value[name];
    if (typeof value !== "string" || UNSEEN.test(value)) return malformed(name);
    const length = [...value].length;
    return length < least || length > most ? malformed(name) : value;
  }

  matching(name: string, pattern: RegExp): string {
    const value = this.value[name];
    return typeof value === "string" && pattern.test(value) ? value : malformed(name);
  }

  digest(name: string): string {
    return this.matching(name, HEX64);
  }

  keyId(name: string): string {
    return this.matching(name, KEY_ID);
  }

  integer(name: string, low = 0, high = Number.MAX_SAFE_INTEGER): number {
    const value = this.value[name];
    if (typeof value !== "number" || value < low || value > high) return malformed(name);
    return value;
  }

  boolean(name: string): boolean {
    const value = this.value[name];
    return typeof value === "boolean" ? value : malformed(name);
  }

  binary(name: string, most: number): Buffer {
    const value = this.value[name];
    if (typeof value !== "string") return malformed(name);
    const data = fromBase64url(value);
    return data.length > most ? malformed(name) : data;
  }

  items(name: string, most = MAX_ITEMS): Json[] {
    const value = this.value[name];
    return Array.isArray(value) && value.length <= most ? value : malformed(name);
  }

  texts(name: string, most = MAX_ITEMS): string[] {
    const texts = this.items(name, most).map((item, at) => {
      if (typeof item !== "string" || UNSEEN.test(item)) return malformed(`${name} ${at}`);
      return [...item].length > MAX_TEXT ? malformed(name) : item;
    });
    return new Set(texts).size === texts.length ? texts : malformed(name);
  }

  map(name: string): JsonObject {
    const value = this.value[name];
    if (typeof value !== "object" || Array.isArray(value)) return malformed(name);
    return Object.keys(value).length > MAX_ITEMS ? malformed(name) : value;
  }
}
