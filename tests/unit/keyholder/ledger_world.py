"""A small honest world for the verifier: an owner, machines, a server's record; and its lies.

It is made by `trust` alone, not by the server's code, so that both must agree on the format.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from fleetward.keyholder.signing import (
    InvitationWish,
    Person,
    PolicyDraft,
    sign_head,
    sign_invitation,
    sign_lease,
    sign_roster,
)
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import document_hash, seal
from fleetward.trust.generation import make_opening_payload
from fleetward.trust.head import Head, Lease
from fleetward.trust.invitation import Invitation
from fleetward.trust.journal import (
    NO_CHECKPOINT,
    BatchHeader,
    SeenCheckpoint,
    make_batch_header,
    make_entry,
    next_head,
    start_of_chain,
)
from fleetward.trust.keys import ED25519, ES256, PublicKey
from fleetward.trust.merkle import hash_leaf, root_of
from fleetward.trust.note import Checkpoint, origin_of, sign_checkpoint
from fleetward.trust.policy import (
    ROLES,
    Policy,
    Roots,
    verify_first_policy,
    verify_next_policy,
)
from fleetward.trust.root import make_root, root_hash, verify_root
from fleetward.trust.roster import Roster, RosterEntry
from fleetward.trust.tiles import bundle_path, encode_bundle, encode_tile, tile_path, tiles_of

NOW_MS = 1_795_000_000_000
MINUTE = 60_000


@dataclass
class Machine:
    """A machine of the world: its key and where its journal stands."""

    name: str
    key: FileSigner
    head: bytes = b""
    sequence: int = 0
    seen: SeenCheckpoint = NO_CHECKPOINT

    @property
    def id(self) -> str:
        return self.key.public.key_id


@dataclass
class Log:
    """One generation of a record, as a server holds it."""

    owner: str
    number: int
    key: FileSigner
    leaves: list[bytes] = field(default_factory=list)

    def root(self, size: int | None = None) -> bytes:
        return root_of(hash_leaf(each) for each in self.leaves[:size])

    def seen(self, size: int | None = None) -> SeenCheckpoint:
        """Return a state of this log, as a machine journals it."""
        size = len(self.leaves) if size is None else size
        return SeenCheckpoint(self.number, size, self.root(size).hex())

    def checkpoint(self, size: int | None = None) -> bytes:
        size = len(self.leaves) if size is None else size
        origin = origin_of(self.owner, self.number)
        return sign_checkpoint(Checkpoint(origin, size, self.root(size)), self.key)


class World:
    """An owner with machines and a server that records what they say."""

    def __init__(self, names: Sequence[str] = ("Pump 7", "Door 2"), *, witness: bool = False):
        self.keys = {name: make_key(ED25519) for name in ("root", "approver", "refresh")}
        self.log_key = make_key(ED25519)
        self.witness = make_key(ED25519)
        root = make_root("Ward 3", [("Ada", self.keys["root"].public)], 1, NOW_MS)
        self.owner = root_hash(root)
        self.root = verify_root(root, self.owner)
        witnesses = {"notary": self.witness.public} if witness else {}
        self.policies: list[Policy] = [self._first_policy(witnesses)]
        self.machines = [Machine(name, make_key(ES256)) for name in names]
        for machine in self.machines:
            machine.head = start_of_chain(self.owner, machine.id)
        self.logs = [Log(self.owner, 1, self.log_key)]
        self.contents: dict[tuple[str, int], list[bytes]] = {}
        self.entries: tuple[RosterEntry, ...] = ()
        self.roster: Roster
        self.head: Head
        self.lease: Lease
        self.log.leaves.append(self.deed("server.started", owner=""))
        self.log.leaves += [root, self.policies[0].raw]
        self.sign_roster(self.machines)

    @property
    def log(self) -> Log:
        return self.logs[-1]

    @property
    def policy(self) -> Policy:
        return self.policies[-1]

    def sign_roster(self, machines: Sequence[Machine], version: int = 0) -> None:
        """Sign roster, head and lease over these machines and record them."""
        number = version or (self.roster.version + 1 if self.entries else 1)
        entries = [
            RosterEntry(m.id, m.key.public, m.name, "Ward 3", (), "P2", "Acme", "active")
            for m in machines
        ]
        self.roster, self.entries = sign_roster(
            self.policy, number, entries, self.keys["approver"], NOW_MS
        )
        self.head = sign_head(self.policy, self.roster, number, self.keys["approver"], NOW_MS)
        self.lease = sign_lease(self.policy, self.head, number, self.keys["refresh"], NOW_MS)
        self.log.leaves += [self.roster.raw, self.head.raw, self.lease.raw]

    def deed(self, kind: str, *, owner: str | None = None, at_ms: int = NOW_MS) -> bytes:
        return canonical.encode(
            {
                "actor": "server",
                "at": at_ms,
                "body": {"words": f"{kind} happened."},
                "kind": kind,
                "nonce": f"{len(self.log.leaves):016x}",
                "owner": self.owner if owner is None else owner,
                "subject": "server",
                "type": "fleetward.deed.v1",
            }
        )

    def say(
        self,
        machine: Machine,
        count: int = 3,
        *,
        at_ms: int = NOW_MS,
        said: Sequence[tuple[str, JsonObject]] = (),
    ) -> bytes:
        """Let a machine sign a batch of `count` entries, or of `said`, and return its header."""
        changes: list[tuple[str, JsonObject]] = [
            ("posture.changed", {"words": f"change {offset}"}) for offset in range(1, count + 1)
        ]
        lines, head, count = [], machine.head, len(said) or count
        for offset, (kind, body) in enumerate(said or changes, 1):
            line = make_entry(machine.sequence + offset, at_ms, "boot-1", kind, body)
            lines.append(line)
            head = next_head(head, line)
        header = BatchHeader(
            machine.id, self.owner, "boot-1", machine.sequence + 1, machine.sequence + count,
            machine.head.hex(), head.hex(), machine.seen, "", b"",
        )  # fmt: skip
        self.contents[(machine.id, header.first)] = lines
        machine.head, machine.sequence = head, header.last
        return make_batch_header(header, machine.key)

    def live(self, rounds: int = 4) -> World:
        """Let every machine speak in turn, with deeds between, each seeing the newest state."""
        for turn in range(rounds):
            for machine in self.machines:
                self.log.leaves.append(self.say(machine))
                self.log.leaves.append(self.deed(f"turn.{turn}"))
                machine.seen = self.log.seen()
        return self

    def invite(self, uses: int = 1) -> Invitation:
        """Sign an invitation, which nobody has shown yet."""
        wish = InvitationWish("Ward 3", uses, 60, preapproved=True, now_ms=NOW_MS)
        return sign_invitation(self.policy, wish, self.keys["approver"])

    def join(self, machine: Machine, invitation: str, shown: bytes = b"") -> int:
        """Record that a machine joined, and before it what it showed; return the deed's place."""
        if shown and shown not in self.log.leaves:
            self.log.leaves.append(shown)
        deed = canonical.decode_object(self.deed("device.joined"))
        deed["subject"] = f"device:{machine.id}"
        deed["body"] = {"invitation": invitation, "words": "A machine joined."}
        self.log.leaves.append(canonical.encode(deed))
        return len(self.log.leaves) - 1

    def change_policy(self, **changes: object) -> None:
        """Sign and record the next policy."""
        draft = replace(self._draft(self.policy.roots, self.policy.version + 1), **changes)  # type: ignore[arg-type]
        raw = seal(draft.to_payload(NOW_MS), [self.keys["root"]])
        self.policies.append(verify_next_policy(raw, self.policy))
        self.log.leaves.append(raw)

    def rotate_policy_key(self, openings: Sequence[str] = ()) -> FileSigner:
        """Sign and record the next policy, by a new key; return the retired one."""
        retired, self.keys["root"] = self.keys["root"], make_key(ED25519)
        draft = self._draft(self.policy.roots, self.policy.version + 1)
        payload = replace(draft, openings=tuple(openings)).to_payload(NOW_MS)
        raw = seal(payload, [retired, self.keys["root"]])
        self.policies.append(verify_next_policy(raw, self.policy))
        self.log.leaves.append(raw)
        return retired

    def open_generation(
        self, kept: int, policy: Policy | None = None, signer: FileSigner | None = None
    ) -> str:
        """Restore the server to its first `kept` entries, and open a generation.

        The owner does, under the newest policy, unless somebody else is named. Returns the
        opening's hash.
        """
        self.log.leaves = self.log.leaves[:kept]
        under = policy or self.policy
        payload = make_opening_payload(under, self.log.seen(), "restored", NOW_MS)
        self.logs.append(Log(self.owner, self.log.number + 1, self.log_key))
        self.log.leaves.append(seal(payload, [signer or self.keys["root"]]))
        return document_hash(payload)

    def _first_policy(self, witnesses: dict[str, PublicKey]) -> Policy:
        roots = Roots(
            server_ca="ab" * 32,
            fleet_ca="cd" * 32,
            log_key=self.log_key.public,
            witnesses=witnesses,
            director="",
            makers={},
            recording_key="",
            download_origins=(),
        )
        raw = seal(self._draft(roots, 1).to_payload(NOW_MS), [self.keys["root"]])
        return verify_first_policy(raw, self.root)

    def _draft(self, roots: Roots, version: int) -> PolicyDraft:
        ids = {name: key.public.key_id for name, key in self.keys.items()}
        roles = dict.fromkeys(ROLES, ((ids["approver"],), 1))
        roles |= {"policy": ((ids["root"],), 1), "lease": ((ids["refresh"],), 1)}
        people = tuple(Person(key.public, "Ada") for key in self.keys.values())
        return PolicyDraft(self.owner, 1, version, people, roles, roots)


