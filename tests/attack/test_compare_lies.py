"""What changed in a session, against a server that lies and a session that hurries or crashes.

The receipt is the machine's; the document that it names is kept by a server that nobody trusts.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.device.hand_looker import HandLooker, comparison_of, receipt_of
from tests.unit.device.session_guard import SessionGuard
from tests.unit.keyholder.access_scene import Scene, scene  # noqa: F401
from tests.unit.keyholder.access_stage import CHANGES, FINDINGS
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.test_access_changes import judged, over

from fleetward.device.comparing import HOLD_MS
from fleetward.keyholder.access.comparing import read_changes, tell_changes
from fleetward.wire.comparison import decode_comparison, encode_comparison


@pytest.fixture
def looker() -> HandLooker:
    return HandLooker()


@pytest.fixture
def guard(tmp_path: Path, looker: HandLooker) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path, looker=looker)
    yield made
    made.close()


def test_no_byte_of_a_requester_is_read_before_the_look_has_ended(
    guard: SessionGuard, looker: HandLooker
) -> None:
    looker.at_once = False
    request, offer = guard.ask()
    guard.push(guard.access.grant(request, offer))
    assert guard.doors is not None
    guard.tick(HOLD_MS // 2)
    assert guard.doors.opened == 0
    assert guard.entries("session.opened"), "it is written down all the same"
    looker.finish()
    guard.tick()
    assert guard.doors.opened == 1


def test_after_a_crash_it_is_still_compared(guard: SessionGuard, looker: HandLooker) -> None:
    guard.enter_looked()
    looker.users.add("eve")
    guard.boot = "boot-2"
    guard.start()
    guard.tick()
    receipt = receipt_of(guard)
    assert (receipt.ended_by, receipt.findings) == ("restarted", 1)
    assert comparison_of(guard, receipt).restarted


def test_a_crash_while_it_compares_is_made_good(guard: SessionGuard, looker: HandLooker) -> None:
    opened = guard.enter_looked()
    looker.at_once = False
    opened.end()
    guard.tick()
    assert guard.notes() == [], "the receipt waits for the comparison"
    looker.waiting = None
    looker.at_once = True
    looker.users.add("eve")
    guard.start()
    guard.tick()
    receipt = receipt_of(guard)
    assert (receipt.ended_by, receipt.findings) == ("closed", 1)


def test_a_server_that_withholds_the_document_hides_no_finding(scene: Scene) -> None:
    case = over(scene, findings=FINDINGS)
    scene.row.changes = b""
    changed = read_changes(scene.api, case)
    assert (changed.state, judged(case, changed)) == ("missing", "unknown")
    assert "compared, 2 findings" in changed.words


@pytest.mark.parametrize("lie", ["altered", "another", "noise", "nothing"])
def test_a_server_that_alters_the_document_is_contradicted(scene: Scene, lie: str) -> None:
    case = over(scene, findings=FINDINGS, changes=CHANGES)
    whole = decode_comparison(scene.row.changes)
    clean = encode_comparison(msgspec.structs.replace(whole, findings=(), changes=()))
    scene.row.changes = {
        "altered": clean,
        "another": encode_comparison(msgspec.structs.replace(whole, session="ef" * 32)),
        "noise": b"\x1b[2J" * 10,
        "nothing": b" ",
    }[lie]
    changed = read_changes(scene.api, case)
    assert (changed.state, judged(case, changed)) == ("false", "contradicted")
    assert changed.comparison is None
    assert tell_changes(changed) == [f"  changed   {changed.words}"]
