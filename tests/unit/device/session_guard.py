"""A guard whose owner lets a technician ask, and a door behind which the test is the session.

guard = SessionGuard.make(tmp_path)
request, offer = guard.ask()
guard.push(guard.access.grant(request, offer))
assert guard.doors.opened == 1
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from tests.access_world import RULES, TERMINAL, AccessWorld
from tests.trust_world import NOW_MS, Machine, payload_of
from tests.unit.device.device_world import (
    Fleet,
    HeldClock,
    join_machine,
    make_inventory,
    pushed,
)

from fleetward.device.access.plans import read_plans
from fleetward.device.access.words import (
    Ending,
    OpenOrder,
    Probed,
    Pulse,
    Started,
    Upward,
    encode,
    make_pair,
    read_downward,
)
from fleetward.device.comparing import Looker
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.identity.keys import load_identity
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.port import (
    GetAccess,
    GetRecording,
    Reply,
    TakeAccessReply,
    TakePushed,
    TakeRecordingReply,
)
from fleetward.runtime.recording import Sealer
from fleetward.runtime.x509 import certificate_sha256, make_authority
from fleetward.trust.access import AccessRules, Scope
from fleetward.trust.access_runbook import Plan
from fleetward.trust.canonical import JsonObject, decode_object, from_base64url, to_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.offer import Offer, verify_offer
from fleetward.trust.grants.request import Request
from fleetward.wire.access import AccessNote, AccessReply, RecordingChunk, RecordingReply
from fleetward.wire.orders import Order


@dataclass
class Opened:
    """What guard handed to the process of a session, which is the test."""

    sock: socket.socket
    order: OpenOrder
    channel: socket.socket
    recording: int
    sealer: Sealer
    plans: dict[int, Plan] = field(default_factory=dict)

    def say(self, word: Upward) -> None:
        """Say a word to guard."""
        self.sock.send(encode(word))

    def record(self, lines: bytes) -> None:
        """Append one record."""
        os.write(self.recording, self.sealer.seal(lines))
        self.say(Pulse(True, len(lines), len(lines)))

    def told(self) -> object:
        """Return what guard says next, or None when it has closed."""
        self.sock.settimeout(2)
        data = self.sock.recv(65536)
        return read_downward(data) if data else None

    def end(self, by: str = "closed", words: str = "done") -> None:
        """End the session from inside."""
        self.say(Ending(by, words, 1, 2))
        self.close()

    def close(self) -> None:
        """Be gone."""
        self.sock.close()
        self.channel.close()
        if self.recording >= 0:
            os.close(self.recording)
        self.recording = -1


def _says(sock: socket.socket) -> bool:
    """Say whether words wait in a socket."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


@dataclass
class HeldDoors:
    """Starts nothing: what would be a process is the other end of a socket, in the test's hand."""

    sandbox: str = "bubblewrap"
    started: list[socket.socket] = field(default_factory=list)
    taken: list[Opened] = field(default_factory=list)
    probed: bool = False
    broken: bool = False
    pid: int = field(default_factory=os.getpid)
    """What guard kills in the end when a session is slow to go; 0 for nothing."""

    def check(self, scope: Scope) -> None:
        """Everything is possible here."""

    def start(self) -> socket.socket:
        if self.broken:
            raise OSError(2, "no such thing")
        ours, theirs = make_pair()
        if not self.probed:
            self.probed = True
            theirs.send(encode(Probed(self.sandbox, "")))
            theirs.close()
        else:
            self.started.append(theirs)
        return ours

    @property
    def opened(self) -> int:
        """How many sessions were started: how many processes have heard an order."""
        return len(self.taken) + len(self._waiting())

    def _waiting(self) -> list[socket.socket]:
        taken = [opened.sock for opened in self.taken]
        untaken = [sock for sock in self.started if sock not in taken]
        return [sock for sock in untaken if _says(sock)]

    def take(self) -> Opened:
        """Be the process of the newest session."""
        sock = self._waiting()[-1]
        data, passed, _, _ = socket.recv_fds(sock, 65536, 4)
        order = read_downward(data)
        assert isinstance(order, OpenOrder)
        channel, recording, *plans = passed
        sealer = Sealer(
            order.owner, order.device, order.session, order.recording_key, order.started_at_ms
        )
        os.write(recording, sealer.header)
        opened = Opened(sock, order, socket.socket(fileno=channel), recording, sealer)
        opened.plans = read_plans(plans[0]) if plans else {}
        self.taken.append(opened)
        if self.pid:
            opened.say(Started(self.pid))
        return opened

    def close(self) -> None:
        """Be gone, with every session."""
        for opened in self.taken:
            opened.close()
        for sock in self.started:
            sock.close()


