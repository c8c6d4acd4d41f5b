"""One contract, and every installer keeps it: the real program, one place of each kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.agent_world import AgentGround
from tests.installer_rauc_world import RaucGround, has_rauc
from tests.installer_world import (
    DirectoryGround,
    DpkgGround,
    Ground,
    PatchedDirectory,
    PatchedSlots,
    SlotGround,
)

from fleetward.device.updates.installer_words import (
    Back,
    Clear,
    Commit,
    Done,
    Patch,
    Plan,
    Switch,
    Written,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="dpkg installs as root alone")
needs_rauc = pytest.mark.skipif(not has_rauc(), reason="needs root, RAUC and loop devices")
EVERY = [
    pytest.param(DirectoryGround, id="directory"),
    pytest.param(SlotGround, id="file-slot"),
    pytest.param(DpkgGround, id="dpkg", marks=needs_root),
    pytest.param(RaucGround, id="rauc", marks=needs_rauc),
    pytest.param(PatchedDirectory, id="directory-deltas"),
    pytest.param(PatchedSlots, id="file-slot-deltas"),
    pytest.param(AgentGround, id="agent"),
]
TAKE_DELTAS = [EVERY[0], EVERY[1], EVERY[2], EVERY[-1]]
GOOD = Done()


@pytest.fixture(params=EVERY)
def ground(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ground]:
    make: Callable[[Path], Ground] = request.param
    made = make(tmp_path)
    yield made
    made.close()


def test_a_first_release_from_nothing_to_committed(ground: Ground) -> None:
    with ground.begin("1") as session:
        found = session.surveyed
        assert (found.problem, found.rule, found.in_use) == ("", "", "")
        assert [(s.active, s.written) for s in found.slots] == [("", False)]
        assert found.needed_bytes > 0
        assert found.free_bytes > found.needed_bytes
        assert session.write() == Written()
        assert ground.content() == ""
    with ground.begin("1") as session:
        assert [(s.active, s.written) for s in session.surveyed.slots] == [("", True)]
        assert session.do(Switch()) == GOOD
        assert ground.content() == "1"
    with ground.begin("1") as session:
        digest = session.plan.parts[0].sha256
        assert [(s.active, s.written) for s in session.surveyed.slots] == [(digest, False)]
        assert session.do(Commit()) == GOOD
    assert ground.content() == "1"


def test_a_first_release_goes_back_to_nothing(ground: Ground) -> None:
    with ground.begin("1") as session:
        assert session.write() == Written()
        assert session.do(Switch()) == GOOD
        assert ground.content() == "1"
        assert session.do(Back()) == GOOD
        assert ground.content() == ""
        assert session.do(Clear()) == GOOD
    with ground.begin("1") as session:
        assert [(s.active, s.written) for s in session.surveyed.slots] == [("", False)]
    ground.install("1")


def test_a_second_release_goes_back_to_the_first_and_may_come_again(ground: Ground) -> None:
    ground.install("1")
    with ground.begin("2", "1") as session:
        assert session.surveyed.slots[0].active == session.plan.parts[0].before
        assert session.write() == Written()
        assert ground.content() == "1"
        assert session.do(Switch()) == GOOD
        assert ground.content() == "2"
        assert session.do(Back()) == GOOD
        assert ground.content() == "1"
        assert session.do(Clear()) == GOOD
        assert ground.content() == "1"
    ground.install("2", "1")


def test_the_release_before_can_be_installed_again(ground: Ground) -> None:
    ground.install("1")
    ground.install("2", "1")
    ground.install("1", "2")


def test_every_word_may_come_twice(ground: Ground) -> None:
    ground.install("1")
    with ground.begin("2", "1") as session:
        for _ in range(2):
            assert session.write() == Written()
        for _ in range(2):
            assert session.do(Switch()) == GOOD
            assert ground.content() == "2"
        for _ in range(2):
            assert session.do(Back()) == GOOD
            assert ground.content() == "1"
        for _ in range(2):
            assert session.do(Clear()) == GOOD
        assert session.write() == Written()
        assert session.do(Switch()) == GOOD
        for _ in range(2):
            assert session.do(Commit()) == GOOD
            assert ground.content() == "2"
        assert session.do(Clear()) == GOOD
        assert ground.content() == "2"


def test_the_same_release_again_changes_nothing(ground: Ground) -> None:
    ground.install("1")
    was = ground.listing()
    with ground.begin("1", "1") as session:
        assert session.surveyed.slots[0].active == session.plan.parts[0].sha256
        assert session.write() == Written()
        assert session.do(Switch()) == GOOD
        assert session.do(Back()) == GOOD
        assert session.do(Clear()) == GOOD
        assert session.do(Commit()) == GOOD
    assert ground.listing() == was
    assert ground.content() == "1"


def test_words_that_do_not_fit_change_nothing(ground: Ground) -> None:
    ground.install("1")
    was = ground.listing()
    with ground.begin("2", "1") as session:
        assert session.do(Switch()).rule == "not_written"
        assert session.do(Commit()).rule == "not_active"
        assert session.do(Back()) == GOOD
        assert session.do(Clear()) == GOOD
    assert ground.listing() == was


def test_bytes_that_are_not_the_part_change_nothing(ground: Ground) -> None:
    ground.install("1")
    was = ground.listing()
    with ground.begin("2", "1") as session:
        blob = session.blob
        assert session.write(blob[:-1] + bytes([blob[-1] ^ 1])).rule == "wrong_hash"
        assert session.write(blob[:-1]).rule == "wrong_length"
        assert session.write(b"").rule == "wrong_length"
        assert ground.listing() == was
        # And the right ones are still taken, out of the middle of a longer file too.
        word = msgspec.structs.replace(session.word, offset=1000)
        found = session.answer(word, bytes(1000) + blob + b"more")
        assert found == Written()


def test_a_delta_that_nobody_vouches_for_changes_nothing(ground: Ground) -> None:
    """Without its SHA-256 none is applied; of RAUC's bundles none is, whatever is said."""
    ground.install("1")
    was = ground.listing()
    with ground.begin("2", "1") as session:
        before = session.plan.parts[0].before
        word, delta = ground.delta("2", "1")
        bare = Patch("part", before, len(delta))
        assert session.answer(bare, delta).rule == "no_delta"
        if ground.kind == "rauc":
            assert session.answer(word, delta).rule == "no_delta"
        assert ground.listing() == was
        assert session.write() == Written()


