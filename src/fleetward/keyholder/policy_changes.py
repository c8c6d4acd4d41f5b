"""Changing the owner policy: who may sign what, witnesses, ports that no grant opens, the lease.

A change is a draft of the next version, signed by the root key of this folder. Where the policy
before asks for more people, the draft waits in a file: each of them adds a signature on his own
computer (`sign_draft`), and the folder that has the approver key adopts it (`adopt_draft`).
It names the openings of the record that were signed under the policy before: they stand only when
a later policy says so (`trust.generation`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from fleetward.keyholder.access.break_glass_rules import keep_break_glass
from fleetward.keyholder.access.policy_rules import check_somebody_approves
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import document_name
from fleetward.keyholder.signing import Person, PolicyDraft, draft_after
from fleetward.runtime.files import read_bounded
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.generation import verify_opening
from fleetward.trust.keys import ED25519, PublicKey, Signer
from fleetward.trust.passkey import Passkey
from fleetward.trust.policy import (
    MAX_LEASE_SECONDS,
    POLICY_TYPE,
    ROLES,
    Policy,
    verify_next_policy,
)
from fleetward.trust.recovery import MAX_DELAY_SECONDS, MIN_DELAY_SECONDS

MAX_DRAFT_BYTES: Final = 256 * 1024

Change: TypeAlias = Callable[[PolicyDraft], PolicyDraft]


def people_of(policy: Policy) -> tuple[Person, ...]:
    """Return the keys of a verified policy with their people, in its order."""
    return tuple(
        Person(holder.key, holder.person, policy.orgs[key_id], holder.passkey)
        for key_id, holder in policy.keys.items()
    )


def add_person(person: str, key: PublicKey, scopes: Sequence[str], org: str = "") -> Change:
    """Return the change that gives a person's key the right to sign as `scopes`."""
    if not scopes or any(scope not in ROLES for scope in scopes):
        raise Malformed(f"Expected scopes out of {', '.join(ROLES)}.", reason="bad_scope")

    def change(draft: PolicyDraft) -> PolicyDraft:
        if any(each.key.key_id == key.key_id for each in draft.people):
            raise Refused(f"The policy has the key {key.key_id} already.", reason="known_key")
        roles = {
            name: ((*ids, key.key_id) if name in scopes else ids, threshold)
            for name, (ids, threshold) in draft.roles.items()
        }
        return replace(draft, people=(*draft.people, Person(key, person, org)), roles=roles)

    return change


def add_passkey(person: str, key: PublicKey, passkey: Passkey, org: str = "") -> Change:
    """Return the change that lets a person approve sessions with a passkey, and nothing else.

    Who has another key that approves, or another passkey, still counts once.
    """
    if not passkey.origins:
        raise Malformed("Expected an origin at which the passkey is used.", reason="bad_origin")

    def change(draft: PolicyDraft) -> PolicyDraft:
        named = add_person(person, key, ("approve",), org)(draft)
        return replace(named, people=(*draft.people, Person(key, person, org, passkey)))

    return change


def remove_passkey(key_id: str) -> Change:
    """Return the change after which one passkey approves nothing. Its person's other keys stay."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        if not any(p.key.key_id == key_id and p.passkey is not None for p in draft.people):
            raise Refused(f"The policy has no passkey {key_id[:80]!r}.", reason="unknown_passkey")
        return _without(draft, {key_id})

    return change


def remove_person(person: str) -> Change:
    """Return the change that takes every key of a person out."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        gone = {each.key.key_id for each in draft.people if each.person == person}
        if not gone:
            raise Refused(f"The policy knows no {person[:80]!r}.", reason="unknown_person")
        return _without(draft, gone)

    return change


def _without(draft: PolicyDraft, gone: set[str]) -> PolicyDraft:
    roles = {
        name: (tuple(i for i in ids if i not in gone), threshold)
        for name, (ids, threshold) in draft.roles.items()
    }
    access = draft.access
    if access is not None:
        asking = tuple(i for i in access.requesters if i not in gone)
        sending = tuple(i for i in access.delegators if i not in gone)
        rules = {
            kind: replace(rule, signers=tuple(i for i in rule.signers if i not in gone))
            for kind, rule in (access.rules or {}).items()
        }
        access = replace(
            access,
            requesters=asking,
            delegators=sending,
            rules=rules,
            break_glass=keep_break_glass(access, gone),
        )
    recovery = draft.recovery
    if recovery is not None:
        left = tuple(i for i in recovery[0] if i not in gone)
        recovery = (left, *recovery[1:])
    people = tuple(p for p in draft.people if p.key.key_id not in gone)
    return replace(draft, people=people, roles=roles, access=access, recovery=recovery)


