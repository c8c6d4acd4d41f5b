"""Approvals of releases and their withdrawal, rule by rule; selectors and windows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from tests.release_manifests import AGENT_RELEASE, MARKED_RELEASE, manifest_bytes
from tests.trust_world import NOW_MS, World, alter, payload_of, refused, resign

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Untrusted
from fleetward.trust.release_approval import (
    APPROVAL_TYPE,
    MAX_WAIT_SECONDS,
    STANDING_TYPE,
    Approval,
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
    verify_approval,
    verify_withdrawal,
)
from fleetward.trust.release_manifest import Manifest, read_manifest
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_windows import LocalTime, Window, is_open, read_windows

WORLD = World.make(("ada", "ben"), thresholds={"approve": 2})
ADA, BEN = WORLD.signers
DAY_MS = 86_400_000
KIOSK = read_manifest(manifest_bytes())
AGENT = read_manifest(manifest_bytes(**AGENT_RELEASE))
MARKED = read_manifest(manifest_bytes(**MARKED_RELEASE))
NIGHT = Window("Europe/Vienna", (0, 4), 22 * 60, 5 * 60)
TERMS = Terms(Selector(groups=("ward-3",)), NOW_MS, NOW_MS + DAY_MS, (NIGHT,), "tested")


def approval(manifest: Manifest = KIOSK, terms: Terms = TERMS) -> bytes:
    payload = make_approval_payload(WORLD.policy, manifest, terms, NOW_MS)
    return seal(payload, [ADA, BEN])


def standing(wait_seconds: int = 3600, terms: Terms = TERMS) -> bytes:
    payload = make_standing_payload(WORLD.policy, "kiosk", terms, wait_seconds, NOW_MS)
    return seal(payload, [ADA, BEN])


def read(data: bytes) -> Approval:
    return verify_approval(data, WORLD.policy)


def changed(data: bytes, **changes: Json) -> bytes:
    return resign(data, changes, [ADA, BEN])


def test_what_was_signed_is_read() -> None:
    one, ahead = read(approval()), read(standing())
    assert (one.product, one.version, one.counter, one.release) == (
        "kiosk", "1.1", 11, KIOSK.hash
    )  # fmt: skip
    assert one.terms == TERMS and one.people == ("ada", "ben") and not one.standing
    assert ahead.standing and ahead.wait_seconds == 3600 and ahead.release == ""


def test_rule_1_the_threshold_of_approve_signs() -> None:
    stranger = World.make(("eve",)).signers[0]
    for signers in ([], [ADA], [ADA, stranger]):
        for data in (approval(), standing()):
            with refused(Untrusted, "too_few_signatures"):
                read(resign(data, {}, signers))
    with refused(Untrusted, "bad_signature"):
        read(alter(approval(), {"reason": "other"}))


def test_rule_1_for_this_owner_and_epoch() -> None:
    for data in (approval(), standing()):
        with refused(Untrusted, "another_owner"):
            read(changed(data, owner="00" * 32))
        with refused(Untrusted, "old_epoch"):
            read(changed(data, epoch=2))
    with refused(Malformed, "wrong_type"):
        read(WORLD.invitation().raw)


def test_rule_2_one_release_by_its_hash_or_a_product_after_a_wait() -> None:
    other = read_manifest(manifest_bytes("kiosk", "1.1", 11, notes="Another."))
    elsewhere = read_manifest(manifest_bytes("pump", "1.1", 11))
    one, ahead = read(approval()), read(standing())
    assert one.names(KIOSK) and not one.names(other) and not one.names(elsewhere)
    assert ahead.names(KIOSK) and ahead.names(other) and not ahead.names(elsewhere)
    known = NOW_MS + 1000
    assert one.opens_at_ms(known) == NOW_MS
    assert ahead.opens_at_ms(known) == known + 3_600_000
    assert not ahead.allows(KIOSK, known, known + 3_599_999)
    assert ahead.allows(KIOSK, known, known + 3_600_000)
    assert ahead.opens_at_ms(NOW_MS - 10 * DAY_MS) == NOW_MS


def test_rule_3_from_when_to_when() -> None:
    one = read(approval())
    assert not one.allows(KIOSK, 0, NOW_MS - 1) and one.allows(KIOSK, 0, NOW_MS)
    assert one.allows(KIOSK, 0, NOW_MS + DAY_MS - 1)
    assert not one.allows(KIOSK, 0, NOW_MS + DAY_MS)
    for ends in (NOW_MS, NOW_MS - 1):
        with refused(Malformed, "bad_field"):
            read(changed(approval(), not_after=ends))


@pytest.mark.parametrize("agent", [AGENT, MARKED], ids=["its own part", "a mark"])
def test_rule_4_the_agent_takes_an_approval_of_its_very_release(agent: Manifest) -> None:
    assert read(approval(agent)).names(agent) and read(approval(agent)).agent
    assert not read(standing()).names(agent)
    assert not read(changed(approval(agent), agent=False)).names(agent)
    with pytest.raises(Malformed):
        read(changed(standing(), agent=True))


def test_rule_5_any_one_of_them_takes_it_back() -> None:
    digest = read(approval()).hash
    payload = make_withdrawal_payload(WORLD.policy, digest, "fails", NOW_MS)
    for signer, person in ((ADA, "ada"), (BEN, "ben")):
        found = verify_withdrawal(seal(payload, [signer]), WORLD.policy)
        assert (found.approval, found.person, found.reason) == (digest, person, "fails")
    stranger = World.make(("eve",)).signers[0]
    for signers in ([], [stranger]):
        with refused(Untrusted, "too_few_signatures"):
            verify_withdrawal(seal(payload, signers), WORLD.policy)
    lies: list[tuple[JsonObject, type[FleetwardError]]] = [
        ({"owner": "00" * 32}, Untrusted), ({"epoch": 2}, Untrusted),
        ({"approval": "x"}, Malformed), ({"reason": "x" * 201}, Malformed),
        ({"more": 1}, Malformed),
    ]  # fmt: skip
    for lie, family in lies:
        with pytest.raises(family):
            verify_withdrawal(seal({**payload, **lie}, [ADA]), WORLD.policy)
    with refused(Malformed, "wrong_type"):
        verify_withdrawal(resign(approval(), {}, [ADA]), WORLD.policy)
    with pytest.raises(Malformed):
        read(seal(payload, [ADA, BEN]))


def test_rule_6_an_approval_says_nothing_of_going_back() -> None:
    """There is no field for it: the machine's own floor decides, in `releases.meeting`."""
    for kind in ("downgrade", "force", "least_counter"):
        with refused(Malformed, "unknown_field"):
            read(changed(approval(), **{kind: True}))


