"""The simulated machines of a demo, as one process.

    python -m fleetward.demo.sim_main --plan FILE --devices DIR

Those that have not joined yet join by what the plan says; then each is its machine until SIGTERM.
One that fails is tried again after a while and stops no other.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import signal
import sys
from pathlib import Path
from typing import Final

import msgspec

from fleetward.demo.cast import STRAY, WAITING, Member, make_cast
from fleetward.demo.inventories import read_fixture
from fleetward.demo.machine import ScriptedMachine, make_seat
from fleetward.demo.standing import read_device_id
from fleetward.device.agent import Agent
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.invitation import read_join_string

MAX_PLAN_BYTES: Final = 4 * 1024 * 1024
AGAIN_SECONDS: Final = 10.0
LOOK_SECONDS: Final = 0.2
REFUSED_FILE: Final = "refused.json"
_log: Final = logging.getLogger(__name__)


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many machines, and the join strings of those that have to join, by their folder."""

    machines: int
    joins: dict[str, str]


class Knock(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a join was refused."""

    reason: str
    words: str


def main(argv: list[str] | None = None) -> int:
    """Be the machines until SIGTERM."""
    parser = argparse.ArgumentParser(description="Simulate the machines of a demo.")
    parser.add_argument("--plan", type=Path, required=True)
    parser.add_argument("--devices", type=Path, required=True)
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    try:
        asyncio.run(_play(read_plan(arguments.plan), arguments.devices))
    except FleetwardError as e:
        _log.error("%s", e.message)
        return 1
    return 0


def read_plan(path: Path) -> Plan:
    """Return the plan. Raises `Malformed`."""
    try:
        return msgspec.json.decode(read_bounded(path, MAX_PLAN_BYTES), type=Plan)
    except (msgspec.MsgspecError, UnicodeError) as e:
        raise Malformed(f"Expected a plan in {path}; {e}.", reason="bad_plan") from e


async def _play(plan: Plan, devices: Path) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    machines = [
        asyncio.create_task(_keep(member, devices, plan.joins.get(member.slug, "")))
        for member in make_cast(plan.machines)
    ]
    machines.append(asyncio.create_task(_knock(devices, plan.joins.get(STRAY.slug, ""))))
    await stop.wait()
    for machine in machines:
        machine.cancel()
    await asyncio.gather(*machines, return_exceptions=True)


def make_agent(member: Member, devices: Path) -> Agent:
    """Return the agent of a simulated machine."""
    folder = make_private_directory(devices / member.slug)
    clock = SystemClock()
    script = ScriptedMachine(read_fixture(member.fixture), member.play, clock, folder)
    spread = random.Random(member.slug).random()  # noqa: S311 - spreads load, keeps no secret
    return Agent(folder, make_seat(clock, script.eyes, spread, seed=member.slug))


async def _keep(member: Member, devices: Path, join: str) -> None:
    """Join once, then be the machine; a silent one ends after its first report."""
    while True:
        try:
            agent = make_agent(member, devices)
            first = agent.joined is None
            if first:
                await agent.join(read_join_string(join), member.facts)
            elif member.part == "silent":
                return
            await agent.run(until_settled=member.part == "silent")
        except FleetwardError as e:
            _log.warning("%s: %s", member.slug, e.message)
        except Exception:  # noqa: BLE001 - one machine's failure is said, and stops no other
            _log.exception("%s failed", member.slug)
        else:
            return
        await asyncio.sleep(AGAIN_SECONDS)


async def _knock(devices: Path, join: str) -> None:
    """Try to join by an invitation that the waiting machine has used up; keep the refusal."""
    if not join:
        return
    while not read_device_id(devices / WAITING.slug):
        await asyncio.sleep(LOOK_SECONDS)
    agent = make_agent(STRAY, devices)
    while True:
        try:
            await agent.join(read_join_string(join), STRAY.facts)
        except Refused as e:
            knock = Knock(e.reason, e.message)
            atomic_write(devices / STRAY.slug / REFUSED_FILE, msgspec.json.encode(knock))
        except FleetwardError as e:
            _log.warning("%s: %s", STRAY.slug, e.message)
            await asyncio.sleep(AGAIN_SECONDS)
            continue
        return


if __name__ == "__main__":
    raise SystemExit(main())