def write_export(world: World, folder: Path, *, contents: bool = True) -> Path:
    """Write the export of a world as the server would."""
    folder.mkdir(parents=True)
    head = {
        "format": "fleetward-export/1",
        "owner_root": world.owner,
        "generation": len(world.logs),
        "exported_at": "2026-11-23T14:02:05.123Z",
    }
    files = {
        "export.json": json.dumps(head).encode(),
        "root.json": world.root.raw,
        f"rosters/{world.roster.version:05}.json": world.roster.raw,
        f"rosters/{world.roster.version:05}.entries": b"".join(
            entry.to_bytes() + b"\n" for entry in world.entries
        ),
        "head.json": world.head.raw,
        "lease.json": world.lease.raw,
    }
    files |= {f"policies/{p.version:05}.json": p.raw for p in world.policies}
    for log in world.logs:
        files |= {f"log/{log.number}/{name}": data for name, data in log_files(log).items()}
        if log.number > 1:
            files[f"log/{log.number}/opening.json"] = log.leaves[0]
    if contents:
        for (device, first), lines in world.contents.items():
            files[f"batches/{device}/{first}.jsonl"] = b"\n".join(lines) + b"\n"
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def log_files(log: Log) -> dict[str, bytes]:
    """Return checkpoint, entry bundles and level-0 tiles of a log."""
    files = {"checkpoint": log.checkpoint()}
    for index, width in tiles_of(len(log.leaves)):
        leaves = log.leaves[index * 256 : index * 256 + width]
        files[bundle_path(index, width)] = encode_bundle(leaves)
        files[tile_path(0, index, width)] = encode_tile([hash_leaf(each) for each in leaves])
    return files


def rewrite_bundles(folder: Path, log: Log, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """Alter the entries of an export's copy; hashes and checkpoint stay as they were."""
    leaves = change(list(log.leaves))
    base = folder / f"log/{log.number}"
    shutil.rmtree(base / "tile/entries")
    for index, width in tiles_of(len(leaves)):
        path = base / bundle_path(index, width)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_bundle(leaves[index * 256 : index * 256 + width]))
