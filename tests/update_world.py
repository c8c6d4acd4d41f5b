"""A machine that takes releases, a maker, an owner, and a server that is honest until a test lies.

    guard = UpdateGuard.make(tmp_path)
    guard.release("1.1", counter=11)
    guard.approve()
    guard.run()                           # asks, judges, fetches, installs with the held installer
    assert guard.outcomes() == ["accepted", "installed", "committed"]

`ReleaseServer` answers questions out of a maker's repository, a director and approvals; `lies` maps
a kind of question to a function that changes the answer. `HeldInstaller` keeps the contract of
`installer_words` in memory, and fails where a test says so; the real one is in tests/system.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Final

import msgspec
from securesystemslib.signer import CryptoSigner
from tests.adversary.release_repository import Repository, signer
from tests.trust_world import NOW_MS
from tests.unit.device.device_world import Fleet, Guarded, make_inventory
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from fleetward.device.access.words import make_pair
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.looking import Eyes, FixtureCollector
from fleetward.device.port import GetUpdate, TakeUpdateAnswer
from fleetward.device.updates.delta import apply_delta
from fleetward.device.updates.floors import Counter
from fleetward.device.updates.installer_words import (
    MAX_WORD_BYTES,
    Back,
    Clear,
    Commit,
    Done,
    FindingWord,
    Patch,
    Plan,
    Restart,
    SlotWord,
    Surveyed,
    Switch,
    Test,
    Tested,
    Upward,
    Write,
    Written,
    encode,
    read_downward,
)
from fleetward.device.updates.link import InstallerLink
from fleetward.device.updates.own_code import OwnCode
from fleetward.runtime.clock import Clock
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.release_approval import (
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
    verify_approval,
)
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import (
    SEGMENT_BYTES,
    Health,
    Manifest,
    Part,
    list_segments,
    make_blob,
    read_manifest,
    write_manifest,
)
from fleetward.trust.releases.director import DEVICE_FIELD, OWNER_FIELD
from fleetward.trust.releases.names import name_file
from fleetward.trust.selector import Selector
from fleetward.trust.update_report import UpdateReport, verify_report
from fleetward.wire.delta import EMPTY_SOURCE
from fleetward.wire.update_bundle import write_head
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

DAY_MS: Final = 86_400_000
PRODUCT: Final = "kiosk"
HEALTHY: Final = Health(30, 0, (Check("port", port=8080),))
Lie = Callable[[UpdateQuestion, UpdateAnswer], UpdateAnswer]


def make_manifest(version: str, counter: int, payload: bytes, **changes: Any) -> Manifest:
    """Return a release of one directory part."""
    fields: dict[str, Any] = {
        "product": PRODUCT,
        "version": version,
        "counter": counter,
        "released_at_ms": NOW_MS,
        "hardware": ("*",),
        "parts": (Part("app", "directory", "app", make_blob(payload), (), len(payload), 1),),
        "needs": (),
        "conflicts": (),
        "least_before": 0,
        "health": HEALTHY,
        "reboot": False,
        "notes": "",
        "fixes": (),
        "support_ends_at_ms": 0,
        "sbom": None,
        "hash": "",
    }
    return read_manifest(write_manifest(Manifest(**{**fields, **changes})))


def make_repository() -> Repository:
    """Return a repository with one product, whose metadata lasts beyond these tests."""
    repository = Repository.make()
    for metadata in repository.roles.values():
        metadata.signed.expires = _at(NOW_MS + 365 * DAY_MS)
    repository.files.clear()
    repository.publish("root", rise=False)
    repository.delegate("targets", PRODUCT, f"{PRODUCT}/*/release.json")
    repository.publish_all(PRODUCT, "targets")
    return repository


@dataclass
class Director:
    """A director that says what it is told, under a root of its own."""

    key: CryptoSigner = field(default_factory=lambda: signer(900))
    version: int = 0
    root: bytes = b""

    def __post_init__(self) -> None:
        root = Root(expires=_at(NOW_MS + 3650 * DAY_MS), consistent_snapshot=True)
        for role in ("root", "targets", "snapshot", "timestamp"):
            root.add_key(self.key.public_key, role)
        metadata = Metadata(root)
        metadata.sign(self.key)
        self.root = metadata.to_bytes()

    @property
    def anchor(self) -> str:
        return hashlib.sha256(self.root).hexdigest()

    def direct(
        self,
        device: str,
        owner: str,
        files: Sequence[TargetFile],
        now_ms: int = NOW_MS,
        by: CryptoSigner | None = None,
    ) -> bytes:
        """Return a fresh word for one machine."""
        self.version += 1
        targets = Targets(version=self.version, expires=_at(now_ms + 7 * DAY_MS))
        targets.targets = {file.path: file for file in files}
        targets.unrecognized_fields = {DEVICE_FIELD: device, OWNER_FIELD: owner}
        metadata = Metadata(targets)
        metadata.sign(by or self.key)
        return metadata.to_bytes()


@dataclass
class ReleaseServer:
    """Answers questions; `asked` lists them."""

    repository: Repository
    director: Director
    device: str = ""
    owner: str = ""
    now_ms: Callable[[], int] = lambda: NOW_MS
    anchor: bytes = b""
    manifests: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    directed: list[TargetFile] = field(default_factory=list)
    approvals: list[bytes] = field(default_factory=list)
    lies: dict[str, Lie] = field(default_factory=dict)
    asked: list[UpdateQuestion] = field(default_factory=list)

    def answer(self, question: UpdateQuestion) -> UpdateAnswer:
        self.asked.append(question)
        honest = self._answer(question)
        lie = self.lies.get(question.what)
        return lie(question, honest) if lie is not None else honest

    def _answer(self, question: UpdateQuestion) -> UpdateAnswer:
        if question.what == "approvals":
            return UpdateAnswer(
                found=True, envelopes=tuple(to_base64url(each) for each in self.approvals)
            )
        if question.what == "blob":
            return self._answer_blob(question)
        data = self._find(question)
        return (
            UpdateAnswer(found=False)
            if data is None
            else UpdateAnswer(found=True, data=to_base64url(data))
        )

    def _find(self, question: UpdateQuestion) -> bytes | None:
        if question.what == "root":
            roots = {hashlib.sha256(r).hexdigest(): r for r in (self.anchor, self.director.root)}
            return roots.get(question.name)
        if question.what == "director":
            if question.name == "root":
                return None
            now = self.now_ms()
            return self.director.direct(self.device, self.owner, self.directed, now)
        if question.what == "image":
            return self.repository.files.get(name_file(question.name, question.version or None))
        return self.manifests.get(question.name)

    def _answer_blob(self, question: UpdateQuestion) -> UpdateAnswer:
        data = self.blobs.get(question.name)
        if data is None:
            return UpdateAnswer(found=False)
        piece = data[question.offset : question.offset + question.length]
        return UpdateAnswer(found=True, data=to_base64url(piece), total=len(data))


@dataclass
class HeldInstaller:
    """Keeps the contract in memory. `active` and `written` are by part; `problems` maps a word's
    tag to what it says; `healthy` is what the checks say."""

    active: dict[str, str] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    kept: dict[str, bytes] = field(default_factory=lambda: {EMPTY_SOURCE: b""})
    """What deltas may start from, by SHA-256."""
    problems: dict[str, tuple[str, str]] = field(default_factory=dict)
    healthy: Callable[[], bool] = lambda: True
    in_use: str = ""
    free_bytes: int = 10**12
    words: list[str] = field(default_factory=list)
    dies_at: str = ""
    started: int = 0
    refuses_to_start: bool = False
    runs: dict[str, str] | None = None
    """Of a machine whose system has slots: what it runs from until it starts again."""
    may_restart: bool = False
    restarts: int = 0

    def start_installer(self) -> socket.socket:
        if self.refuses_to_start:
            raise Unreachable("No process.", reason="session_cannot_start")
        self.started += 1
        ours, theirs = make_pair()
        threading.Thread(target=self._serve, args=(theirs,), daemon=True).start()
        return ours

    def _serve(self, sock: socket.socket) -> None:
        plan: Plan | None = None
        with sock, contextlib.suppress(OSError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(sock, MAX_WORD_BYTES, 1)
                if not data:
                    return
                word = read_downward(data)
                tag = str(type(word).__struct_config__.tag)
                self.words.append(tag)
                if isinstance(word, Plan):
                    plan = word
                assert plan is not None
                if tag == self.dies_at:
                    return
                sock.send(encode(self._answer(word, plan, descriptors)))

    def _answer(self, word: object, plan: Plan, descriptors: list[int]) -> Upward:
        tag = str(type(word).__struct_config__.tag)  # type: ignore[attr-defined]
        problem, rule = self.problems.get(tag, ("", ""))
        if isinstance(word, Plan):
            slots = tuple(
                SlotWord(
                    p.name,
                    self.active.get(p.name, ""),
                    self.written.get(p.name) == p.sha256,
                    self.active.get(p.name, "") in self.kept,
                )
                for p in plan.parts
            )
            return Surveyed(problem, rule, slots, self.free_bytes, 1000, self.in_use)
        if isinstance(word, Write | Patch):
            return Written(problem, rule) if problem else self._write(word, plan, descriptors[0])
        if isinstance(word, Test):
            good = self.healthy()
            said = "answers" if good else "connection refused"
            return Tested(tuple(FindingWord(c.kind, good, said) for c in plan.checks))
        if problem:
            return Done(problem, rule)
        if isinstance(word, Restart):
            return self._restart()
        for part in plan.parts:
            if isinstance(word, Switch):
                self.active[part.name] = part.sha256
            elif isinstance(word, Back):
                self.active[part.name] = part.before
            if isinstance(word, Clear | Commit | Back):
                self.written.pop(part.name, None)
        return Done(restart=self.runs not in (None, self.active))

    def _restart(self) -> Done:
        if not self.may_restart:
            return Done("By hand.", "restart_by_hand")
        if self.in_use:
            return Done(f"The machine must not be disturbed now: {self.in_use}", "in_use")
        self.restarts += 1
        return Done()

    def _write(self, word: Write | Patch, plan: Plan, descriptor: int) -> Written:
        part = next(p for p in plan.parts if p.name == word.part)
        with open(descriptor, "rb") as file:
            data = file.read()
        if isinstance(word, Patch):
            if hashlib.sha256(data).hexdigest() != word.sha256 or len(data) != word.length:
                return Written("The delta is another.", "wrong_hash")
            if word.source not in self.kept:
                return Written("No delta here.", "no_delta")
            made, source = io.BytesIO(), io.BytesIO(self.kept[word.source])
            try:
                apply_delta(source, io.BytesIO(data), made, limit_bytes=part.length)
            except FleetwardError as e:
                return Written(e.message, e.reason)
            data = made.getvalue()
        if hashlib.sha256(data).hexdigest() != part.sha256:
            return Written("The part is another.", "wrong_hash")
        self.written[part.name] = part.sha256
        self.kept[part.sha256] = data
        return Written()


@dataclass
class UpdateGuard(Guarded):
    """A confirmed machine whose owner names a maker and a director."""

    SEAT_WALL: ClassVar[str] = "uid"

    installer: HeldInstaller = field(default_factory=HeldInstaller)
    counter: Counter | None = None
    """What a TPM keeps; None on a machine without one."""
    repository: Repository = field(default_factory=lambda: make_repository())
    director: Director = field(default_factory=Director)
    own_code: Callable[[Clock], OwnCode] | None = None
    """What says which code of the agent this is; without it nothing is asked."""
    server: ReleaseServer = field(init=False)
    newest: Manifest = field(init=False)

    @classmethod
    def make(cls, folder: Path, **changes: Any) -> UpdateGuard:
        fleet = Fleet.make()
        repository = make_repository()
        director = Director()
        anchor = repository.files["1.root.json"]
        roots = fleet.world.next_payload()["roots"]
        assert isinstance(roots, dict)
        roots["makers"] = {PRODUCT: hashlib.sha256(anchor).hexdigest()}
        roots["director"] = director.anchor
        fleet.world.next_policy({"roots": roots})
        fleet.world.publish()
        guard = cls(folder, fleet, repository=repository, director=director, **changes)
        guard.server = ReleaseServer(repository, director, guard.device, fleet.world.owner)
        guard.server.anchor = anchor
        guard.server.now_ms = guard.clock.wall_ms
        guard.confirm()
        return guard

    def start(self) -> GuardCore:
        eyes = Eyes(FixtureCollector(make_inventory), files=())
        seat = Seat(
            self.clock,
            eyes,
            boot=self.boot,
            wall="uid",
            spread=0.0,
            installers=lambda clock: InstallerLink(self.installer, clock),
            counter=None if (counter := self.counter) is None else lambda device: counter,
            own_code=self.own_code(self.clock) if self.own_code else None,
        )
        self.core = GuardCore(self.folder, seat)
        return self.core

    def confirm(self, *, groups: tuple[str, ...] = (), model: str = "P7") -> None:
        """Put the machine on the roster, and hand it over."""
        world = self.fleet.world
        entry = self._entry(groups, model)
        world.publish([*(e for e in world.entries if e.device != self.device), entry])
        self.core.updates.bundled._on_documents(world.bundle(self.device).to_bytes())

    def _entry(self, groups: tuple[str, ...], model: str) -> Any:
        from fleetward.trust.roster import RosterEntry

        key = self.core.signer.public
        return RosterEntry(self.device, key, "pump 7", "Plant", groups, model, "Acme", "active")

    # --- maker, owner, server

    def release(
        self, version: str, counter: int, payload: bytes | None = None, **changes: Any
    ) -> Manifest:
        """Sign a release, and have the director name it."""
        data = payload if payload is not None else f"the files of {version}".encode()
        manifest = make_manifest(version, counter, data, **changes)
        self.publish(manifest, data)
        return manifest

    def publish(self, manifest: Manifest, *payloads: bytes) -> None:
        raw = write_manifest(manifest)
        self.repository.add_target(manifest.product, manifest.path, raw)
        self.repository.publish_all(manifest.product)
        self.server.manifests[manifest.hash] = raw
        for payload in payloads:
            self.server.blobs[hashlib.sha256(payload).hexdigest()] = payload
            listed = list_segments(payload)
            self.server.blobs[hashlib.sha256(listed).hexdigest()] = listed
        self.server.directed = [TargetFile.from_data(manifest.path, raw, ["sha256"])]
        self.newest = manifest

    def terms(self, **changes: Any) -> Terms:
        fields: dict[str, Any] = {
            "selector": Selector(),
            "not_before_ms": NOW_MS - DAY_MS,
            "not_after_ms": NOW_MS + 90 * DAY_MS,
            "windows": (),
            "reason": "",
        }
        return Terms(**{**fields, **changes})

    def approve(self, manifest: Manifest | None = None, at_ms: int = NOW_MS, **changes: Any) -> str:
        """Have the owner approve a release; return the approval's hash."""
        world = self.fleet.world
        payload = make_approval_payload(
            world.policy, manifest or self.newest, self.terms(**changes), at_ms
        )
        raw = seal(payload, world.signers)
        self.server.approvals.append(raw)
        return verify_approval(raw, world.policy).hash

    def allow_all(self, wait_seconds: int = 0, **changes: Any) -> str:
        """Give a standing approval; return its hash."""
        world = self.fleet.world
        payload = make_standing_payload(
            world.policy, PRODUCT, self.terms(**changes), wait_seconds, NOW_MS
        )
        raw = seal(payload, world.signers)
        self.server.approvals.append(raw)
        return verify_approval(raw, world.policy).hash

    def withdraw(self, approval: str) -> None:
        """Have one approver withdraw an approval."""
        world = self.fleet.world
        payload = make_withdrawal_payload(world.policy, approval, "", NOW_MS)
        self.server.approvals.append(seal(payload, world.signers[:1]))

    # --- the machine

    def crash(self) -> GuardCore:
        """Start again without closing; the end of a process closes its sockets."""
        self.core.updates.close()
        return super().crash()

    def start_again(self, runs: dict[str, str] | None = None) -> None:
        """Start the machine again, from what is active or from something else."""
        self.installer.runs = dict(self.installer.active if runs is None else runs)
        self.installer.active = dict(self.installer.runs)
        self.boot = f"{self.boot}+"
        self.crash()

    def look(self) -> None:
        """Have it look once, now, and carry its questions while it has any."""
        self.core.updates.talk.look_now()
        self.carry()

    def carry(self, most: int = 2000) -> int:
        """Carry questions to the server as uplink does; return how many."""
        for count in range(most):
            question = self.core.handle(GetUpdate(), b"").body
            if not question:
                return count
            answer = self.server.answer(msgspec.json.decode(question, type=UpdateQuestion))
            with contextlib.suppress(FleetwardError):
                self.core.handle(TakeUpdateAnswer(), _write_answer(answer))
        return most

    def run(self, seconds: float = 120, step_ms: int = 1000) -> None:
        """Look, then let time pass until nothing is under way any more, or so long."""
        self.look()
        self.go_on(seconds, step_ms)

    def go_on(self, seconds: float = 120, step_ms: int = 1000) -> None:
        """Let time pass until nothing is under way any more, or so long."""
        for _ in range(int(seconds * 1000 / step_ms)):
            self.core.tick()
            self._let_the_installer_answer()
            self.carry()
            self.core.tick()
            if self.core.updates.memory.attempt is None:
                return
            self.clock.pass_ms(step_ms)

    def _let_the_installer_answer(self) -> None:
        """Wait, in true time, for the held installer: its words are bytes in a socket."""
        import select

        for _ in range(20):
            working = self.core.updates._working
            if working is None or not working.busy:
                return
            select.select(working.sockets(), [], [], 2)
            self.core.tick()

    def reports(self) -> list[UpdateReport]:
        """Return every report in the journal, verified, the oldest first."""
        found = []
        for entry in self.entries():
            body = entry["body"]
            kind = str(entry["kind"])
            if kind.startswith("update.") and isinstance(body, dict) and "report" in body:
                raw = from_base64url(str(body["report"]))
                found.append(verify_report(raw, self.core.signer.public, self.fleet.world.owner))
        return found

    def outcomes(self) -> list[str]:
        return [report.outcome for report in self.reports()]

    def rules(self) -> list[str]:
        """Return the rules of all refusals, of releases and of what led to none."""
        return [line.reason for line in self.core.state.last_refusals]


