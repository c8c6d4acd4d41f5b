"""A new generation of the ledger, opened by the owner after a restore.

A server that was restored from a backup has lost the newest part of its ledger. It cannot go on
with the old tree: machines and witnesses know a longer one. So the owner signs an opening, which
becomes leaf 0 of a new tree and names the last checkpoint that the restored server still holds.
Whatever lay behind it is thereby said to be lost, by somebody entitled to say so.

Rules:

1. The opening names the policy under which it was signed, by version and hash. It is one of the
   verifier's own chain; owner and epoch are that policy's.
2. It is signed by the threshold of that policy's role `policy`.
3. When that is not the newest policy of the chain, a later one names the opening among those that
   its people stand by. So an opening can be checked for ever, while a key that a later policy
   retired opens nothing any more: not even something that it dates back.
4. Its generation is exactly one more than that of the checkpoint it names.

A verifier that was never given the later policy cannot know that a key was retired. That holds for
every document, and is the reason why a machine keeps each policy that it has seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_threshold
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
    policy_version: int
    last_known: SeenCheckpoint
    reason: str
    issued_at_ms: int
    hash: str
    raw: bytes


def make_opening_payload(
    policy: Policy, last_known: SeenCheckpoint, reason: str, issued_at_ms: int
) -> JsonObject:
    """Return the payload to sign, under `policy`, for the generation after `last_known`."""
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
        "policy": {"hash": policy.hash, "version": policy.version},
        "reason": reason,
        "type": GENERATION_TYPE,
    }


def verify_opening(data: bytes, policies: Sequence[Policy]) -> Opening:
    """Return the opening that the owner signed, by the four rules above.

    `policies` are those that the caller verified as one chain, the newest last; a caller that
    takes nothing but openings under the newest passes that one alone.
    Raises `Malformed` or `Untrusted`.
    """
    envelope = read_envelope(data)
    require_type(envelope, GENERATION_TYPE)
    fields = Fields(
        envelope.payload,
        "the opening",
        {"epoch", "generation", "issued_at", "last_known", "owner", "policy", "reason", "type"},
    )
    # Rule 1.
    policy = _find_policy(fields, policies)
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The opening is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The opening is of another epoch than its policy.", reason="wrong_epoch")
    # Rule 2.
    verify_threshold(envelope, GENERATION_TYPE, policy.roles["policy"])
    # Rule 3.
    _check_still_stands(envelope, policy, policies)
    known = Fields(fields.map("last_known"), "the checkpoint", {"generation", "root", "size"})
    last_known = SeenCheckpoint(
        generation=known.integer("generation", low=1),
        size=known.integer("size"),
        root=known.digest("root"),
    )
    # Rule 4.
    generation = fields.integer("generation", low=2)
    if generation != last_known.generation + 1:
        raise Untrusted("The opening skips a generation.", reason="wrong_generation")
    return Opening(
        generation=generation,
        policy_version=policy.version,
        last_known=last_known,
        reason=fields.text("reason", most=MAX_REASON_CHARACTERS),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
    )


def _find_policy(fields: Fields, policies: Sequence[Policy]) -> Policy:
    named = Fields(fields.map("policy"), "the opening's policy", {"hash", "version"})
    version, digest = named.integer("version", low=1), named.digest("hash")
    for policy in policies:
        if (policy.version, policy.hash) == (version, digest):
            return policy
    raise Untrusted(
        f"The opening was signed under a policy {version} that is not known here. "
        "Take the owner's newest policy first.",
        reason="unknown_policy",
    )


def _check_still_stands(envelope: Envelope, policy: Policy, policies: Sequence[Policy]) -> None:
    later = [each for each in policies if each.version > policy.version]
    if later and not any(envelope.hash in each.openings for each in later):
        raise Untrusted(
            f"The opening was signed under policy {policy.version}, and no later policy stands by "
            "it: a key that was retired may have signed it.",
            reason="retired_policy",
        )
