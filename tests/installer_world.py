"""A machine with one place of each kind, two releases for it, and the real installer's process.

    ground = DirectoryGround(tmp_path)
    with ground.begin("1") as installer:
        installer.write(); installer.say(Switch())
    assert ground.content() == "1"

`content` is read as the machine's own programs would: `mixed` when it is of two releases at once.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import io
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeAlias

import msgspec
from tests.adversary.installer_zygote import Forked, Zygote

from fleetward.device.updates.installer_words import (
    MAX_WORD_BYTES,
    Back,
    CheckWord,
    Clear,
    Commit,
    Done,
    Downward,
    PartWord,
    Patch,
    Plan,
    Progress,
    Surveyed,
    Switch,
    Test,
    Tested,
    Upward,
    Write,
    Written,
    encode,
    read_upward,
)
from fleetward.keyholder.maker.delta import make_delta

REPOSITORY = Path(__file__).parents[1]
MIXED = "mixed"
ANSWER_SECONDS = 60.0
HOOK = "#!/bin/sh\necho $0 $1 >> {log}\nexit $(cat {code} 2>/dev/null || echo 0)\n"


class InstallerDiedError(Exception):
    """The process ended before it had answered."""


Started: TypeAlias = Forked | subprocess.Popen[bytes]


class InstallerProcess:
    """A real installer, spoken to as guard does. `fresh`: with an interpreter of its own."""

    fresh: ClassVar[bool] = False
    _zygotes: ClassVar[list[Zygote]] = []

    def __init__(self, data: Path, places: Path, *, die_at: int = 0) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.settimeout(ANSWER_SECONDS)
        with theirs:
            arguments = [str(places), str(die_at), "--data", str(data)]
            self.process = self._start(arguments, theirs)
        self.progress: list[int] = []

    @classmethod
    def _start(cls, arguments: list[str], theirs: socket.socket) -> Started:
        if not cls.fresh:
            if not cls._zygotes:
                cls._zygotes.append(Zygote())
                atexit.register(cls._zygotes[0].close)
            return cls._zygotes[0].fork(arguments, theirs)
        module, guard = "tests.adversary.installer_process", str(theirs.fileno())
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments, "--guard", guard],
            cwd=REPOSITORY,
            pass_fds=(theirs.fileno(),),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    def send(self, word: Downward, descriptor: int | None = None) -> None:
        """Say a word, and do not wait."""
        try:
            socket.send_fds(self._sock, [encode(word)], [] if descriptor is None else [descriptor])
        except OSError as e:
            raise InstallerDiedError from e

    def hear(self) -> Upward:
        """Return the answer. Raises `InstallerDiedError`."""
        while True:
            try:
                data = self._sock.recv(MAX_WORD_BYTES)
            except ConnectionResetError:
                data = b""
            if not data:
                raise InstallerDiedError
            word = read_upward(data)
            if not isinstance(word, Progress):
                return word
            self.progress.append(word.done_bytes)

    def say(self, word: Downward, descriptor: int | None = None) -> Upward:
        """Say a word, and return its answer."""
        self.send(word, descriptor)
        return self.hear()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> int:
        """Say no more; return how it ended."""
        self._sock.close()
        try:
            return self.process.wait(ANSWER_SECONDS)
        finally:
            self.process.kill()


@dataclass
class Session:
    """One plan at an installer."""

    installer: InstallerProcess
    plan: Plan
    blob: bytes
    surveyed: Surveyed
    delta: Patch | None = None
    """The word that `blob` is for, when it is a delta."""
    restart: bool = False
    """Whether the last word said that the machine has to start again."""

    @property
    def word(self) -> Write | Patch:
        """The word that `blob` is for."""
        return self.delta or Write(self.plan.parts[0].name)

    def write(self, blob: bytes | None = None) -> Written:
        """Write the plan's first part, in the way of this ground."""
        return self.answer(self.word, blob)

    def answer(self, word: Downward, blob: bytes | None = None) -> Written:
        """Say a word that comes with bytes."""
        data = self.blob if blob is None else blob
        with self.holding(data) as descriptor:
            found = self.installer.say(word, descriptor)
        assert isinstance(found, Written)
        return found

    @staticmethod
    @contextlib.contextmanager
    def holding(data: bytes) -> Iterator[int]:
        """Give these bytes in a file."""
        descriptor = os.memfd_create("part", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(descriptor), "wb") as file:
                file.write(data)
            yield descriptor
        finally:
            os.close(descriptor)

    def do(self, word: Switch | Commit | Back | Clear) -> Done:
        """Say a word about all parts; whether that needs a start is in `restart`."""
        done = self.installer.say(word)
        assert isinstance(done, Done)
        self.restart = done.restart
        return msgspec.structs.replace(done, restart=False)

    def test(self) -> Tested:
        """Ask every check."""
        tested = self.installer.say(Test())
        assert isinstance(tested, Tested)
        return tested


