"""Windows as people say them, in time zones whose clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from fleetward.keyholder.access.window_times import (
    find_zone,
    join_windows,
    say_window,
    single_window,
    weekly_windows,
)
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.standing import Window

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def spans(windows: list[Window]) -> list[str]:
    return [
        f"{datetime.fromtimestamp(w.not_before_ms / 1000, UTC):%m-%d %H:%M}-"
        f"{datetime.fromtimestamp(w.not_after_ms / 1000, UTC):%H:%M}"
        for w in windows
    ]


def reason_of(*given: object) -> str:
    with pytest.raises(FleetwardError) as e:
        weekly_windows(*given)  # type: ignore[arg-type]
    return e.value.reason


def test_a_weekly_window_keeps_its_local_hour_over_the_change_of_the_clocks() -> None:
    now = ms("2027-03-22T12:00")
    windows = weekly_windows("Tue 02:00-04:00", 2, BERLIN, now)
    assert spans(windows) == ["03-23 01:00-03:00", "03-30 00:00-02:00"]
    assert say_window(windows[0], "Europe/Berlin") == (
        "Tue 2027-03-23 02:00-04:00 CET (Tue 2027-03-23 01:00-03:00 UTC)"
    )
    assert "CEST" in say_window(windows[1], "Europe/Berlin")
    assert say_window(windows[0], "UTC") == "Tue 2027-03-23 01:00-03:00 UTC"
    assert say_window(windows[0], "../../etc/passwd") == "Tue 2027-03-23 01:00-03:00 UTC"


def test_an_hour_that_does_not_exist_is_refused_and_can_be_left_out() -> None:
    now = ms("2027-03-22T12:00")
    assert reason_of("Sun 02:30-04:00", 2, BERLIN, now) == "no_such_hour"
    assert reason_of("Sun 01:00-02:30", 2, BERLIN, now) == "no_such_hour"
    left = weekly_windows("Sun 02:30-04:00", 2, BERLIN, now, {date(2027, 3, 28)})
    assert spans(left) == ["04-04 00:30-02:00"]


def test_of_an_hour_that_comes_twice_the_first_is_meant() -> None:
    window = single_window("2027-10-31T02:30", 3600, BERLIN)
    assert spans([window]) == ["10-31 00:30-01:30"]
    over = single_window("2027-10-31T01:00-04:00", 0, BERLIN)
    assert spans([over]) == ["10-30 23:00-03:00"]


def test_today_counts_when_it_is_still_ahead() -> None:
    tuesday = ms("2026-12-01T01:30")
    assert spans(weekly_windows("Tue 02:00-04:00", 2, ZoneInfo("UTC"), tuesday)) == [
        "12-01 02:00-04:00", "12-08 02:00-04:00",
    ]  # fmt: skip
    later = ms("2026-12-01T02:30")
    assert spans(weekly_windows("tuesday 02:00-04:00", 2, ZoneInfo("UTC"), later)) == [
        "12-08 02:00-04:00", "12-15 02:00-04:00",
    ]  # fmt: skip


def test_several_days_and_over_midnight() -> None:
    now = ms("2026-12-01T12:00")
    windows = weekly_windows("Mon,Thu 22:00-02:00", 1, ZoneInfo("UTC"), now)
    assert spans(windows) == ["12-03 22:00-02:00", "12-07 22:00-02:00"]
    assert len(weekly_windows("daily 03:00-04:00", 2, ZoneInfo("UTC"), now)) == 14


@pytest.mark.parametrize(
    "text",
    ["", "Tue", "Tue 2-4", "Tue 02:00", "Foo 02:00-04:00", "Tue 24:00-25:00", "Tue 02:00-02:60"],
)
def test_what_is_no_window(text: str) -> None:
    assert reason_of(text, 1, BERLIN, 0) == "bad_window"


def test_windows_that_overlap_or_are_none() -> None:
    for windows in ([], [Window(0, 10), Window(9, 20)], [Window(i, i + 1) for i in range(65)]):
        with pytest.raises(FleetwardError) as e:
            join_windows(windows)
        assert e.value.reason == "bad_window"
    assert join_windows([Window(10, 20), Window(0, 10)])[0] == Window(0, 10)
    with pytest.raises(FleetwardError):
        find_zone("/etc/localtime")
    with pytest.raises(FleetwardError):
        single_window("2026-13-01T02:00", 60, BERLIN)
    with pytest.raises(FleetwardError):
        single_window("2026-12-01T02:00", 90_000, BERLIN)
