"""A TPM in software, and a counter that keeps a TPM's contract in memory and fails where told.

`swtpm` speaks the commands of a real one. Where it is missing, tests that need it skip and say so.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleetward.device.hardware.tpm_counter import Reading
from fleetward.trust.errors import Unreachable

NEEDS_SWTPM = pytest.mark.skipif(
    shutil.which("swtpm") is None, reason="needs a TPM in software: apt-get install swtpm"
)
START_SECONDS = 20


class PowerCut(Exception):
    """The power goes."""


class SocketLine:
    """Speaks to a TPM in software, as `DeviceLine` does to a real one."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exchange(self, command: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10)
            try:
                sock.connect(str(self._path))
            except OSError as e:
                raise Unreachable("The TPM is off.", reason="tpm_silent") from e
            sock.sendall(command)
            answer = b""
            while len(answer) < 6 or len(answer) < int.from_bytes(answer[2:6], "big"):
                answer += sock.recv(4096)
            return answer


@contextlib.contextmanager
def software_tpm(folder: Path) -> Iterator[SocketLine]:
    """Run a TPM whose state lies in `folder`; each start is a start of the machine."""
    sock = folder / "tpm.sock"
    sock.unlink(missing_ok=True)
    running = subprocess.Popen(
        ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}",
         "--server", f"type=unixio,path={sock}", "--flags", "not-need-init,startup-clear"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + START_SECONDS
        while not sock.exists() and time.monotonic() < until and running.poll() is None:
            time.sleep(0.02)
        yield SocketLine(sock)
    finally:
        running.terminate()
        running.wait()


@dataclass
class HeldCounter:
    """A TPM's number and key. `highest` is what it ever counted; `cut_at` counts steps down to a
    power cut, before or after the step takes effect."""

    number: int | None = None
    key: bytes | None = None
    highest: int = 40
    silent: bool = False
    cut_at: int = -1
    cut_after: bool = False
    steps: int = field(default=0)

    def read(self) -> Reading | None:
        self._speak()
        return None if self.key is None else Reading(self.number or 0, self.key)

    def prepare(self) -> int:
        if self.number is None:
            with self._step():
                self.highest += 1
                self.number = self.highest
        return self.number or 0

    def keep_key(self, key: bytes) -> None:
        with self._step():
            self.key = key

    def increment(self) -> int:
        assert self.number is not None
        with self._step():
            self.number += 1
            self.highest = max(self.highest, self.number)
        return self.number

    def forget(self) -> None:
        """Somebody clears the TPM."""
        self.number = self.key = None

    @contextlib.contextmanager
    def _step(self) -> Iterator[None]:
        self._speak()
        self.steps += 1
        if self.steps == self.cut_at and not self.cut_after:
            raise PowerCut
        yield
        if self.steps == self.cut_at and self.cut_after:
            raise PowerCut

    def _speak(self) -> None:
        if self.silent:
            raise Unreachable("The TPM cannot be spoken to.", reason="tpm_silent")
