"""Generated permissions ahead, clocks and histories, against an oracle of a few lines."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.access_world import FILES, LOGS, PAGE, TERMINAL, AccessWorld
from tests.standing_world import HOUR_MS, Ahead
from tests.trust_world import NOW_MS

from fleetward.device.access.standing_kept import MOST_SERIES, KeptStanding
from fleetward.trust.canonical import encode
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.grants.entry import Moment, verify_entry
from fleetward.trust.grants.grant import Situation
from fleetward.trust.grants.standing import Standing, Window, verify_standing

SCOPES = (TERMINAL, PAGE, LOGS, FILES)
WORLD = AccessWorld.make()
AHEAD = Ahead(WORLD)


@st.composite
def window_lists(draw: st.DrawFn) -> tuple[Window, ...]:
    """Draw one to six windows that are apart, from now on."""
    at, windows = NOW_MS, []
    for _ in range(draw(st.integers(1, 6))):
        begin = at + draw(st.integers(0, 48)) * HOUR_MS
        at = begin + draw(st.integers(1, 24)) * HOUR_MS
        windows.append(Window(begin, at))
    return tuple(windows)


def reason_of(entry: bytes, moment: Moment, standing: Standing, asked: tuple[object, ...]) -> str:
    try:
        verify_entry(entry, moment, standing, *asked)  # type: ignore[arg-type]
    except FleetwardError as e:
        return e.reason
    return ""


@given(
    windows=window_lists(), place=st.integers(0, 7), last_used=st.integers(-1, 6),
    hours=st.integers(-2, 300), signed=st.integers(-2, 300), doubt=st.sampled_from(["", "why"]),
    pressed=st.booleans(), lease=st.sampled_from([0, 60]),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_a_window_opens_when_the_oracle_says_so(
    windows: tuple[Window, ...],
    place: int,
    last_used: int,
    hours: int,
    signed: int,
    doubt: str,
    pressed: bool,
    lease: int,
) -> None:
    standing = AHEAD.standing(windows=windows)
    request = WORLD.request(seconds=3600)
    offer = WORLD.offer(request)
    now, signed_ms = NOW_MS + hours * HOUR_MS, NOW_MS + signed * HOUR_MS
    here = Situation(WORLD.trust.policy, WORLD.boot, now, lease, sandboxed=True)
    moment = Moment(here, last_used, signed_ms, doubt, pressed=pressed)
    entry = AHEAD.entry(standing, request, offer, place)
    reason = reason_of(entry, moment, standing, (request, offer))
    good = last_used < place < len(windows) and lease > 0
    if good:
        window = windows[place]
        sure = pressed or (
            not doubt and now >= signed_ms and window.not_before_ms <= now < window.not_after_ms
        )
        good = sure and window.not_after_ms > signed_ms
    assert (reason == "") == good, reason
    if good:
        grant = verify_entry(entry, moment, standing, request, offer)
        window = windows[place]
        length = (window.not_after_ms - window.not_before_ms) // 1000
        assert 1 <= grant.seconds <= min(standing.seconds, request.seconds, length)
        if not pressed:
            assert now + grant.seconds * 1000 <= window.not_after_ms


@given(st.sets(st.sampled_from(SCOPES), min_size=1), st.sets(st.sampled_from(SCOPES), min_size=1))
@settings(max_examples=25, deadline=None)
def test_nothing_wider_than_what_was_allowed(asked: set[object], allowed: set[object]) -> None:
    standing = AHEAD.standing(scopes=tuple(allowed))
    request = WORLD.request(*asked)  # type: ignore[arg-type]
    offer = WORLD.offer(request)
    entry = AHEAD.entry(standing, request, offer)
    reason = reason_of(entry, AHEAD.moment(), standing, (request, offer))
    assert reason == ("" if asked <= allowed else "wider_than_standing")


@given(st.binary(max_size=400))
@settings(max_examples=30, deadline=None)
def test_hostile_bytes_raise_our_own_errors(data: bytes) -> None:
    standing, request = AHEAD.standing(), WORLD.request()
    offer = WORLD.offer(request)
    for raw in (data, encode({"payload": {"type": "fleetward.entry.v1"}, "signatures": []})):
        with pytest.raises(FleetwardError):
            verify_entry(raw, AHEAD.moment(), standing, request, offer)
        with pytest.raises(FleetwardError):
            verify_standing(raw, WORLD.trust.policy)


STEPS = st.one_of(
    st.tuples(st.just("use"), st.integers(0, 2), st.integers(0, 3)),
    st.tuples(st.just("start"), st.just(0), st.just(0)),
    st.tuples(st.just("sign"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("revoke"), st.integers(0, 2), st.just(0)),
)


@given(st.lists(STEPS, max_size=25))
@settings(max_examples=20, deadline=None)
def test_no_window_is_ever_used_twice(steps: list[tuple[str, int, int]]) -> None:
    """Whatever is used, signed, taken back and started again in whatever order."""
    documents = [
        AHEAD.standing(series=bytes([n]) * 16, windows=tuple(
            Window(NOW_MS + i * HOUR_MS, NOW_MS + (i + 1) * HOUR_MS) for i in range(4 + n)))
        for n in range(3)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        kept = KeptStanding(Path(name) / "standing")
        highest, revoked, signed = dict.fromkeys(range(3), -1), set(), 0
        for step, which, window in steps:
            standing = documents[which % 3]
            if step == "use" and kept.last_used(standing.series) < window:
                assert window > highest[which] or standing.windows[-1].not_after_ms <= signed
                kept.use(standing, window)
                highest[which] = max(highest[which], window)
            elif step == "start":
                kept = KeptStanding(Path(name) / "standing")
                assert not kept.damaged
            elif step == "sign":
                signed = max(signed, NOW_MS + which * HOUR_MS)
                kept.note_signed(signed)
            elif step == "revoke":
                kept.revoke(standing.hash, NOW_MS)
                revoked.add(standing.hash)
            for each in documents:
                assert kept.is_revoked(each.hash) == (each.hash in revoked)


def test_a_bound_opens_nothing(tmp_path: Path) -> None:
    kept = KeptStanding(tmp_path / "standing")
    standing = AHEAD.standing()
    for number in range(MOST_SERIES):
        kept.use(AHEAD.standing(series=number.to_bytes(16, "big")), 0)
    with pytest.raises(Refused) as e:
        kept.use(standing, 0)
    assert e.value.reason == "too_many_series"
    kept.use(AHEAD.standing(series=bytes(16)), 1)
