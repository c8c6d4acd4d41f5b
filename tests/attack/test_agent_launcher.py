"""No older agent by the power switch, no broken one by a full disk or a crash that nobody counts.

The attacker cuts the power at the moment that he chooses, as often as he likes; his release fills
the disk, so that the launcher can write down neither starts nor ends; or he is an uplink that says
what another would say.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.attack.test_agent_update import NEW, OLD, Machine, Stand, asked

from fleetward.device.guard import GuardLoop
from fleetward.device.launcher import main as launcher
from fleetward.device.launcher import store
from fleetward.device.launcher.decide import (
    MOST_BAD_STARTS,
    MOST_STARTS,
    State,
    begin,
    go_back,
    note_end,
)
from fleetward.device.launcher.main import hash_package
from fleetward.device.launcher.store import read_state, state_path, write_state
from fleetward.device.port import GetBatch, GetKit, Note
from fleetward.trust.errors import FleetwardError, Unreachable


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.guard.core.updates.close()


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[Stand]:
    made = Stand(tmp_path)
    made.write_agent(OLD)
    yield made
    made.kill()


def test_the_power_switch_alone_brings_no_older_agent(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power is cut whenever the start is written, before guard or uplink came to a word: one
    was kept, and its maker may have mended there what the older one lets in."""
    stand.write_agent(NEW)
    settled = State(active=NEW, previous=OLD, package=hash_package(), ended="kept")
    write_state(stand.data, settled)
    boots = iter(range(10**6))
    monkeypatch.setattr(launcher, "read_boot", lambda: f"boot {next(boots)}")
    for _ in range(3 * MOST_BAD_STARTS):
        started = launcher._begin(stand.data, read_state(stand.data))
        assert (started.runs, started.starts) == (NEW, 1)
    # As many in one boot are its own doing, wherever the count stood.
    monkeypatch.setattr(launcher, "read_boot", lambda: "one boot")
    for _ in range(MOST_BAD_STARTS):
        assert launcher._begin(stand.data, read_state(stand.data)).runs == NEW
    assert launcher._begin(stand.data, read_state(stand.data)).runs == OLD


def fill_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing new can be written."""

    def refuse(*_: object) -> None:
        raise Unreachable("The disk is full.", reason="disk_refused")

    monkeypatch.setattr(store, "atomic_write", refuse)


@pytest.mark.parametrize("phase", ["trying", "retrying"])
def test_a_full_disk_ends_a_trial_and_leaves_the_old_agent(
    stand: Stand, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    """A new one that fills it, and crashes by it, would be started for ever, uncounted."""
    stand.write_agent(NEW)
    write_state(stand.data, replace(begin(asked()), phase=phase, package=hash_package()))
    fill_disk(monkeypatch)
    for _ in range(3):
        started = launcher._begin(stand.data, read_state(stand.data))
        assert (started.phase, started.runs) == ("settled", OLD)
        found = read_state(stand.data)
        assert (found.runs, found.ended, found.ended_release) == (OLD, "agent_disk_full", NEW)


def test_on_a_full_disk_a_trial_ends_with_what_was_seen(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    trying = begin(asked())
    write_state(stand.data, trying)
    fill_disk(monkeypatch)
    watch = launcher.Watch(stand.data, trying)
    watch._note(note_end(trying, 1))
    for descriptor in (watch._woken, watch._wake):
        os.close(descriptor)
    assert read_state(stand.data).ended == "agent_crashed"
    # That room is there once. What is settled goes on without it, and it is held again later.
    assert launcher._begin(stand.data, read_state(stand.data)).runs == OLD
    monkeypatch.undo()
    write_state(stand.data, trying)
    fill_disk(monkeypatch)
    store.write_last_state(stand.data, go_back(trying, "x", ""))
    assert read_state(stand.data).ended == "x"


def test_without_any_room_the_old_agent_runs_and_stays(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand.write_agent(NEW)
    write_state(stand.data, replace(begin(asked()), package=hash_package()))
    state_path(stand.data).with_name("spare").unlink()
    fill_disk(monkeypatch)
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    for _ in range(MOST_STARTS + 1):
        launcher.main([str(stand.data), launcher.GUARD, "--data", str(stand.data)])
    assert len(commands) == MOST_STARTS + 1
    for command in commands:
        # Told nothing of the launcher, it does not end for the one that the file names.
        assert OLD in " ".join(command) and "--launched" not in command


@pytest.mark.parametrize("asks", [False, True])
def test_what_crashes_in_its_loop_falls_until_uplink_asks(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    """An end by an error is no good end, nor is one before uplink came: only those who reached a
    healthy turn have their starts forgotten."""
    guard = machine.guard
    write_state(machine.data, State(active=NEW, previous=OLD))
    monkeypatch.setattr(GuardLoop, "_take_signals", lambda _: None)
    for _ in range(MOST_BAD_STARTS):
        machine.launch()
        assert machine.runs() == NEW
        if asks:
            guard.core.handle(GetKit(NEW), b"")
            guard.core.tick()
        monkeypatch.setattr(guard.core, "tick", lambda: 1 // 0)
        ours, theirs = socket.socketpair()
        loop = GuardLoop(guard.core, ours, None)
        held = (ours, theirs, loop._signals, loop._signal_in, loop._selector)
        with pytest.raises(ZeroDivisionError):
            loop.run()
        for each in held:
            each.close()
        guard.start()
    machine.launch()
    assert (machine.runs() == NEW) == asks
    assert (read_state(machine.data).ended == "agent_fell") != asks


def test_an_uplink_that_never_said_which_code_it_is_proves_nothing(machine: Machine) -> None:
    """Neither on a connection of its own, nor on the next one after the right uplink's."""
    core = machine.guard.core

    def say_all() -> None:
        core.handle(Note("connected"), b"")
        core.handle(GetBatch(), b"")
        with contextlib.suppress(FleetwardError):
            core.handle(GetKit(NEW), b"")
        core.set_connection("connected")

    say_all()
    assert (core.healthy, core.connected) == (False, False)
    core.handle(GetKit(""), b"")
    assert (core.healthy, core.connected) == (True, True)
    core.lose_uplink()
    assert (core.healthy, core.connected) == (False, False)
    say_all()
    assert (core.healthy, core.connected) == (False, False)
