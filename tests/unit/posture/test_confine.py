"""The walls around a collector, tried from inside by a real child process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from fleetward.device.confine import build_filter, run_confined
from fleetward.device.posture.processes import read_tables
from fleetward.device.posture.sockets import parse_table
from fleetward.trust.errors import Misuse
from fleetward.wire.posture import decode_inventory

ROOT = os.geteuid() == 0
MEGABYTE = 1 << 20
COLLECT = "fleetward.device.posture.collect"

needs_root = pytest.mark.skipif(not ROOT, reason="needs root, to become somebody else")

ATTEMPTS = {
    "network": "socket.create_connection(('127.0.0.1', PORT), 1)",
    "unix": "socket.socket(socket.AF_UNIX)",
    "write": "open('/tmp/fleetward-wall', 'w')",
    "create": "os.open('/tmp/fleetward-wall', os.O_CREAT | os.O_RDONLY)",
    "truncate": "os.truncate(VICTIM, 0)",
    "remove": "os.unlink(VICTIM)",
    "secret": "open(SECRET).read()",
    "secret_by_parent": "open(f'/proc/{os.getppid()}/root{SECRET}').read()",
    "secret_by_init": "open(f'/proc/1/root{SECRET}').read()",
    "disk": "[open(n, 'rb') for n in ('/dev/vda', '/dev/sda') if os.path.exists(n)] or 1 / 0",
    "secret_file": "1 / len(open(SECRET_FILE).read())",
    "start": "os.execv('/bin/true', ['true'])",
    "fork": "os.fork()",
    "signal": "os.kill(os.getppid(), 0)",
    "memory_of_parent": "open(f'/proc/{os.getppid()}/mem', 'rb')",
    "memory": "bytearray(1 << 30)",
    "unmount": "1 / (libc.umount2(os.path.dirname(SECRET).encode(), 2) + 1)",
    "handle": "1 / (libc.open_by_handle_at(-100, None, 0) + 1)",
    "root_again": "os.setresuid(0, 0, 0) or 1 / os.getuid()",
}

PROBE = """
import ctypes, json, os, socket, sys
from fleetward.device.confine import Specification, build_walls
given = json.loads(sys.argv[1])
PORT, VICTIM, SECRET, SECRET_FILE = given["places"]
libc = ctypes.CDLL(None)
if given["become"]:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
walls = build_walls(Specification(tuple(given["hidden"]), 256 << 20, 20))
answers = {}
for name, attempt in given["attempts"].items():
    try:
        eval(attempt)
        answers[name] = "done"
    except BaseException as error:
        answers[name] = type(error).__name__
