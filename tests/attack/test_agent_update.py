"""Who replaces the agent has the machine: nobody does by a standing approval, and a bad one goes.

The attacker has the server and is silent, or answers one agent and not the other; or he has a
product's key, and an owner who approved what he signed: an agent that crashes, hangs, or never
connects again. Or he has broken into uplink, which may write nothing that the launcher reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.installer_world import DirectoryGround, DpkgGround, make_archive
from tests.update_world import HeldInstaller, UpdateGuard, make_bundle

from fleetward.device.launcher.decide import (
    FIRST_ROUND_MS,
    MOST_BAD_STARTS,
    MOST_STARTS,
    State,
    ask,
    begin,
    go_back,
    settle,
)
from fleetward.device.launcher.main import hash_package
from fleetward.device.launcher.store import agent_folder, read_state, state_path, write_state
from fleetward.device.port import GetKit
from fleetward.device.privileges import UPLINK_UID
from fleetward.device.updates.bundle import BUNDLE_FILE, INCOMING
from fleetward.device.updates.installer_words import Back, PartWord, Plan, Switch, Upward
from fleetward.device.updates.installers import dpkg
from fleetward.device.updates.installers.contract import Source
from fleetward.device.updates.installers.dpkg import DpkgInstaller
from fleetward.device.updates.own_code import OwnCode
from fleetward.device.updates.own_files import list_code_folders
from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.release_manifest import Health, Part, make_blob

OLD, NEW = "a" * 64, "b" * 64
CODE = b"the code of an agent"
NEW_CODE = make_blob(CODE).sha256


class AgentHeld(HeldInstaller):
    """Tells the launcher's file what the real installer would."""

    data: Path

    def _answer(self, word: object, plan: Plan, descriptors: list[int]) -> Upward:
        answer = super()._answer(word, plan, descriptors)
        (part,) = plan.parts
        state = read_state(self.data)
        if part.trial is None:
            return answer
        if isinstance(word, Switch) and part.sha256 not in (state.wanted, state.active):
            times = (part.trial.within_seconds * 1000, part.trial.steady_seconds * 1000)
            write_state(self.data, ask(state, part.sha256, times, connects=part.trial.connects))
        if isinstance(word, Back) and part.sha256 in (state.wanted, state.active):
            write_state(self.data, settle(state, part.before))
        return answer


class Machine:
    """A guard whose code may be replaced. `runs` is what a launcher would start next."""

    def __init__(self, folder: Path) -> None:
        self.data = folder
        self.release = ""
        installer = AgentHeld()
        installer.data = folder
        self.guard = UpdateGuard.make(
            folder / "guard", installer=installer,
            own_code=lambda clock: OwnCode(folder, self.release, clock),
        )  # fmt: skip

    def offer(self, version: str = "2.0", counter: int = 20, **changes: Any) -> None:
        part = Part("agent", "agent", "agent", make_blob(CODE), (), len(CODE), 1)
        given: dict[str, Any] = {"parts": (part,), "health": Health(60, 5, ())}
        self.guard.release(version, counter, CODE, replaces_agent=True, **{**given, **changes})

    def go_to(self, phase: str) -> None:
        self.guard.look()
        for _ in range(60):
            attempt = self.guard.core.updates.memory.attempt
            assert attempt is not None, self.guard.rules()
            if attempt.phase == phase:
                return
            self.guard.core.tick()
            self.guard._let_the_installer_answer()
            self.guard.carry()
            self.guard.clock.pass_ms(1000)
        raise AssertionError(f"never {phase}")

    def launch(self, change: Callable[[State], State] = begin) -> None:
        """End guard, let the launcher decide, and start guard as what it decided."""
        self.guard.core.close()
        write_state(self.data, change(read_state(self.data)))
        self.release = read_state(self.data).runs
        self.guard.start()

    def runs(self) -> str:
        """Return which code guard is now."""
        return self.release


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.guard.core.updates.close()


BAD_ENDS = (
    "agent_crashed", "agent_hangs", "agent_not_healthy", "agent_not_connected",
    "agent_starts_again",
)  # fmt: skip


