// Six words for the first 66 bits of a SHA-256.

import { sha256 } from "./keys.mjs";

export function sixWords(digest: Buffer, list: string[]): string {
  const bits = [...digest].map((byte) => byte.toString(2).padStart(8, "0")).join("");
  const words = bits.slice(0, 66).match(/.{11}/g) ?? [];
  return words.map((eleven) => list[parseInt(eleven, 2)]).join(" ");
}

export function deviceWords(owner: string, device: string, list: string[]): string {
  return sixWords(sha256(`fleetward.device-words.v1\0${owner}\0${device}`), list);
}
