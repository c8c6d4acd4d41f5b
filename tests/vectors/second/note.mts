// Checkpoints and cosignatures: c2sp.org/signed-note, tlog-checkpoint, tlog-cosignature.

import { malformed, untrusted } from "./errors.mjs";
import { type PublicKey, sha256, verifySignature } from "./keys.mjs";

const LINE = /^\u2014 ([!-*,-~]{1,256}) ([A-Za-z0-9+/=]{1,512})$/;
const BODY = /^([!-*,-~]{1,256})\n(0|[1-9][0-9]{0,15})\n([A-Za-z0-9+/]{43}=)\n$/;

interface Note {
  text: string;
  origin: string;
  size: number;
  root: Buffer;
  signatures: { name: string; hash: Buffer; value: Buffer }[];
}

function fromBase64(text: string): Buffer {
  const data = Buffer.from(text, "base64");
  return data.toString("base64") === text ? data : malformed("bad_note");
}

function readLine(line: string): Note["signatures"][number] {
  const [, name, blob] = LINE.exec(line) ?? malformed("bad_note");
  const data = fromBase64(blob!);
  if (data.length < 5) malformed("bad_note");
  return { name: name!, hash: data.subarray(0, 4), value: data.subarray(4) };
}

function readNote(note: string): Note {
  if (Buffer.byteLength(note) > 16 * 1024) malformed("bad_note");
  const end = note.indexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) malformed("bad_note");
  const text = note.slice(0, end + 1);
  const [, origin, size, root] = BODY.exec(text) ?? malformed("bad_note");
  const lines = note.slice(end + 2, -1).split("\n");
  if (lines.length > 64) malformed("bad_note");
  const signatures = lines.map(readLine);
  return { text, origin: origin!, size: Number(size), root: fromBase64(root!), signatures };
}

function keyHash(name: string, algorithm: number, key: PublicKey): Buffer {
  return sha256(`${name}\n`, Buffer.from([algorithm]), key.spki.subarray(-32)).subarray(0, 4);
}

function lineOf(note: Note, name: string, algorithm: number, key: PublicKey): Buffer | undefined {
  const wanted = keyHash(name, algorithm, key);
  return note.signatures.find((s) => s.name === name && s.hash.equals(wanted))?.value;
}

export function verifyCheckpoint(data: string, origin: string, log: PublicKey): Note {
  const note = readNote(data);
  if (note.origin !== origin) untrusted("wrong_origin");
  const value = lineOf(note, origin, 1, log) ?? untrusted("unsigned_note");
  verifySignature(log, value, Buffer.from(note.text, "utf8"));
  return note;
}

export function verifyCosignature(data: string, name: string, witness: PublicKey): number {
  const note = readNote(data);
  const value = lineOf(note, name, 4, witness) ?? untrusted("not_cosigned");
  if (value.length !== 72) untrusted("bad_signature");
  const at = value.readBigUInt64BE(0);
  const message = Buffer.from(`cosignature/v1\ntime ${at}\n${note.text}`, "utf8");
  verifySignature(witness, value.subarray(8), message);
  return Number(at);
}
