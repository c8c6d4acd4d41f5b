// RFC 6962 trees, by recursion over the definitions of sections 2.1.1 and 2.1.2.

import { malformed, untrusted } from "./errors.mjs";
import { sha256 } from "./keys.mjs";

const EMPTY = sha256("");

export const hashLeaf = (data: Buffer): Buffer => sha256("\0", data);
const parent = (left: Buffer, right: Buffer): Buffer => sha256("\x01", left, right);

function split(size: number): number {
  let k = 1;
  while (k * 2 < size) k *= 2;
  return k;
}

export function root(leaves: Buffer[]): Buffer {
  if (leaves.length === 0) return EMPTY;
  if (leaves.length === 1) return leaves[0]!;
  const k = split(leaves.length);
  return parent(root(leaves.slice(0, k)), root(leaves.slice(k)));
}

function checkHashes(hashes: Buffer[]): Buffer[] {
  if (hashes.length > 64 || hashes.some((h) => h.length !== 32)) malformed("bad_proof");
  return [...hashes];
}

export function verifyInclusion(
  leaf: Buffer, index: number, size: number, path: Buffer[], expected: Buffer,
): void {
  const left = checkHashes(path);
  if (!(index >= 0 && index < size)) malformed("bad_index");
  const climb = (m: number, n: number): Buffer => {
    if (n === 1) return leaf;
    const sibling = left.pop() ?? untrusted("bad_inclusion_proof");
    const k = split(n);
    return m < k ? parent(climb(m, k), sibling) : parent(sibling, climb(m - k, n - k));
  };
  if (!climb(index, size).equals(expected) || left.length > 0) untrusted("bad_inclusion_proof");
}

export function verifyConsistency(
  oldSize: number, oldRoot: Buffer, newSize: number, newRoot: Buffer, proof: Buffer[],
): void {
  const left = checkHashes(proof);
  if (!(oldSize >= 0 && oldSize <= newSize)) untrusted("rolled_back");
  if (oldSize === 0 && newSize > 0) {
    if (left.length > 0 || !oldRoot.equals(EMPTY)) untrusted("bad_consistency_proof");
    return;
  }
  // Returns the root of the old tree and of the new one, over the same subtree.
  const climb = (m: number, n: number, whole: boolean): [Buffer, Buffer] => {
    if (m === n) {
      const node = whole ? oldRoot : (left.pop() ?? untrusted("bad_consistency_proof"));
      return [node, node];
    }
    const sibling = left.pop() ?? untrusted("bad_consistency_proof");
    const k = split(n);
    if (m <= k) {
      const [before, after] = climb(m, k, whole);
      return [before, parent(after, sibling)];
    }
    const [before, after] = climb(m - k, n - k, false);
    return [parent(sibling, before), parent(sibling, after)];
  };
  const [before, after] = climb(oldSize, newSize, true);
  if (left.length > 0 || !before.equals(oldRoot) || !after.equals(newRoot)) untrusted("forked");
}