@pytest.mark.parametrize("changes", [
    {"release": "x"}, {"release": ""}, {"version": ""}, {"counter": 0}, {"agent": 1},
    {"product": "A"}, {"reason": "x" * 201}, {"reason": "\u202e"}, {"windows": {}},
    {"windows": [NIGHT.to_json()] * 17}, {"selector": None}, {"selector": "every"},
    {"issued_at": -1}, {"not_before": "now"}, {"wait_seconds": 1},
], ids=lambda changes: str(changes)[:40])  # fmt: skip
def test_fields_have_bounds(changes: dict[str, Any]) -> None:
    payload = payload_of(approval()) | changes
    kept = {name: value for name, value in payload.items() if value is not None}
    with pytest.raises(Malformed):
        read(seal(kept, [ADA, BEN]))


@pytest.mark.parametrize("wait", [-1, MAX_WAIT_SECONDS + 1, "1", True])
def test_a_wait_has_bounds(wait: Any) -> None:
    with pytest.raises(Malformed):
        read(changed(standing(), wait_seconds=wait))


def test_types_are_not_exchanged() -> None:
    for data, kind in ((approval(), STANDING_TYPE), (standing(), APPROVAL_TYPE)):
        with pytest.raises(Malformed):
            read(changed(data, type=kind))


# --- selectors


def entry(**said: Any) -> Any:
    machine = WORLD.machine("kiosk 1")
    return replace(machine.entry(), **said)


def test_a_selector_reads_what_the_owner_signed_of_a_machine() -> None:
    one = entry(groups=("a", "b"), model="K", site="Hall")
    assert Selector().selects(one)
    assert Selector(devices=(one.device,)).selects(one)
    assert not Selector(devices=("a" * 32,)).selects(one)
    assert Selector(groups=("b", "z"), models=("K",), sites=("Hall",)).selects(one)
    for changes in ({"groups": ("z",)}, {"models": ("L",)}, {"sites": ("Yard",)}):
        wanted = replace(Selector(groups=("b",), models=("K",), sites=("Hall",)), **changes)
        assert not wanted.selects(one)
    assert not Selector(groups=("a",)).selects(entry(groups=()))