def set_threshold(people: int) -> Change:
    """Return the change that lets a policy be signed by no fewer than `people`."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        roles = {**draft.roles, "policy": (draft.roles["policy"][0], people)}
        return replace(draft, roles=roles)

    return change


def set_lease(days: int) -> Change:
    """Return the change of how long machines rely on a head without news."""
    if not 1 <= days <= MAX_LEASE_SECONDS // 86_400:
        raise Malformed(
            f"Expected 1 to {MAX_LEASE_SECONDS // 86_400} days, got {days}.", reason="bad_lease"
        )
    return lambda draft: replace(draft, lease_seconds=days * 86_400)


def set_never_ports(ports: Sequence[int]) -> Change:
    """Return the change of the ports that no grant will ever open."""
    return lambda draft: replace(draft, never_ports=tuple(sorted(set(ports))))


def set_witness(name: str, key: PublicKey | None) -> Change:
    """Return the change that names a witness, or, without a key, no longer names it."""
    if not name or not name.isprintable() or "+" in name or " " in name or len(name) > 80:
        raise Malformed("Expected a witness's name without space or plus.", reason="bad_name")
    if key is not None and key.suite != ED25519:
        raise Malformed("Expected a witness's key to be Ed25519.", reason="bad_key")

    def change(draft: PolicyDraft) -> PolicyDraft:
        kept = {n: k for n, k in draft.roots.witnesses.items() if n != name}
        if key is not None:
            kept[name] = key
        elif len(kept) == len(draft.roots.witnesses):
            raise Refused(f"The policy names no witness {name!r}.", reason="unknown_witness")
        return replace(draft, roots=replace(draft.roots, witnesses=kept))

    return change


def set_recovery(keepers: Sequence[Person], threshold: int, delay_seconds: int) -> Change:
    """Return the change that names these recovery keys, in the place of any before."""
    if not MIN_DELAY_SECONDS <= delay_seconds <= MAX_DELAY_SECONDS:
        raise Malformed(
            f"Expected a delay of {MIN_DELAY_SECONDS // 86_400} to "
            f"{MAX_DELAY_SECONDS // 86_400} days.",
            reason="bad_delay",
        )

    def change(draft: PolicyDraft) -> PolicyDraft:
        draft = _without_recovery(draft)
        known = {each.key.key_id for each in draft.people}
        if taken := [k for k in keepers if k.key.key_id in known]:
            raise Refused(
                f"The key of {taken[0].person} is in the policy already. A recovery key does "
                "nothing else: let it be made by `fleetward owner policy make-key`.",
                reason="known_key",
            )
        ids = tuple(keeper.key.key_id for keeper in keepers)
        people = (*draft.people, *keepers)
        return replace(draft, people=people, recovery=(ids, threshold, delay_seconds))

    return change


def remove_recovery() -> Change:
    """Return the change after which no recovery keys are named. Raises `Refused` without any."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        if draft.recovery is None:
            raise Refused("The policy names no recovery keys.", reason="no_recovery")
        return _without_recovery(draft)

    return change


def _without_recovery(draft: PolicyDraft) -> PolicyDraft:
    gone = set(draft.recovery[0]) if draft.recovery else set[str]()
    people = tuple(p for p in draft.people if p.key.key_id not in gone)
    return replace(draft, people=people, recovery=None)


def keep_as_it_is() -> Change:
    """Return the change that changes nothing but the version."""
    return lambda draft: draft


def change_policy(desk: Desk, change: Change, now_ms: int) -> OwnerDocuments:
    """Sign the next policy, with roster, head and lease under it.

    Raises `Refused` with the place of the draft when more people must sign it, and for a policy
    under which this folder could not sign a roster or a lease any more; nothing is written then.
    """
    policy = desk.documents().policy
    draft = change(draft_after(policy, people_of(policy)))
    draft = replace(draft, openings=openings_under(desk, policy))
    raw = seal(draft.to_payload(now_ms), [desk.signer("root")])
    return adopt_signed(desk, raw, policy)


def openings_under(desk: Desk, policy: Policy) -> tuple[str, ...]:
    """Return the hashes of this folder's openings that were signed under its newest policy.

    Raises `Untrusted` for a file that claims to be one and is not.
    """
    found: list[str] = []
    for number in desk.folder.numbers("openings"):
        raw = desk.folder.read(document_name("openings", number))
        try:
            found.append(verify_opening(raw, [policy]).hash)
        except Untrusted as e:
            # Under an earlier policy: the one after it has named it, or nobody may any more.
            if e.reason != "unknown_policy":
                raise
    return tuple(found)


def sign_draft(path: Path, signer: Signer) -> bytes:
    """Return a draft with one more signature. Raises `Malformed` when it is no draft."""
    envelope = read_envelope(read_bounded(path, MAX_DRAFT_BYTES))
    if envelope.type != POLICY_TYPE:
        raise Malformed(f"Expected a draft of a policy in {path}.", reason="wrong_type")
    return add_signatures(envelope, [signer])


def adopt_draft(desk: Desk, path: Path) -> OwnerDocuments:
    """Adopt a draft that enough people signed. Raises as `change_policy` does."""
    return adopt_signed(desk, read_bounded(path, MAX_DRAFT_BYTES), desk.documents().policy)


def adopt_signed(desk: Desk, raw: bytes, before: Policy) -> OwnerDocuments:
    """Adopt the next policy, or keep it as a draft for more signatures. Raises as above."""
    try:
        policy = verify_next_policy(raw, before)
    except Untrusted as e:
        if e.reason != "too_few_signatures":
            raise
        name = f"drafts/policy-{before.version + 1:05d}.json"
        desk.folder.keep_draft(name, raw)
        raise Refused(
            f"{e.message} The draft is in {desk.folder.path / name}: let them run "
            "`fleetward owner policy sign DRAFT --key FILE`, then run "
            "`fleetward owner policy adopt DRAFT`.",
            reason="more_signatures_needed",
        ) from e
    except FleetwardError as e:
        raise Refused(f"This policy cannot be: {e.message}", reason=e.reason) from e
    _check_this_folder_can_sign(desk, policy)
    check_somebody_approves(policy)
    return desk.adopt_policy(policy)


def _check_this_folder_can_sign(desk: Desk, policy: Policy) -> None:
    for name, roles in (("approver", ("roster", "head")), ("refresh", ("lease",))):
        key_id = desk.signer(name, policy).public.key_id
        for role in (policy.roles[r] for r in roles):
            if key_id not in role.keys or role.threshold > 1:
                raise Refused(
                    f"Under this policy the {name} key of {desk.folder.path} could not sign as "
                    f"{role.name!r}: machines would be left without a head. Change it from the "
                    "folder of somebody who stays.",
                    reason="folder_locked_out",
                )
