"""An approval before it is signed, and its signing: what is shown is what is signed.

The hash of an approval is known before the first signature, so that all who sign see the same six
words. A draft that somebody else began is read here and made anew: where it says something else
than it shows, it is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from fleetward.keyholder.updates.roots import find_maker
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import add_signatures, document_hash, read_envelope, seal
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy
from fleetward.trust.release_approval import (
    MAX_APPROVAL_BYTES,
    MAX_WAIT_SECONDS,
    Approval,
    Terms,
    Withdrawal,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
    verify_approval,
    verify_withdrawal,
)
from fleetward.trust.release_manifest import Manifest, check_product
from fleetward.trust.words import six_words

DRAFT_FORMAT: Final = "fleetward-approval-draft/1"
MAX_DRAFT_BYTES: Final = 32 * 1024 * 1024
"""Bytes: the maker's metadata has a few hundred kilobytes, and its limits allow ten megabytes."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """An approval before it is signed. `manifest` is None for a standing one."""

    policy: Policy
    product: str
    terms: Terms
    payload: JsonObject
    hash: str
    manifest: Manifest | None = None
    wait_seconds: int = 0

    @property
    def words(self) -> str:
        """Six words: of the release that is approved, or, of a standing approval, its own."""
        named = self.hash if self.manifest is None else self.manifest.hash
        return six_words(bytes.fromhex(named))

    @property
    def needed(self) -> int:
        """How many people must sign."""
        return self.policy.roles["approve"].threshold


def is_approval_draft(data: bytes) -> bool:
    """Say whether a file is the draft of an approval (`draft`), and none of a grant."""
    return DRAFT_FORMAT.encode() in data[:4096]


def prepare_approval(policy: Policy, manifest: Manifest, terms: Terms, now_ms: int) -> Prepared:
    """Return the approval of a release that was verified. Raises `Refused`, `Malformed`."""
    _check_terms(terms, now_ms)
    payload = make_approval_payload(policy, manifest, terms, now_ms)
    return Prepared(policy, manifest.product, terms, payload, document_hash(payload), manifest)


def prepare_standing(
    policy: Policy, product: str, terms: Terms, wait_seconds: int, now_ms: int
) -> Prepared:
    """Return a standing approval of a product whose maker the policy names. Raises as above."""
    find_maker(policy, check_product(product))
    _check_terms(terms, now_ms)
    if wait_seconds > MAX_WAIT_SECONDS:
        raise Malformed(
            f"Expected a wait of at most {MAX_WAIT_SECONDS // 86_400} days.", reason="bad_length"
        )
    payload = make_standing_payload(policy, product, terms, wait_seconds, now_ms)
    return Prepared(
        policy, product, terms, payload, document_hash(payload), wait_seconds=wait_seconds
    )


def sign_approval(prepared: Prepared, signers: Sequence[Signer], signed: bytes = b"") -> bytes:
    """Return the document with these signatures, and those of `signed`, which is the same one.

    Raises `Refused` for who may not approve, `Untrusted` when `signed` is something else.
    """
    for signer in signers:
        if signer.public.key_id not in prepared.policy.roles["approve"].keys:
            raise Refused("The policy does not let this key approve.", reason="no_approver")
    if not signed:
        return seal(prepared.payload, signers)
    envelope = read_envelope(signed, max_bytes=MAX_APPROVAL_BYTES)
    if envelope.hash != prepared.hash:
        raise Untrusted("What was signed before is something else.", reason="another_approval")
    return add_signatures(envelope, signers)


def read_begun(data: bytes, policy: Policy) -> Approval:
    """Return an approval that at least one of the people has signed, and perhaps not enough."""
    role = replace(policy.roles["approve"], threshold=1)
    roles = MappingProxyType({**policy.roles, "approve": role})
    return verify_approval(data, replace(policy, roles=roles))


def prepare_again(begun: Approval, policy: Policy, manifest: Manifest | None) -> Prepared:
    """Return what somebody else began, made anew from what it shows. Raises `Untrusted`."""
    if begun.standing != (manifest is None):
        raise Untrusted("The draft holds another kind of approval.", reason="another_approval")
    at_ms = begun.issued_at_ms
    if manifest is None:
        made = prepare_standing(policy, begun.product, begun.terms, begun.wait_seconds, at_ms)
    else:
        made = prepare_approval(policy, manifest, begun.terms, at_ms)
    if made.hash != begun.hash:
        raise Untrusted("The draft says something else than it shows.", reason="another_approval")
    return made


def sign_withdrawal(
    policy: Policy, approval: str, reason: str, signer: Signer, now_ms: int
) -> Withdrawal:
    """Return the signed withdrawal of an approval. Any approver may; it needs no second one."""
    payload = make_withdrawal_payload(policy, approval, reason, now_ms)
    return verify_withdrawal(seal(payload, [signer]), policy)


def _check_terms(terms: Terms, now_ms: int) -> None:
    if terms.not_before_ms >= terms.not_after_ms:
        raise Refused(
            "The approval would be over before it begins. Choose another --not-before or --until.",
            reason="bad_time",
        )
    if terms.not_after_ms <= now_ms:
        raise Refused("The approval would be over already. Choose --until.", reason="bad_time")
    if len(terms.reason) > 200 or not terms.reason.isprintable():
        raise Malformed(
            "Expected a reason of at most 200 characters, on one line.", reason="bad_reason"
        )
