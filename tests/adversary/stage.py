"""A stage that several attacks share: one estate, one event loop, a fresh machine for each act.

The loop stands still between two tests. Each act runs against a machine of its own, so that one
attack never leans on what another left behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.adversary.estate import Estate, open_estate
from tests.adversary.machine import Belief, FieldMachine
from tests.adversary.thief import Thief


class Stage:
    """An estate with a thief in its server. `run` plays one act."""

    def __init__(self, runner: asyncio.Runner, estate: Estate) -> None:
        self._runner = runner
        self._numbers = itertools.count(1)
        self.estate = estate
        self.thief = Thief(estate)

    def run(self, act: Callable[[], Coroutine[object, object, None]]) -> None:
        """Play one act to its end."""
        self._runner.run(act())

    @asynccontextmanager
    async def machine(self) -> AsyncIterator[FieldMachine]:
        """Have a fresh machine that joined, was confirmed, and has proven all that it wrote."""
        machine = await self.estate.add_machine(f"pump-{next(self._numbers)}")
        try:
            yield machine
        finally:
            await machine.stop()
            self.estate.machines.remove(machine)

    async def expect_refusal(
        self, machine: FieldMachine, before: Belief, refusal: tuple[str, str], since: int = 0
    ) -> None:
        """Wait for a signed refusal behind `since` others, and see that nothing changed."""
        await machine.until(
            lambda: refusal in machine.refusals()[since:],
            f"the machine refuses {refusal}; so far {machine.refusals()[since:]}",
            seconds=45.0,
        )
        assert machine.belief() == before

    async def expect_health(self, machine: FieldMachine) -> None:
        """See that the machine still reports, and is believed, when the lies have ended."""
        last = machine.speak("port 4840 opened by plc")
        await machine.until(
            lambda: machine.core.settled and machine.core.state.acknowledged >= last,
            "the machine reports again",
        )


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Open an estate for several acts."""
    with asyncio.Runner() as runner:
        opened = open_estate(folder)
        estate = runner.run(opened.__aenter__())
        try:
            yield Stage(runner, estate)
        finally:
            runner.run(opened.__aexit__(None, None, None))
