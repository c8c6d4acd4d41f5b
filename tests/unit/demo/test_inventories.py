"""The fixtures are what a collector could have sent, and what they play follows the time of day."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from fleetward.demo.cast import STRAY, make_cast
from fleetward.demo.inventories import FOLDER, STILL, Play, inventory_at, read_fixture
from fleetward.demo.machine import ScriptedMachine, make_seat
from fleetward.device.posture.changes import describe_changes
from fleetward.runtime.clock import SystemClock
from fleetward.wire.posture import Socket, decode_inventory, encode_inventory, summarize

MINUTE_MS = 60_000
PORT = Socket(proto="tcp", address="192.0.2.10", port=8081, exposure="lan", process="kiosk")
PLAY = Play(PORT, every_minutes=5, open_minutes=1, package="app", upgrade_minutes=7)


class SetClock(SystemClock):
    """A clock whose wall a test sets."""

    now_ms = 0

    def wall_ms(self) -> int:
        return self.now_ms


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_every_fixture_is_an_inventory_that_travels(path: Path) -> None:
    inventory = read_fixture(path.stem)
    assert decode_inventory(encode_inventory(inventory)) == inventory
    assert summarize(inventory).packages


def test_every_machine_of_the_cast_has_a_fixture_and_says_that_it_is_simulated() -> None:
    cast = (*make_cast(40), STRAY)
    assert {member.fixture for member in cast} == {path.stem for path in FOLDER.glob("*.json")}
    assert all(member.facts.simulated for member in cast)


def test_a_larger_cast_begins_with_the_smaller_one_and_repeats_no_name() -> None:
    large = make_cast(60)
    assert len({member.slug for member in large}) == 60
    assert all(make_cast(count) == large[:count] for count in range(61))


def test_the_same_moment_gives_the_same_document() -> None:
    base = read_fixture("ward-kiosk")
    assert inventory_at(base, PLAY, 12_345_678) == inventory_at(base, PLAY, 12_345_678)
    assert inventory_at(base, STILL, 12_345_678) == base


def test_a_port_opens_and_closes_and_the_agent_says_so() -> None:
    base = read_fixture("ward-kiosk")
    open_now = inventory_at(base, PLAY, 0)
    closed = inventory_at(base, PLAY, MINUTE_MS)
    words = [change.words for change in describe_changes(closed, open_now)]
    assert words == ["port 8081 opened by kiosk, reachable from the LAN"]
    assert [c.words for c in describe_changes(open_now, closed)] == ["port 8081 closed"]


def test_a_package_only_ever_goes_up() -> None:
    base = read_fixture("ward-kiosk")
    moments = [inventory_at(base, PLAY, minute * MINUTE_MS) for minute in (1, 8, 16)]
    words = [
        change.words
        for before, after in itertools.pairwise(moments)
        for change in describe_changes(before, after)
    ]
    assert words == ["app upgraded from 4.0 to 4.1", "app upgraded from 4.1 to 4.2"]


def test_a_quick_look_returns_what_was_asked_for_alone(tmp_path: Path) -> None:
    machine = ScriptedMachine(read_fixture("ward-kiosk"), PLAY, SetClock(), tmp_path)
    assert machine.poll() is None
    machine.start(("sockets",))
    collected = machine.poll()
    assert collected is not None
    seen = decode_inventory(collected.document)
    assert seen.packages is None
    assert seen.sockets is not None
    assert PORT in seen.sockets.items
    assert machine.poll() is None


def test_the_watch_notices_ports_and_writes_the_package_list_like_dpkg(tmp_path: Path) -> None:
    clock = SetClock()
    machine = ScriptedMachine(read_fixture("ward-kiosk"), PLAY, clock, tmp_path)
    (listed,) = map(Path, machine.eyes.files)
    before = machine.fingerprint()
    first = listed.read_text()
    clock.now_ms = MINUTE_MS
    assert machine.fingerprint() != before
    assert listed.read_text() == first
    clock.now_ms = 8 * MINUTE_MS
    machine.fingerprint()
    assert listed.read_text() != first


def test_a_simulated_machine_never_claims_a_wall(tmp_path: Path) -> None:
    machine = ScriptedMachine(read_fixture("ward-kiosk"), STILL, SetClock(), tmp_path)
    assert make_seat(SetClock(), machine.eyes, 0.5).wall == "simulated"
