"""Hooks, units and health checks: what is run after a switch, as whom, and for how long."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.installer_world import DirectoryGround, InstallerDiedError
from tests.trust_world import refused

from fleetward.device.updates.health import Ground, ask
from fleetward.device.updates.hooks import SYSTEMD, Units, run_hook
from fleetward.device.updates.installer_words import (
    Back,
    CheckWord,
    Done,
    FindingWord,
    Switch,
    Written,
)
from fleetward.device.updates.programs import Command, find_runner, last_words, run_program
from fleetward.trust.errors import Refused

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
NOBODY = "nobody"


def tell(done: int) -> None:
    """Nobody listens."""


@pytest.fixture
def ground(tmp_path: Path) -> DirectoryGround:
    return DirectoryGround(tmp_path)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user of the machine can enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def script(folder: Path, text: str) -> Path:
    path = folder / "program"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_hook_runs_after_each_switch_in_what_is_active_then(ground: DirectoryGround) -> None:
    ground.install("1")
    with ground.begin("2", "1", hook="bin/hook") as session:
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
        assert session.do(Back()) == Done()
        part = session.plan.parts[0]
    releases = ground.folder / "app/releases"
    assert (ground.folder / "hook.log").read_text().splitlines() == [
        f"{releases / part.sha256}/bin/hook switched",
        f"{releases / part.before}/bin/hook back",
    ]


def test_a_hook_that_fails_is_told_and_going_back_works(ground: DirectoryGround) -> None:
    ground.install("1")
    (ground.folder / "hook.code").write_text("3")
    with ground.begin("2", "1", hook="bin/hook") as session:
        assert session.write() == Written()
        done = session.do(Switch())
        assert (done.rule, done.problem) == ("hook_failed", "The hook bin/hook ended 3")
        assert ground.content() == "2"
        # It fails on the way back too: said, and all the same gone back.
        assert session.do(Back()).rule == "hook_failed"
        assert ground.content() == "1"
    with ground.begin("2", "1", hook="bin/missing") as session:
        assert session.write() == Written()
        assert session.do(Switch()).rule == "hook_failed"
        assert session.do(Back()) == Done()
    assert ground.content() == "1"


def test_a_hook_sees_a_clean_world_and_its_last_lines_are_told(tmp_path: Path) -> None:
    path = script(tmp_path, "env; ls /proc/self/fd | wc -l; echo first; echo broken >&2; exit 7")
    os.environ["SECRET_OF_THE_STARTER"] = "x"
    try:
        ended = run_program(Command((str(path),), 10, tmp_path, whole=True), tell)
        with pytest.raises(Refused) as found:
            run_hook(tmp_path, "program", "switched", "", tell)
    finally:
        del os.environ["SECRET_OF_THE_STARTER"]
    names = {line.partition("=")[0] for line in ended.words.splitlines() if "=" in line}
    assert names <= {"HOME", "LC_ALL", "OLDPWD", "PATH", "PWD", "SHLVL", "_"}
    assert ended.words.splitlines()[-3:] == ["4", "first", "broken"]
    assert found.value.reason == "hook_failed"
    assert found.value.message.startswith("The hook program ended 7: ")
    assert found.value.message.endswith("4 / first / broken")


def test_a_program_that_does_not_end_is_killed_with_its_group(tmp_path: Path) -> None:
    path = script(tmp_path, "sleep 7071 & echo $! > child; echo began; sleep 7072")
    told: list[int] = []
    started = time.monotonic()
    ended = run_program(Command((str(path),), 1.5, tmp_path), told.append)
    assert 1.4 < time.monotonic() - started < 10
    assert (ended.code, ended.good) == (None, False)
    assert ended.why(1.5) == "took longer than 2 s: began"
    assert told
    wait_gone(int((tmp_path / "child").read_text()))


def test_what_a_program_leaves_running_is_killed_and_not_waited_for(tmp_path: Path) -> None:
    path = script(tmp_path, "sleep 7073 & echo $! > child; echo well; exit 0")
    started = time.monotonic()
    assert run_program(Command((str(path),), 30, tmp_path), tell).good
    assert time.monotonic() - started < 10
    wait_gone(int((tmp_path / "child").read_text()))


def wait_gone(pid: int) -> None:
    """Return when a process is gone, or dead and not yet taken."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return
        except OSError:
            return
        time.sleep(0.01)
    raise AssertionError(f"{pid} lives")