@pytest.mark.parametrize("ground", TAKE_DELTAS, indirect=True)
def test_deltas_out_of_nothing_and_from_what_is_active(ground: Ground) -> None:
    before = ""
    for version in "123":
        with ground.begin(version, before) as session:
            [slot] = session.surveyed.slots
            assert slot.is_source == (before != "")
            assert session.answer(*ground.delta(version, before)) == Written()
            assert ground.content() == before
            assert session.do(Switch()) == GOOD
            assert ground.content() == version
            if before:
                assert session.do(Back()) == GOOD
                assert ground.content() == before
                assert session.do(Clear()) == GOOD
                assert session.answer(*ground.delta(version, before)) == Written()
                assert session.do(Switch()) == GOOD
            assert session.do(Commit()) == GOOD
        before = version
    # Nor is what lies there for going back lost, or the one after taken for a source.
    ground.install("2", "3")


@pytest.mark.parametrize("ground", TAKE_DELTAS, indirect=True)
def test_a_source_that_differs_in_one_byte_changes_nothing(ground: Ground) -> None:
    ground.install("1")
    ground.spoil_source()
    was = ground.listing()
    with ground.begin("2", "1") as session:
        assert session.answer(*ground.delta("2", "1")).rule == "wrong_source"
        assert ground.listing() == was
        assert session.do(Switch()).rule == "not_written"
        # What needs no source still comes, packed.
        assert session.answer(*ground.delta("2")) == Written()
        assert session.do(Switch()) == GOOD
        assert session.do(Commit()) == GOOD
    assert ground.content() == "2"


@pytest.mark.parametrize("ground", TAKE_DELTAS, indirect=True)
def test_a_delta_from_what_is_not_active_changes_nothing(ground: Ground) -> None:
    ground.install("1")
    ground.install("2", "1")
    was = ground.listing()
    with ground.begin("3", "2") as session:
        assert session.answer(*ground.delta("3", "1")).rule == "no_delta"
        assert ground.listing() == was


@pytest.mark.parametrize("ground", TAKE_DELTAS, indirect=True)
def test_a_signed_delta_that_makes_another_part_is_not_believed(ground: Ground) -> None:
    ground.install("1")
    with ground.begin("2", "1") as session:
        for word, delta in (ground.delta("3", "1"), ground.delta("3")):
            found = session.answer(word, delta)
            assert found.rule in ("wrong_hash", "wrong_length")
            assert ground.content() == "1"
            assert session.do(Switch()).rule == "not_written"
    with ground.begin("2", "1") as session:
        assert [s.written for s in session.surveyed.slots] == [False]
        assert session.write() == Written()
        assert session.do(Switch()) == GOOD


def test_a_machine_in_use_is_not_switched_and_says_why(ground: Ground) -> None:
    ground.install("1")
    ground.in_use.write_text("a patient is attached\nmore\n")
    with ground.begin("2", "1") as session:
        assert session.surveyed.in_use == "a patient is attached"
        assert session.write() == Written()
        done = session.do(Switch())
        assert done.rule == "in_use"
        assert "a patient is attached" in done.problem
        assert ground.content() == "1"
        ground.in_use.unlink()
        assert session.do(Switch()) == GOOD
        assert ground.content() == "2"
        # From here on going back and staying are as little of a disturbance as can be.
        ground.in_use.write_text("")
        assert session.do(Switch()) == GOOD
        assert session.do(Back()) == GOOD
        assert ground.content() == "1"


def test_places_that_do_not_fit(ground: Ground) -> None:
    others = {
        "directory": "file-slot",
        "file-slot": "directory",
        "dpkg": "directory",
        "rauc": "dpkg",
        "agent": "directory",
    }
    part = ground.part("1")
    with ground.begin("1", place="elsewhere") as session:
        assert session.surveyed.rule == "unknown_place"
        assert session.write().rule == "unknown_place"
        assert session.do(Switch()).rule == "unknown_place"
        assert session.do(Back()).rule == "unknown_place"
    with ground.begin("1", installer=others[ground.kind]) as session:
        assert session.surveyed.rule == "wrong_installer"
        assert session.write().rule == "wrong_installer"
    if ground.kind != "agent":
        with ground.begin("1", installer="agent") as session:
            assert session.surveyed.rule == "wrong_installer"
    twice = Plan("kiosk", (part, type(part)("two", part.installer, "place", "00" * 32, 1)))
    with ground.plan(twice, b"") as session:
        assert session.surveyed.rule == "place_twice"
    ground.places.write_text("places = 1")
    with ground.begin("1") as session:
        assert session.surveyed.rule == "places_damaged"
        assert session.write().rule == "places_damaged"
        assert session.do(Clear()).rule == "places_damaged"
    assert ground.content() == ""