@pytest.mark.parametrize("rule", BAD_ENDS)
def test_a_bad_agent_ends_in_a_signed_report_and_no_counter(machine: Machine, rule: str) -> None:
    guard = machine.guard
    machine.offer()
    guard.approve()
    machine.go_to("proving")
    rooms = [guard.core.makes_room]
    machine.launch()
    rooms.append(guard.core.makes_room)
    assert machine.runs() == NEW_CODE and rooms == [True, False]
    machine.launch(lambda state: go_back(state, rule, "It was no good."))
    assert machine.runs() == ""
    guard.go_on()
    assert guard.outcomes() == ["accepted", "installed", "rolled_back"]
    report = guard.reports()[-1]
    assert report.rule == rule and "It was no good." in report.words
    assert guard.core.updates.memory.floors == {} and report.installed == ()
    # And by the same approval it does not come again.
    guard.run()
    assert guard.outcomes()[-1] == "rolled_back"
    assert read_state(machine.data).phase == "settled"


def test_a_server_silent_for_ever_ends_nothing(machine: Machine) -> None:
    """Both have their turns for days; the attempt is neither failed nor committed by that, and a
    server that asks for something else meanwhile gets nothing."""
    guard = machine.guard
    machine.offer()
    guard.approve()
    machine.go_to("proving")
    machine.launch()
    for turn in range(12):
        machine.launch(lambda state: replace(state, phase="retrying", starts=0))
        assert machine.runs() == ""
        guard.clock.pass_ms(3_600_000)
        guard.go_on(5)
        machine.launch(lambda state: replace(state, phase="trying", starts=0))
        assert machine.runs() == NEW_CODE, turn
        guard.clock.pass_ms(3_600_000)
        guard.go_on(5)
    assert guard.outcomes() == ["accepted", "installed"]
    attempt = guard.core.updates.memory.attempt
    assert attempt is not None and attempt.phase == "proving"
    kept = {"phase": "settled", "active": NEW_CODE, "wanted": "", "ended": "kept"}
    machine.launch(lambda state: replace(state, ended_release=NEW_CODE, **kept))  # type: ignore[arg-type]
    guard.go_on()
    assert guard.outcomes()[-1] == "committed"
    assert guard.core.updates.memory.floors == {"kiosk": 20}


@pytest.mark.parametrize("state", ["connected", "disconnected"])
def test_a_stick_asks_for_a_connection_where_there_was_one(machine: Machine, state: str) -> None:
    """A machine that never has a server would take turns for ever, and take no other release."""
    guard = machine.guard
    machine.offer()
    guard.approve()
    incoming = make_private_directory(guard.folder / "updates" / INCOMING)
    (incoming / BUNDLE_FILE).write_bytes(make_bundle(guard, guard.newest))
    guard.core.set_connection(state)
    for _ in range(60):
        guard.core.tick()
        guard._let_the_installer_answer()
        guard.clock.pass_ms(1000)
        if read_state(machine.data).phase == "asked":
            break
    assert read_state(machine.data).connects == (state == "connected")


def test_an_older_agent_is_refused_like_any_release(machine: Machine) -> None:
    machine.offer()
    guard = machine.guard
    guard.approve()
    machine.go_to("proving")
    kept = {"phase": "settled", "active": NEW_CODE, "wanted": "", "ended": "kept"}
    machine.launch(lambda state: replace(begin(state), ended_release=NEW_CODE, **kept))  # type: ignore[arg-type]
    guard.go_on()
    machine.offer("1.9", 19)
    guard.approve()
    guard.run()
    assert guard.reports()[-1].rule == "older_counter"


def test_what_was_kept_and_fell_is_not_held_and_its_counter_stays(machine: Machine) -> None:
    guard = machine.guard
    machine.offer()
    guard.approve()
    machine.go_to("proving")
    kept = {"phase": "settled", "active": NEW_CODE, "wanted": "", "ended": "kept"}
    machine.launch(lambda state: replace(begin(state), ended_release=NEW_CODE, **kept))  # type: ignore[arg-type]
    guard.go_on()
    assert guard.core.updates.memory.held["kiosk"].version == "2.0"
    guard.core.close()
    for _ in range(MOST_BAD_STARTS + 1):
        write_state(machine.data, begin(read_state(machine.data)))
    machine.release = read_state(machine.data).runs
    guard.start()
    assert machine.runs() == ""
    assert guard.core.updates.memory.held == {}
    assert guard.core.updates.memory.floors == {"kiosk": 20}
    said = str(guard.bodies("agent.started")[-1]["words"])
    assert "not the one that was kept" in said


