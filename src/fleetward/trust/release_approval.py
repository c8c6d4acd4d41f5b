"""The owner's opinion of releases: an approval of one, a standing one, and the withdrawal of both.

1. An approval is signed by the threshold of the policy's role `approve`, for this owner and epoch.
2. It names one release by the SHA-256 of its manifest; or, when it is **standing**, a product,
   whose releases it allows when a machine has known them for `wait_seconds`.
3. It says for which machines, in what the owner signed of them (`selector`), from when to when, and
   in which windows of local time a machine may change itself.
4. A release that replaces the agent needs an approval of that very release that says `agent`; a
   standing one never suffices.
5. A **withdrawal** names an approval by its document hash. It reduces, so any one of the people who
   may approve gives it. What has been installed stays.
6. An approval says yes, never "go back": below the highest counter committed nothing is installed,
   whoever approves.

    >>> approval = verify_approval(data, policy)
    >>> approval.allows(manifest, known_since_ms, now_ms)
    True
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_threshold
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.policy import Policy
from fleetward.trust.release_manifest import Manifest, check_product, check_version
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_windows import Window, read_windows

APPROVAL_TYPE: Final = "fleetward.release-approval.v1"
STANDING_TYPE: Final = "fleetward.release-standing.v1"
WITHDRAWAL_TYPE: Final = "fleetward.release-withdrawal.v1"
MAX_APPROVAL_BYTES: Final = 64 * 1024
MAX_WITHDRAWAL_BYTES: Final = 8192
MAX_WAIT_SECONDS: Final = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Terms:
    """For whom and when: what both kinds of approval say."""

    selector: Selector
    not_before_ms: int
    not_after_ms: int
    windows: tuple[Window, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Approval:
    """A verified approval. Its hash is its id. A standing one has no release, version, counter."""

    owner: str
    epoch: int
    issued_at_ms: int
    product: str
    terms: Terms
    people: tuple[str, ...]
    hash: str
    raw: bytes
    release: str = ""
    version: str = ""
    counter: int = 0
    agent: bool = False
    wait_seconds: int = 0

    @property
    def standing(self) -> bool:
        """Whether it allows whatever the product's maker releases."""
        return not self.release

    def names(self, manifest: Manifest) -> bool:
        """Whether it speaks of this release at all (rules 2 and 4)."""
        if self.product != manifest.product or (manifest.replaces_agent and not self.agent):
            return False
        return self.standing or self.release == manifest.hash

    def opens_at_ms(self, known_since_ms: int) -> int:
        """From when it holds for a machine that has known the release since then."""
        waited = known_since_ms + self.wait_seconds * 1000 if self.standing else 0
        return max(self.terms.not_before_ms, waited)

    def allows(self, manifest: Manifest, known_since_ms: int, now_ms: int) -> bool:
        """Whether it allows this release now, windows and machines apart."""
        begun = self.opens_at_ms(known_since_ms) <= now_ms
        return self.names(manifest) and begun and now_ms < self.terms.not_after_ms


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A verified withdrawal. `approval` is the hash of what holds no more."""

    approval: str
    person: str
    reason: str
    issued_at_ms: int
    hash: str
    raw: bytes


def make_approval_payload(
    policy: Policy, manifest: Manifest, terms: Terms, issued_at_ms: int
) -> JsonObject:
    """Return the payload of an approval of this very release. It says `agent` where that is so."""
    return {
        **_make_terms(policy, manifest.product, terms, issued_at_ms),
        "agent": manifest.replaces_agent,
        "counter": manifest.counter,
        "release": manifest.hash,
        "type": APPROVAL_TYPE,
        "version": manifest.version,
    }


def make_standing_payload(
    policy: Policy, product: str, terms: Terms, wait_seconds: int, issued_at_ms: int
) -> JsonObject:
    """Return the payload of a standing approval of a product's releases."""
    return {
        **_make_terms(policy, product, terms, issued_at_ms),
        "type": STANDING_TYPE,
        "wait_seconds": wait_seconds,
    }


