"""The roster: which machines exist.

What is signed is small: version, count, and the Merkle root over the entries, which are sorted by
device id. The owner's tools hold every entry; a machine holds its own and an inclusion proof, so
that a fleet of 100,000 costs each machine two kilobytes.

Rules:

1. The roster is signed by the threshold of the policy's role `roster`.
2. Owner and epoch are the policy's; a version below one already seen is refused by `documents`.
3. An entry is canonical JSON with exactly its fields; its id is the hash of its key.
4. Entries are strictly sorted by id, so that each machine stands once and none can be hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, verify_threshold
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ES256, PublicKey, read_key_fields
from fleetward.trust.merkle import hash_leaf, root_of, verify_inclusion
from fleetward.trust.policy import Policy

ROSTER_TYPE: Final = "fleetward.roster.v1"
MAX_ENTRY_BYTES: Final = 4096
MAX_NAME_CHARACTERS: Final = 80
ACTIVE: Final = "active"
RETIRED: Final = "retired"
STATES: Final = (ACTIVE, RETIRED)


@dataclass(frozen=True, slots=True)
class RosterEntry:
    """One machine, as its owner confirmed it."""

    device: str
    key: PublicKey
    name: str
    site: str
    groups: tuple[str, ...]
    model: str
    maker: str
    state: str

    def to_bytes(self) -> bytes:
        """Return the canonical bytes, which are a leaf of the roster's tree."""
        return canonical.encode(
            {
                **self.key.to_json(),
                "groups": list(self.groups),
                "maker": self.maker,
                "model": self.model,
                "name": self.name,
                "site": self.site,
                "state": self.state,
            }
        )


@dataclass(frozen=True, slots=True)
class Roster:
    """A verified roster: what is signed, without the entries."""

    owner: str
    epoch: int
    version: int
    issued_at_ms: int
    count: int
    entries_root: str
    hash: str
    raw: bytes


def make_roster_payload(
    policy: Policy, version: int, issued_at_ms: int, entries: Sequence[RosterEntry]
) -> JsonObject:
    """Return the payload to sign for these entries.

    Raises `Misuse` unless they are sorted by id, each once (rule 4): one machine sees one entry,
    so nobody but the signer can notice a second one.
    """
    if any(a.device >= b.device for a, b in pairwise(entries)):
        raise Misuse("A roster is signed sorted by id, each machine once.", reason="bad_order")
    return {
        "count": len(entries),
        "entries_root": root_of(hash_leaf(e.to_bytes()) for e in entries).hex(),
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "type": ROSTER_TYPE,
        "version": version,
    }


def verify_roster(data: bytes, policy: Policy) -> Roster:
    """Return the roster that the owner signed. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data)
    # Rule 1.
    verify_threshold(envelope, ROSTER_TYPE, policy.roles["roster"])
    fields = Fields(
        envelope.payload,
        "the roster",
        {"count", "entries_root", "epoch", "issued_at", "owner", "type", "version"},
    )
    # Rule 2.
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The roster is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The roster is of another epoch.", reason="old_epoch")
    return Roster(
        owner=policy.owner,
        epoch=policy.epoch,
        version=fields.integer("version", low=1),
        issued_at_ms=fields.integer("issued_at"),
        count=fields.integer("count"),
        entries_root=fields.digest("entries_root"),
        hash=envelope.hash,
        raw=data,
    )


def read_entry(data: bytes) -> RosterEntry:
    """Parse one entry (rule 3). Raises `Malformed`. It says nothing about a signature."""
    fields = Fields(
        canonical.decode(data, max_bytes=MAX_ENTRY_BYTES),
        "a roster entry",
        {"groups", "key_id", "maker", "model", "name", "public", "site", "state", "suite"},
    )
    key = read_key_fields(fields)
    if key.suite != ES256:
        raise Malformed("Expected a machine's identity key to be P-256.", reason="bad_key")
    return RosterEntry(
        device=key.key_id,
        key=key,
        name=fields.text("name", most=MAX_NAME_CHARACTERS, least=1),
        site=fields.text("site", most=MAX_NAME_CHARACTERS),
        groups=fields.texts("groups", most=64),
        model=fields.text("model", most=MAX_NAME_CHARACTERS),
        maker=fields.text("maker", most=MAX_NAME_CHARACTERS),
        state=fields.choice("state", STATES),
    )


def verify_entries(roster: Roster, entries: Sequence[bytes]) -> tuple[RosterEntry, ...]:
    """Return all entries of a roster. Raises `Malformed` or `Untrusted`."""
    if len(entries) != roster.count:
        raise Untrusted(
            f"Expected {roster.count} machines on the roster, got {len(entries)}.",
            reason="hidden_machine",
        )
    if root_of(hash_leaf(e) for e in entries).hex() != roster.entries_root:
        raise Untrusted("The machines are not those that the owner signed.", reason="bad_entries")
    parsed = tuple(read_entry(e) for e in entries)
    # Rule 4.
    if any(a.device >= b.device for a, b in pairwise(parsed)):
        raise Untrusted("Expected machines sorted by id, each once.", reason="bad_order")
    return parsed


def verify_entry(
    roster: Roster, entry: bytes, index: int, proof: Sequence[bytes], device: str
) -> RosterEntry:
    """Return the entry of `device`, proven to be on the roster. Raises as above."""
    verify_inclusion(
        hash_leaf(entry), index, roster.count, proof, bytes.fromhex(roster.entries_root)
    )
    parsed = read_entry(entry)
    if parsed.device != device:
        raise Untrusted("The roster entry is of another machine.", reason="another_device")
    return parsed
