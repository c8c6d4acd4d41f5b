"""The machine's view of its owner, advanced by numbered rules.

`OwnerView` holds what the machine believes. `advance` takes a bundle that the server handed over
and returns the next view, or raises and leaves everything as it was. Versions only rise. The rules
(the number stands on each block below):

1. The owner root is the one whose hash the machine joined with.
2. Policies follow one another without a gap, each signed by the one before.
3. A policy of a version that the machine knows must be that same policy. Another one is a fork
   when the owner signed it, and merely untrusted when not.
4. The lowest acceptable policy of the join string is in the chain, with its hash.
5. A head is not older than the one the machine has; of the same version it is the same.
6. The head names the machine's policy and roster by version and hash. Without a head, nothing
   that hangs from one is taken, but for a lease on the head that the machine has.
7. A roster is not older than the one the machine has; of the same version it is the same.
8. The machine's own entry is proven to be on that roster. An absent entry means "unconfirmed".
9. A lease is on that head, and its serial is higher than any before.
10. A recovered policy (`recovery`) is taken when the caller has waited for it, and says so by its
    hash; before that it changes nothing. A machine that joins takes those up to the lowest policy
    of its join string, which vouches for them; what it took once, it takes from its own disk.

The caller persists the view before it acts on it, and measures leases in powered-on time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject, to_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.head import Head, Lease, verify_head, verify_lease
from fleetward.trust.merkle import HASH_BYTES, MAX_PROOF_HASHES
from fleetward.trust.policy import (
    Policy,
    owner_name,
    verify_first_policy,
    verify_following_policy,
)
from fleetward.trust.recovery import Recovery
from fleetward.trust.root import OwnerRoot, verify_root
from fleetward.trust.roster import Roster, RosterEntry, verify_entry, verify_roster

MAX_BUNDLE_BYTES: Final = 700 * 1024
"""Bytes of a bundle: below the broker's limit of a message."""
MAX_STORED_BYTES: Final = canonical.MAX_BYTES
"""Bytes of a persisted view. It holds every policy since the first, which may be more than fit
into one bundle; a machine that far behind is brought forward head by head."""
MAX_POLICIES: Final = 4096
"""Policies in one bundle. Its bytes bound it sooner."""
_DOCUMENT_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where belief starts: what the join string said."""

    owner: str
    device: str
    policy_version: int
    policy_hash: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """Owner documents as a server hands them over. Nothing in it is verified."""

    root: bytes
    policies: tuple[bytes, ...] = ()
    head: bytes = b""
    roster: bytes = b""
    entry: bytes = b""
    entry_index: int = 0
    entry_proof: tuple[bytes, ...] = ()
    lease: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the canonical bytes of the bundle."""
        value: JsonObject = {
            "entry": to_base64url(self.entry),
            "entry_index": self.entry_index,
            "entry_proof": [to_base64url(h) for h in self.entry_proof],
            "head": to_base64url(self.head),
            "lease": to_base64url(self.lease),
            "policies": [to_base64url(p) for p in self.policies],
            "root": to_base64url(self.root),
            "roster": to_base64url(self.roster),
        }
        return canonical.encode(value)


@dataclass(frozen=True, slots=True)
class OwnerView:
    """What a machine believes. Build it by `first_view`, `restore_view` and `advance`."""

    anchor: Anchor
    root: OwnerRoot
    policies: tuple[Policy, ...]
    head: Head | None = None
    roster: Roster | None = None
    entry: RosterEntry | None = None
    entry_index: int = 0
    entry_proof: tuple[bytes, ...] = ()
    lease: Lease | None = None
    lease_serial: int = 0

    @property
    def policy(self) -> Policy:
        """The newest policy."""
        return self.policies[-1]

    @property
    def owner_name(self) -> str:
        """Whom this machine obeys, in words."""
        return owner_name(self.root, self.policy)

    @property
    def signed_at_ms(self) -> int:
        """The newest time that stands in anything which the owner has signed."""
        others = (self.head, self.roster, self.lease)
        times = [each.issued_at_ms for each in others if each is not None]
        return max(*times, *(policy.issued_at_ms for policy in self.policies), 0)

    @property
    def confirmed(self) -> bool:
        """Whether the owner has put this machine on the roster, and not retired it."""
        return self.entry is not None and self.entry.state == "active"

    def to_bundle(self) -> Bundle:
        """Return what to persist; `restore_view` over it gives this view again."""
        return Bundle(
            root=self.root.raw,
            policies=tuple(p.raw for p in self.policies),
            head=self.head.raw if self.head else b"",
            roster=self.roster.raw if self.roster else b"",
            entry=self.entry.to_bytes() if self.entry else b"",
            entry_index=self.entry_index,
            entry_proof=self.entry_proof,
            lease=self.lease.raw if self.lease else b"",
        )


