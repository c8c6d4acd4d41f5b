"""What a machine says of a release: signed by itself, bounded, and about this owner."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.trust_world import NOW_MS, World, alter, payload_of, refused, resign

from fleetward.trust.canonical import Json
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.update_report import (
    ENDS,
    FAILURES,
    OUTCOMES,
    Finding,
    Installed,
    Slot,
    UpdateReport,
    make_report_payload,
    verify_report,
)

WORLD = World.make(("ada",))
MACHINE, OTHER = WORLD.machine("kiosk 1"), WORLD.machine("kiosk 2")
HASH = "ab" * 32
REPORT = UpdateReport(
    device=MACHINE.device, owner=WORLD.owner, product="kiosk", version="1.1", counter=11,
    release=HASH, approval="cd" * 32, attempt=1, outcome="committed", rule="", words="It runs.",
    slots=(Slot("app", HASH), Slot("os", "")),
    installed=(Installed("kiosk", "1.1", 11, HASH, 11), Installed("pump", "", 0, "", 0)),
    findings=(Finding("process kiosk", True, "runs"),), at_ms=NOW_MS,
)  # fmt: skip


def sign(report: UpdateReport = REPORT) -> bytes:
    return seal(make_report_payload(report), [MACHINE.identity])


def read(data: bytes) -> UpdateReport:
    return verify_report(data, MACHINE.key, WORLD.owner)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_what_was_signed_is_read(outcome: str) -> None:
    data = sign(replace(REPORT, outcome=outcome, simulated=True))
    found = read(data)
    assert replace(found, hash="", raw=b"") == replace(REPORT, outcome=outcome, simulated=True)
    assert found.raw == data and len(found.hash) == 64


def test_a_refusal_may_name_neither_release_nor_approval() -> None:
    bare = replace(REPORT, outcome="refused", release="", approval="", rule="not_approved")
    assert read(sign(bare)).release == ""


def test_ends_and_failures_are_outcomes() -> None:
    assert set(OUTCOMES) > ENDS > FAILURES


def test_the_machine_itself_signs_and_nobody_else() -> None:
    with refused(Untrusted, "wrong_signer"):
        read(resign(sign(), {}, [OTHER.identity]))
    with refused(Untrusted, "another_device"):
        read(resign(sign(), {"device": OTHER.device}, [MACHINE.identity]))
    with refused(Untrusted, "another_device"):
        verify_report(sign(), MACHINE.key, "00" * 32)
    with refused(Untrusted, "bad_signature"):
        read(alter(sign(), {"outcome": "failed"}))
    with refused(Malformed, "wrong_type"):
        read(resign(sign(), {"type": "fleetward.update-report.v2"}, [MACHINE.identity]))


@pytest.mark.parametrize("changes", [
    {"outcome": "fine"}, {"attempt": -1}, {"counter": "11"}, {"release": "x"},
    {"approval": "AB" * 32}, {"rule": "x" * 65}, {"words": "x" * 1001}, {"words": "\x1b"},
    {"slots": [{"active": "x", "place": "app"}]}, {"slots": [{"place": "app"}]},
    {"slots": [{"active": "", "place": "app"}] * 33}, {"slots": 1},
    {"installed": [{"counter": 1, "floor": 1, "product": "", "release": "", "version": ""}]},
    {"installed": [{"counter": 1, "floor": 1, "product": "a", "release": "", "version": ""}] * 2},
    {"findings": [{"check": "a", "good": 1, "words": ""}]},
    {"findings": [{"check": "a", "good": True, "words": "x" * 201}]},
    {"findings": [{"check": "a", "good": True, "words": ""}] * 17},
    {"simulated": "no"}, {"at": -1}, {"more": 1},
], ids=lambda changes: str(changes)[:50])  # fmt: skip
def test_fields_have_bounds(changes: dict[str, Json]) -> None:
    with pytest.raises(Malformed):
        read(resign(sign(), changes, [MACHINE.identity]))


@pytest.mark.parametrize("name", sorted(payload_of(sign())))
def test_no_field_may_lack(name: str) -> None:
    payload: dict[str, Any] = payload_of(sign())
    del payload[name]
    if name == "type":
        return
    with pytest.raises(Malformed):
        read(seal(payload, [MACHINE.identity]))
