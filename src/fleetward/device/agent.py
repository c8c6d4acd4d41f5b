"""A whole machine in one process: guard, uplink and the clock between them.

For simulated machines and tests. It is the code of a real machine without the wall between its two
halves, and says so: its wall is never `uid`.

    agent = Agent(folder, seat)
    await agent.join(join_string, facts)      # once; joining again changes nothing
    await agent.run()                         # until cancelled
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from fleetward.device.direct import DirectPort
from fleetward.device.guard_core import GuardCore, Seat
from fleetward.device.identity.join import Joining, Newcomer, check_same_owner
from fleetward.device.identity.joined import GuardFiles, Joined
from fleetward.device.identity.transport import Transport, get_kit
from fleetward.device.status import hold_folder
from fleetward.device.uplink import Timing, UplinkSession
from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import Misuse
from fleetward.trust.invitation import JoinString
from fleetward.trust.statements import MachineFacts


class Agent:
    """One machine. `folder` is its data directory."""

    def __init__(self, folder: Path, seat: Seat, timing: Timing | None = None) -> None:
        self._guard_folder = make_private_directory(folder / "guard")
        self._uplink_folder = make_private_directory(folder / "uplink")
        self._seat = seat
        self._timing = timing
        self.core: GuardCore | None = None

    @property
    def joined(self) -> Joined | None:
        """Whom the machine obeys, or None."""
        return GuardFiles(self._guard_folder).read_joined()

    async def join(self, join: JoinString, facts: MachineFacts) -> Joined:
        """Join the owner of the join string. Raises the families of `trust.errors`."""
        known = self.joined
        if known is not None:
            check_same_owner(known, join)
            return known
        joining = Joining(
            self._guard_folder, join, Newcomer(facts, self._seat.boot), self._seat.clock
        )
        port = DirectPort(joining)
        await Transport(self._uplink_folder).enrol(port, await get_kit(port))
        if joining.joined is None:
            raise Misuse("Joining ended without an owner.", reason="join_incomplete")
        return joining.joined

    async def run(self, *, until_settled: bool = False) -> None:
        """Be the machine until cancelled, or until everything is looked at, sent and proven.

        Raises `Refused` when another process is this machine already.
        """
        with hold_folder(self._guard_folder):
            await self._run(until_settled=until_settled)

    async def _run(self, *, until_settled: bool) -> None:
        core = self.core = GuardCore(self._guard_folder, self._seat)
        port = DirectPort(core)
        core.call_on_news(port.wake)
        uplink = asyncio.create_task(UplinkSession(port, self._uplink_folder, self._timing).run())
        longest_ms = 100 if until_settled else 60_000
        try:
            while not uplink.done() and not (until_settled and core.settled):
                delay_ms = core.tick()
                # What uplink brings can settle the machine between two ticks.
                await asyncio.wait({uplink}, timeout=min(delay_ms, longest_ms) / 1000)
            if uplink.done():
                uplink.result()
        finally:
            uplink.cancel()
            await asyncio.gather(uplink, return_exceptions=True)
            core.close()
