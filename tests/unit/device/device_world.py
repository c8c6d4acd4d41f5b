"""A machine's guard with hands to hold it: clocks, a server that can lie, and crashes.

`SmallServer` is an honest server in memory, of the real pieces of `trust`; a test that wants a lie
overrides one answer. `Joined` makes a machine that has joined by the real code of joining.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from tests.trust_world import NOW_MS, World, reader_of

from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.identity.join import Joining, Newcomer
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.port import (
    GetBatch,
    GetChunk,
    GetProofRequest,
    Greet,
    TakeCertificate,
    TakeChunkReply,
    TakeGreeting,
    TakeProof,
    TakeReceipt,
    TakeServerCa,
    Vouch,
)
from fleetward.runtime.keys import make_key
from fleetward.runtime.x509 import (
    Authority,
    SpiffeId,
    certificate_sha256,
    issue_device_certificate,
    make_authority,
    write_certificates,
)
from fleetward.trust import canonical
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.invitation import JoinString
from fleetward.trust.journal import Batch, verify_batch
from fleetward.trust.keys import ES256, PublicKey
from fleetward.trust.merkle import Frontier, hash_leaf, prove_consistency, prove_inclusion
from fleetward.trust.note import Checkpoint, origin_of, sign_checkpoint
from fleetward.trust.statements import MachineFacts, verify_hello, verify_join
from fleetward.wire.audit import (
    BlobChunk,
    BlobReply,
    ProofItem,
    ProofReply,
    ProofRequest,
    Receipt,
)
from fleetward.wire.identity import (
    CertificateReply,
    HelloReply,
    JoinRequest,
    NonceReply,
    Refusal,
)
from fleetward.wire.orders import Documents
from fleetward.wire.posture import Inventory, Machine, Section, Sight, Socket, encode_inventory

DAY_MS = 86_400_000
FACTS = MachineFacts("pump", "P7", "Acme", "Debian 12", simulated=True)


@dataclass
class HeldClock:
    """Clocks that stand still until told."""

    wall: int = NOW_MS
    since_boot: int = 60_000
    synchronised: bool = True

    def is_synchronised(self) -> bool:
        return self.synchronised

    def wall_ms(self) -> int:
        return self.wall

    def monotonic_ms(self) -> int:
        return self.since_boot

    def boottime_ms(self) -> int:
        return self.since_boot

    def pass_ms(self, milliseconds: int) -> None:
        """Let time pass on every clock."""
        self.wall += milliseconds
        self.since_boot += milliseconds


def make_inventory(*ports: int) -> bytes:
    """Return an inventory of a machine with these TCP ports open to everybody."""
    sockets = tuple(
        Socket("tcp", "0.0.0.0", port, "all", process="busybox", user="root") for port in ports
    )
    machine = Machine("debian", "Debian", "12", "6.1", "x86_64", "systemd", root=True)
    section = Section(Sight("full"), sockets)
    return encode_inventory(
        Inventory(type="fleetward.inventory.v1", machine=machine, sockets=section)
    )


@dataclass
class Fleet:
    """An owner whose policy names real authorities."""

    world: World
    server_ca: Authority
    fleet_ca: Authority

    @classmethod
    def make(cls, name: str = "Plant") -> Fleet:
        world = World.make(name=name)
        server_ca = make_authority("server", not_before_ms=NOW_MS, days=9, path_length=0)
        fleet_ca = make_authority("fleet", not_before_ms=NOW_MS, days=9, path_length=0)
        roots = world.next_payload()["roots"]
        assert isinstance(roots, dict)
        roots["server_ca"] = certificate_sha256(server_ca.certificate)
        roots["fleet_ca"] = certificate_sha256(fleet_ca.certificate)
        world.next_policy({"roots": roots})
        world.publish()
        return cls(world, server_ca, fleet_ca)

    @property
    def server_ca_der(self) -> bytes:
        return self.server_ca.certificate.public_bytes(Encoding.DER)

    def issue(self, device: str, transport: PublicKey, serial: int = 7) -> str:
        """Return the chain of a certificate of a day over a transport key."""
        public = load_der_public_key(transport.spki)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        certificate = issue_device_certificate(
            self.fleet_ca,
            public,
            spiffe_id=SpiffeId(self.world.owner, device),
            serial=serial,
            not_before_ms=NOW_MS,
            not_after_ms=NOW_MS + DAY_MS,
        )
        return write_certificates([certificate, self.fleet_ca.certificate]).decode()

    def answer_join(self, request: bytes) -> CertificateReply:
        """Return what an honest server answers to a join request."""
        asked = msgspec.json.decode(request, type=JoinRequest)
        join = verify_join(from_base64url(asked.statement))
        return CertificateReply(
            certificate=self.issue(join.device, join.transport),
            bundle=to_base64url(self.world.bundle(join.device).to_bytes()),
        )


def begin_join(folder: Path, fleet: Fleet, clock: HeldClock) -> tuple[Joining, bytes]:
    """Begin to join; return the attempt and the request that uplink would post."""
    join: JoinString = fleet.world.join_string()
    joining = Joining(folder, join, Newcomer(FACTS, "boot-1"), clock)
    joining.handle(TakeServerCa(), fleet.server_ca_der)
    request = joining.handle(Vouch(), make_key(ES256).public.spki).body
    return joining, request


def join_machine(folder: Path, fleet: Fleet, clock: HeldClock) -> str:
    """Join by the real code; return the device id."""
    joining, request = begin_join(folder, fleet, clock)
    joining.handle(TakeCertificate(), msgspec.json.encode(fleet.answer_join(request)))
    assert joining.joined is not None
    return joining.joined.device


@dataclass
class Guarded:
    """A joined machine that can be started, stopped and pulled out of the wall."""

    folder: Path
    fleet: Fleet
    clock: HeldClock = field(default_factory=HeldClock)
    document: Callable[[], bytes] = make_inventory
    boot: str = "boot-1"
    core: GuardCore = field(init=False)

    def __post_init__(self) -> None:
        self.device = join_machine(self.folder, self.fleet, self.clock)
        self.start()

    def start(self) -> GuardCore:
        eyes = Eyes(FixtureCollector(lambda: self.document()), files=())
        seat = Seat(self.clock, eyes, boot=self.boot, wall="simulated")
        self.core = GuardCore(self.folder, seat)
        return self.core

    def restart(self) -> GuardCore:
        self.core.close()
        return self.start()

    def crash(self) -> GuardCore:
        """Start again without closing: what was written is there, nothing else is."""
        return self.start()

    def crash_after_save(self) -> GuardCore:
        """Crash right after guard has persisted what it remembers."""
        self.core.save()
        return self.start()

    def tick(self, milliseconds: int = 4500) -> None:
        """Let guard look, write and cut, while this much time passes."""
        for _ in range(3):
            self.core.tick()
            self.clock.pass_ms(milliseconds // 3)
        self.core.tick()

    def entries(self, kind: str = "") -> list[dict[str, canonical.Json]]:
        """Return the journal's entries of a kind, read from the disk."""
        found = []
        for path in sorted((self.folder / "journal").glob("*.entries")):
            for line in path.read_bytes().splitlines():
                if line.startswith(b'{"at"'):
                    entry = canonical.decode_object(line)
                    if not kind or entry["kind"] == kind:
                        found.append(entry)
        return found

    def bodies(self, kind: str) -> list[dict[str, canonical.Json]]:
        return [b for e in self.entries(kind) if isinstance(b := e["body"], dict)]


