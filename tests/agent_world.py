"""Releases of the agent: our own code under another version, whole, or broken in one place.

    archive = agent_archive("9.1.0")
    archive = agent_archive("9.2.0", {"fleetward/device/guard_main.py": b"raise SystemExit(3)"})

A real release brings its packages along. These take them from where the tests have them, by a line
in their own first file, so that an archive is small and made in a moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
from tests.installer_world import Ground, Session, make_archive, spoil

import fleetward
from fleetward.device.launcher.decide import Seen, State, begin, judge
from fleetward.device.launcher.store import agent_folder, read_state, write_state
from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    PartWord,
    Plan,
    Switch,
    TrialWord,
)
from fleetward.trust.release_manifest import Health, Part, make_blob

HOME = Path(fleetward.__file__).parent
PACKAGES = Path(msgspec.__file__).parent.parent
PROGRAMS = ("device", "runtime", "trust", "wire")
VERSION = "fleetward/device/version.py"


@cache
def read_code() -> Mapping[str, bytes]:
    """Return the files of the agent, by their path in a release."""
    files = {"fleetward/__init__.py": f"import sys\nsys.path.append({str(PACKAGES)!r})\n".encode()}
    for program in PROGRAMS:
        for path in sorted((HOME / program).rglob("*.py")):
            files[f"fleetward/{path.relative_to(HOME)}"] = path.read_bytes()
    return files


def agent_archive(version: str, changes: Mapping[str, bytes] | None = None) -> bytes:
    """Return the archive of a release of the agent."""
    code = {**read_code(), **(changes or {})}
    code[VERSION] = code[VERSION].replace(b"0.1.0/", f"{version}/".encode())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(code):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(code[name]), 0o644
            tar.addfile(info, io.BytesIO(code[name]))
    return out.getvalue()


def agent_part(archive: bytes) -> Part:
    """Return the part that this archive is."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    size = sum(member.size for member in members)
    return Part("agent", "agent", "agent", make_blob(archive), (), size, len(members))


AT_ONCE = Health(5, 0, ())
"""Healthy as soon as it says so, within 5 seconds."""


def keep(state: State) -> State:
    """Return a state after a launcher started what is asked for, and found it good."""
    tried = begin(state)
    return judge(tried, Seen(0, 0, healthy_ms=0, connected=True), tried.steady_ms)


@dataclass
class AgentSession(Session):
    """Guard says `Commit` when the launcher has kept the release, and not before."""

    data: Path = Path()

    def do(self, word: Switch | Commit | Back | Clear) -> Done:
        state = read_state(self.data)
        if isinstance(word, Commit) and state.phase == "asked":
            write_state(self.data, keep(state))
        return super().do(word)


class AgentGround(Ground):
    """The place of the agent: a launcher's file, and releases beside it."""

    kind = "agent"

    def lines(self) -> str:
        return ""

    def build(self, version: str) -> bytes:
        code = dict.fromkeys(("guard_main.py", "launcher/vitals.py"), b"")
        files = {f"fleetward/device/{name}": data for name, data in code.items()}
        return make_archive({**files, "fleetward/version": version.encode() * 5000})

    def part(self, version: str, before: str = "") -> PartWord:
        part = super().part(version, before)
        trial = TrialWord(60, 0, connects=True)
        return msgspec.structs.replace(part, replaces_agent=True, trial=trial)

    @contextlib.contextmanager
    def plan(self, plan: Plan, blob: bytes, *, die_at: int = 0) -> Iterator[Session]:
        with super().plan(plan, blob, die_at=die_at) as made:
            yield AgentSession(made.installer, made.plan, made.blob, made.surveyed, data=self.data)

    def content(self) -> str:
        state = read_state(self.data)
        release = state.wanted or state.active
        if not release:
            return ""
        tree = agent_folder(self.data) / "releases" / release
        version = (tree / "fleetward/version").read_text()[:1]
        assert hashlib.sha256(self.make(version)).hexdigest() == release
        return version

    def watched(self) -> tuple[Path, ...]:
        return (agent_folder(self.data), self.data / "launcher")

    def spoil_source(self) -> None:
        release = read_state(self.data).active
        spoil(agent_folder(self.data) / f"releases/.{release}.tar")
