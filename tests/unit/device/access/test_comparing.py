"""Looks before and after sessions in guard, with the test as the looker and as the session."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.access_world import PAGE, TERMINAL
from tests.trust_world import NOW_MS
from tests.unit.device.hand_looker import HandLooker, comparison_of, receipt_of
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.access.words import End
from fleetward.device.comparing import AGAIN_MS, ASKED_MS, FRESH_MS, HOLD_MS
from fleetward.device.port import GetChunk
from fleetward.trust.access import FilesScope
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.wire.audit import BlobChunk


@pytest.fixture
def looker() -> HandLooker:
    return HandLooker()


@pytest.fixture
def guard(tmp_path: Path, looker: HandLooker) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path, looker=looker)
    yield made
    made.close()


def test_a_change_stands_in_the_journal_the_receipt_and_the_document(
    guard: SessionGuard, looker: HandLooker
) -> None:
    request, offer = guard.ask()
    guard.tick()
    assert len(looker.orders) == 1, "it looks while the owner is asked"
    guard.push(guard.access.grant(request, offer))
    assert guard.doors is not None and guard.doors.opened == 1, "and opens at once"
    opened = guard.doors.take()
    looker.users.add("eve")
    opened.end()
    guard.tick()
    guard.tick()
    receipt = receipt_of(guard)
    assert (receipt.findings, receipt.not_compared) == (1, "")
    assert receipt.compared_words == "compared, 1 finding"
    found = comparison_of(guard, receipt)
    assert [f.words for f in found.findings] == ["A new user eve"]
    assert not found.late and not found.restarted
    assert found.before_at <= found.opened_at <= found.ended_at <= found.after_at
    (entry,) = guard.entries("session.compared")
    assert (entry["digest"], entry["findings"], entry["severity"]) == (
        receipt.changes,
        1,
        "warning",
    )
    (event,) = guard.entries("posture.changed")
    assert event["severity"] == "warning"
    assert event["words"] == "During the session of tom: A new user eve"
    assert not list((guard.folder / "access").glob("*.before"))


def test_nothing_changed(guard: SessionGuard) -> None:
    opened = guard.enter_looked()
    opened.end()
    guard.tick()
    guard.tick()
    receipt = receipt_of(guard)
    assert (receipt.findings, receipt.compared_words) == (0, "compared, no findings")
    assert comparison_of(guard, receipt).changes == ()
    assert guard.entries("posture.changed") == []


def test_a_look_that_does_not_end_delays_nobody_for_long_and_is_named(
    guard: SessionGuard, looker: HandLooker
) -> None:
    looker.at_once = False
    request, offer = guard.ask()
    guard.push(guard.access.grant(request, offer))
    guard.tick(HOLD_MS)
    assert guard.doors is not None and guard.doors.opened == 1
    opened = guard.doors.take()
    looker.at_once = True
    looker.finish()
    guard.tick()
    opened.end()
    guard.tick()
    guard.tick()
    assert comparison_of(guard, receipt_of(guard)).late


def test_a_stop_before_it_began_begins_nothing(guard: SessionGuard, looker: HandLooker) -> None:
    looker.at_once = False
    request, offer = guard.ask()
    grant = guard.access.grant(request, offer)
    guard.push(grant)
    trust = guard.access.trust
    payload = make_stop_payload(trust.policy, request.hash, "enough", NOW_MS)
    guard.push(seal(payload, [trust.signers[0]]))
    looker.at_once = True
    looker.finish()
    guard.tick()
    guard.tick()
    assert guard.doors is not None and guard.doors.opened == 0
    receipt = receipt_of(guard)
    assert (receipt.ended_by, receipt.records) == ("stopped", 0)


@pytest.mark.parametrize(("first", "why"), [(True, "no_before"), (False, "no_after")])
def test_a_look_that_fails_costs_the_comparison_and_nothing_else(
    guard: SessionGuard, looker: HandLooker, first: bool, why: str
) -> None:
    looker.broken = first
    opened = guard.enter_looked()
    looker.broken = not first
    opened.end()
    guard.tick()
    guard.tick()
    receipt = receipt_of(guard)
    assert (receipt.changes, receipt.not_compared) == ("", why)
    assert [e["why"] for e in guard.entries("session.not_compared")] == [why]


def test_stopping_the_agent_leaves_the_comparison_for_the_next_start(
    guard: SessionGuard, looker: HandLooker
) -> None:
    opened = guard.enter_looked()
    looker.at_once = False
    opened.close()
    guard.core.close()
    assert guard.entries("session.ended")
    looker.waiting, looker.at_once = None, True
    guard.start()
    guard.tick()
    assert receipt_of(guard).changes


def test_without_a_look_on_the_disk_a_crash_says_why(
    guard: SessionGuard, looker: HandLooker
) -> None:
    guard.enter_looked()
    for path in (guard.folder / "access").glob("*.before"):
        path.write_bytes(b"damaged")
    guard.start()
    guard.tick()
    assert receipt_of(guard).not_compared == "no_before"


def test_two_sessions_at_once_both_name_the_change(guard: SessionGuard, looker: HandLooker) -> None:
    first, second = guard.enter_looked(TERMINAL), guard.enter_looked(PAGE)
    looker.users.add("eve")
    first.end()
    guard.tick()
    guard.tick()
    second.end()
    guard.tick()
    guard.tick()
    receipts = [n for n in guard.notes() if n.kind == "receipt"]
    assert len(receipts) == 2
    assert [e["top"] for e in guard.entries("session.compared")] == [["A new user eve"]] * 2


def test_looks_ahead_end_when_nobody_answers(guard: SessionGuard, looker: HandLooker) -> None:
    request, offer = guard.ask()
    for _ in range(ASKED_MS // AGAIN_MS + 5):
        guard.tick(AGAIN_MS)
        guard.tick()
    taken = len(looker.orders)
    assert taken <= ASKED_MS // AGAIN_MS + 2
    guard.tick(10 * FRESH_MS)
    looker.at_once = False
    guard.push(guard.access.grant(request, offer))
    assert guard.doors is not None and guard.doors.opened == 0, "an old look opens nothing"
    looker.finish()
    guard.tick()
    assert (guard.doors.opened, len(looker.orders)) == (1, taken + 1)


def test_a_look_that_fails_is_not_tried_without_end(
    guard: SessionGuard, looker: HandLooker
) -> None:
    looker.broken = True
    guard.ask()
    for _ in range(100):
        guard.tick(20)
    assert len(looker.orders) == 1


def test_the_folders_of_the_session_are_looked_at_before_and_after(
    guard: SessionGuard, looker: HandLooker
) -> None:
    files = FilesScope("/srv/app/data", "write", 1000)
    opened = guard.enter_looked(files)
    opened.end()
    guard.tick()
    assert [order.folders for order in looker.orders] == [("/srv/app/data",)] * 2


def test_the_server_gets_the_document_that_it_asks_for(guard: SessionGuard) -> None:
    opened = guard.enter_looked()
    opened.end()
    guard.tick()
    guard.tick()
    receipt = receipt_of(guard)
    assert guard.core.handle(GetChunk(), b"").body == b""
    assert guard.core.blobs.want((receipt.changes, "f" * 64)) == 1
    chunk = msgspec.json.decode(guard.core.handle(GetChunk(), b"").body, type=BlobChunk)
    document = zlib.decompress(from_base64url(chunk.data))
    assert (chunk.digest, hashlib.sha256(document).hexdigest()) == (receipt.changes,) * 2


def test_without_a_looker_the_receipt_says_so(tmp_path: Path) -> None:
    guard = SessionGuard.make(tmp_path)
    opened = guard.enter()
    opened.end()
    guard.tick()
    assert receipt_of(guard).not_compared == "nothing_looks"
    guard.close()


def test_a_session_that_is_ended_hears_so(guard: SessionGuard) -> None:
    opened = guard.enter_looked(seconds=60)
    guard.tick(60_000)
    assert isinstance(opened.told(), End)
