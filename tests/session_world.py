"""A real agent, a real broker, and the requester's and the owner's hands; no server program.

    async with session_world(folder) as world:
        session = await world.enter(TerminalScope(world.user))
        shell = await session.open(0)
        await shell.type("echo hello\n")
        await shell.until(b"hello")

The agent is `fleetward-agent run` in processes of its own. What a server would do is done here, in
memory and honestly: it stores batches, notes and recordings, and hands orders over.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key
from tests.access_world import AccessWorld
from tests.adversary.processes import family_of
from tests.requester_end import REQUIRE_MUCH, RequesterEnd, StreamEnd, until
from tests.system.broker_world import World, broker_world, make_fleet
from tests.trust_world import Machine
from tests.unit.device.device_world import SmallServer

from fleetward.device.identity.join import Joining, Newcomer
from fleetward.device.port import TakeCertificate, TakeServerCa, Vouch
from fleetward.runtime import broker as broker_module
from fleetward.runtime.broker import Account
from fleetward.runtime.bus import Bus, serve_devices
from fleetward.runtime.channel import make_session_key
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import make_key, to_pkcs8
from fleetward.runtime.recording import Opener, open_content_key, read_header, read_records
from fleetward.runtime.x509 import (
    SpiffeId,
    certificate_sha256,
    issue_device_certificate,
    write_certificates,
)
from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    RootScope,
    Scope,
    TcpScope,
    TerminalScope,
)
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import JsonObject, decode_object, from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_beat_payload, make_stop_payload
from fleetward.trust.grants.grant import Terms, make_grant_payload
from fleetward.trust.grants.offer import Offer, verify_offer
from fleetward.trust.grants.request import Request, Wish, make_request_payload, verify_request
from fleetward.trust.keys import ES256, Signer
from fleetward.trust.statements import MachineFacts
from fleetward.wire.access import (
    AccessNote,
    AccessReply,
    RecordingChunk,
    RecordingReply,
)
from fleetward.wire.identity import CertificateReply
from fleetward.wire.orders import Documents, DocumentsRequest, Order
from fleetward.wire.subjects import Up, down

DAY_MS: Final = 86_400_000
USER: Final = "fwtester"
USER_UID: Final = 64_899


def rules_for(root: Path) -> AccessRules:
    """Return rules that let a technician do everything that there is."""
    return AccessRules(
        rules={
            "terminal": Rule(1, 3600, watched=False, allowed=(USER, "app")),
            "root": Rule(1, 3600, watched=False),
            "tcp": Rule(1, 3600, watched=False, ports=((1, 65535),)),
            "logs": Rule(1, 3600, watched=False, allowed=("*",)),
            "files": Rule(1, 3600, watched=False, allowed=(str(root),)),
        }
    )


def now_ms() -> int:
    return SystemClock().wall_ms()


class Counterpart:
    """All that a server does for a machine, in memory."""

    def __init__(self, access: AccessWorld, device: str, key: Any) -> None:
        self.access = access
        self.device = device
        self.small = SmallServer(cast(Any, SimpleNamespace(world=access.trust)), key)
        self.notes: list[tuple[AccessNote, JsonObject]] = []
        self.raw_notes: list[bytes] = []
        self.recordings: dict[str, bytearray] = {}
        self.done: set[str] = set()
        self.said: list[Up] = []
        self.grown_at: dict[str, list[tuple[float, int]]] = {}

    async def answer(self, device: str, word: Up, data: bytes) -> bytes | None:
        """Answer one word of the machine."""
        del device
        self.said.append(word)
        if word is Up.DOCUMENTS:
            asked = msgspec.json.decode(data, type=DocumentsRequest)
            bundle = self.access.trust.bundle(self.device)
            del asked
            return msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))
        if word is Up.ACCESS:
            note = msgspec.json.decode(data, type=AccessNote)
            raw = from_base64url(note.envelope)
            payload = decode_object(raw)["payload"]
            assert isinstance(payload, dict)
            self.notes.append((note, payload))
            self.raw_notes.append(raw)
            return msgspec.json.encode(AccessReply(subject=note.subject))
        if word is Up.RECORDING:
            return self._take_recording(msgspec.json.decode(data, type=RecordingChunk))
        small = self.small
        takers: dict[Up, Callable[[bytes], bytes]] = {
            Up.NONCE: lambda _: small.nonce_reply(),
            Up.HELLO: small.hello,
            Up.BATCH: small.batch,
            Up.PROOF: small.prove,
            Up.BLOB: small.chunk,
        }
        return takers[word](data) if word in takers else None

    def _take_recording(self, chunk: RecordingChunk) -> bytes:
        held = self.recordings.setdefault(chunk.session, bytearray())
        if chunk.offset == len(held):
            held += from_base64url(chunk.data)
            if chunk.done:
                self.done.add(chunk.session)
        self.grown_at.setdefault(chunk.session, []).append((time.monotonic(), len(held)))
        return msgspec.json.encode(RecordingReply(session=chunk.session, size=len(held)))

    def find(self, kind: str, subject: str) -> JsonObject | None:
        """Return the newest note about a subject."""
        for note, payload in reversed(self.notes):
            if (note.kind, note.subject) == (kind, subject):
                return payload
        return None

    def entries(self, kind: str) -> list[JsonObject]:
        """Return the bodies of what the machine has signed in its journal."""
        found = [e for batch in self.small.batches for e in batch.entries]
        return [e.body for e in found if e.kind == kind]


@dataclass
class SessionWorld:
    """Everything. Make it by `session_world`."""

    folder: Path
    data: Path
    files: Path
    access: AccessWorld
    broker: World
    bus: Bus
    counterpart: Counterpart
    as_root: bool
    agent: subprocess.Popen[bytes] | None = None
    log: Path = Path()

    @property
    def device(self) -> str:
        return self.access.machine.device

    @property
    def user(self) -> str:
        """The user that terminals may be opened as."""
        return USER

    # --- the agent

    def start_agent(self, *, hide: Sequence[str] = ()) -> None:
        """Start `fleetward-agent run`, with a user of our own in its view of /etc/passwd."""
        passwd, group = self.folder / "passwd", self.folder / "group"
        home = self.folder / "home"
        home.mkdir(exist_ok=True)
        if self.as_root:
            os.chown(home, USER_UID, USER_UID)
        line = f"{USER}:x:{USER_UID}:{USER_UID}::{home}:/bin/bash\n"
        passwd.write_text(Path("/etc/passwd").read_text() + line)
        group.write_text(Path("/etc/group").read_text() + f"{USER}:x:{USER_UID}:\n")
        script = 'mount --bind "$1" /etc/passwd && mount --bind "$2" /etc/group && shift 2'
        for path in hide:
            script += f" && mount --bind /dev/null {path}"
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]
        command += [f'{script} && exec "$@"', "sh", str(passwd), str(group)]
        if not self.as_root:
            # In a name space in which whoever runs the tests is that user, and nobody is root.
            command += ["unshare", "--user", f"--map-user={USER_UID}", f"--map-group={USER_UID}"]
        command += [sys.executable, "-I", "-m", "fleetward.device.cli", "run"]
        self.log = self.folder / "agent.log"
        with self.log.open("ab") as log:
            self.agent = subprocess.Popen(
                [*command, "--data", str(self.data)], stdout=log, stderr=log, cwd="/"
            )

    def stop_agent(self) -> None:
        """Stop the agent in order."""
        if self.agent is None:
            return
        self.agent.send_signal(signal.SIGTERM)
        try:
            self.agent.wait(15)
        except subprocess.TimeoutExpired:
            self.agent.kill()
            self.agent.wait()
        self.agent = None

    def processes(self, module: str) -> list[int]:
        """Return the pids of the agent's processes that run a module."""
        assert self.agent is not None
        found = []
        for pid in family_of(self.agent.pid):
            with contextlib.suppress(OSError):
                if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found

    async def connected(self) -> None:
        """Wait until the agent has greeted."""
        before = self.counterpart.said.count(Up.HELLO)
        await until(lambda: self.counterpart.said.count(Up.HELLO) > before, "the agent greets")
        await until(lambda: self.entries("gate.accepted"), "the agent learns that it is confirmed")

    def entries(self, kind: str) -> list[JsonObject]:
        """Return the bodies of entries on the machine's disk, those not yet sent too."""
        found = []
        for path in sorted((self.data / "guard" / "journal").glob("*.entries")):
            for line in path.read_bytes().splitlines():
                if line.startswith(b'{"at"'):
                    entry = decode_object(line)
                    body = entry["body"]
                    if entry["kind"] == kind and isinstance(body, dict):
                        found.append(body)
        return found

    # --- orders

    async def push(self, envelope: bytes) -> None:
        """Hand a signed order to the machine."""
        order = msgspec.json.encode(Order(envelope=to_base64url(envelope)))
        await self.bus.publish(down(self.device, "order"), order)

    async def push_documents(self) -> None:
        """Hand the owner's newest documents to the machine."""
        bundle = self.access.trust.bundle(self.device)
        word = msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))
        await self.bus.publish(down(self.device, "documents"), word)

    def make_request(
        self, *scopes: Scope, seconds: int = 600, break_glass: bool = False
    ) -> Request:
        """Return a request of the technician, with a session key that is kept."""
        self.access.session_private, public = make_session_key()
        payload = make_request_payload(
            self.access.trust.policy,
            Wish(self.device, scopes, seconds, "the pump does not start", "case-7", break_glass),
            self.access.technician.public.key_id,
            (public, secrets.token_bytes(16)),
            now_ms(),
        )
        raw = seal(payload, [self.access.technician])
        return verify_request(raw, self.access.trust.policy, self.device)

    async def offered(self, request: Request) -> Offer:
        """Hand a request over and return the machine's offer."""
        await self.push(request.raw)
        await until(
            lambda: (
                self.counterpart.find("offer", request.hash)
                or self.counterpart.find("denial", request.hash)
            ),
            "the machine answers the request",
        )
        denied = self.counterpart.find("denial", request.hash)
        assert denied is None, denied
        for (note, _), raw in zip(
            reversed(self.counterpart.notes), reversed(self.counterpart.raw_notes), strict=True
        ):
            if (note.kind, note.subject) == ("offer", request.hash):
                return verify_offer(raw, self.access.machine.key, request)
        raise AssertionError("no offer")

    def make_grant(
        self, request: Request, offer: Offer, signers: Sequence[Signer] = (), **terms: Any
    ) -> bytes:
        """Return a grant of all that was asked for."""
        given = Terms(
            request.scopes, request.seconds, 300, False, now_ms() - 60_000, now_ms() + DAY_MS
        )
        payload = make_grant_payload(
            self.access.trust.policy, request, offer, replace(given, **terms)
        )
        return seal(payload, list(signers) or [self.access.trust.signers[0]])

    async def granted(self, *scopes: Scope, **terms: Any) -> tuple[str, bytes]:
        """Have a session opened; return its hash and the machine's session key."""
        request = self.make_request(*scopes)
        offer = await self.offered(request)
        grant = self.make_grant(request, offer, **terms)
        await self.push(grant)
        return decode_hash(grant), offer.session_key

    async def enter(self, *scopes: Scope, **terms: Any) -> RequesterEnd:
        """Have a session opened, and open its channel."""
        session, key = await self.granted(*scopes, **terms)
        keys = (self.access.session_private, key)
        return await RequesterEnd(self.bus, self.device, session, keys).begin()

    async def stop_session(self, subject: str, signer: Signer | None = None) -> None:
        """Have an approver stop a session, or refuse a request."""
        payload = make_stop_payload(self.access.trust.policy, subject, "enough", now_ms())
        await self.push(seal(payload, [signer or self.access.trust.signers[0]]))

    async def beat(self, session: str, serial: int) -> None:
        """Have an approver say that he watches."""
        payload = make_beat_payload(self.access.trust.policy, session, serial)
        await self.push(seal(payload, [self.access.trust.signers[0]]))

    # --- the end of it

    async def receipt(self, session: str, seconds: float = REQUIRE_MUCH) -> JsonObject:
        """Wait for the receipt of a session, and for its whole recording."""
        await until(lambda: self.counterpart.find("receipt", session), "the receipt comes", seconds)
        await until(lambda: session in self.counterpart.done, "the recording comes", seconds)
        found = self.counterpart.find("receipt", session)
        assert found is not None
        return found

    def replay(self, session: str) -> list[tuple[float, str, str]]:
        """Open a recording as the owner does; every record is checked."""
        path = self.folder / "replay"
        path.write_bytes(bytes(self.counterpart.recordings[session]))
        with path.open("rb") as source:
            header = read_header(source)
            private = self.access.recording.private
            assert isinstance(private, ec.EllipticCurvePrivateKey)
            opener = Opener(header, open_content_key(header, private))
            lines = b"".join(opener.open(record) for record in read_records(source))
        self.replayed = (opener.head.hex(), opener.records)
        return [cast(Any, tuple(json.loads(line))) for line in lines.splitlines()]


