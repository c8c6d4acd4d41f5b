"""Believing what the server says of the ledger: pure checks, no state.

`verify_ledger_reply` takes what the machine asked, what came back, and what it believes; it
returns the new checkpoint and the batches that are proven, or raises:

| reason                      | what it means                                                |
|-----------------------------|--------------------------------------------------------------|
| `forked`                    | what is signed contradicts the checkpoint the machine has    |
| `rolled_back`               | a signed checkpoint is older than the one the machine has    |
| `bad_consistency_proof`     | a signed checkpoint was not shown to extend that one         |
| any other of `Untrusted`    | the proof proves nothing; nothing is taken over              |

`forked` is never raised for what a broken carrier could have garbled: two signed checkpoints of one
size differ, or hashes that lead to the signed root give the older tree another root, or the owner's
signed opening names another root.

Steps, whose numbers stand on the blocks:

1. The checkpoint is signed by the log key of the owner's policy, for this owner and generation.
2. Same generation: it extends the machine's checkpoint.
3. Newer generation: the owner's opening is leaf 0 of the new tree, and names the tree before.
4. Each batch is in the tree of that checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.generation import Opening, verify_opening
from fleetward.trust.journal import NO_CHECKPOINT, SeenCheckpoint
from fleetward.trust.merkle import MAX_PROOF_HASHES, hash_leaf, verify_consistency, verify_inclusion
from fleetward.trust.note import Checkpoint, origin_of, verify_checkpoint
from fleetward.trust.policy import Policy
from fleetward.wire.audit import MAX_PROOF_ITEMS, ProofReply

FIRST_GENERATION: Final = 1


@dataclass(frozen=True, slots=True)
class Proven:
    """What a reply proved: the checkpoint, places of batches, and a new generation's opening."""

    checkpoint: SeenCheckpoint
    places: Mapping[str, int]
    opening: Opening | None


def verify_ledger_reply(
    reply: ProofReply,
    seen: SeenCheckpoint,
    policies: Sequence[Policy],
    headers: Mapping[str, bytes],
) -> Proven:
    """Return what the reply proves about `headers` (raw header by batch hash).

    `policies` is the chain that the machine believes, the newest last. Raises `Malformed` or
    `Untrusted`; then nothing of the reply is to be believed.
    """
    # 1. The checkpoint.
    if not FIRST_GENERATION <= reply.generation < 2**31:
        raise Malformed("Expected the generation of a ledger.", reason="bad_generation")
    policy, note = policies[-1], reply.checkpoint.encode("utf-8")
    origin = origin_of(policy.owner, reply.generation)
    checkpoint = verify_checkpoint(note, origin, policy.roots.log_key)
    # 2. and 3. How it follows from what the machine has seen.
    opening = _verify_succession(reply, checkpoint, seen, policies)
    # 4. The batches.
    if len(reply.items) > MAX_PROOF_ITEMS:
        raise Malformed("Expected fewer proofs.", reason="too_many_proofs")
    places: dict[str, int] = {}
    for item in reply.items:
        if item.batch not in headers:
            raise Untrusted("The proof is of a batch that was not asked for.", reason="not_asked")
        verify_inclusion(
            hash_leaf(headers[item.batch]),
            item.index,
            checkpoint.size,
            _hashes(item.path),
            checkpoint.root,
        )
        places[item.batch] = item.index
    return Proven(
        checkpoint=SeenCheckpoint(reply.generation, checkpoint.size, checkpoint.root.hex()),
        places=places,
        opening=opening,
    )


def _verify_succession(
    reply: ProofReply, checkpoint: Checkpoint, seen: SeenCheckpoint, policies: Sequence[Policy]
) -> Opening | None:
    if reply.generation < seen.generation:
        raise Untrusted("The ledger is of an older generation.", reason="rolled_back")
    if reply.generation == seen.generation:
        # 2.
        _verify_extends(reply, checkpoint, seen)
        return None
    if reply.generation == FIRST_GENERATION or (seen == NO_CHECKPOINT and not reply.opening):
        return None
    # 3.
    opening = verify_opening(from_base64url(reply.opening), policies)
    if opening.generation != reply.generation:
        raise Untrusted("The opening is of another generation.", reason="wrong_generation")
    verify_inclusion(
        hash_leaf(opening.raw), 0, checkpoint.size, _hashes(reply.opening_path), checkpoint.root
    )
    known = opening.last_known
    if known.generation == seen.generation and known.size == seen.size and known.root != seen.root:
        raise Untrusted("The owner's opening names another record.", reason="forked")
    return opening


def _verify_extends(reply: ProofReply, checkpoint: Checkpoint, seen: SeenCheckpoint) -> None:
    try:
        verify_consistency(
            seen.size,
            bytes.fromhex(seen.root),
            checkpoint.size,
            checkpoint.root,
            _hashes(reply.consistency),
        )
    except Malformed as e:
        raise Untrusted(e.message, reason="bad_consistency_proof") from e


def lost_by_opening(opening: Opening, seen: SeenCheckpoint) -> bool:
    """Return whether the restored ledger lacks a part that this machine had seen."""
    if seen == NO_CHECKPOINT:
        return False
    known = opening.last_known
    return known.generation < seen.generation or (
        known.generation == seen.generation and known.size < seen.size
    )


def _hashes(texts: Sequence[str]) -> list[bytes]:
    if len(texts) > MAX_PROOF_HASHES:
        raise Malformed("Expected at most 64 hashes in a proof.", reason="bad_proof")
    return [from_base64url(t) for t in texts]
