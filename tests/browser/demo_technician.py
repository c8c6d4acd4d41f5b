"""A technician at a terminal: a command of ours on a real PTY, and what it shows there."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

WAIT_SECONDS: Final = 30.0


@dataclass
class Technician:
    """Somebody who started `fleetward connect …`."""

    process: subprocess.Popen[bytes]
    descriptor: int
    shown: str = ""
    _read: bytearray = field(default_factory=bytearray)

    def until(self, pattern: str, seconds: float = WAIT_SECONDS) -> re.Match[str]:
        """Wait until the terminal has shown something."""
        deadline = time.monotonic() + seconds
        while (found := re.search(pattern, self.shown)) is None:
            assert time.monotonic() < deadline, f"{pattern} was not shown: {self.shown}"
            if select.select([self.descriptor], [], [], 0.2)[0]:
                try:
                    self._read += os.read(self.descriptor, 65536)
                except OSError:
                    assert re.search(pattern, self.shown), f"it ended: {self.shown}"
            self.shown = self._read.decode("utf-8", "replace")
        return found

    def type(self, text: str) -> None:
        """Type on the terminal."""
        os.write(self.descriptor, text.encode())


@contextlib.contextmanager
def technician(words: list[str], home: Path) -> Iterator[Technician]:
    """Run a command on a terminal of its own; end it afterwards."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "HOME": str(home), "TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Technician(process, ours)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        os.close(ours)
