"""A permission ahead that takes more than one person: it travels as a file, as a grant does.

The file holds the owner's public documents, the machines that it is for with their proofs on the
roster, and the signatures so far. Whoever signs needs the owner root that he knows and his key.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.keyholder.access.standing import PreparedStanding, read_prepared, sign_standing
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import Signer
from fleetward.trust.merkle import Frontier, hash_leaf, prove_inclusion
from fleetward.trust.policy import Policy, verify_first_policy, verify_next_policy
from fleetward.trust.root import verify_root
from fleetward.trust.roster import read_entry, verify_entry, verify_roster

FORMAT: Final = "fleetward-standing-draft/1"


class MachineProof(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A machine's entry, its place on the roster, and the proof of it."""

    entry: str
    index: int
    proof: list[str]


class StandingDraft(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What travels. Nothing in it is believed: see `open_standing_draft`."""

    format: str
    root: str
    policies: list[str]
    roster: str
    machines: list[MachineProof]
    standing: str

    @property
    def signed(self) -> bytes:
        """The document with the signatures so far."""
        return from_base64url(self.standing)


@dataclass(frozen=True, slots=True)
class OpenedStanding:
    """A draft that was checked."""

    draft: StandingDraft
    owner: str
    prepared: PreparedStanding


def is_standing_draft(data: bytes) -> bool:
    """Say whether a file is such a draft, and not one of a grant."""
    return FORMAT.encode() in data[:4096]


def make_standing_draft(
    documents: OwnerDocuments, prepared: PreparedStanding, standing: bytes
) -> bytes:
    """Return the file's bytes for a permission that more people must sign."""
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    places: dict[str, int] = {}
    for number, entry in enumerate(documents.entries):
        frontier.append(
            hash_leaf(entry.to_bytes()), lambda level, i, node: nodes.__setitem__((level, i), node)
        )
        places[entry.device] = number
    machines = []
    for entry in prepared.machines:
        place = places[entry.device]
        proof = prove_inclusion(place, len(documents.entries), lambda level, i: nodes[level, i])
        machines.append(
            MachineProof(to_base64url(entry.to_bytes()), place, [to_base64url(h) for h in proof])
        )
    return msgspec.json.encode(
        StandingDraft(
            format=FORMAT,
            root=to_base64url(documents.root.raw),
            policies=[to_base64url(p.raw) for p in documents.policies],
            roster=to_base64url(documents.roster.raw),
            machines=machines,
            standing=to_base64url(standing),
        )
    )


def open_standing_draft(data: bytes, owner_root: str) -> OpenedStanding:
    """Return a draft that is what it says, under this owner root.

    Raises `Malformed`, `Untrusted`, or `Refused` by the owner's rules.
    """
    try:
        draft = msgspec.json.decode(data, type=StandingDraft)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected the draft of a permission; {e}.", reason="bad_draft") from e
    if draft.format != FORMAT or not draft.policies:
        raise Malformed("Expected the draft of a permission of this release.", reason="bad_draft")
    root = verify_root(from_base64url(draft.root), owner_root)
    policies: list[Policy] = [verify_first_policy(from_base64url(draft.policies[0]), root)]
    for each in draft.policies[1:]:
        policies.append(verify_next_policy(from_base64url(each), policies[-1]))
    roster = verify_roster(from_base64url(draft.roster), policies[-1])
    entries = []
    for machine in draft.machines:
        raw, proof = from_base64url(machine.entry), [from_base64url(h) for h in machine.proof]
        device = read_entry(raw).device
        entries.append(verify_entry(roster, raw, machine.index, proof, device))
    prepared = read_prepared(draft.signed, policies[-1], entries)
    return OpenedStanding(draft, root.name, prepared)


def cosign_standing(opened: OpenedStanding, signer: Signer) -> bytes:
    """Return the file's bytes with one more signature. Raises `Refused` for who may not."""
    signed = sign_standing(opened.prepared, [signer], opened.draft.signed)
    return msgspec.json.encode(msgspec.structs.replace(opened.draft, standing=to_base64url(signed)))
