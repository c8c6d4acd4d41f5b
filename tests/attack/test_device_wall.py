"""The wall between uplink and guard, tried from the wrong side, on real processes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.device.device_world import Fleet, HeldClock, join_machine

from fleetward.device.privileges import uplink_ids
from fleetward.runtime.clock import SystemClock

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can build this wall")

PROBE = """
import ctypes, os, sys
folder, guard = sys.argv[1], int(sys.argv[2])
from fleetward.device.privileges import become, uplink_ids
become(uplink_ids())
def tried(name, attempt):
    try:
        attempt()
    except OSError:
        print(name, "refused")
    else:
        print(name, "ALLOWED")
def ptrace():
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(16, guard, None, None) != 0:
        raise OSError(ctypes.get_errno(), "ptrace")
tried("list", lambda: os.listdir(folder))
tried("identity", lambda: open(folder + "/identity.pem").read())
tried("journal", lambda: open(folder + "/journal/0000000000000001.entries").read())
tried("memory", lambda: open(f"/proc/{guard}/mem", "rb"))
tried("descriptors", lambda: os.listdir(f"/proc/{guard}/fd"))
tried("environment", lambda: open(f"/proc/{guard}/environ", "rb").read())
tried("trace", ptrace)
tried("kill", lambda: os.kill(guard, 0))
"""


@dataclass
class Running:
    """A supervised agent, without any server to reach."""

    data: Path
    process: subprocess.Popen[bytes]

    def child(self, module: str) -> int:
        """Return the pid of guard or uplink, once it has settled."""
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for pid in children_of(self.process.pid):
                if module in command_of(pid) and status_of(pid).get("NoNewPrivs") == "1":
                    return pid
            time.sleep(0.05)
        raise AssertionError(f"no {module}")

    def status(self) -> dict[str, object]:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                found: dict[str, object] = json.loads(
                    (self.data / "guard/status.json").read_bytes()
                )
                return found
            time.sleep(0.1)
        raise AssertionError("no status")


def children_of(pid: int) -> list[int]:
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(p) for p in text.split()]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def status_of(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return {}
    return {k: v.strip() for k, _, v in (line.partition(":") for line in lines)}


AS_NOBODY_SPECIAL = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]


@pytest.fixture
def running(request: pytest.FixtureRequest) -> Iterator[Running]:
    start: list[str] = getattr(request, "param", [])
    # Not below pytest's own folder: that one is closed to other users, and the wall must hold
    # without it.
    data = Path(tempfile.mkdtemp(prefix="agent-wall-"))
    data.chmod(0o755)
    clock = HeldClock(wall=SystemClock().wall_ms(), since_boot=SystemClock().boottime_ms())
    join_machine(data / "guard", Fleet.make(), clock)
    process = subprocess.Popen(
        [*start, sys.executable, "-I", "-m", "fleetward.device.cli", "run", "--data", str(data)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield Running(data, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        shutil.rmtree(data)


@needs_root
def test_uplinks_user_reaches_neither_guards_files_nor_guard(running: Running) -> None:
    guard = running.child("guard_main")
    running.status()
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(running.data / "guard"), str(guard)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = dict(line.split() for line in done.stdout.splitlines())
    assert set(answers.values()) == {"refused"}, answers
    assert len(answers) == 8


@needs_root
def test_uplink_has_its_own_user_and_no_rights(running: Running) -> None:
    uplink = running.child("uplink_main")
    status = status_of(uplink)
    ids = uplink_ids()
    assert status["Uid"].split() == [str(ids.uid)] * 4
    assert status["Gid"].split() == [str(ids.gid)] * 4
    assert status["Groups"] == ""
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == 0
    assert running.status()["wall"] == "uid"


@pytest.mark.parametrize("running", [AS_NOBODY_SPECIAL if os.geteuid() == 0 else []], indirect=True)
def test_without_root_the_agent_says_that_there_is_no_wall(running: Running) -> None:
    running.child("guard_main")
    status = running.status()
    assert status["wall"] == "none"
    sight = status["sight"]
    assert isinstance(sight, dict)
    assert sight["root"] is False
    assert "not visible" in str(sight["words"])


def test_no_process_of_the_agent_has_an_internet_socket_that_listens(running: Running) -> None:
    pids = [running.process.pid, running.child("guard_main"), running.child("uplink_main")]
    running.status()
    owned = {inode for pid in pids for inode in socket_inodes(pid)}
    waiting = set()
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == state:
                    waiting.add(fields[9])
    assert owned
    assert not owned & waiting


def socket_inodes(pid: int) -> set[str]:
    found = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(path.readlink())
            if target.startswith("socket:["):
                found.add(target[8:-1])
    return found


ASK = """
import socket, sys
from fleetward.device.port import GetKit, encode_frame
from fleetward.device.privileges import become, uplink_ids
if sys.argv[2] == "uplink":
    become(uplink_ids())
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    sock.settimeout(10)
    try:
        sock.send(encode_frame(GetKit()))
        print(len(sock.recv(4096)) > 0)
    except ConnectionError:
        print(False)