def decode_hash(envelope: bytes) -> str:
    """Return the hash of a signed document."""
    from fleetward.trust.envelope import read_envelope

    return read_envelope(envelope).hash


@contextlib.contextmanager
def _sessions_for_tests() -> Any:
    """Let the test's own connection speak in sessions, as a requester's certificate would."""
    permissions = broker_module._INTERNAL_PERMISSIONS
    before = permissions[Account.DEVICES]
    publish, subscribe = before
    permissions[Account.DEVICES] = (
        [*publish, "fw.*.session.*.in"],
        [*subscribe, "fw.*.session.*.out"],
    )
    try:
        yield
    finally:
        permissions[Account.DEVICES] = before


@contextlib.asynccontextmanager
async def session_world(
    folder: Path, *, as_root: bool | None = None, start: bool = True
) -> AsyncIterator[SessionWorld]:
    """Open everything; the agent runs when this yields. Everything is stopped at the end."""
    # Below pytest's own folder other users, of whom a session has some, could not enter.
    place = Path(tempfile.mkdtemp(prefix="fw-session-", dir="/var/tmp"))
    place.chmod(0o755)
    data = place / "data"
    files = place / "files"
    for made in (data, files):
        made.mkdir(mode=0o755)
    with _sessions_for_tests():
        async with broker_world(folder / "broker") as broker:
            world = await _settle(broker, place, data, files, as_root)
            try:
                if start:
                    world.start_agent()
                    await world.connected()
                yield world
            finally:
                world.stop_agent()
                if world.log.is_file():
                    sys.stderr.write(world.log.read_text(errors="replace"))
                shutil.rmtree(place, ignore_errors=True)


