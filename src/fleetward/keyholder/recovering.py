"""Recovering an owner's machines by recovery keys, and refusing such a recovery.

Who recovers begins a new folder with new keys. The policy that follows the owner's newest names
them; the keepers of the recovery keys sign it, and it is announced: the server records it, tells
every machine, and shows it to everybody. After the delay the folder is finished and handed over,
and each machine takes it when it has itself waited long enough.

What the present keys do against it is any ordinary policy of that version; `veto` makes one in
which the recovery keys are gone, since they did what they were not asked to do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from fleetward.keyholder.acknowledged import fetch_signed
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.begun import BegunFolder
from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import ISSUING_CHAIN_FILE, OwnerFolder, document_name
from fleetward.keyholder.pinned import fetch_introduction
from fleetward.keyholder.pinned_record import Pinned, read_authority, read_pinned
from fleetward.keyholder.policy_changes import Change, keep_as_it_is, people_of, remove_recovery
from fleetward.keyholder.signing import draft_after
from fleetward.keyholder.taking_over import Papers, check_rules_alone, read_chain
from fleetward.keyholder.transfer import own_people
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.journal import Entry
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy, verify_recovered_policy
from fleetward.trust.root import verify_root
from fleetward.trust.roster import ACTIVE, RosterEntry, verify_entries, verify_roster
from fleetward.trust.takeover import OFFERED

DRAFT: Final = "drafts/recovery-{:05d}.json"
SEEN: Final = "recovery.announced"
COUNTING: Final = "recovery.counting"
READY: Final = "recovery.ready"


class RecoveryRow(msgspec.Struct, frozen=True):
    """A recovery that waits, as the server tells it. `policy` is verified here."""

    hash: str
    version: int
    people: list[str]
    announced_at: str
    earliest_at: str
    policy: str


class RecoveryList(msgspec.Struct, frozen=True):
    """What the server tells."""

    items: list[RecoveryRow]


class _Documents(msgspec.Struct, frozen=True):
    root: str
    policies: list[str]
    roster: str
    entries: list[str]
    head: str
    lease: str
    issuing_chain: str


@dataclass(frozen=True, slots=True)
class Heard:
    """What one machine has signed of a recovery. Times are its own clock's."""

    machine: RosterEntry
    seen_at_ms: int = 0
    counting_since_ms: int = 0
    earliest_ms: int = 0
    """When it will take it if it is on until then; 0 as long as its delay has not begun."""
    ready: bool = False


def fetch_papers(client: ApiClient, owner: str, server: tuple[Pinned, str]) -> Papers:
    """Return a fleet's documents out of a server, verified from the root. Raises as `trust`.

    `server` are its addresses and its certificate authority in PEM.
    """
    said = client.get("/owner/documents", _Documents)
    root = verify_root(from_base64url(said.root), owner)
    policies = read_chain(root, [from_base64url(p) for p in said.policies])
    roster = verify_roster(from_base64url(said.roster), policies[-1])
    entries = verify_entries(roster, [from_base64url(e) for e in said.entries])
    head = verify_head(from_base64url(said.head), policies[-1])
    if (head.policy_hash, head.roster_hash) != (policies[-1].hash, roster.hash):
        raise Untrusted("The server shows documents of different times.", reason="mixed_documents")
    lease = verify_lease(from_base64url(said.lease), policies[-1], head) if said.lease else None
    return Papers(
        root=root,
        policies=policies,
        roster=(roster.version, roster.raw),
        entries=entries,
        head=(head.version, head.raw),
        lease=(lease.serial, lease.raw) if lease else None,
        openings=(),
        issuing_chain=said.issuing_chain,
        server_ca_pem=server[1],
        server=server[0],
    )


def read_papers(folder: OwnerFolder) -> Papers:
    """Return the documents out of an owner's folder whose keys are lost. Raises as its files do."""
    documents = load_documents(folder)
    return Papers(
        root=documents.root,
        policies=documents.policies,
        roster=(documents.roster.version, documents.roster.raw),
        entries=documents.entries,
        head=(documents.head.version, documents.head.raw),
        lease=(documents.lease.serial, documents.lease.raw) if documents.lease else None,
        openings=tuple(
            (n, folder.read(document_name("openings", n))) for n in folder.numbers("openings")
        ),
        issuing_chain=folder.read(ISSUING_CHAIN_FILE).decode("ascii", errors="replace"),
        server_ca_pem=read_authority(folder),
        server=read_pinned(folder),
    )


def introduce(enrol: str, server_ca: str, api: str) -> tuple[Pinned, str]:
    """Return a server's addresses and authority, pinned by the hash that the policy names."""
    pinned = fetch_introduction(enrol, server_ca)
    said = pinned.introduction
    return Pinned(tuple(said.enrol), tuple(said.bus), api), pinned.server_ca_pem