"""


@needs_root
def test_guards_socket_answers_uplinks_user_alone() -> None:
    data = Path(tempfile.mkdtemp(prefix="agent-wall-"))
    data.chmod(0o755)
    clock = HeldClock(wall=SystemClock().wall_ms(), since_boot=SystemClock().boottime_ms())
    join_machine(data / "guard", Fleet.make(), clock)
    path = data / "guard.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)  # The unit allows one user; guard must not lean on that.
        listener.listen(4)
        guard = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "fleetward.device.guard_main", "--data", str(data)],
            dict(os.environ),
            file_actions=[(os.POSIX_SPAWN_DUP2, listener.fileno(), 3)],
        )
        try:
            answers = {who: ask_guard(path, who) for who in ("root", "uplink", "root")}
        finally:
            os.kill(guard, signal.SIGTERM)
            os.waitpid(guard, 0)
    assert answers == {"root": "False", "uplink": "True"}
    lines = b"".join(p.read_bytes() for p in (data / "guard/journal").glob("*.entries"))
    assert b"tried to speak to guard in uplink's place" in lines
    shutil.rmtree(data)


def ask_guard(path: Path, who: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), who], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_guard_cannot_open_an_internet_socket() -> None:
    code = (
        "import socket\n"
        "from fleetward.device.privileges import deny_network, seal_process\n"
        "seal_process(0)\n"
        "deny_network()\n"
        "socket.socketpair()\n"
        "for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET):\n"
        "    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW):\n"
        "        try:\n"
        "            socket.socket(family, kind)\n"
        "        except PermissionError:\n"
        "            print('refused')\n"
        "        except OSError as e:\n"
        "            print(e)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["refused"] * 12


@pytest.mark.parametrize("victim", ["guard_main", "uplink_main"])
def test_a_killed_half_comes_back(running: Running, victim: str) -> None:
    before = running.child(victim)
    running.status()
    os.kill(before, signal.SIGKILL)
    deadline = time.monotonic() + 15
    while running.child(victim) == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert running.process.poll() is None


def test_the_halves_end_with_their_supervisor(running: Running) -> None:
    pids = [running.child("guard_main"), running.child("uplink_main")]
    running.process.kill()
    running.process.wait()
    deadline = time.monotonic() + 10
    while any(command_of(pid) for pid in pids):
        assert time.monotonic() < deadline, [command_of(p) for p in pids]
        time.sleep(0.05)


def test_stopping_is_written_down(running: Running) -> None:
    running.child("guard_main")
    running.status()
    running.process.terminate()
    assert running.process.wait(15) == 0
    lines = b"".join(p.read_bytes() for p in (running.data / "guard/journal").glob("*.entries"))
    assert b'"kind":"agent.stopped"' in lines


def test_uplink_needs_no_file_after_it_gave_up_its_rights(tmp_path: Path) -> None:
    code = """
import asyncio, sys
from pathlib import Path
import fleetward.device.uplink_main as main
from fleetward.device.port import Kit, Reply
main._settle_down(Path(sys.argv[1]), 0)
late = []
sys.addaudithook(lambda event, args: late.append(args[0]) if event == "import" else None)
class Port:
    async def ask(self, request, body=b""):
        kit = Kit(
            joined=True, device="a" * 32, enrol=("localhost:1",), bus=("localhost:1",),
            server_ca_sha256="00" * 32, server_ca_pem="", certificate_pem="",
            certificate_key="", renew=True, once=False)
        return Reply(main.msgspec.json.encode(kit))
    async def wait_wake(self):
        await asyncio.sleep(60)
async def run():
    try:
        await asyncio.wait_for(main.UplinkSession(Port(), Path()).run(), 3)
    except TimeoutError:
        pass
asyncio.run(run())
print(sorted(set(late)))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "uplink")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]", done.stdout
