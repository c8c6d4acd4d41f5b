"""Asking the health checks of a release, once each. Whom to ask next, and when, guard knows.

A check names a port of this machine's own loopback, a process, or a file of a part; nothing here
leaves the machine, and every check is bounded in time. Words say what was found, for a person.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.updates.installer_words import CheckWord, FindingWord, clean
from fleetward.device.updates.installers.contract import Tell
from fleetward.device.updates.programs import Command, find_runner, run_program
from fleetward.trust.errors import FleetwardError
from fleetward.trust.release_checks import Check, check_path

ASK_SECONDS: Final = 5.0
"""So long a port may take to answer."""
LOOPBACK: Final = "127.0.0.1"
MAX_ANSWER_BYTES: Final = 4096
"""Of an HTTP answer: its first line is all that is asked for."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a part's files are now, and whom its commands run as."""

    tree: Path | None
    user: str


def ask(check: CheckWord, ground: Callable[[str], Ground], tell: Tell) -> FindingWord:
    """Ask one check. `ground` tells where a part is; it may raise `FleetwardError`."""
    said = Check(
        check.kind, check.name, check.port, check.path, check.status, check.part,
        check.arguments, check.seconds,
    ).words()  # fmt: skip
    try:
        problem = _ask(check, ground, tell)
    except (FleetwardError, OSError) as e:
        problem = e.message if isinstance(e, FleetwardError) else e.strerror or str(e)
    return FindingWord(clean(said), not problem, clean(problem or said))


def _ask(check: CheckWord, ground: Callable[[str], Ground], tell: Tell) -> str:
    """Return what is wrong, or nothing."""
    tell(0)
    if check.kind == "process":
        return "" if find_process(check.name) else f"no process {check.name} runs"
    if check.kind == "port":
        return _ask_port(check.port)
    if check.kind == "http":
        return _ask_http(check.port, check.path, check.status)
    there = ground(check.part)
    if there.tree is None:
        return f"part {check.part} is not there"
    path = there.tree / check_path(check.path)
    if check.kind == "file":
        return "" if path.exists() else f"{check.path} does not exist"
    return _run(check, path, there, tell)


def find_process(name: str) -> bool:
    """Say whether a process of this name runs, as the kernel has its name."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            stat = (process / "stat").read_bytes()
        except OSError:
            continue  # It has ended meanwhile.
        head, _, tail = stat.rpartition(b")")
        alive = tail.split()[:1] not in ([b"Z"], [b"X"])
        if alive and head.partition(b"(")[2] == name.encode():
            return True
    return False


def _ask_port(port: int) -> str:
    try:
        socket.create_connection((LOOPBACK, port), ASK_SECONDS).close()
    except OSError as e:
        return f"port {port}: {_why(e)}"
    return ""


def _ask_http(port: int, path: str, status: int) -> str:
    deadline = time.monotonic() + ASK_SECONDS
    question = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{port}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with socket.create_connection((LOOPBACK, port), ASK_SECONDS) as sock:
            sock.sendall(question.encode("ascii"))
            while b"\n" not in answer and len(answer) < MAX_ANSWER_BYTES:
                sock.settimeout(max(0.001, deadline - time.monotonic()))
                block = sock.recv(MAX_ANSWER_BYTES)
                if not block:
                    break
                answer += block
    except OSError as e:
        return f"http port {port} {path}: {_why(e)}"
    found = _STATUS.match(answer)
    if found is None:
        return f"http port {port} {path}: what answers does not speak HTTP"
    if int(found[1]) != status:
        return f"http port {port} {path}: {found[1].decode()}, expected {status}"
    return ""


def _run(check: CheckWord, path: Path, there: Ground, tell: Tell) -> str:
    assert there.tree is not None
    argv = (str(path), *check.arguments)
    command = Command(argv, check.seconds, there.tree, find_runner(there.user))
    try:
        ended = run_program(command, tell)
    except OSError as e:
        return f"{check.path} cannot be run: {e.strerror}"
    return "" if ended.good else f"{check.path} {ended.why(check.seconds)}"


def _why(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {ASK_SECONDS:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    return error.strerror or str(error)
