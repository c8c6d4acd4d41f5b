"""Replacing keys: a person's own ones, in every role and in one version of the policy.

1. New keys are made beside the old ones in the folder (`keys/NAME.next.key`).
2. The next policy names them in the place of the old ones; old and new root key sign it. Where
   more people must sign, it waits as a draft like any other change.
3. The roster, the head and a lease are signed anew, by the new keys.
4. When the server has it and every active machine has signed that it took it, the old keys go.

Each step looks at what is there, so that it can be run again after a crash at any point. The
passkeys of a person, the recording key and the fleet CA stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.policy_changes import Change, adopt_signed, openings_under, people_of
from fleetward.keyholder.signing import PolicyDraft, draft_after
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

OWN_KEYS: Final = ("root", "approver", "refresh")


def replace_keys(new: Mapping[str, PublicKey]) -> Change:
    """Return the change that puts keys in the place of others, by the ids of those."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        known = {p.key.key_id for p in draft.people}
        if missing := set(new) - known:
            raise Refused(f"The policy has no key {min(missing)}.", reason="unknown_key")
        if any(key.key_id in known for key in new.values()):
            raise Refused("The policy has the new key already.", reason="known_key")
        ids = {old: key.key_id for old, key in new.items()}
        people = tuple(
            replace(p, key=new[p.key.key_id]) if p.key.key_id in new else p for p in draft.people
        )
        roles = {
            name: (tuple(ids.get(i, i) for i in members), threshold)
            for name, (members, threshold) in draft.roles.items()
        }
        access, recovery = draft.access, draft.recovery
        if access is not None:
            asking = tuple(ids.get(i, i) for i in access.requesters)
            access = replace(access, requesters=asking)
        if recovery is not None:
            recovery = (tuple(ids.get(i, i) for i in recovery[0]), *recovery[1:])
        return replace(draft, people=people, roles=roles, access=access, recovery=recovery)

    return change


def rotate_person(person: str, key: PublicKey) -> Change:
    """Return the change that replaces the one key of a person who keeps it elsewhere."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        held = [p for p in draft.people if p.person == person and p.passkey is None]
        if len(held) != 1:
            raise Refused(
                f"Expected one key of {person[:80]} in the policy, found {len(held)}. A folder's "
                "own keys are replaced by `fleetward owner policy rotate` in that folder.",
                reason="unknown_person",
            )
        return replace_keys({held[0].key.key_id: key})(draft)

    return change


def is_rotated(desk: Desk, policy: Policy) -> bool:
    """Say whether new keys of this folder stand in the policy, and old ones lie beside them."""
    folder = desk.folder
    return all(
        folder.has(f"keys/{name}.next.key") and folder.key_id(f"{name}.next") in policy.keys
        for name in OWN_KEYS
    )


def rotate_own(desk: Desk, now_ms: int) -> OwnerDocuments:
    """Replace this folder's own keys (steps 1 to 3). Raises as `change_policy` does.

    Run again, it goes on where it was cut off.
    """
    documents = desk.documents()
    if is_rotated(desk, documents.policy):
        return documents if documents.settled else desk.renew()
    # 1.
    following = {name: desk.following(name) for name in OWN_KEYS}
    # 2.
    policy = documents.policy
    old = {n: desk.folder.key_id(n) for n in OWN_KEYS}
    change = replace_keys({old[n]: following[n].public for n in OWN_KEYS})
    draft = replace(
        change(draft_after(policy, people_of(policy))), openings=openings_under(desk, policy)
    )
    raw = seal(draft.to_payload(now_ms), [desk.signer("root"), following["root"]])
    name = f"drafts/policy-{draft.version:05d}.json"
    if desk.folder.has(name):
        raw = _with_known(desk.folder.read(name), raw, desk)
    # 3.
    return adopt_signed(desk, raw, policy)


def _with_known(known: bytes, wanted: bytes, desk: Desk) -> bytes:
    """Return the draft that waits when it says the same, with the signatures that it has."""
    mine, theirs = read_envelope(wanted), read_envelope(known)
    if {**mine.payload, "issued_at": 0} != {**theirs.payload, "issued_at": 0}:
        return wanted
    return add_signatures(theirs, [desk.signer("root")])


def drop_old_keys(desk: Desk) -> None:
    """Let the new keys take the old ones' place (step 4). The caller knows that all took them.

    Raises `Refused` when no rotation is under way.
    """
    if not is_rotated(desk, desk.documents().policy) and not _is_half_done(desk):
        raise Refused("No key of this folder is being replaced.", reason="not_rotating")
    for name in OWN_KEYS:
        desk.folder.promote_key(name)


def _is_half_done(desk: Desk) -> bool:
    named = desk.documents().policy.keys
    left = [n for n in OWN_KEYS if desk.folder.has(f"keys/{n}.next.key")]
    return bool(left) and all(desk.folder.key_id(f"{n}.next") in named for n in left)


def check_person(person: str, facts_person: str) -> None:
    """Raise `Malformed` when a key of another person is to be replaced without that key."""
    if person and person != facts_person:
        raise Malformed(
            f"The keys in this folder are {facts_person}'s. To replace {person}'s own, name the "
            "new public key by --key.",
            reason="no_key",
        )