def make_withdrawal_payload(
    policy: Policy, approval: str, reason: str, issued_at_ms: int
) -> JsonObject:
    """Return the payload of a withdrawal of the approval with this hash."""
    return {
        "approval": approval,
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "reason": reason,
        "type": WITHDRAWAL_TYPE,
    }


def _make_terms(policy: Policy, product: str, terms: Terms, issued_at_ms: int) -> JsonObject:
    return {
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "not_after": terms.not_after_ms,
        "not_before": terms.not_before_ms,
        "owner": policy.owner,
        "product": product,
        "reason": terms.reason,
        "selector": terms.selector.to_json(),
        "windows": [window.to_json() for window in terms.windows],
    }


_TERMS: Final = {
    "epoch", "issued_at", "not_after", "not_before", "owner", "product", "reason", "selector",
    "type", "windows",
}  # fmt: skip
_OWN: Final = {
    APPROVAL_TYPE: {"agent", "counter", "release", "version"},
    STANDING_TYPE: {"wait_seconds"},
}


def verify_approval(data: bytes, policy: Policy) -> Approval:
    """Return the approval, of either kind, that this owner's people signed.

    Raises `Malformed` or `Untrusted`. Whether it names a release, a machine and the present, and
    whether it was withdrawn, remain the caller's duty.
    """
    envelope = read_envelope(data, max_bytes=MAX_APPROVAL_BYTES)
    if envelope.type not in _OWN:
        raise Malformed(f"Expected an approval, got a {envelope.type}.", reason="wrong_type")
    # Rule 1.
    people = verify_threshold(envelope, envelope.type, policy.roles["approve"])
    fields = Fields(envelope.payload, "the approval", _TERMS | _OWN[envelope.type])
    _check_subject(fields, policy)
    begins, ends = fields.integer("not_before"), fields.integer("not_after")
    if begins >= ends:
        raise Malformed("Expected an approval that ends after it begins.", reason="bad_field")
    approval = Approval(
        owner=policy.owner,
        epoch=policy.epoch,
        issued_at_ms=fields.integer("issued_at"),
        product=check_product(fields.text("product")),
        terms=Terms(
            selector=read_selector(envelope.payload["selector"]),
            not_before_ms=begins,
            not_after_ms=ends,
            windows=read_windows(fields.items("windows")),
            reason=fields.text("reason", most=200),
        ),
        people=people,
        hash=envelope.hash,
        raw=data,
    )
    if envelope.type == STANDING_TYPE:
        wait_seconds = fields.integer("wait_seconds", high=MAX_WAIT_SECONDS)
        return replace(approval, wait_seconds=wait_seconds)
    return replace(
        approval,
        release=fields.digest("release"),
        version=check_version(fields.text("version")),
        counter=fields.integer("counter", low=1),
        agent=fields.boolean("agent"),
    )


def verify_withdrawal(data: bytes, policy: Policy) -> Withdrawal:
    """Return the withdrawal that one of this owner's approvers signed (rule 5). Raises as above."""
    envelope: Envelope = read_envelope(data, max_bytes=MAX_WITHDRAWAL_BYTES)
    require_type(envelope, WITHDRAWAL_TYPE)
    people = verify_threshold(
        envelope, WITHDRAWAL_TYPE, replace(policy.roles["approve"], threshold=1)
    )
    fields = Fields(
        envelope.payload,
        "the withdrawal",
        {"approval", "epoch", "issued_at", "owner", "reason", "type"},
    )
    _check_subject(fields, policy)
    return Withdrawal(
        approval=fields.digest("approval"),
        person=people[0],
        reason=fields.text("reason", most=200),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
    )


def _check_subject(fields: Fields, policy: Policy) -> None:
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The approval is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The approval is of another epoch.", reason="old_epoch")