def read_bundle(data: bytes, *, max_bytes: int = MAX_BUNDLE_BYTES) -> Bundle:
    """Parse a bundle; a machine reads its own files with `MAX_STORED_BYTES`. Raises `Malformed`."""
    fields = Fields(
        canonical.decode(data, max_bytes=max_bytes),
        "the bundle",
        {
            "entry",
            "entry_index",
            "entry_proof",
            "head",
            "lease",
            "policies",
            "root",
            "roster",
        },
    )
    return Bundle(
        root=fields.binary("root", most=_DOCUMENT_BYTES),
        policies=tuple(_read_many(fields.items("policies", most=MAX_POLICIES), _DOCUMENT_BYTES)),
        head=fields.binary("head", most=_DOCUMENT_BYTES),
        roster=fields.binary("roster", most=_DOCUMENT_BYTES),
        entry=fields.binary("entry", most=_DOCUMENT_BYTES),
        entry_index=fields.integer("entry_index"),
        entry_proof=tuple(
            _read_many(fields.items("entry_proof", most=MAX_PROOF_HASHES), HASH_BYTES)
        ),
        lease=fields.binary("lease", most=_DOCUMENT_BYTES),
    )


def first_view(anchor: Anchor, bundle: Bundle) -> OwnerView:
    """Return the first view of a machine that just joined.

    Raises `Malformed` or `Untrusted`; `Refused` for a recovery that the join string does not know.
    """
    return _build_view(anchor, bundle, anchor.policy_version)


def _build_view(anchor: Anchor, bundle: Bundle, recovered_to: int) -> OwnerView:
    # 1. The owner root.
    root = verify_root(bundle.root, anchor.owner)
    # 2. The chain of policies, from the first.
    if not bundle.policies:
        raise Untrusted("The server handed over no policy.", reason="no_policy")
    policies = [verify_first_policy(bundle.policies[0], root)]
    for data in bundle.policies[1:]:
        policies.append(verify_following_policy(data, policies[-1]))
        # 10.
        if policies[-1].recovered and policies[-1].version > recovered_to:
            raise Refused(
                f"Policy {policies[-1].version} was signed by recovery keys after this join string "
                "was made. Ask the owner for a new one.",
                reason="recovery_waits",
            )
    # 4. The lowest acceptable policy is in it.
    lowest = [p for p in policies if p.version == anchor.policy_version]
    if not lowest or lowest[0].hash != anchor.policy_hash:
        raise Untrusted(
            f"Expected policy {anchor.policy_version} of the join string in the chain. "
            "The server holds an older or another policy: ask the owner.",
            reason="policy_below_lowest",
        )
    return _advance_head(OwnerView(anchor, root, tuple(policies)), bundle)


def restore_view(anchor: Anchor, bundle: Bundle, lease_serial: int) -> OwnerView:
    """Return the view that a machine persisted, with the highest lease serial it ever took.

    Raises `Malformed` or `Untrusted` when the files are not what was written.
    """
    view = _build_view(anchor, bundle, len(bundle.policies))
    return replace(view, lease_serial=max(view.lease_serial, lease_serial))


def advance(view: OwnerView, bundle: Bundle, waited: frozenset[str] = frozenset()) -> OwnerView:
    """Return the view after `bundle`; `view` stays valid whatever is raised.

    `waited` are the hashes of recovered policies whose delay is over here (rule 10). Raises
    `Malformed`, `Untrusted`, or `Refused` (`recovery_waits`) for a recovered policy that is not
    among them; `find_announced` says which.
    """
    # 1. The owner root.
    if bundle.root and bundle.root != view.root.raw:
        raise Untrusted(
            "The server handed over the root of another owner. This machine obeys the owner "
            "that it joined.",
            reason="another_owner",
        )
    # 2. and 3. Policies.
    policies = list(view.policies)
    for data in bundle.policies:
        _advance_policies(view.root, policies, data)
        # 10.
        newest = policies[-1]
        if newest.recovered and newest.hash not in waited and not _knows(view, newest):
            raise _waits(newest)
    return _advance_head(replace(view, policies=tuple(policies)), bundle)


def find_announced(
    view: OwnerView, bundle: Bundle, waited: frozenset[str]
) -> tuple[Policy, Policy, Recovery] | None:
    """Return the first recovered policy of a bundle for which a machine has to wait, if any.

    With it comes the policy before it, and whose delay that demands. Nothing but the policies is
    looked at. Raises as `advance` does.
    """
    policies = list(view.policies)
    for data in bundle.policies:
        _advance_policies(view.root, policies, data)
        newest = policies[-1]
        if newest.recovered and newest.hash not in waited and not _knows(view, newest):
            before = policies[-2]
            return (newest, before, before.recovery) if before.recovery else None
    return None


