"""A new generation of the ledger, opened by the owner after a restore.

A server that was restored from a backup has lost the newest part of its ledger. It cannot go on
with the old tree: machines and witnesses know a longer one. So the owner signs an opening, which
becomes leaf 0 of a new tree and names the last checkpoint that the restored server still holds.
Whatever lay behind it is thereby said to be lost, by somebody entitled to say so.

Rules:

1. The opening is signed by the threshold of the policy's role `policy`.
2. The owner is the policy's, and the epoch is the policy's or one before it: an opening stays in
   the ledger while epochs pass.
3. Its generation is exactly one more than that of the checkpoint it names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, verify_threshold
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.policy import Policy

GENERATION_TYPE: Final = "fleetward.generation.v1"
MAX_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True)
class Opening:
    """A verified opening of a generation."""

    generation: int
    last_known: SeenCheckpoint
    reason: str
    issued_at_ms: int
    hash: str
    raw: bytes


def make_opening_payload(
    policy: Policy, last_known: SeenCheckpoint, reason: str, issued_at_ms: int
) -> JsonObject:
    """Return the payload to sign for the generation after `last_known`."""
    return {
        "epoch": policy.epoch,
        "generation": last_known.generation + 1,
        "issued_at": issued_at_ms,
        "last_known": {
            "generation": last_known.generation,
            "root": last_known.root,
            "size": last_known.size,
        },
        "owner": policy.owner,
        "reason": reason,
        "type": GENERATION_TYPE,
    }


def verify_opening(data: bytes, policy: Policy) -> Opening:
    """Return the opening that the owner signed. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 1.
    verify_threshold(envelope, GENERATION_TYPE, policy.roles["policy"])
    fields = Fields(
        envelope.payload,
        "the opening",
        {"epoch", "generation", "issued_at", "last_known", "owner", "reason", "type"},
    )
    # Rule 2.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The opening is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) > policy.epoch:
        raise Untrusted("The opening is of an epoch to come.", reason="wrong_epoch")
    known = Fields(fields.map("last_known"), "the checkpoint", {"generation", "root", "size"})
    last_known = SeenCheckpoint(
        generation=known.integer("generation", low=1),
        size=known.integer("size"),
        root=known.digest("root"),
    )
    # Rule 3.
    generation = fields.integer("generation", low=2)
    if generation != last_known.generation + 1:
        raise Untrusted("The opening skips a generation.", reason="wrong_generation")
    return Opening(
        generation=generation,
        last_known=last_known,
        reason=fields.text("reason", most=MAX_REASON_CHARACTERS),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
    )
