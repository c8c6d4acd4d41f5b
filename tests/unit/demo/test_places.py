"""Whose a folder is: nothing is removed or taken over that a demo did not make."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fleetward.demo.children import Children
from fleetward.demo.places import (
    DemoPlaces,
    claim_folder,
    hold_folder,
    note_staged,
    read_mark,
    stop_other,
    wipe_folder,
)
from fleetward.trust.errors import Refused

HOLDER = """
import sys, time
from pathlib import Path
from fleetward.demo.places import DemoPlaces, hold_folder
with hold_folder(DemoPlaces(Path(sys.argv[1]))):
    print("held", flush=True)
    time.sleep(60)
"""
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]


@pytest.fixture
def places(tmp_path: Path) -> DemoPlaces:
    made = DemoPlaces(tmp_path / "demo")
    claim_folder(made)
    return made


def test_a_new_folder_is_closed_to_others_and_marked(places: DemoPlaces) -> None:
    assert stat.S_IMODE(places.data.stat().st_mode) == 0o700
    assert read_mark(places).staged == ()
    note_staged(places, "vending-kiosk-3")
    claim_folder(places)
    assert read_mark(places).staged == ("vending-kiosk-3",)


def test_a_folder_with_something_else_is_neither_used_nor_wiped(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    for act in (claim_folder, wipe_folder):
        with pytest.raises(Refused) as refused:
            act(DemoPlaces(tmp_path))
        assert refused.value.reason == "not_a_demo"
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_a_mark_that_is_none_protects_the_folder(tmp_path: Path) -> None:
    (tmp_path / "fleetward-demo.json").write_text("not ours")
    with pytest.raises(Refused):
        wipe_folder(DemoPlaces(tmp_path))
    assert (tmp_path / "fleetward-demo.json").exists()


def test_wiping_follows_no_link(places: DemoPlaces, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    (places.data / "link").symlink_to(outside)
    (places.devices / "link").symlink_to(outside)
    wipe_folder(places)
    assert not places.data.exists()
    assert (outside / "kept").exists()


def test_a_second_demo_is_told_of_the_first_and_reset_ends_it(places: DemoPlaces) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(places.data)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(Refused) as refused, hold_folder(places):
            pass
        assert refused.value.reason == "already_running"
        assert f"kill {other.pid}" in refused.value.message
        stop_other(places)
        assert other.wait(10) != 0
        with hold_folder(places):
            assert places.lock.read_text().strip() == str(os.getpid())
    finally:
        other.kill()
        other.communicate()


def test_children_end_in_time_and_say_their_last_words(places: DemoPlaces) -> None:
    children = Children(places.run / "children.json", places.logs)
    sleeper = children.start("sleeper", SLEEPER)
    failing = children.start("failing", [sys.executable, "-c", "raise SystemExit('no disk')"])
    failing.wait(20)
    assert children.take_ended() == ["failing"]
    assert children.take_ended() == []
    assert children.last_words("failing") == "no disk"
    children.stop_all()
    assert sleeper.poll() is not None
    assert not (places.run / "children.json").exists()


def test_leftovers_of_a_start_that_was_killed_are_ended(places: DemoPlaces) -> None:
    record = places.run / "children.json"
    sleeper = Children(record, places.logs).start("sleeper", SLEEPER)
    Children(record, places.logs).stop_leftovers()
    assert sleeper.wait(20) != 0
    assert not record.exists()


def test_a_process_that_took_over_an_old_number_is_left_alone(places: DemoPlaces) -> None:
    record = places.run / "children.json"
    children = Children(record, places.logs)
    sleeper = children.start("sleeper", SLEEPER)
    ticks = record.read_text()
    record.write_text(ticks.replace('"ticks":', '"ticks":1'))
    Children(record, places.logs).stop_leftovers()
    assert sleeper.poll() is None
    children.stop_all()