class Ground:
    """One place of some kind, in a folder."""

    kind: ClassVar[Literal["directory", "file-slot", "dpkg", "rauc", "agent"]]
    bounds = (64 * 1024 * 1024, 500)
    """How many bytes and files a part says that it unpacks to."""
    patched: ClassVar[bool] = False
    """Whether every part comes as a delta: from what is active, or out of nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir()
        self.places = folder / "places.toml"
        self.in_use = folder / "in-use"
        self._made: dict[str, bytes] = {}
        self.prepare()
        self.write_places()

    def prepare(self) -> None:
        """Make what the place stands on."""

    def reboot(self) -> None:
        """Start the machine again, where that matters."""

    def close(self) -> None:
        """End what was started."""

    def lines(self) -> str:
        """Return what `places.toml` says of the place."""
        raise NotImplementedError

    def write_places(self, more: str = "") -> None:
        """Write the maker's file."""
        self.places.write_text(
            f'in_use = "{self.in_use}"\n[places.place]\nproduct = "kiosk"\n'
            f'installer = "{self.kind}"\n{self.lines()}{more}\n'
        )

    def make(self, version: str) -> bytes:
        """Return the bytes of the part of a release, the same each time."""
        if version not in self._made:
            self._made[version] = self.build(version)
        return self._made[version]

    def build(self, version: str) -> bytes:
        """Make the part of a release."""
        raise NotImplementedError

    def part(self, version: str, before: str = "") -> PartWord:
        """Return what a plan says of it; `before` is a version too."""
        blob = self.make(version)
        digest = hashlib.sha256(blob).hexdigest()
        was = hashlib.sha256(self.make(before)).hexdigest() if before else ""
        unpacked = () if self.kind in ("file-slot", "rauc") else self.bounds
        return PartWord("part", self.kind, "place", digest, len(blob), was, *unpacked)

    def content(self) -> str:
        """Return the version that is active, as the machine's programs see it."""
        raise NotImplementedError

    @contextlib.contextmanager
    def begin(
        self,
        version: str,
        before: str = "",
        *,
        die_at: int = 0,
        checks: tuple[CheckWord, ...] = (),
        **more: Any,
    ) -> Iterator[Session]:
        """Start an installer, and say the plan."""
        part = msgspec.structs.replace(self.part(version, before), **more)
        word, blob = None, self.make(version)
        if self.patched:
            word, blob = self.delta(version, before if before != version else "")
        with self.plan(Plan("kiosk", (part,), checks), blob, die_at=die_at) as s:
            s.delta = word
            yield s

    def delta(self, version: str, before: str = "") -> tuple[Patch, bytes]:
        """Return what makes a version out of another one or out of nothing, and its word."""
        old = self.make(before) if before else b""
        name = f"delta-{version}-{before}"
        if name not in self._made:
            with tempfile.TemporaryDirectory() as folder:
                files = [Path(folder, each) for each in ("old", "new", "delta")]
                files[0].write_bytes(old)
                files[1].write_bytes(self.make(version))
                make_delta(files[0], files[1], files[2], level=1)
                self._made[name] = files[2].read_bytes()
        data = self._made[name]
        digest = hashlib.sha256(data).hexdigest()
        return Patch("part", hashlib.sha256(old).hexdigest(), len(data), sha256=digest), data

    def spoil_source(self) -> None:
        """Change one byte of what the next delta would start from."""
        raise NotImplementedError

    @contextlib.contextmanager
    def plan(self, plan: Plan, blob: bytes, *, die_at: int = 0) -> Iterator[Session]:
        """Start an installer, and say this plan."""
        installer = InstallerProcess(self.data, self.places, die_at=die_at)
        try:
            surveyed = installer.say(plan)
            assert isinstance(surveyed, Surveyed)
            yield Session(installer, plan, blob, surveyed)
        finally:
            installer.close()

    def install(self, version: str, before: str = "") -> None:
        """Have a release installed and committed."""
        with self.begin(version, before) as session:
            assert session.surveyed.problem == ""
            assert session.write() == Written()
            assert session.do(Switch()) == Done()
            assert session.do(Commit()) == Done()
        assert self.content() == version
        self.reboot()

    def listing(self) -> dict[str, str]:
        """Return every file and link of the place, to see whether anything changed."""
        found = {}
        for top in self.watched():
            for path in sorted(top.rglob("*")):
                if path.name == "installer.lock":
                    continue
                if path.is_symlink():
                    found[str(path)] = f"-> {path.readlink()}"
                elif path.is_file():
                    data = path.read_bytes()
                    found[str(path)] = f"{path.stat().st_mode:o} {hashlib.sha256(data).hexdigest()}"
        return found

    def watched(self) -> tuple[Path, ...]:
        """Return the folders that make up the place."""
        raise NotImplementedError


def spoil(path: Path) -> None:
    """Change one byte in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))


def make_archive(files: Mapping[str, bytes]) -> bytes:
    """Return an archive as a maker's tool makes it."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if data.startswith(b"#!") else 0o644
            tar.addfile(member, io.BytesIO(data))
    return raw.getvalue()


