"""Whether the clock is synchronised, as the kernel says it; and how long a doubt lasts."""

from __future__ import annotations

from tests.unit.device.device_world import HeldClock

from fleetward.device.kernel_clock import MachineClock, SynchronisedClock
from fleetward.device.state import GuardState
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import SystemClock


def test_the_kernel_is_asked_and_nothing_is_set() -> None:
    clock = MachineClock()
    before = clock.wall_ms() - clock.boottime_ms()
    assert clock.is_synchronised() in (True, False)
    assert abs(clock.wall_ms() - clock.boottime_ms() - before) < 1000


def test_a_clock_that_cannot_say_counts_as_none() -> None:
    assert not isinstance(SystemClock(), SynchronisedClock)
    time = Timekeeper(SystemClock(), GuardState(), "boot-1")
    assert "no time source" in time.clock_doubt()


def test_a_machine_without_a_battery_clock_is_believed_once_it_follows_a_source() -> None:
    clock, state = HeldClock(wall=0, synchronised=False), GuardState()
    time = Timekeeper(clock, state, "boot-1")
    time.observe()
    assert time.clock_doubt()
    clock.wall += 1_795_000_000_000  # the time program sets it, and the kernel then says so
    clock.synchronised = True
    assert time.clock_doubt() == ""
    clock.pass_ms(60_000)
    clock.wall += 59_000
    assert time.clock_doubt() == ""
    clock.wall += 2_000
    assert "was set by" in time.clock_doubt()
    clock.wall -= 61_000
    assert time.clock_doubt()
    # The same boot, and another start of the agent; then another boot.
    assert Timekeeper(clock, state, "boot-1").clock_doubt()
    assert Timekeeper(clock, state, "boot-2").clock_doubt() == ""