walls = {wall.name: [wall.built, wall.words] for wall in walls}
print(json.dumps({"walls": walls, "answers": answers, "read": open(VICTIM).read()}))
"""


def probe(tmp_path: Path, port: int, *, become: bool) -> dict[str, Any]:
    """Build the walls in a real child and try every attempt behind them."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents:
        if parent != Path("/") and parent.stat().st_uid == os.geteuid() and become:
            parent.chmod(parent.stat().st_mode | 0o055)
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o755)
    (secret / "key").write_text("the key")
    (tmp_path / "key.pem").write_text("another key")
    (tmp_path / "victim").write_text("whole")
    places = [port, *(str(tmp_path / name) for name in ("victim", "secret/key", "key.pem"))]
    given = {
        "places": places,
        "hidden": [str(secret), str(tmp_path / "key.pem"), str(tmp_path / "not-there")],
        "attempts": ATTEMPTS,
        "become": become,
    }
    command = [sys.executable, "-c", textwrap.dedent(PROBE), json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def tmp_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("walls")


def test_behind_the_walls_nothing_works_but_reading(tmp_tree: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        found = probe(tmp_tree, listener.getsockname()[1], become=False)
    missing = {name: words for name, (built, words) in found["walls"].items() if not built}
    if not ROOT and missing:
        pytest.skip(f"this system refuses walls to users: {missing}")
    assert missing == {}
    done = {name for name, answer in found["answers"].items() if answer == "done"}
    assert done == set(), found
    assert found["answers"]["memory"] == "MemoryError"
    assert found["read"] == (tmp_tree / "victim").read_text() == "whole"
    assert not Path("/tmp/fleetward-wall").exists()


@needs_root
def test_without_root_the_walls_stand_in_a_user_namespace(tmp_tree: Path) -> None:
    found = probe(tmp_tree, 9, become=True)
    done = {name for name, answer in found["answers"].items() if answer == "done"}
    if not found["walls"]["network"][0]:
        assert not found["walls"]["secrets"][0]
        assert done <= {"secret", "secret_file"}
        return
    assert {name: built for name, (built, _) in found["walls"].items()} == dict.fromkeys(
        ("limits", "network", "secrets", "files", "privileges", "calls"), True
    )
    assert done == set(), found


UNPRIVILEGED = """
import os, sys
from fleetward.device.confine import Specification, build_walls
from fleetward.device.posture import collect
collect.parse_request([])  # loads modules while their files can still be read
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
prepared = collect.before_walls([])
build_walls(Specification((), 512 << 20, 20))
os.write(1, collect.after_walls([], prepared))
"""


@needs_root
def test_without_root_unseen_facts_are_not_visible_never_zero() -> None:
    command = [sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    inventory = decode_inventory(done.stdout)
    assert inventory.machine.root is False
    assert inventory.sockets is not None
    assert inventory.users is not None
    assert inventory.services is not None
    assert inventory.sockets.sight.level == "partial"
    assert "not visible without root" in inventory.sockets.sight.reason
    assert all(row.process is None for row in inventory.sockets.items if row.user == "root")
    assert inventory.users.sight.level == "partial"
    assert {row.password for row in inventory.users.items} == {"not_visible"}
    assert next(row for row in inventory.users.items if row.uid == 0).keys is None
    assert all(row.executable is None for row in inventory.services.items if row.user == "root")


def test_a_child_without_network_reads_the_sockets_of_another_process() -> None:
    """/proc/<pid>/net shows the network of that process, whoever reads."""
    script = (
        "import ctypes, os, sys\n"
        "flags = 0x40000000 | (0 if os.geteuid() == 0 else 0x10000000)\n"
        "sys.exit(3) if ctypes.CDLL(None).unshare(flags) else None\n"
        "sys.stdout.write(open('/proc/net/tcp').read() + '===')\n"
        "sys.stdout.write(open(f'/proc/{os.getppid()}/net/tcp').read())\n"
    )
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, check=False, timeout=30)
        here = read_tables(f"/proc/{os.getpid()}/net")
    if done.returncode == 3:
        pytest.skip("this system refuses network namespaces to users")
    own, parents = done.stdout.split(b"===")
    assert parse_table("tcp", own)[0] == []
    assert port in {row.port for row in parse_table("tcp", parents)[0]}
    assert port in {row.port for row in parse_table("tcp", here["tcp"])[0]}


def run(*arguments: str, timeout: float = 30, memory: int = 512, output: int = 8) -> Any:
    return run_confined(
        [sys.executable, "-m", COLLECT, *arguments],
        hidden=[],
        timeout_seconds=timeout,
        memory_bytes=memory * MEGABYTE,
        output_bytes=output * MEGABYTE,
    )


def test_a_confined_collector_gives_a_document_and_names_its_walls() -> None:
    result = run("--sections", "sockets,users")
    assert result.state == "done", result
    assert decode_inventory(result.output).packages is None
    assert [wall.name for wall in result.walls][:2] == ["limits", "network"]
    if ROOT:
        assert result.missing == ()


def test_too_slow_too_much_and_too_little_memory_are_told_apart() -> None:
    assert run(timeout=0.02).state == "too_slow"
    assert run(output=0).state == "too_much"
    starved = run(memory=1)
    assert (starved.state, starved.output) == ("failed", b"")


def test_bad_arguments_fail_with_words() -> None:
    result = run("--sections", "nonsense")
    assert (result.state, result.exit_code) == ("failed", 2)
    assert "nonsense" in result.errors


def test_only_modules_of_this_package_are_started() -> None:
    with pytest.raises(Misuse):
        run_confined(["/bin/sh", "-c", "id"], hidden=[], timeout_seconds=1,
                     memory_bytes=MEGABYTE, output_bytes=1)  # fmt: skip


def test_an_unknown_processor_has_no_filter_rather_than_a_wrong_one() -> None:
    with pytest.raises(OSError, match="not listed"):
        build_filter("sparc")
    assert len(build_filter("aarch64")) % 8 == 0