def _knows(view: OwnerView, policy: Policy) -> bool:
    return policy.version <= view.policy.version


def _waits(policy: Policy) -> Refused:
    return Refused(
        f"Policy {policy.version} was signed by recovery keys. A machine takes it when the delay "
        "is over that the policy before demands; the present keys can sign another one meanwhile.",
        reason="recovery_waits",
    )


def _advance_policies(root: OwnerRoot, policies: list[Policy], data: bytes) -> None:
    envelope = read_envelope(data)
    claimed = envelope.payload.get("version")
    if not isinstance(claimed, int) or not 1 <= claimed <= len(policies):
        # 2. The next one.
        policies.append(verify_following_policy(data, policies[-1]))
    elif envelope.hash != policies[claimed - 1].hash:
        # 3. Not the one that we know. Is it the owner who contradicts himself?
        if claimed == 1:
            verify_first_policy(data, root)
        else:
            verify_following_policy(data, policies[claimed - 2])
        raise Untrusted(
            f"Policy {claimed} is not the one that this machine knows.", reason="forked_policy"
        )


def _advance_head(view: OwnerView, bundle: Bundle) -> OwnerView:
    if not bundle.head:
        return _advance_without_head(view, bundle)
    head = verify_head(bundle.head, view.policy)
    # 5. Not older, and not another of the same version.
    if view.head and head.version < view.head.version:
        raise Untrusted(
            f"Expected head {view.head.version} or newer, got {head.version}.", reason="old_head"
        )
    if view.head and head.version == view.head.version and head.hash != view.head.hash:
        raise Untrusted("Two heads of one version differ.", reason="forked_head")
    # 6. It names our policy and the roster.
    if (head.policy_version, head.policy_hash) != (view.policy.version, view.policy.hash):
        raise Untrusted(
            "The head names another policy than the newest that came.", reason="mixed_documents"
        )
    view = _advance_roster(replace(view, head=head), bundle, head)
    return _advance_lease(view, bundle, head)


def _advance_without_head(view: OwnerView, bundle: Bundle) -> OwnerView:
    if view.head and view.head.policy_hash != view.policy.hash:
        raise Untrusted("A newer policy came without its head.", reason="mixed_documents")
    if bundle.roster or bundle.entry or (bundle.lease and view.head is None):
        raise Untrusted("Documents came without their head.", reason="mixed_documents")
    return _advance_lease(view, bundle, view.head) if view.head else view


def _advance_roster(view: OwnerView, bundle: Bundle, head: Head) -> OwnerView:
    roster = verify_roster(bundle.roster, view.policy)
    # 6., second half.
    if (roster.version, roster.hash) != (head.roster_version, head.roster_hash):
        raise Untrusted("The head names another roster.", reason="mixed_documents")
    # 7.
    if view.roster and roster.version < view.roster.version:
        raise Untrusted(
            f"Expected roster {view.roster.version} or newer, got {roster.version}.",
            reason="old_roster",
        )
    if view.roster and roster.version == view.roster.version and roster.hash != view.roster.hash:
        raise Untrusted("Two rosters of one version differ.", reason="forked_roster")
    # 8.
    if not bundle.entry:
        if view.entry and view.roster and roster.version == view.roster.version:
            return view
        return replace(view, roster=roster, entry=None, entry_index=0, entry_proof=())
    entry = verify_entry(
        roster, bundle.entry, bundle.entry_index, bundle.entry_proof, view.anchor.device
    )
    return replace(
        view,
        roster=roster,
        entry=entry,
        entry_index=bundle.entry_index,
        entry_proof=bundle.entry_proof,
    )


def _advance_lease(view: OwnerView, bundle: Bundle, head: Head) -> OwnerView:
    if not bundle.lease:
        return view if view.lease and view.lease.head == head.hash else replace(view, lease=None)
    lease = verify_lease(bundle.lease, view.policy, head)
    # 9. A higher serial, or the very lease that is running.
    if view.lease and lease.hash == view.lease.hash:
        return view
    if lease.serial <= view.lease_serial:
        raise Untrusted(
            f"Expected a lease with a serial above {view.lease_serial}, got {lease.serial}.",
            reason="old_lease",
        )
    return replace(view, lease=lease, lease_serial=lease.serial)


def _read_many(values: list[Json], most: int) -> list[bytes]:
    items: list[bytes] = []
    for value in values:
        items.append(Fields({"item": value}, "an item", {"item"}).binary("item", most=most))
    if any(not item for item in items):
        raise Malformed("Expected no empty item.", reason="bad_field")
    return items
