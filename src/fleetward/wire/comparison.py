"""What changed on a machine during a session: the document that a receipt names by its digest.

One canonical JSON document of at most `MAX_COMPARISON_BYTES`. It says what was different between
a look before the session opened and a look after everything in it had ended. It never says who
did it: others may have worked on the machine meanwhile.

Version history
- 2026-11-26: `fleetward.comparison.v1`, the first.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from fleetward.trust.canonical import encode
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.wire.posture import Text

COMPARISON_TYPE: Final = "fleetward.comparison.v1"
MAX_COMPARISON_BYTES: Final = 200 * 1024
"""A person reads a few lines; a thousand changes fit, and the rest is counted."""
MAX_FINDINGS: Final = 100
MAX_CHANGES: Final = 2000
MAX_UNSEEN: Final = 50
MAX_DROPPED: Final = 64
"""Kinds of changes of which some may have been left out."""

Severity = Literal["info", "notice", "warning"]
Instant = Annotated[int, Meta(ge=0, le=2**53 - 1)]
Number = Annotated[int, Meta(ge=0, le=10**9)]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Kind = Annotated[str, Meta(pattern=r"^[a-z_]{1,32}\Z")]


class _Word(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Common settings of what stands in the document."""


class Finding(_Word, frozen=True):
    """A change that somebody should look at. `rule` names it, `attack` are ATT&CK techniques."""

    rule: Kind
    severity: Severity
    words: Text
    evidence: Text
    attack: Annotated[tuple[Text, ...], Meta(max_length=4)] = ()


class Difference(_Word, frozen=True):
    """One thing that was added, removed or changed, and how it was before and is after."""

    kind: Kind
    change: Literal["added", "removed", "changed"]
    name: Text
    before: Text = ""
    after: Text = ""


class Left(_Word, frozen=True):
    """How many more there were of a kind than the document holds."""

    kind: Kind
    number: Number


class Comparison(_Word, frozen=True):
    """The whole document. `late` says that the session opened before the first look ended."""

    type: Literal["fleetward.comparison.v1"]
    device: Text
    session: Hash
    before_at: Instant
    opened_at: Instant
    ended_at: Instant
    after_at: Instant
    late: bool = False
    restarted: bool = False
    """Whether the machine or its agent started anew between the two looks."""
    findings: Annotated[tuple[Finding, ...], Meta(max_length=MAX_FINDINGS)] = ()
    changes: Annotated[tuple[Difference, ...], Meta(max_length=MAX_CHANGES)] = ()
    left: Annotated[tuple[Left, ...], Meta(max_length=MAX_DROPPED)] = ()
    unseen: Annotated[tuple[Text, ...], Meta(max_length=MAX_UNSEEN)] = ()
    """What was not looked at, or not wholly, in a person's words."""

    @property
    def finding_count(self) -> int:
        """How many findings there were, those that did not fit too."""
        return len(self.findings) + sum(x.number for x in self.left if x.kind == "finding")

    @property
    def change_count(self) -> int:
        """How many changes there were, those that did not fit too."""
        return len(self.changes) + sum(x.number for x in self.left if x.kind != "finding")


_decoder: Final = msgspec.json.Decoder(Comparison)


def encode_comparison(comparison: Comparison) -> bytes:
    """Return the canonical bytes. Raises `Malformed` when they are too many."""
    encoded = encode(msgspec.to_builtins(comparison))
    if len(encoded) > MAX_COMPARISON_BYTES:
        raise Malformed(
            f"Expected a comparison of at most {MAX_COMPARISON_BYTES} bytes, came {len(encoded)}.",
            reason="comparison_too_large",
        )
    return encoded


def decode_comparison(encoded: bytes) -> Comparison:
    """Return the comparison that these bytes are, in their one canonical form, or raise
    `Malformed`."""
    if len(encoded) > MAX_COMPARISON_BYTES:
        raise Malformed(
            f"Expected a comparison of at most {MAX_COMPARISON_BYTES} bytes, came {len(encoded)}.",
            reason="comparison_too_large",
        )
    try:
        comparison = _decoder.decode(encoded)
        same = encode(msgspec.to_builtins(comparison)) == encoded
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Malformed(
            f"Expected a comparison of version 1, came something else: {error}.",
            reason="comparison_malformed",
        ) from error
    if not same:
        raise Malformed(
            "Expected the canonical form of a comparison, came another spelling of it.",
            reason="comparison_not_canonical",
        )
    return comparison


def digest_comparison(encoded: bytes) -> str:
    """Return the name of a comparison: 64 hexadecimal digits of SHA-256."""
    return hashlib.sha256(encoded).hexdigest()


def verify_comparison(encoded: bytes, digest: str, session: str) -> Comparison:
    """Return the comparison that a receipt names.

    The caller has verified the receipt. Raises `Untrusted` when the bytes are not those that the
    machine signed for, or are about another session, and `Malformed`.
    """
    if digest_comparison(encoded) != digest:
        raise Untrusted(
            "What the server hands out as changes is not what the machine signed for.",
            reason="comparison_other_digest",
        )
    comparison = decode_comparison(encoded)
    if comparison.session != session:
        raise Untrusted(
            "The comparison is of another session than its receipt.",
            reason="comparison_other_session",
        )
    return comparison


def say_comparison(findings: int, changes: int) -> str:
    """Return in words how much was found."""
    if not changes and not findings:
        return "nothing changed"
    many = f"{findings:,} {'finding' if findings == 1 else 'findings'}"
    return f"{many}, {changes:,} {'change' if changes == 1 else 'changes'}"


class ComparedNotice(Struct, frozen=True):
    """Body of the journal entry `session.compared`. `top` are the gravest findings, in words."""

    session: Hash
    digest: Hash
    size: Annotated[int, Meta(ge=2, le=MAX_COMPARISON_BYTES)]
    findings: Number
    changes: Number
    severity: Literal["none", "info", "notice", "warning"]
    top: Annotated[tuple[Text, ...], Meta(max_length=10)]
    words: Text