async def _settle(
    broker: World, place: Path, data: Path, files: Path, as_root: bool | None
) -> SessionWorld:
    from tests.system.broker_world import OpenJudge

    access = AccessWorld.make(rules=rules_for(files))
    broker.fleet = make_fleet(access.trust.owner)
    broker.broker.replace_device_ca(write_certificates([broker.fleet.root.certificate]))
    await broker.start_callout(OpenJudge())
    roots = access.trust.next_payload()["roots"]
    assert isinstance(roots, dict)
    roots["server_ca"] = certificate_sha256(broker.server_ca.certificate)
    roots["fleet_ca"] = certificate_sha256(broker.fleet.root.certificate)
    access.trust.next_policy({"roots": roots})
    access.trust.publish()
    machine = _join(broker, access, data)
    access.machine = machine
    access.trust.confirm(machine)
    bus = await broker.connect_internal(Account.DEVICES)
    counterpart = Counterpart(access, machine.device, machine.key)
    await serve_devices(bus, counterpart.answer, concurrency=8, on_problem=broker.problems.append)
    root = os.geteuid() == 0 if as_root is None else as_root
    return SessionWorld(place, data, files, access, broker, bus, counterpart, root)


def _join(broker: World, access: AccessWorld, data: Path) -> Machine:
    join = replace(access.trust.join_string(), bus_addresses=(f"127.0.0.1:{broker.port}",))
    facts = MachineFacts("pump", "P7", "Acme", "Debian 12", simulated=False)
    joining = Joining(data / "guard", join, Newcomer(facts, "boot-0"), SystemClock())
    joining.handle(TakeServerCa(), broker.server_ca.certificate.public_bytes(Encoding.DER))
    transport = make_key(ES256)
    joining.handle(Vouch(), transport.public.spki)
    public = load_der_public_key(transport.public.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    certificate = issue_device_certificate(
        broker.fleet.issuing,
        public,
        spiffe_id=SpiffeId(access.trust.owner, joining.device),
        serial=7,
        not_before_ms=now_ms() - 60_000,
        not_after_ms=now_ms() + DAY_MS,
    )
    fleet = broker.fleet
    chain = write_certificates(
        [certificate, fleet.issuing.certificate, fleet.root.certificate]
    ).decode()
    bundle = to_base64url(access.trust.bundle(joining.device).to_bytes())
    reply = CertificateReply(certificate=chain, bundle=bundle)
    joining.handle(TakeCertificate(), msgspec.json.encode(reply))
    (data / "uplink").mkdir(mode=0o700)
    atomic_write(data / "uplink" / "transport.key", to_pkcs8(transport))
    identity = joining._signer
    return Machine(name="pump", owner=access.trust.owner, identity=identity)


__all__ = [
    "USER", "FilesScope", "RequesterEnd", "RootScope", "SessionWorld", "StreamEnd", "TcpScope",
    "TerminalScope", "session_world", "until",
]  # fmt: skip