def test_a_selector_has_one_spelling() -> None:
    for selector in (
        Selector(), Selector(devices=("a" * 32, "b" * 32)),
        Selector(groups=("a", "b"), models=("K",)), Selector(sites=("",)),
    ):  # fmt: skip
        assert read_selector(selector.to_json()) == selector
        assert selector.words()
    empty: JsonObject = {"devices": [], "groups": [], "models": [], "sites": []}
    lies: list[Json] = [
        "All", "", 1, True, [], {}, empty, {**empty, "devices": ["b" * 32, "a" * 32]},
        {**empty, "devices": ["a" * 32, "a" * 32]}, {**empty, "devices": ["x"]},
        {**empty, "devices": ["a" * 32], "groups": ["a"]}, {**empty, "groups": ["b", "a"]},
        {**empty, "groups": [str(n) for n in range(65)]}, {**empty, "more": []},
        {**empty, "groups": [1]}, {**empty, "sites": ["\x1b"]},
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(Malformed):
            read_selector(lie)


# --- windows


def local(at: datetime) -> Any:
    def there(zone: str) -> LocalTime:
        here = at.astimezone(ZoneInfo(zone))
        return LocalTime(here.weekday(), here.hour * 60 + here.minute)

    return there


@pytest.mark.parametrize(("at", "is_it"), [
    ("2026-11-23T21:00", True),   # Monday 22:00 in Vienna
    ("2026-11-23T20:59", False),
    ("2026-11-24T03:59", True),   # Tuesday 04:59: Monday's window
    ("2026-11-24T04:00", False),
    ("2026-11-24T21:00", False),  # Tuesday's evening is none
    ("2026-11-28T03:59", True),   # Friday's window, on Saturday
    ("2026-11-23T03:59", False),  # Monday's morning belongs to Sunday
    ("2026-07-06T20:00", True),   # in summer Vienna is an hour further
])  # fmt: skip
def test_a_window_is_of_the_day_on_which_it_begins(at: str, is_it: bool) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert is_open((NIGHT,), local(moment)) is is_it


def test_windows_within_a_day_and_around_it() -> None:
    noon = Window("UTC", (2,), 12 * 60, 13 * 60)
    assert noon.holds(LocalTime(2, 12 * 60)) and not noon.holds(LocalTime(2, 13 * 60))
    assert not noon.holds(LocalTime(3, 12 * 60))
    whole = Window("UTC", (6,), 0, 24 * 60)
    assert whole.holds(LocalTime(6, 0)) and whole.holds(LocalTime(6, 24 * 60 - 1))
    assert not whole.holds(LocalTime(0, 0))
    around = Window("UTC", (6,), 60, 60)
    assert around.holds(LocalTime(6, 60)) and around.holds(LocalTime(0, 59))
    assert not around.holds(LocalTime(0, 60)) and not around.holds(LocalTime(6, 59))


def test_without_windows_it_is_open_and_nobody_is_asked_the_time() -> None:
    def raises(zone: str) -> LocalTime:
        raise AssertionError(zone)

    assert is_open((), raises)


def test_windows_are_read_strictly() -> None:
    good: JsonObject = NIGHT.to_json()
    assert read_windows([good]) == (NIGHT,) and "Mon, Fri 22:00-05:00" in NIGHT.words()
    every = Window("UTC", tuple(range(7)), 0, 1440)
    assert every.words() == "every day 00:00-24:00 UTC"
    lies: list[Json] = [
        1, {}, {**good, "days": []}, {**good, "days": [1, 0]}, {**good, "days": [0, 0]},
        {**good, "days": [7]}, {**good, "days": [-1]}, {**good, "days": [True]},
        {**good, "days": ["0"]}, {**good, "days": 0}, {**good, "from": 1440}, {**good, "from": -1},
        {**good, "to": 1441}, {**good, "zone": ""}, {**good, "zone": "../etc/localtime"},
        {**good, "zone": "/UTC"}, {**good, "zone": "a/b/c/d"}, {**good, "zone": "A" * 101},
        {**good, "more": 1},
    ]  # fmt: skip
    for lie in lies:
        with pytest.raises(Malformed):
            read_windows([lie])