def make_bundle(
    guard: UpdateGuard, manifest: Manifest, *, documents: bytes = b"", without: Sequence[str] = ()
) -> bytes:
    """Return a bundle with everything that the server knows, without these blobs."""
    files: list[tuple[str, bytes]] = []
    if documents:
        files.append(("documents", documents))
    anchor = hashlib.sha256(guard.server.anchor).hexdigest()
    files.append((f"root/{anchor}", guard.server.anchor))
    files += [(f"image/{PRODUCT}/{n}", d) for n, d in guard.repository.files.items()]
    files.append((f"manifest/{manifest.hash}", write_manifest(manifest)))
    files += [(f"approval/{i}", raw) for i, raw in enumerate(guard.server.approvals)]
    files += [
        (f"blob/{digest}", data)
        for digest, data in guard.server.blobs.items()
        if digest not in without
    ]
    return write_head([(n, len(d)) for n, d in files]) + b"".join(d for _, d in files)


def big_payload(segments: int = 3, extra: int = 12345) -> bytes:
    """Return bytes of more than so many segments, all different."""
    return (
        b"".join(
            hashlib.sha256(i.to_bytes(4, "big")).digest() * (SEGMENT_BYTES // 32)
            for i in range(segments)
        )
        + b"x" * extra
    )


def _at(ms: int) -> datetime:
    from datetime import UTC

    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms // 1000 * 1000)


def _write_answer(answer: UpdateAnswer) -> bytes:
    return msgspec.json.encode(answer)