def test_an_agent_makes_room_only_for_one_that_can_run(machine: Machine) -> None:
    """A disk that takes no word of the launcher would have it end again and again otherwise."""

    def has_to_go(release: str, *, launched: bool = True) -> bool:
        own = OwnCode(machine.data, release, machine.guard.clock, launched=launched)
        return own.makes_room

    write_state(machine.data, State(active=NEW))
    assert not has_to_go("")
    tree = agent_folder(machine.data) / "releases" / NEW
    tree.mkdir(parents=True)
    tree.with_name(f".{NEW}.whole").touch()
    assert has_to_go("") and not has_to_go(NEW) and not has_to_go("", launched=False)
    write_state(machine.data, State())
    assert has_to_go(NEW)


def test_without_the_launcher_no_agent_is_taken(machine: Machine) -> None:
    """Units of an earlier release would start the package's code for ever."""
    assert machine.guard.core.seat.own_code is not None
    machine.guard.core.seat.own_code.launched = False
    machine.offer()
    machine.guard.approve()
    machine.guard.run()
    assert machine.guard.reports()[-1].rule == "no_launcher"
    assert read_state(machine.data) == State()


def test_an_uplink_of_other_code_is_sent_away(machine: Machine) -> None:
    """On trial, one would be judged by what the other does."""
    with pytest.raises(Unreachable) as refused:
        machine.guard.core.handle(GetKit(NEW), b"")
    assert refused.value.reason == "guard_gone"
    assert not machine.guard.core.healthy
    machine.guard.core.handle(GetKit(""), b"")
    assert machine.guard.core.healthy


def test_the_old_agent_reads_what_a_newer_one_wrote(machine: Machine) -> None:
    """A newer one on trial may have written fields that the old one does not know. The attempt, and
    so the report of its end, are not lost by that."""
    machine.offer()
    guard = machine.guard
    guard.approve()
    machine.go_to("proving")
    machine.launch()
    guard.core.close()
    for name in ("updates/memory.json", "state.json"):
        path = guard.folder / name
        value = json.loads(path.read_bytes())
        value["of_tomorrow"] = {"x": 1}
        if value.get("attempt"):
            value["attempt"]["of_tomorrow"] = 1
        path.write_text(json.dumps(value))
    write_state(machine.data, go_back(read_state(machine.data), "agent_crashed", "It crashed."))
    machine.release = ""
    guard.start()
    guard.go_on()
    assert guard.outcomes()[-1] == "rolled_back"


# --- releases that hold the agent and do not say so


@pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root alone")
def test_packages_of_the_agent_need_the_mark(tmp_path: Path) -> None:
    """By the name of a package; on the running system also by whose files they are."""
    ground = DpkgGround(tmp_path)
    for marked in (False, True):
        blob = make_archive({"a.deb": ground.deb("fleetward-agent", "1")})
        part = PartWord(
            "part", "dpkg", "place", hashlib.sha256(blob).hexdigest(), len(blob), "", 1 << 20, 9,
            replaces_agent=marked,
        )  # fmt: skip
        with ground.plan(Plan("kiosk", (part,)), blob) as session:
            assert session.write().rule == ("" if marked else "agent_not_marked")
            assert (session.do(Switch()).rule == "") == marked


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_packages_with_the_agents_files_need_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "usr/share/tool"
    monkeypatch.setattr(dpkg, "list_code_folders", lambda: (Path("/usr/share/tool"),))
    ground = DpkgGround(tmp_path)
    installer = DpkgInstaller(tmp_path / "debs", Path("/"), -1)
    part = ground.part("1")
    with ground.begin("1") as session, session.holding(session.blob) as descriptor:
        source = Source(descriptor, 0, part.length)
        with pytest.raises(Refused, check=lambda e: e.reason == "agent_not_marked"):
            installer.write(part, source, lambda _: None)
    assert not folder.exists() and not list((tmp_path / "debs/releases").glob("[0-9a-f]*"))


