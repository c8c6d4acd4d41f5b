"""The play: one machine, from its first start to the end of what may happen to its system.

1. It starts for the first time, from slot A.
2. A good release comes on a stick. While the other slot is being written, the power is cut.
3. It starts from slot A, goes on by itself, starts again from slot B, and commits.
4. A release with a bad kernel comes. It is tried once, stops, and the machine comes back.
5. An older release is refused: on a stick of its day, and on a new one.
6. The power is cut once more; what the machine signed about all of it is read from its disk, and
   verified.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tools.qemu.machine import Machine, make_stick
from tools.qemu.people import People
from tools.qemu.signed import read_reports
from tools.reference_image.build import Builder
from tools.reference_image.layout import MIB

START: Final = 240
"""Seconds that a start may take on a computer that does other things too."""
LONG: Final = 600
CUT_AFTER_MIB: Final = 24
"""So much of a slot is written when the power is cut."""


@dataclass
class Step:
    """A step, and what came of it."""

    name: str
    seconds: float
    good: bool
    words: str


@dataclass
class Play:
    """All steps, in their order."""

    builder: Builder
    people: People
    machine: Machine
    bundles: dict[str, Path]
    tell: Callable[[Step], None]
    steps: list[Step] = field(default_factory=list)

    def run(self) -> bool:
        """Play until a step fails; return whether none did."""
        for name, step in (
            ("first start", self._start),
            ("good release, power cut while it is written", self._cut),
            ("it goes on, and commits the good release", self._take),
            ("bad kernel, and back", self._come_back),
            ("older release", self._refuse),
            ("signed reports", self._verify),
        ):
            began = time.monotonic()
            try:
                words, good = step(), True
            except Exception as e:  # noqa: BLE001 - whatever stops a step is what it is to say
                words, good = str(e), False
            self.steps.append(Step(name, time.monotonic() - began, good, words))
            self.tell(self.steps[-1])
            if not good:
                return False
        return True

    # --- the steps

    def _start(self) -> str:
        self.machine.switch_on()
        return self._expect_version("1.0", "root-a")

    def _cut(self) -> str:
        before = self._look_at_slot("root-b")
        self._plug("1.1")
        self._expect_bundle("accepted")
        deadline = time.monotonic() + LONG
        while self._look_at_slot("root-b") == before:
            if time.monotonic() > deadline:
                raise RuntimeError("Nothing was written to slot B.")
            time.sleep(0.1)
        self.machine.cut_power()
        return f"cut with {CUT_AFTER_MIB} MiB of the slot written"

    def _take(self) -> str:
        self.machine.switch_on()
        self._expect_version("1.0", "root-a")
        words = self._expect_version("1.1", "root-b", LONG)
        said = self._expect_bundle("committed")
        return f"{words}; {said['words']}"

    def _come_back(self) -> str:
        self._plug("1.2")
        self._expect_bundle("accepted")
        self.machine.unplug()  # The agent has a copy; the next start is not to find it again.
        self.machine.wait("GRUB: starts root-a", LONG)
        panic = self.machine.wait("Kernel panic - (.*)", START)
        words = self._expect_version("1.1", "root-b")
        said = self._expect_bundle("rolled_back")
        if said["rule"] != "fell_back":
            raise RuntimeError(f"Expected the rule fell_back, got {said['rule']}.")
        return f"{panic[1][:60]}; {words}; {said['words']}"

    def _refuse(self) -> str:
        words = []
        for stick, rule in (("1.0", "rollback_timestamp"), ("1.0 again", "older_counter")):
            self._plug(stick)
            said = self._expect_bundle("refused")
            if said["rule"] != rule:
                raise RuntimeError(f"Expected the rule {rule}, got {said['rule']}.")
            words.append(f"{rule}: {said['words']}")
        return "; ".join(words)

    def _verify(self) -> str:
        self.machine.cut_power()
        found = read_reports(self.machine.disk, self.builder.layout, self.people)
        wanted = [
            ("1.1", "accepted"), ("1.1", "installed"), ("1.1", "committed"),
            ("1.2", "accepted"), ("1.2", "rolled_back"), ("1.0", "refused"), ("1.0", "refused"),
        ]  # fmt: skip
        said = [(report.version, report.outcome) for report in found]
        if said != wanted:
            raise RuntimeError(f"Expected {wanted}, got {said}.")
        return f"{len(found)} reports, each under the machine's identity key"

    # --- what they are made of

    def _plug(self, name: str) -> None:
        self.machine.unplug()
        stick = self.bundles[name].with_suffix(".stick")
        make_stick(stick, self.bundles[name])
        self.machine.plug(stick)

    def _expect_version(self, version: str, slot: str, seconds: float = START) -> str:
        found = self.machine.wait(r"machine: (version (\S+) in (\S+), .*)", seconds)
        if (found[2], found[3].rstrip(",")) != (version, slot):
            raise RuntimeError(f"Expected version {version} in {slot}, got {found[1]}.")
        return found[1]

    def _expect_bundle(self, state: str, seconds: float = LONG) -> dict[str, Any]:
        """Return what the agent says of a bundle once it says this; another end is an error."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.machine.wait(r"bundle: (\{.*\})", deadline - time.monotonic())
            said: dict[str, Any] = json.loads(found[1])
            if said["state"] == state:
                return said
            if said["state"] in ("committed", "rolled_back", "refused", "failed"):
                raise RuntimeError(f"Expected {state}, got {re.sub(' +', ' ', found[1])}.")

    def _look_at_slot(self, name: str) -> bytes:
        with self.machine.disk.open("rb") as disk:
            disk.seek(self.builder.layout.find(name).start_bytes + CUT_AFTER_MIB * MIB)
            return disk.read(4096)
