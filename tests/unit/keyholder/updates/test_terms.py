"""For which machines and when, as a person says it."""

from __future__ import annotations

import pytest
from tests.trust_world import refused
from tests.unit.keyholder.release_scene import ReleaseScene

from fleetward.cli.owner_release_options import read_choice
from fleetward.keyholder.place import Unnamed
from fleetward.keyholder.updates.telling import say_size, say_wait
from fleetward.keyholder.updates.terms import (
    Chosen,
    find_reach,
    make_selector,
    read_moment,
    read_wait,
    read_window,
    read_windows,
)
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_windows import Window
from fleetward.trust.update_windows import read_windows as read_signed

NOW_MS = 1_795_000_000_000


@pytest.mark.parametrize(("text", "window"), [
    ("Mon-Fri 22:00-05:00 Europe/Vienna", Window("Europe/Vienna", (0, 1, 2, 3, 4), 1320, 300)),
    ("  mon,THU   2:00-04:00   UTC ", Window("UTC", (0, 3), 120, 240)),
    ("daily 00:00-24:00 UTC", Window("UTC", tuple(range(7)), 0, 1440)),
    ("Fri-Mon 01:00-01:00 UTC", Window("UTC", (0, 4, 5, 6), 60, 60)),
    ("Sun,Mon-Tue 23:59-00:00 UTC", Window("UTC", (0, 1, 6), 1439, 0)),
])  # fmt: skip
def test_windows_are_read_as_people_say_them(text: str, window: Window) -> None:
    assert read_window(text) == window
    assert read_signed([window.to_json()]) == (window,)


@pytest.mark.parametrize("text", [
    "", "Mon 22:00-05:00", "22:00-05:00 UTC", "Mon 22-5 UTC", "Foo 1:00-2:00 UTC",
    "Mon- 1:00-2:00 UTC", "Mon-Tue-Wed 1:00-2:00 UTC", "Mon 24:00-05:00 UTC",
    "Mon 1:60-2:00 UTC", "Mon 1:00-24:01 UTC", "Monday 1:00-2:00 UTC",
])  # fmt: skip
def test_other_windows_are_refused_in_words(text: str) -> None:
    with refused(Malformed, "bad_window"):
        read_window(text)


def test_a_zone_that_nobody_knows_is_refused() -> None:
    for zone in ("Atlantis", "../etc/localtime", "Europe"):
        with refused(Malformed, "bad_zone"):
            read_window(f"Mon 1:00-2:00 {zone}")


def test_windows_count_once_and_have_a_bound() -> None:
    assert len(read_windows(["Mon 1:00-2:00 UTC", "mon 01:00-02:00 UTC"])) == 1
    with refused(Malformed, "bad_window"):
        read_windows([f"Mon 1:{n:02}-2:00 UTC" for n in range(17)])


@pytest.mark.parametrize(("text", "moment"), [
    ("90d", NOW_MS + 90 * 86_400_000), ("2w", NOW_MS + 14 * 86_400_000), ("0s", NOW_MS),
    ("2026-12-01", 1_796_083_200_000), ("2026-12-01T02:00", 1_796_090_400_000),
    ("2026-12-01 02:00", 1_796_090_400_000), ("2026-12-01T02:00+01:00", 1_796_086_800_000),
    ("2026-12-01T02:00:30Z", 1_796_090_430_000),
])  # fmt: skip
def test_times(text: str, moment: int) -> None:
    assert read_moment(text, NOW_MS) == moment


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "2026-12-01T25:00", "1960-01-01",
                                  "20261201", "12:00", "-3d", "3", "9999999d"])  # fmt: skip
def test_other_times_are_refused_in_words(text: str) -> None:
    with refused(Malformed, "bad_time"):
        read_moment(text, NOW_MS)


def test_a_wait_is_a_length() -> None:
    assert (read_wait("3d"), read_wait("0s")) == (259_200, 0)
    assert (say_wait(259_200), say_wait(0), say_wait(3600)) == ("3 days", "0 s", "1 h")
    for text in ("", "3", "-3d", "3 days", "d"):
        with refused(Malformed, "bad_length"):
            read_wait(text)


def test_what_is_chosen_becomes_one_selector() -> None:
    assert make_selector(Chosen(everything=True)) == Selector()
    chosen = Chosen(groups=("b", "a", "b"), sites=("Hall",))
    assert make_selector(chosen) == Selector(groups=("a", "b"), sites=("Hall",))
    assert read_selector(make_selector(chosen).to_json()) == make_selector(chosen)
    for bad in (
        Chosen(), Chosen(everything=True, groups=("a",)), Chosen(devices=("a" * 32,), sites=("b",)),
        Chosen(groups=("",)), Chosen(groups=tuple(str(n) for n in range(65))),
        Chosen(devices=tuple(str(n) for n in range(1001))),
    ):  # fmt: skip
        with refused(Malformed, "bad_selector"):
            make_selector(bad)


def test_what_a_person_types_when_asked(scene: ReleaseScene) -> None:
    documents = scene.desk.documents()
    assert read_choice(documents, "all\n") == Chosen(everything=True)
    assert read_choice(documents, " group ward 3 \n") == Chosen(groups=("ward 3",))
    assert read_choice(documents, "site Hall") == Chosen(sites=("Hall",))
    assert read_choice(documents, "model Kiosk 12") == Chosen(models=("Kiosk 12",))
    ids = tuple(scene.machines[name].device for name in ("kiosk-1", "pump-7"))
    assert read_choice(documents, "kiosk-1, pump-7\n") == Chosen(devices=ids)
    with refused(Unnamed, "no_machines"):
        read_choice(documents, "\n")
    with refused(Refused, "not_on_roster"):
        read_choice(documents, "all of them\n")


def test_reach_counts_active_machines_of_the_roster(scene: ReleaseScene) -> None:
    scene.desk.retire(scene.machines["kiosk-2"].device)
    entries = scene.desk.documents().entries
    reach = find_reach(Selector(groups=("ward-3",)), entries, ("Pump P7",))
    assert [entry.name for entry in reach.selected] == ["kiosk-1"]
    assert reach.others == 1 and len(reach.wrong_hardware) == 1
    assert find_reach(Selector(), entries).others == 0


def test_sizes_are_rough() -> None:
    sizes = (0, 999, 1000, 3_400_000, 2_000_000_000)
    assert [say_size(n) for n in sizes] == ["0 B", "999 B", "1.0 kB", "3.4 MB", "2.0 GB"]
