"""Selling a fleet: the seller's half of a handover to a buyer's keys.

1. The buyer hands over an offer: public keys, signed by them (`trust.takeover`).
2. The seller's folder drafts a policy of the next epoch, in which no key of his stands and nobody
   may ask for anything, and signs it. Where more people must, they add their signatures.
3. The transfer file carries that draft and every document of the fleet to the buyer, who signs
   last (`taking_over`). Before he has, nothing has changed anywhere.
4. Until then the seller may cancel: he signs another policy of that version, and hands it over.

None of it needs the server. Whatever is done again leads to the same draft.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import ISSUING_CHAIN_FILE, OwnerFolder, document_name
from fleetward.keyholder.pinned_record import Pinned, read_authority, read_pinned
from fleetward.keyholder.policy_changes import MAX_DRAFT_BYTES, openings_under
from fleetward.keyholder.signing import Person, PolicyDraft, draft_after
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import add_signatures, read_envelope, seal, verify_threshold
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import POLICY_TYPE, ROLES
from fleetward.trust.roster import ACTIVE
from fleetward.trust.takeover import MAX_OFFER_BYTES, TakeOver, verify_offer_to_take_over

FORMAT: Final = "fleetward-transfer/1"
ROLE_KEYS: Final = {
    "policy": "root",
    "roster": "approver",
    "head": "approver",
    "invite": "approver",
    "approve": "approver",
    "lease": "refresh",
}
"""Which of a folder's keys is in which role, in a policy of one person."""


class TransferFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the seller hands to the buyer. Nothing in it is believed before it verifies."""

    format: str
    policy: str
    root: str
    policies: list[str]
    roster: str
    entries: list[str]
    head: str
    lease: str
    openings: list[str]
    issuing_chain: str
    server_ca_pem: str
    server: Pinned


def read_offer(path: Path) -> TakeOver:
    """Return the buyer's offer. Raises `Malformed`, `Untrusted` or `Unreachable`."""
    return verify_offer_to_take_over(read_bounded(path, MAX_OFFER_BYTES))


def draft_transfer(desk: Desk, offer: TakeOver) -> PolicyDraft:
    """Return the policy under which the buyer's keys stand, and nobody else's."""
    policy = desk.documents().policy
    before = draft_after(policy, ())
    people, roles = own_people(offer.keys, offer.person, offer.org)
    roots = replace(policy.roots, recording_key=offer.recording_key, fleet_ca=offer.fleet_ca)
    # What lets somebody in, or recovers, the buyer says anew: an absent field opens nothing.
    return PolicyDraft(
        owner=policy.owner,
        epoch=policy.epoch + 1,
        version=before.version,
        people=people,
        roles=roles,
        roots=roots,
        never_ports=policy.never_ports,
        lease_seconds=policy.lease_seconds,
        openings=openings_under(desk, policy),
        name=offer.name,
    )


def own_people(
    keys: Mapping[str, PublicKey], person: str, org: str = ""
) -> tuple[tuple[Person, ...], dict[str, tuple[tuple[str, ...], int]]]:
    """Return the people and roles of a policy that one person's three keys rule alone."""
    people = tuple(Person(keys[name], person, org) for name in ("root", "approver", "refresh"))
    roles: dict[str, tuple[tuple[str, ...], int]] = {
        role: ((keys[ROLE_KEYS[role]].key_id,), 1) for role in ROLES
    }
    return people, roles


class TransferPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a transfer changes, to be shown before it is signed."""

    from_name: str
    to_name: str
    owner_root: str
    policy: int
    epoch: int
    machines: int
    people_before: list[str]
    people_after: list[str]
    keys_before: list[str]
    keys_after: list[str]
    asked_no_more: list[str]
    recording_key_before: str
    recording_key_after: str
    recovery_ends: bool
    witnesses_stay: list[str]


def describe_transfer(
    documents: OwnerDocuments, offer: TakeOver, draft: PolicyDraft
) -> TransferPlan:
    """Return what a transfer changes."""
    policy = documents.policy
    return TransferPlan(
        from_name=documents.name,
        to_name=offer.name,
        owner_root=documents.owner,
        policy=draft.version,
        epoch=draft.epoch,
        machines=sum(e.state == ACTIVE for e in documents.entries),
        people_before=sorted({k.person for k in policy.keys.values()}),
        people_after=sorted({p.person for p in draft.people}),
        keys_before=sorted(policy.keys),
        keys_after=[p.key.key_id for p in draft.people],
        asked_no_more=sorted({policy.keys[i].person for i in policy.access.requesters}),
        recording_key_before=policy.roots.recording_key,
        recording_key_after=offer.recording_key,
        recovery_ends=policy.recovery is not None,
        witnesses_stay=sorted(policy.roots.witnesses),
    )


def say_transfer(plan: TransferPlan) -> str:
    """Return the same in words."""

    def names(of: list[str]) -> str:
        return ", ".join(of) or "nobody"

    return "\n".join(
        (
            f"From {plan.from_name} to {plan.to_name}: {plan.machines} active machines, policy "
            f"{plan.policy}, epoch {plan.epoch}.",
            f"  obeyed now:         {names(plan.people_before)}",
            f"  obeyed afterwards:  {names(plan.people_after)}",
            f"  may ask no more:    {names(plan.asked_no_more)}; the buyer names his own",
            "  ends on a machine when it hears of it: every open session, request, offer and "
            "maintenance window, and a recovery that waits",
            "  recordings made before stay readable by you alone, later ones by the buyer alone",
            f"  witnesses that stay: {names(plan.witnesses_stay)}",
            "  the server stays what it is: accounts and tokens are given and taken there",
        )
    )


def sign_transfer(desk: Desk, offer: TakeOver, draft_file: Path | None, now_ms: int) -> bytes:
    """Return the bytes of the transfer file, signed by as many as the policy in force asks for.

    Raises `Refused` with the place of the draft when more people must sign it.
    """
    documents = desk.documents()
    policy = documents.policy
    wanted = draft_transfer(desk, offer)
    name = f"drafts/policy-{wanted.version:05d}.json"
    known = _read_draft(desk.folder, name, draft_file)
    raw = seal(wanted.to_payload(now_ms), [desk.signer("root")])
    if known and _is_same(known, raw):
        raw = add_signatures(read_envelope(known), [desk.signer("root")])
    desk.folder.keep_draft(name, raw)
    try:
        verify_threshold(read_envelope(raw), POLICY_TYPE, policy.roles["policy"])
    except Untrusted as e:
        raise Refused(
            f"{e.message} The draft is in {desk.folder.path / name}: let them run `fleetward owner "
            "policy sign DRAFT --key FILE`, then run this command again with --draft DRAFT.",
            reason="more_signatures_needed",
        ) from e
    return msgspec.json.encode(_pack(desk.folder, documents, raw))


def cancel_transfer(desk: Desk) -> None:
    """Remove the draft of a transfer; the caller signs another policy of its version."""
    policy = desk.documents().policy
    (desk.folder.path / f"drafts/policy-{policy.version + 1:05d}.json").unlink(missing_ok=True)


def _pack(folder: OwnerFolder, documents: OwnerDocuments, policy: bytes) -> TransferFile:
    return TransferFile(
        format=FORMAT,
        policy=to_base64url(policy),
        root=to_base64url(documents.root.raw),
        policies=[to_base64url(p.raw) for p in documents.policies],
        roster=to_base64url(documents.roster.raw),
        entries=[to_base64url(e.to_bytes()) for e in documents.entries],
        head=to_base64url(documents.head.raw),
        lease=to_base64url(documents.lease.raw) if documents.lease else "",
        openings=[
            to_base64url(folder.read(document_name("openings", n)))
            for n in folder.numbers("openings")
        ],
        issuing_chain=folder.read(ISSUING_CHAIN_FILE).decode("ascii", errors="replace"),
        server_ca_pem=read_authority(folder),
        server=read_pinned(folder),
    )


def write_transfer(path: Path, data: bytes) -> None:
    """Write the transfer file. It holds no secret, and names every machine: it is 0600."""
    atomic_write(path, data)


def _read_draft(folder: OwnerFolder, name: str, named: Path | None) -> bytes:
    if named is not None:
        return read_bounded(named, MAX_DRAFT_BYTES)
    return folder.read(name) if folder.has(name) else b""


def _is_same(known: bytes, wanted: bytes) -> bool:
    """Say whether a draft says what is wanted, whenever it was made."""
    try:
        mine, theirs = read_envelope(wanted).payload, read_envelope(known).payload
    except FleetwardError:
        return False
    return {**mine, "issued_at": 0} == {**theirs, "issued_at": 0}