def copy_folder(source: Path, target: Path) -> Path:
    """Copy a machine's folder: a snapshot of its disk."""
    shutil.copytree(source, target)
    return target


class SmallServer:
    """Stores batches in order and keeps a ledger. Honest, until a test overrides an answer."""

    def __init__(self, fleet: Fleet, key: PublicKey, generation: int = 1) -> None:
        self.fleet = fleet
        self.key = key
        self.generation = generation
        self.batches: list[Batch] = []
        self.leaves: list[bytes] = [b"root document"]
        self.opening: bytes = b""
        self.nonce = b"n" * 32
        self.documents: dict[str, bytes] = {}
        self.wanted: list[str] = []

    # --- what a machine asks

    @property
    def stored(self) -> int:
        return self.batches[-1].header.last if self.batches else 0

    def nonce_reply(self) -> bytes:
        return msgspec.json.encode(NonceReply(nonce=to_base64url(self.nonce)))

    def hello(self, data: bytes) -> bytes:
        verify_hello(data, self.key, self.nonce)
        reply = HelloReply(stored=self.stored, generation=self.generation, state="active")
        return msgspec.json.encode(reply)

    def batch(self, data: bytes) -> bytes:
        batch = verify_batch(data, self.key, self.fleet.world.owner)
        known = [b for b in self.batches if b.header.first == batch.header.first]
        if known:
            assert known[0].header.raw == batch.header.raw, "a batch was signed twice"
            assert [e.raw for e in known[0].entries] == [e.raw for e in batch.entries]
        elif batch.header.first != self.stored + 1:
            return msgspec.json.encode(
                Refusal(reason="out_of_sequence", message="no", stored=self.stored)
            )
        else:
            if self.batches:
                assert batch.header.previous == self.batches[-1].header.head
            self.batches.append(batch)
            self.leaves.append(batch.header.raw)
        want = tuple(w for w in self.wanted if w not in self.documents)
        self.wanted = []
        return msgspec.json.encode(
            Receipt(last=batch.header.last, head=batch.header.head, want=want)
        )

    def prove(self, data: bytes) -> bytes:
        return msgspec.json.encode(self.proof(msgspec.json.decode(data, type=ProofRequest)))

    def proof(self, asked: ProofRequest) -> ProofReply:
        hashes = [hash_leaf(leaf) for leaf in self.leaves]
        read = reader_of(hashes)
        same = asked.generation == self.generation
        old = asked.size if same else 0
        proof = prove_consistency(old, len(hashes), read) if 0 < old < len(hashes) else []
        items = []
        for batch in self.batches:
            if batch.header.hash in asked.batches and batch.header.raw in self.leaves:
                index = self.leaves.index(batch.header.raw)
                path = prove_inclusion(index, len(hashes), read)
                items.append(
                    ProofItem(
                        batch=batch.header.hash, index=index, path=[to_base64url(h) for h in path]
                    )
                )
        newer = bool(self.opening) and 0 < asked.generation < self.generation
        return ProofReply(
            generation=self.generation,
            checkpoint=self.note().decode(),
            consistency=[to_base64url(h) for h in proof],
            items=items,
            opening=to_base64url(self.opening) if newer else "",
            opening_path=tuple(to_base64url(h) for h in prove_inclusion(0, len(hashes), read))
            if newer
            else (),
        )

    def note(self, leaves: list[bytes] | None = None) -> bytes:
        frontier = Frontier()
        for leaf in self.leaves if leaves is None else leaves:
            frontier.append(hash_leaf(leaf))
        origin = origin_of(self.fleet.world.owner, self.generation)
        return sign_checkpoint(
            Checkpoint(origin, frontier.size, frontier.root()), self.fleet.world.log
        )

    def chunk(self, data: bytes) -> bytes:
        chunk = msgspec.json.decode(data, type=BlobChunk)
        held = self.documents.setdefault(chunk.digest, b"")
        if len(held) == chunk.offset:
            held += from_base64url(chunk.data)
            self.documents[chunk.digest] = held
        done = len(held) == chunk.total
        return msgspec.json.encode(BlobReply(digest=chunk.digest, offset=len(held), complete=done))

    # --- one session, as uplink would carry it

    def greet(self, core: GuardCore) -> None:
        hello = core.handle(Greet(), self.nonce_reply()).body
        core.handle(TakeGreeting(), self.hello(hello))

    def take_all(self, core: GuardCore, most: int = 1000) -> int:
        """Take batches while the machine has some; return how many there were."""
        for count in range(most):
            data = core.handle(GetBatch(), b"").body
            if not data:
                return count
            hint = core.handle(TakeReceipt(), self.batch(data)).hint
            if hint != "again":
                return count + 1
        return most

    def prove_all(self, core: GuardCore) -> None:
        while data := core.handle(GetProofRequest(), b"").body:
            before = core.outbox.unproven
            core.handle(TakeProof(), self.prove(data))
            if core.outbox.unproven == before:
                return

    def take_documents(self, core: GuardCore) -> None:
        while data := core.handle(GetChunk(), b"").body:
            core.handle(TakeChunkReply(), self.chunk(data))

    def serve(self, core: GuardCore) -> None:
        """Be a whole session."""
        self.greet(core)
        self.take_all(core)
        self.take_documents(core)
        self.prove_all(core)


def pushed(bundle: Bundle) -> bytes:
    """Return a bundle as a server pushes it."""
    return msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))


def reply(kind: str, fields: Mapping[str, object]) -> bytes:
    """Return an answer of a server, of whatever content."""
    return msgspec.json.encode({"type": kind, **fields})
