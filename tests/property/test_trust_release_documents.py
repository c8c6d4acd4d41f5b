"""Manifests, approvals, selectors, windows and reports: round trips, and no stray exception."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.release_manifests import AGENT_RELEASE, MARKED_RELEASE, make_manifest, manifest_bytes
from tests.trust_world import NOW_MS, World

from fleetward.trust import canonical
from fleetward.trust.canonical import Json
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.release_approval import (
    Terms,
    make_approval_payload,
    make_standing_payload,
    make_withdrawal_payload,
    verify_approval,
    verify_withdrawal,
)
from fleetward.trust.release_checks import Check, read_check
from fleetward.trust.release_manifest import (
    ANY_HARDWARE,
    Blob,
    Conflict,
    Delta,
    Health,
    Needed,
    Part,
    read_manifest,
    write_manifest,
)
from fleetward.trust.roster import RosterEntry
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_report import (
    OUTCOMES,
    Finding,
    Installed,
    Slot,
    UpdateReport,
    make_report_payload,
    verify_report,
)
from fleetward.trust.update_windows import LocalTime, Window, read_windows

WORLD = World.make(("ada",))
ADA = WORLD.signers[0]
MACHINE = WORLD.machine("kiosk 1")
KIOSK = read_manifest(manifest_bytes())

NAMES = st.from_regex(r"\A[a-z0-9][a-z0-9-]{0,31}\Z")
PRODUCTS = st.from_regex(r"\A[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?\Z")
VERSIONS = st.from_regex(r"\A[0-9A-Za-z][0-9A-Za-z.+~_-]{0,20}\Z")
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
TEXTS = st.text('abc äß🔒"\\/', max_size=30)
PATHS = st.from_regex(r"\A[a-z_][a-z.~-]{0,8}(?:/[A-Z@][a-z]{0,8}){0,2}\Z")
COUNTERS = st.integers(1, 2**53 - 1)
TIMES = st.integers(0, 2**53 - 1)


def name_blob(digest: str) -> Blob:
    """Return the one blob of this digest: a manifest names each file in one way."""
    length = int(digest[:9], 16) % (64 * 1024**3) + 1
    return Blob(digest, length, hashlib.sha256(digest.encode()).hexdigest())


BLOBS = DIGESTS.map(name_blob)
PARTS = st.one_of(
    st.builds(
        Part, NAMES, st.sampled_from(("directory", "dpkg")), NAMES, BLOBS,
        st.lists(st.builds(Delta, DIGESTS, BLOBS), max_size=2).map(tuple),
        st.integers(0, 10**9), st.integers(0, 1000), st.one_of(st.just(""), PATHS),
    ),
    st.builds(Part, NAMES, st.sampled_from(("file-slot", "rauc")), NAMES, BLOBS),
)  # fmt: skip
CHECKS = st.one_of(
    st.builds(Check, st.just("process"), name=st.from_regex(r"\A[a-z.+:@-]{1,15}\Z")),
    st.builds(Check, st.just("port"), port=st.integers(1, 65535)),
    st.builds(Check, st.just("http"), port=st.integers(1, 65535), path=st.just("/a/b~"),
              status=st.integers(100, 599)),
)  # fmt: skip
MANIFESTS = st.builds(
    make_manifest,
    PRODUCTS,
    VERSIONS,
    COUNTERS,
    hardware=st.one_of(
        st.just((ANY_HARDWARE,)),
        st.lists(st.text("abc 12", min_size=1), min_size=1, max_size=3, unique=True).map(tuple),
    ),
    parts=st.lists(PARTS, min_size=1, max_size=3, unique_by=lambda part: part.name).map(tuple),
    needs=st.lists(st.builds(Needed, PRODUCTS, COUNTERS), max_size=2).map(tuple),
    conflicts=st.lists(
        st.builds(Conflict, PRODUCTS, st.just(3), st.integers(3, 9)), max_size=2
    ).map(tuple),
    least_before=TIMES,
    health=st.builds(
        Health, st.integers(5, 3600), st.integers(0, 3600), st.lists(CHECKS, max_size=4).map(tuple)
    ),
    reboot=st.booleans(),
    notes=TEXTS,
    fixes=st.lists(TEXTS, max_size=3, unique=True).map(tuple),
    support_ends_at_ms=TIMES,
    sbom=st.one_of(st.none(), BLOBS),
)
SORTED = st.lists(TEXTS, max_size=3, unique=True).map(lambda texts: tuple(sorted(texts)))
DEVICES = st.lists(
    st.text("abcdefghijklmnopqrstuvwxyz234567", min_size=32, max_size=32), max_size=3, unique=True
).map(lambda ids: tuple(sorted(ids)))
SELECTORS = st.one_of(
    st.builds(Selector, DEVICES),
    st.builds(Selector, st.just(()), SORTED, SORTED, SORTED),
)
WINDOWS = st.builds(
    Window,
    st.sampled_from(("UTC", "Europe/Vienna", "America/Argentina/Buenos_Aires", "Etc/GMT+5")),
    st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    st.integers(0, 1439),
    st.integers(0, 1440),
)
TERMS = st.builds(
    lambda selector, begins, length, windows, reason: Terms(
        selector, begins, begins + length, tuple(windows), reason
    ),
    SELECTORS, st.integers(0, 2**52), st.integers(1, 2**50), st.lists(WINDOWS, max_size=3), TEXTS,
)  # fmt: skip
REPORTS = st.builds(
    UpdateReport, st.just(MACHINE.device), st.just(WORLD.owner), PRODUCTS, VERSIONS, TIMES, DIGESTS,
    st.one_of(st.just(""), DIGESTS), TIMES, st.sampled_from(OUTCOMES), TEXTS, TEXTS,
    st.lists(st.builds(Slot, NAMES, st.one_of(st.just(""), DIGESTS)), max_size=2).map(tuple),
    st.lists(
        st.builds(Installed, PRODUCTS, VERSIONS, TIMES, DIGESTS, TIMES),
        max_size=3, unique_by=lambda each: each.product,
    ).map(tuple),
    st.lists(st.builds(Finding, TEXTS, st.booleans(), TEXTS), max_size=2).map(tuple),
    TIMES, st.booleans(),
)  # fmt: skip
JSON: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.booleans(), st.integers(-5, 70_000), TEXTS, st.just("all"), DIGESTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(
            ("kind", "port", "name", "path", "devices", "groups", "models", "sites", "days",
             "from", "to", "zone", "installer", "part")), inner, max_size=5),
    ),
    max_leaves=12,
)  # fmt: skip


@given(MANIFESTS)
def test_a_manifest_is_read_as_it_was_written(manifest: Any) -> None:
    data = write_manifest(manifest)
    read = read_manifest(data)
    assert replace(read, hash="") == manifest and write_manifest(read) == data


@given(TERMS, st.integers(0, 365 * 86_400))
def test_approvals_are_read_as_they_were_signed(terms: Terms, wait: int) -> None:
    one = make_approval_payload(WORLD.policy, KIOSK, terms, NOW_MS)
    ahead = make_standing_payload(WORLD.policy, "kiosk", terms, wait, NOW_MS)
    for payload in (one, ahead):
        read = verify_approval(seal(payload, [ADA]), WORLD.policy)
        assert read.terms == terms
        again = (
            make_standing_payload(WORLD.policy, "kiosk", read.terms, read.wait_seconds, NOW_MS)
            if read.standing
            else make_approval_payload(WORLD.policy, KIOSK, read.terms, NOW_MS)
        )
        assert canonical.encode(again) == canonical.encode(payload)


@given(TERMS, st.integers(0, 2**52), st.integers(0, 2**52), st.integers(0, 365 * 86_400))
def test_what_is_allowed_is_allowed_by_every_word(
    terms: Terms, known: int, now: int, wait: int
) -> None:
    marked = [read_manifest(manifest_bytes(**m)) for m in (AGENT_RELEASE, MARKED_RELEASE)]
    payload = make_standing_payload(WORLD.policy, "kiosk", terms, wait, NOW_MS)
    ahead = verify_approval(seal(payload, [ADA]), WORLD.policy)
    allowed = terms.not_before_ms <= now < terms.not_after_ms and known + wait * 1000 <= now
    assert ahead.allows(KIOSK, known, now) is allowed
    assert not any(ahead.allows(agent, known, now) for agent in marked)


@given(SELECTORS)
def test_a_selector_has_one_spelling(selector: Selector) -> None:
    assert read_selector(selector.to_json()) == selector


@given(SORTED, SORTED, SORTED, st.sampled_from(("a", "b", "")), st.sampled_from(("a", "ä")))
def test_a_selector_agrees_with_a_simple_oracle(
    groups: tuple[str, ...], models: tuple[str, ...], sites: tuple[str, ...], one: str, two: str
) -> None:
    entry: RosterEntry = replace(MACHINE.entry(), groups=(one, two), model=one, site=two)
    said = [
        not groups or any(each in groups for each in entry.groups),
        not models or entry.model in models,
        not sites or entry.site in sites,
    ]
    assert Selector((), groups, models, sites).selects(entry) is all(said)


@given(WINDOWS)
def test_a_window_is_open_for_as_long_as_it_says(window: Window) -> None:
    assert read_windows([window.to_json()]) == (window,)
    length = window.to_minute - window.from_minute
    length += 1440 if length <= 0 else 0
    minutes = {
        (day * 1440 + window.from_minute + step) % (7 * 1440)
        for day in window.days
        for step in range(length)
    }
    held = {
        day * 1440 + minute
        for day in range(7)
        for minute in range(1440)
        if window.holds(LocalTime(day, minute))
    }
    assert held == minutes


@given(REPORTS)
def test_a_report_is_read_as_it_was_signed(report: UpdateReport) -> None:
    data = seal(make_report_payload(report), [MACHINE.identity])
    read = verify_report(data, MACHINE.key, WORLD.owner)
    assert replace(read, hash="", raw=b"") == report


@given(JSON)
def test_any_json_is_read_or_malformed(value: Json) -> None:
    for read in (read_check, read_selector, lambda given: read_windows([given])):
        with contextlib.suppress(Malformed):
            read(value)


@given(st.data())
def test_a_manifest_with_any_value_anywhere_is_read_or_malformed(data: st.DataObject) -> None:
    value = canonical.decode_object(manifest_bytes())
    place: Any = value
    for _ in range(data.draw(st.integers(0, 3))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        inner = [key for key in keys if isinstance(place[key], dict | list) and place[key]]
        if not inner:
            break
        place = place[data.draw(st.sampled_from(inner))]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    place[data.draw(st.sampled_from(keys))] = data.draw(JSON)
    with contextlib.suppress(Malformed):
        read_manifest(canonical.encode(value))


@given(st.binary(max_size=300), st.integers(0, 10_000))
def test_hostile_bytes_raise_nothing_but_ours(junk: bytes, at: int) -> None:
    withdrawal = make_withdrawal_payload(WORLD.policy, "ab" * 32, "", NOW_MS)
    terms = Terms(Selector(), 0, 1, (), "")
    approval = make_approval_payload(WORLD.policy, KIOSK, terms, NOW_MS)
    for whole, read in (
        (manifest_bytes(), read_manifest),
        (seal(approval, [ADA]), lambda data: verify_approval(data, WORLD.policy)),
        (seal(withdrawal, [ADA]), lambda data: verify_withdrawal(data, WORLD.policy)),
        (b"", lambda data: verify_report(data, MACHINE.key, WORLD.owner)),
    ):
        place = at % (len(whole) + 1)
        for data in (junk, whole[:place] + junk + whole[place:], whole[:place]):
            with contextlib.suppress(FleetwardError):
                read(data)