def test_last_words_cannot_forge_lines_or_colours() -> None:
    said = b"\x1b[31mred\n\n" + b"x" * 500 + b"\nlast \xff\xe2\x80\xae\r\n"
    words = last_words(said)
    assert len(words) == 200
    assert words.isprintable()
    assert words.endswith("/ last \ufffd")


@needs_root
def test_programs_run_as_the_user_of_the_place(open_folder: Path) -> None:
    path = script(open_folder, 'id -u; id -G; echo "$USER $HOME"; touch made || exit 5')
    command = Command((str(path),), 10, open_folder, find_runner(NOBODY), whole=True)
    ended = run_program(command, tell)
    assert ended.code == 5
    assert ended.words.splitlines()[:3] == ["65534", "65534", f"{NOBODY} /nonexistent"]
    with refused(Refused, "no_such_user"):
        find_runner("acme-who-is-not-here")


def test_units_are_restarted_once_and_failures_are_told(tmp_path: Path) -> None:
    tool = script(tmp_path, f'echo "$@" >> {tmp_path}/log; case "$3" in bad*) exit 5;; esac')
    units = Units(str(tool))
    units.restart("acme.service", tell)
    with pytest.raises(Refused) as found:
        units.restart("bad.service", tell)
    assert found.value.reason == "restart_failed"
    assert found.value.message == "Restarting bad.service ended 5"
    asked = (tmp_path / "log").read_text().splitlines()
    assert asked == ["restart -- acme.service", "restart -- bad.service"]


@pytest.mark.skipif(SYSTEMD.is_dir(), reason="systemd runs here, and has no such unit")
def test_a_place_that_wants_units_where_there_are_none(ground: DirectoryGround) -> None:
    ground.write_places('restart = ["acme.service", "acme.service"]\n')
    with ground.begin("1") as session:
        assert session.write() == Written()
        done = session.do(Switch())
        assert done.rule == "restart_failed"
        assert "systemd does not run" in done.problem
        assert ground.content() == "1"


# --- Health --------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen on a port of loopback, and answer everybody so."""
    server = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        with contextlib.suppress(OSError):
            while True:
                peer, _ = server.accept()
                with peer, contextlib.suppress(OSError):
                    answer(peer)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join(10)


def says(text: bytes) -> Callable[[socket.socket], None]:
    def answer(peer: socket.socket) -> None:
        peer.recv(1000)
        peer.sendall(text)

    return answer


def nowhere(part: str) -> Ground:
    return Ground(None, "")


def ask_one(check: CheckWord, tree: Path | None = None) -> FindingWord:
    return ask(check, lambda part: Ground(tree, ""), tell)


def test_ports() -> None:
    with serving(says(b"")) as port:
        found = ask_one(CheckWord("port", port=port))
        assert (found.good, found.words) == (True, f"port {port} answers")
    found = ask_one(CheckWord("port", port=port))
    assert (found.good, found.words) == (False, f"port {port}: connection refused")


@pytest.mark.parametrize(
    ("said", "wanted", "words"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nbody", 200, ""),
        (b"HTTP/1.0 204\r\n\r\n", 204, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", 302, ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /other\r\n\r\n", 200, "302, expected 200"),
        (b"HTTP/1.1 500 Sorry\r\n\r\n", 200, "500, expected 200"),
        (b"SSH-2.0-OpenSSH_9\r\n", 200, "what answers does not speak HTTP"),
        (b"x" * 100_000, 200, "what answers does not speak HTTP"),
        (b"", 200, "what answers does not speak HTTP"),
    ],
)
def test_http(said: bytes, wanted: int, words: str) -> None:
    with serving(says(said)) as port:
        found = ask_one(CheckWord("http", port=port, path="/health", status=wanted))
    assert found.good == (not words)
    if words:
        assert found.words == f"http port {port} /health: {words}"


def test_http_that_drips_is_bounded() -> None:
    def drip(peer: socket.socket) -> None:
        for _ in range(100):
            peer.sendall(b"H")
            time.sleep(0.2)

    started = time.monotonic()
    with serving(drip) as port:
        found = ask_one(CheckWord("http", port=port, path="/", status=200))
        assert time.monotonic() - started < 8
    assert found.words == f"http port {port} /: no answer within 5 s"


