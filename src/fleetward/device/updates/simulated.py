"""The installer of a simulated machine: it keeps the contract, and there is nothing behind it.

What a release is and whether it may be installed is judged by the same code as on a real machine;
only the last step is played. Whether it turns out healthy is drawn from a seed, so that the same
fleet fails the same way every time. Reports of such a machine say that it is simulated.
"""

from __future__ import annotations

import hashlib
import random
import socket
from pathlib import Path
from typing import Final

from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    Downward,
    FindingWord,
    Patch,
    Plan,
    SlotWord,
    Surveyed,
    Switch,
    Test,
    Tested,
    Upward,
    Write,
    Written,
)
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import Unreachable

MUCH: Final = 1 << 40
"""Bytes: a simulated disk is never full."""


class SimulatedLink:
    """Answers at once. `failing` is the share of machines, 0 to 1, on which a release fails."""

    def __init__(self, clock: Clock, seed: str, failing: float) -> None:
        del clock
        self._seed = seed
        self._failing = failing
        self._plan: Plan | None = None
        self._answer: Upward | None = None
        self._active: dict[str, str] = {}
        self._written: set[str] = set()
        self.done_bytes = 0

    @property
    def busy(self) -> bool:
        """Whether an answer waits to be heard."""
        return self._answer is not None

    def sockets(self) -> list[socket.socket]:
        """There are none."""
        return []

    def begin(self, plan: Plan) -> None:
        """Take the plan, and say what is there."""
        self._plan = plan
        slots = tuple(
            SlotWord(
                part.name,
                self._active.get(part.place, part.before),
                part.sha256 in self._written,
                is_source=True,
            )
            for part in plan.parts
        )
        self._answer = Surveyed("", "", slots, free_bytes=MUCH, needed_bytes=0)

    def say(self, word: Downward, file: Path | None = None) -> None:
        """Carry a word out. Raises `Unreachable` when there is no plan."""
        plan = self._plan
        if plan is None:
            raise Unreachable("There is no plan.", reason="installer_ended")
        if isinstance(word, Write | Patch):
            self._answer = self._write(word, plan, file)
        elif isinstance(word, Test):
            self._answer = Tested(self._test(plan))
        else:
            self._act(word, plan)
            self._answer = Done()

    def hear(self) -> Upward | None:
        """Return the answer."""
        answer, self._answer = self._answer, None
        return answer

    def close(self) -> None:
        """Forget the plan; what is active stays."""
        self._plan, self._answer = None, None

    def _write(self, word: Write | Patch, plan: Plan, file: Path | None) -> Written:
        """Verify the part or the delta, as a real one would: that is no play."""
        part = next((each for each in plan.parts if each.name == word.part), None)
        if part is None or file is None:
            return Written("There is no such part.", "unknown_part")
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        if digest != (word.sha256 if isinstance(word, Patch) else part.sha256):
            return Written("What came is not what was signed.", "wrong_hash")
        self._written.add(part.sha256)
        return Written()

    def _act(self, word: Downward, plan: Plan) -> None:
        for part in plan.parts:
            if isinstance(word, Switch):
                self._active[part.place] = part.sha256
            elif isinstance(word, Back):
                self._active[part.place] = part.before
        if isinstance(word, Back | Clear | Commit):
            self._written.clear()

    def _test(self, plan: Plan) -> tuple[FindingWord, ...]:
        whole = "".join(part.sha256 for part in plan.parts)
        drawn = random.Random(f"{self._seed} {whole}").random()  # noqa: S311 - a play, no secret
        good = drawn >= self._failing
        words = "holds (simulated)" if good else "fails (simulated)"
        names: list[str] = [check.kind for check in plan.checks] or ["starts"]
        return tuple(FindingWord(name, good, words) for name in names)