@dataclass
class SessionGuard:
    """A joined and confirmed machine, its owner, and the technician."""

    folder: Path
    access: AccessWorld
    fleet: Fleet
    clock: HeldClock
    doors: HeldDoors | None
    boot: str = "boot-1"
    looker: Looker | None = None
    core: GuardCore = field(init=False)
    held: dict[str, bytearray] = field(default_factory=dict)
    """Recordings as the server has them."""

    @classmethod
    def make(
        cls,
        folder: Path,
        rules: AccessRules = RULES,
        *,
        people: Sequence[str] = ("ada", "ben"),
        doors: HeldDoors | None = None,
        simulated: bool = False,
        confirmed: bool = True,
        looker: Looker | None = None,
    ) -> SessionGuard:
        """Return a machine under policy 3, which lets `rules` be asked for."""
        access = AccessWorld.make(people, rules)
        trust = access.trust
        server_ca = make_authority("server", not_before_ms=NOW_MS, days=9, path_length=0)
        fleet_ca = make_authority("fleet", not_before_ms=NOW_MS, days=9, path_length=0)
        roots = trust.next_payload()["roots"]
        assert isinstance(roots, dict)
        roots["server_ca"] = certificate_sha256(server_ca.certificate)
        roots["fleet_ca"] = certificate_sha256(fleet_ca.certificate)
        trust.next_policy({"roots": roots})
        trust.publish()
        fleet, clock = Fleet(trust, server_ca, fleet_ca), HeldClock()
        guard_folder = folder / "data" / "guard"
        guard_folder.parent.mkdir(parents=True)
        join_machine(guard_folder, fleet, clock)
        identity = load_identity(guard_folder)
        access.machine = Machine(name="pump", owner=trust.owner, identity=identity)
        made = None if simulated else (doors or HeldDoors())
        guard = cls(guard_folder, access, fleet, clock, made, looker=looker)
        if confirmed:
            trust.confirm(access.machine)
        guard.start()
        guard.publish()
        return guard

    def start(self) -> GuardCore:
        """Start guard, as after a crash or a boot."""
        eyes = Eyes(FixtureCollector(make_inventory), files=())
        self.drop()
        if self.doors is not None:
            self.doors.probed = False
        seat = Seat(
            self.clock, eyes, boot=self.boot, wall="simulated", doors=self.doors,
            looker=self.looker,
        )  # fmt: skip
        self.core = GuardCore(self.folder, seat)
        self.access.boot = self.boot
        return self.core

    def drop(self) -> None:
        """Close what the kernel closes when guard is killed."""
        if not hasattr(self, "core"):
            return
        self.core.journal._close_file()
        self.core.sessions.drop_spare()
        for sock in self.core.sessions.sockets():
            sock.close()
        for live in self.core.sessions.live.values():
            if live.channel is not None:
                live.channel.close()
            for descriptor in live.held[1] if live.held else []:
                os.close(descriptor)

    def close(self) -> None:
        """End everything that a test left open."""
        self.drop()
        if self.doors is not None:
            self.doors.close()

    def publish(self) -> None:
        """Hand the owner's newest documents to the machine."""
        device = self.access.machine.device
        self.core.handle(TakePushed(), pushed(self.access.trust.bundle(device)))

    def ask(
        self, *scopes: Scope, seconds: int = 600, break_glass: bool = False
    ) -> tuple[Request, Offer]:
        """Have the technician ask, and return what the machine offers."""
        asked = scopes or (TERMINAL,)
        request = self.access.request(*asked, seconds=seconds, break_glass=break_glass)
        self.push(request.raw)
        return request, self.offer_to(request)

    def offer_to(self, request: Request) -> Offer:
        """Take the notes of the machine, and return the offer to this request."""
        for note in self.notes():
            if (note.kind, note.subject) == ("offer", request.hash):
                raw = from_base64url(note.envelope)
                return verify_offer(raw, self.access.machine.key, request)
        raise AssertionError("no offer")

    def enter(self, *scopes: Scope, seconds: int = 600) -> Opened:
        """Ask, grant, and be the session."""
        request, offer = self.ask(*scopes, seconds=seconds)
        self.push(self.access.grant(request, offer))
        assert self.doors is not None
        return self.doors.take()

    def enter_looked(self, *scopes: Scope, seconds: int = 600) -> Opened:
        """Like `enter`, with an owner who takes his time: the look before has ended."""
        request, offer = self.ask(*scopes, seconds=seconds)
        self.tick()
        self.push(self.access.grant(request, offer))
        self.tick()
        assert self.doors is not None
        return self.doors.take()

    def push(self, envelope: bytes) -> Reply:
        """Hand an order to the machine as a server does. Raises what it is refused with."""
        word = Order(envelope=to_base64url(envelope))
        return self.core.handle(TakePushed(), msgspec.json.encode(word))

    def refusal(self, envelope: bytes) -> str:
        """Hand over an order that must be refused, and return the rule that it broke.

        The rule is in the machine's journal too.
        """
        try:
            self.push(envelope)
        except FleetwardError as e:
            assert e.reason in [str(body["reason"]) for body in self.entries("gate.refused")]
            return e.reason
        raise AssertionError("it was taken")

    def notes(self) -> list[AccessNote]:
        """Take every note that waits, as a server that stores them."""
        found = []
        while data := self.core.handle(GetAccess(), b"").body:
            note = msgspec.json.decode(data, type=AccessNote)
            found.append(note)
            answer = msgspec.json.encode(AccessReply(subject=note.subject))
            self.core.handle(TakeAccessReply(), answer)
        return found

    def denials(self) -> list[tuple[str, str]]:
        """Take the notes; return subject and rule of each denial."""
        return [
            (note.subject, str(payload_of(from_base64url(note.envelope))["rule"]))
            for note in self.notes()
            if note.kind == "denial"
        ]

    def take_recordings(
        self, lie: Callable[[RecordingChunk], int] | None = None
    ) -> dict[str, bytes]:
        """Take every piece of every recording, as a server that stores them."""
        held = self.held
        for _ in range(1000):
            data = self.core.handle(GetRecording(), b"").body
            if not data:
                break
            chunk = msgspec.json.decode(data, type=RecordingChunk)
            kept = held.setdefault(chunk.session, bytearray())
            assert chunk.offset == len(kept)
            kept += from_base64url(chunk.data)
            size = lie(chunk) if lie else len(kept)
            reply = RecordingReply(session=chunk.session, size=size)
            self.core.handle(TakeRecordingReply(), msgspec.json.encode(reply))
        return {name: bytes(data) for name, data in held.items()}

    def entries(self, kind: str) -> list[JsonObject]:
        """Return the bodies of the journal's entries of a kind, read from the disk."""
        found = []
        for path in sorted((self.folder / "journal").glob("*.entries")):
            for line in path.read_bytes().splitlines():
                if line.startswith(b'{"at"'):
                    entry = decode_object(line)
                    body = entry["body"]
                    if entry["kind"] == kind and isinstance(body, dict):
                        found.append(body)
        return found

    def tick(self, milliseconds: int = 0) -> None:
        """Let time pass, and guard do what is due."""
        self.clock.pass_ms(milliseconds)
        self.core.tick()