def test_processes() -> None:
    own = Path("/proc/self/comm").read_text().strip()
    assert ask_one(CheckWord("process", name=own)).good
    found = ask_one(CheckWord("process", name="acme-not-here"))
    assert (found.good, found.words) == (False, "no process acme-not-here runs")
    child = os.fork()
    if child == 0:
        Path("/proc/self/comm").write_text("acme-a-zombie")
        os._exit(0)
    wait_gone(child)
    assert not ask_one(CheckWord("process", name="acme-a-zombie")).good
    os.waitpid(child, 0)


def test_files_and_commands(tmp_path: Path) -> None:
    script(tmp_path, "test $# = 2 || exit 9; echo $1; exit $2")
    assert ask_one(CheckWord("file", part="app", path="program"), tmp_path).good
    found = ask_one(CheckWord("file", part="app", path="other"), tmp_path)
    assert (found.good, found.words) == (False, "other does not exist")
    found = ask_one(CheckWord("file", part="app", path="program"))
    assert (found.good, found.words) == (False, "part app is not there")

    def run(*arguments: str, path: str = "program") -> FindingWord:
        word = CheckWord("command", part="app", path=path, arguments=arguments, seconds=10)
        return ask_one(word, tmp_path)

    assert run("$(reboot); x", "0").good
    assert run("why not", "4").words == "program ended 4: why not"
    assert run().words == "program ended 9"
    assert run(path="other").words == "other cannot be run: No such file or directory"
    slow = CheckWord("command", part="app", path="program", seconds=1)
    script(tmp_path, "sleep 60")
    assert ask_one(slow, tmp_path).words == "program took longer than 1 s"


def test_every_check_of_a_plan_is_answered_in_its_order(ground: DirectoryGround) -> None:
    checks = (
        CheckWord("file", part="part", path="version"),
        CheckWord("file", part="nobody", path="version"),
        CheckWord("command", part="part", path="bin/hook", arguments=("asked",), seconds=5),
    )
    with ground.begin("1", checks=checks) as session:
        assert [f.good for f in session.test().findings] == [False, False, False]
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
        found = session.test().findings
        assert [f.good for f in found] == [True, False, True]
        assert found[1].words == "The plan has no part nobody."
        assert session.do(Back()) == Done()
    assert "asked" in (ground.folder / "hook.log").read_text()


def test_a_word_that_changes_nothing_runs_nothing(ground: DirectoryGround) -> None:
    """A machine that is in use is not disturbed by going back from what was never switched to."""
    ground.install("1")
    ground.in_use.write_text("in use")
    log = ground.folder / "hook.log"
    with ground.begin("2", "1", hook="bin/hook") as session:
        assert session.write() == Written()
        assert session.do(Switch()).rule == "in_use"
        assert session.do(Back()) == Done()
        assert not log.exists()
        ground.in_use.unlink()
        for _ in range(2):
            assert session.do(Switch()) == Done()
            assert len(log.read_text().splitlines()) == 1
        for _ in range(2):
            assert session.do(Back()) == Done()
            assert len(log.read_text().splitlines()) == 2


def test_a_hook_that_the_power_cut_short_runs_again(ground: DirectoryGround) -> None:
    ground.install("1")
    log = ground.folder / "hook.log"
    with ground.begin("2", "1", hook="bin/hook") as session:
        assert session.write() == Written()
    died = 0
    for step in range(1, 40):
        log.unlink(missing_ok=True)
        try:
            with ground.begin("2", "1", hook="bin/hook", die_at=step) as session:
                assert session.do(Switch()) == Done()
        except InstallerDiedError:
            died += 1
            with ground.begin("2", "1", hook="bin/hook") as session:
                assert session.do(Switch()) == Done()
            ended = False
        else:
            ended = True
        # As often as it takes, and once at least.
        assert set(log.read_text().split()[1::2]) == {"switched"}
        with ground.begin("2", "1", hook="bin/hook") as session:
            assert session.do(Back()) == Done()
        assert ground.content() == "1"
        if ended:
            break
    assert ended
    assert died > 5