def test_a_folder_with_the_agents_code_in_it_needs_the_mark(tmp_path: Path) -> None:
    (code, *_) = list_code_folders()
    ground = DirectoryGround(tmp_path)
    for place in (code, code.parent, code.parents[1]):
        ground.places.write_text(
            '[places.place]\nproduct = "kiosk"\ninstaller = "directory"\n'
            f'path = "{place.resolve()}"\n'
        )
        with ground.begin("1") as session:
            assert session.surveyed.rule == "agent_not_marked"
            assert session.write().rule == "agent_not_marked"


# --- the launcher as a process

AGENT = """
import os, sys, time
release = {name!r}
says = int(sys.argv[sys.argv.index("--launcher") + 1]) if "--launcher" in sys.argv else None
data, parent = sys.argv[sys.argv.index("--data") + 1], os.getppid()
with open(data + "/log", "a") as log:
    log.write(release + "\\n")
{begins}
while os.getppid() == parent:
    if says is not None:
        os.write(says, {said!r})
    time.sleep(0.02)
"""


class Stand:
    """A launcher on a folder with two agents that are a few lines each."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.process: subprocess.Popen[bytes] | None = None

    def write_agent(self, release: str, begins: str = "", said: bytes = b".h") -> None:
        tree = agent_folder(self.data) / "releases" / release / "fleetward/device"
        tree.mkdir(parents=True)
        for folder in (tree, tree.parent):
            (folder / "__init__.py").touch()
        code = AGENT.format(name=release[0], begins=begins, said=said)
        (tree / "guard_main.py").write_text(code)
        (agent_folder(self.data) / f"releases/.{release}.whole").touch()

    def start(self) -> None:
        module = "fleetward.device.launcher.main"
        argv = [sys.executable, "-I", "-m", module, str(self.data), "fleetward.device.guard_main"]
        self.process = subprocess.Popen([*argv, "--data", str(self.data)])

    def step(self, done: Callable[[State], bool], seconds: float = 60) -> State:
        """Have it started again whenever it ends, as its supervisor does, until this is so."""
        until = time.monotonic() + seconds
        while not done(read_state(self.data)):
            assert time.monotonic() < until, (read_state(self.data), self.log())
            if self.process is None or self.process.poll() is not None:
                self.start()
            time.sleep(0.02)
        return read_state(self.data)

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()

    def log(self) -> str:
        path = self.data / "log"
        return "".join(path.read_text().split()) if path.exists() else ""

    def await_log(self, wanted: str) -> None:
        self.step(lambda _: self.log().endswith(wanted))


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    made.write_agent(OLD)
    yield made
    made.kill()


def asked(within_ms: int = 60_000) -> State:
    return ask(State(active=OLD), NEW, (within_ms, 0), connects=True)


BROKEN = {
    "crashes at import": ("import nothing_of_this_name", b".h", 60_000, "agent_crashed"),
    "ends itself": ("os.kill(os.getpid(), 9)", b".h", 60_000, "agent_crashed"),
    "hangs": ("time.sleep(3600)", b".h", 600, "agent_not_healthy"),
    "beats and is never healthy": ("", b".", 600, "agent_not_healthy"),
    "leaves again and again": ("sys.exit(0)", b".h", 60_000, "agent_starts_again"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_agent_is_gone_back_from(stand: Stand, kind: str) -> None:
    begins, said, within_ms, rule = BROKEN[kind]
    stand.write_agent(NEW, begins, said)
    write_state(stand.data, asked(within_ms))
    state = stand.step(lambda state: state.phase == "settled")
    assert (state.active, state.ended, state.ended_release) == (OLD, rule, NEW)
    stand.await_log("a")
    assert stand.log().count("b") == (MOST_STARTS if rule == "agent_starts_again" else 1)


def test_a_good_agent_is_kept_and_a_silent_server_only_gives_turns(stand: Stand) -> None:
    stand.write_agent(NEW)
    write_state(stand.data, replace(asked(), round_ms=100))
    state = stand.step(lambda state: state.round_ms >= 400)
    assert state.on_trial and state.ended == ""
    assert stand.log().startswith("bab")
    stand.kill()
    write_state(stand.data, replace(state, phase="trying", starts=0, round_ms=FIRST_ROUND_MS))
    tree = agent_folder(stand.data) / f"releases/{NEW}/fleetward/device/guard_main.py"
    tree.write_text(tree.read_text().replace("b'.h'", "b'.hc'"))
    state = stand.step(lambda state: state.phase == "settled")
    assert (state.active, state.previous, state.ended) == (NEW, OLD, "kept")


@pytest.mark.parametrize("phase", ["asked", "trying", "retrying", "settled"])
def test_killed_in_any_phase_the_next_start_goes_on(stand: Stand, phase: str) -> None:
    """Its guard ends with it, or at the next look; the next start begins where the file says."""
    stand.write_agent(NEW)
    states = {
        "asked": asked(),
        "trying": begin(asked()),
        "retrying": replace(asked(), phase="retrying"),
        "settled": State(active=NEW, previous=OLD),
    }
    runs = {"retrying": "a"}.get(phase, "b")
    write_state(stand.data, states[phase])
    for _ in range(2):
        stand.start()
        before = len(stand.log())
        stand.step(lambda _, before=before: len(stand.log()) > before)  # type: ignore[misc]
        assert stand.log().endswith(runs)
        stand.kill()
    assert read_state(stand.data).phase == (phase if phase != "asked" else "trying")


def test_power_cuts_without_end_come_back_to_what_was(stand: Stand) -> None:
    stand.write_agent(NEW)
    write_state(stand.data, asked())
    for _ in range(MOST_STARTS + 1):
        before = len(stand.log())
        stand.start()
        stand.step(lambda _, before=before: len(stand.log()) > before)  # type: ignore[misc]
        stand.kill()
    assert stand.log() == "bbba"
    assert read_state(stand.data).ended == "agent_starts_again"


def test_another_package_of_the_system_comes_first(stand: Stand, tmp_path: Path) -> None:
    """Its code is compared whenever a release would run: one byte is enough."""
    for name in ("device", "trust"):
        (tmp_path / "home" / name).mkdir(parents=True)
    file = tmp_path / "home/device/x.py"
    digests = set()
    for content in (b"", b"a", b"b"):
        file.write_bytes(content)
        digests.add(hash_package(tmp_path / "home"))
    file.rename(file.with_name("y.py"))
    assert len(digests | {hash_package(tmp_path / "home")}) == 4
    write_state(stand.data, State(active=OLD, package="of yesterday"))
    stand.step(lambda state: state.ended == "agent_superseded")
    assert stand.log() == "" and read_state(stand.data).runs == ""


def test_code_that_is_gone_and_a_file_that_is_damaged_leave_an_agent_running(
    stand: Stand,
) -> None:
    write_state(stand.data, State(active=NEW, previous=OLD))
    stand.await_log("a")
    assert read_state(stand.data).active == OLD
    for damaged in (
        b"",
        b"{",
        b"[]",
        b'{"phase":"x"}',
        b'{"active":"../../x"}',
        b"\xff",
        b"1" * 99,
    ):
        state_path(stand.data).write_bytes(damaged)
        assert read_state(stand.data) == State()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become uplink's user")
def test_uplinks_user_reads_which_code_runs_and_writes_none_of_it(stand: Stand) -> None:
    for folder in (stand.data, *list(stand.data.parents)[:3]):
        folder.chmod(0o755)
    stand.write_agent(NEW)
    write_state(stand.data, asked())
    files = (
        state_path(stand.data), state_path(stand.data).parent / "x", agent_folder(stand.data) / "x",
        agent_folder(stand.data) / f"releases/{NEW}/fleetward/device/guard_main.py",
        agent_folder(stand.data) / f"releases/.{OLD}.whole",
    )  # fmt: skip
    code = (
        "import os, sys\n"
        f"os.setgroups([]); os.setresgid({UPLINK_UID}, {UPLINK_UID}, {UPLINK_UID})\n"
        f"os.setresuid({UPLINK_UID}, {UPLINK_UID}, {UPLINK_UID})\n"
        "assert open(sys.argv[1]).read()\n"
        "for path in sys.argv[1:]:\n"
        "    for do in (lambda: open(path, 'w'), lambda: os.unlink(path)):\n"
        "        try:\n            do()\n"
        "        except (PermissionError, FileNotFoundError):\n            pass\n"
        "        else:\n            raise SystemExit('it was written: ' + path)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *map(str, files)], capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert read_state(stand.data) == asked()