class DirectoryGround(Ground):
    """A folder with releases."""

    kind = "directory"
    files = 40

    def lines(self) -> str:
        return f'path = "{self.folder / "app"}"\n'

    def build(self, version: str) -> bytes:
        log, code = self.folder / "hook.log", self.folder / "hook.code"
        shuffled = random.Random(version)
        files = {
            f"lib/{n % 7}/{n}.bin": version.encode() + shuffled.randbytes(3000 + n)
            for n in range(self.files)
        }
        hook = HOOK.format(log=log, code=code).encode()
        return make_archive({"bin/hook": hook, "version": version.encode(), **files})

    def content(self) -> str:
        current = self.folder / "app/current"
        if not current.is_symlink():
            return ""
        files = [p for p in current.rglob("*.bin") if p.is_file()]
        versions = {p.read_bytes()[:1].decode() for p in files}
        versions.add((current / "version").read_text())
        return versions.pop() if len(versions) == 1 and len(files) == self.files else MIXED

    def watched(self) -> tuple[Path, ...]:
        return (self.folder / "app",)

    def spoil_source(self) -> None:
        current = (self.folder / "app/current").readlink().name
        spoil(self.folder / f"app/releases/.{current}.tar")


class SlotGround(Ground):
    """Two files as slots. Slot b begins as what the machine came with, active."""

    kind = "file-slot"
    size = 3 * 1024 * 1024

    def prepare(self) -> None:
        boot = self.folder / "boot"
        boot.mkdir()
        (boot / "slot-a").write_bytes(b"")
        (boot / "slot-b").write_bytes(b"factory")
        (boot / "active").write_text("slot-b\n")

    def lines(self) -> str:
        boot = self.folder / "boot"
        return f'slots = ["{boot}/slot-a", "{boot}/slot-b"]\nactive = "{boot}/active"\n'

    def build(self, version: str) -> bytes:
        return version.encode() + random.Random(version).randbytes(self.size) + version.encode()

    def content(self) -> str:
        boot = self.folder / "boot"
        data = (boot / (boot / "active").read_text().strip()).read_bytes()
        if data == b"factory":
            return ""
        version = data[:1].decode()
        return version if data == self.make(version) else MIXED

    def watched(self) -> tuple[Path, ...]:
        return (self.folder / "boot", self.data / "software")

    def spoil_source(self) -> None:
        boot = self.folder / "boot"
        spoil(boot / (boot / "active").read_text().strip())


class DpkgGround(Ground):
    """A root of its own with no package in it. Release 1 has one package more than the others."""

    kind = "dpkg"

    def prepare(self) -> None:
        self.root = self.folder / "root"
        admin = self.root / "var/lib/dpkg"
        for name in ("info", "updates", "triggers", "parts"):
            (admin / name).mkdir(parents=True)
        for name in ("status", "available", "diversions", "statoverride"):
            (admin / name).touch()

    def lines(self) -> str:
        return f'path = "{self.folder / "debs"}"\nroot = "{self.root}"\n'

    def build(self, version: str) -> bytes:
        names = ["tool", "tool-data"] + (["tool-extra"] if version == "1" else [])
        return make_archive({f"{name}_{version}.deb": self.deb(name, version) for name in names})

    def deb(self, name: str, version: str) -> bytes:
        """Return a package."""
        tree = self.folder / "build" / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(
            f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
            f"Maintainer: Acme <acme@example.org>\nDescription: a test\n"
        )
        share = tree / "usr/share" / name
        share.mkdir(parents=True)
        for number in range(10):
            (share / f"{number}.txt").write_text(f"{version}\n" * 200)
        target = tree.with_suffix(f".{version}.deb")
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        argv = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(tree), str(target)]
        subprocess.run(argv, check=True, capture_output=True, env=environment)
        shutil.rmtree(tree)
        return target.read_bytes()

    def content(self) -> str:
        found = self.root.joinpath("usr/share")
        files = [p for p in found.rglob("*.txt") if p.is_file()] if found.exists() else []
        versions = {p.read_text()[:1] for p in files} | {p.read_text()[-2:-1] for p in files}
        status = (self.root / "var/lib/dpkg/status").read_text()
        versions |= {line[9:] for line in status.splitlines() if line.startswith("Version: ")}
        if not versions:
            return ""
        whole = status.count("Status: install ok installed") == len(files) // 10
        version = versions.pop() if len(versions) == 1 else MIXED
        return (
            version if whole and len(files) == {"1": 30, "2": 20, "3": 20}.get(version) else MIXED
        )

    def watched(self) -> tuple[Path, ...]:
        return (self.root / "usr",) if (self.root / "usr").exists() else ()

    def spoil_source(self) -> None:
        current = (self.folder / "debs/current").readlink().name
        spoil(self.folder / f"debs/releases/.{current}.tar")


class PatchedDirectory(DirectoryGround):
    """Every release comes as a delta."""

    patched = True


class PatchedSlots(SlotGround):
    """Every image comes as a delta."""

    patched = True


def wait_for(seconds: float) -> None:
    """Let some time pass, to the tenth of a millisecond."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        time.sleep(min(left, 0.0001))