def sign_recovery(
    begun: BegunFolder, papers: Papers, keepers: Sequence[Signer], now_ms: int
) -> tuple[bytes, Policy | None]:
    """Return the policy that recovers, and itself verified once enough keepers have signed it.

    The draft is kept in the begun folder; another call adds signatures to it. Raises `Refused`
    when the policy in force names no recovery keys, or other keepers sign.
    """
    before = papers.policies[-1]
    if before.recovery is None:
        raise Refused(
            f"Policy {before.version} names no recovery keys. Without the present keys nobody can "
            "recover these machines: make a new owner, and let them join again.",
            reason="no_recovery",
        )
    known = before.recovery.role.keys
    if strange := [k for k in keepers if k.public.key_id not in known]:
        raise Refused(
            f"The key {strange[0].public.key_id} is no recovery key of policy {before.version}.",
            reason="no_recovery_key",
        )
    name = DRAFT.format(before.version + 1)
    if begun.folder.has(name):
        raw = add_signatures(read_envelope(begun.folder.read(name)), list(keepers))
    else:
        raw = seal(_draft(begun, before, now_ms), [*keepers, begun.signers["root"]])
    begun.folder.keep_draft(name, raw)
    try:
        policy = verify_recovered_policy(raw, before)
    except Untrusted as e:
        if e.reason == "too_few_signatures":
            return raw, None
        raise
    check_rules_alone(policy, begun)
    return raw, policy


def _draft(begun: BegunFolder, before: Policy, now_ms: int) -> JsonObject:
    """Return the payload: new people in every role; requesters and keepers stay, others go."""
    draft = draft_after(before, people_of(before))
    keys = {name: begun.signers[name].public for name in OFFERED}
    mine, roles = own_people(keys, begun.said.person, begun.said.org)
    stay = {*before.access.requesters, *(draft.recovery[0] if draft.recovery else ())}
    others = tuple(p for p in draft.people if p.key.key_id in stay)
    return replace(draft, people=(*mine, *others), roles=roles).to_payload(now_ms)


def read_draft(begun: BegunFolder, papers: Papers) -> Policy:
    """Return the signed recovery of a begun folder. Raises `Refused` when it is not signed."""
    name = DRAFT.format(papers.policies[-1].version + 1)
    if not begun.folder.has(name):
        raise Refused(
            "There is no recovery to finish in this folder, or the owner's policy has moved on: "
            "then the present keys have refused it.",
            reason="nothing_announced",
        )
    return verify_recovered_policy(begun.folder.read(name), papers.policies[-1])


def announce(client: ApiClient, raw: bytes) -> RecoveryRow:
    """Hand a signed recovery to the server. Raises as the client does."""
    return client.post("/owner/recovery", {"policy": to_base64url(raw)}, RecoveryRow)


def fetch_waiting(client: ApiClient, before: Policy) -> list[tuple[RecoveryRow, Policy]]:
    """Return the recoveries that a server shows, as far as they follow `before` and verify."""
    return verify_rows(fetch_rows(client), before)


def fetch_rows(client: ApiClient) -> list[RecoveryRow]:
    """Return what a server says of recoveries. Nothing in it is verified."""
    return client.get("/owner/recovery", RecoveryList).items


def verify_rows(rows: Sequence[RecoveryRow], before: Policy) -> list[tuple[RecoveryRow, Policy]]:
    """Return those that follow `before`, with their verified policies."""
    found: list[tuple[RecoveryRow, Policy]] = []
    for row in rows:
        try:
            found.append((row, verify_recovered_policy(from_base64url(row.policy), before)))
        except FleetwardError:
            continue  # It follows another policy, or is none: it concerns no machine.
    return found


def read_heard(
    client: ApiClient, owner: str, entries: Sequence[RosterEntry], policy: Policy
) -> list[Heard]:
    """Return what each active machine has signed of a recovery."""
    seen, counting, ready = (
        _of_policy(fetch_signed(client, owner, entries, kind, policy.issued_at_ms), policy)
        for kind in (SEEN, COUNTING, READY)
    )
    rows: list[Heard] = []
    for machine in entries:
        if machine.state != ACTIVE:
            continue
        began = counting.get(machine.device)
        delay = began.body.get("delay_seconds") if began else 0
        at = began.at_ms if began else 0
        rows.append(
            Heard(
                machine,
                seen[machine.device].at_ms if machine.device in seen else 0,
                at,
                at + delay * 1000 if isinstance(delay, int) and at else 0,
                machine.device in ready,
            )
        )
    return rows


def _of_policy(entries: Mapping[str, Entry], policy: Policy) -> dict[str, Entry]:
    return {d: e for d, e in entries.items() if e.body.get("policy") == policy.hash}


def veto_change(documents: OwnerDocuments, *, keep_keys: bool) -> Change:
    """Return the change that refuses a recovery: the recovery keys go, unless they are kept."""
    if keep_keys or documents.policy.recovery is None:
        return keep_as_it_is()
    return remove_recovery()


def name_recording_key(recording_key: str) -> Change:
    """Return the change that has sessions from now on recorded for another key."""
    return lambda draft: replace(draft, roots=replace(draft.roots, recording_key=recording_key))
