"""Numbered steps on a terminal, and a line at least every five seconds while one takes long."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

EVERY_SECONDS: Final = 4.0


class Progress:
    """Says what is being done. `say` writes one line."""

    def __init__(self, say: Callable[[str], None], steps: int) -> None:
        self._say = say
        self._steps = steps
        self._number = 0
        self._began = time.monotonic()
        self._detail = ""

    @property
    def seconds(self) -> float:
        """Seconds since the first step began."""
        return time.monotonic() - self._began

    def detail(self, words: str) -> None:
        """Say what the running step waits for, the next time that a line is due."""
        self._detail = words

    def note(self, words: str) -> None:
        """Write a line that belongs to the running step."""
        self._say(f"      {words}")

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do one step; its line comes when it is done, with the seconds that it took."""
        self._number += 1
        self._detail = ""
        before = time.monotonic()
        done = threading.Event()
        ticking = threading.Thread(target=self._tick, args=(name, before, done), daemon=True)
        ticking.start()
        try:
            yield
        finally:
            done.set()
            ticking.join()
        self._say(f"{self._number}/{self._steps} {name} … {time.monotonic() - before:.1f} s")

    def _tick(self, name: str, before: float, done: threading.Event) -> None:
        while not done.wait(EVERY_SECONDS):
            waited = f"{time.monotonic() - before:.0f} s"
            self._say(
                f"{self._number}/{self._steps} {name} … {self._detail or 'working'} ({waited})"
            )
