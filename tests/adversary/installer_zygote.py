"""Installers without their start: a process that has imported everything forks each of them.

An interpreter takes ten times as long to start as what is tried with it. What runs is the same
program: `main` of `installer_process`, in a process of its own, which can be killed like any other.
The measurements of `bench/power_cuts.py` start whole ones.

    python -m tests.adversary.installer_zygote FD
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MAX_WORD_BYTES = 64 * 1024
REPOSITORY = Path(__file__).parents[2]


class Forked:
    """An installer that was forked: as much of `Popen` as tests use."""

    def __init__(self, zygote: Zygote, pid: int) -> None:
        self._zygote = zygote
        self._status: int | None = None
        self.pid = pid

    def kill(self) -> None:
        """End it as `kill -9` does. Whoever is not waited for yet keeps its pid."""
        if self._status is None:
            self._zygote.ask({"kill": self.pid})

    def wait(self, timeout: float = 60) -> int:
        """Return how it ended; a signal is below zero. Raises `TimeoutExpired`."""
        until = time.monotonic() + timeout
        while self._status is None:
            self._status = self._zygote.ask({"reap": self.pid})
            if self._status is None:
                if time.monotonic() > until:
                    raise subprocess.TimeoutExpired("installer", timeout)
                time.sleep(0.005)
        return self._status


class Zygote:
    """The process that forks, from the side of who asks it."""

    def __init__(self) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=REPOSITORY, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip

    def fork(self, arguments: list[str], guard: socket.socket) -> Forked:
        """Start an installer; its words go over this socket."""
        return Forked(self, int(self.ask({"fork": arguments}, guard.fileno())))

    def ask(self, word: dict[str, Any], descriptor: int | None = None) -> Any:
        """Say a word, and return the answer."""
        passed = [] if descriptor is None else [descriptor]
        socket.send_fds(self._sock, [json.dumps(word).encode()], passed)
        return json.loads(self._sock.recv(MAX_WORD_BYTES))

    def close(self) -> None:
        """End it, and what it forked."""
        self._sock.close()
        self.process.wait(60)


def serve(sock: socket.socket) -> None:
    """Fork, kill and reap, until nobody asks any more."""
    from tests.adversary import installer_process

    children: set[int] = set()
    while True:
        data, passed, _, _ = socket.recv_fds(sock, MAX_WORD_BYTES, 1)
        if not data:
            break
        word = json.loads(data)
        answer: Any = None
        if "fork" in word:
            answer = os.fork()
            if answer == 0:
                sock.close()
                installer_process.run([*word["fork"], "--guard", str(passed[0])])
            children.add(answer)
            os.close(passed[0])
        elif word.get("kill") in children:
            os.kill(word["kill"], 9)
        elif word.get("reap") in children:
            pid, status = os.waitpid(word["reap"], os.WNOHANG)
            if pid:
                children.remove(pid)
                answer = os.waitstatus_to_exitcode(status)
        sock.send(json.dumps(answer).encode())
    for pid in children:
        os.kill(pid, 9)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
