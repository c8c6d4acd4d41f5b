"""The table of live sessions in guard, with the test as the process of each."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.access_world import PAGE, TERMINAL
from tests.unit.device.session_guard import SessionGuard

from fleetward.device.access.sessions import MOST_SESSIONS
from fleetward.device.access.words import End, Ending
from fleetward.device.cli import main
from fleetward.device.port import TakeChannel
from fleetward.trust.canonical import from_base64url
from fleetward.trust.grants.report import verify_receipt
from fleetward.wire.subjects import session_name


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[SessionGuard]:
    made = SessionGuard.make(tmp_path)
    yield made
    made.close()


def test_a_session_from_its_opening_to_its_receipt(guard: SessionGuard) -> None:
    opened = guard.enter(TERMINAL, PAGE)
    assert opened.order.read_scopes() == (TERMINAL, PAGE)
    reply = guard.core.handle(TakeChannel(), b"")
    assert reply.body.decode() == session_name(opened.order.session)
    assert reply.descriptor is not None
    os.close(reply.descriptor)
    assert guard.core.handle(TakeChannel(), b"").descriptor is None
    opened.record(b'[0.1,"o","hello"]\n')
    guard.tick()
    live = guard.take_recordings()[opened.order.session]
    assert live.startswith(opened.sealer.header), "the owner watches while it runs"
    guard.tick(10_001)
    assert guard.entries("session.recorded")[0]["head"] == opened.sealer.head.hex()
    opened.end()
    guard.tick()
    (note,) = [n for n in guard.notes() if n.kind == "receipt"]
    trust = guard.access.trust
    receipt = verify_receipt(from_base64url(note.envelope), guard.access.machine.key, trust.owner)
    assert (receipt.ended_by, receipt.ended_who) == ("closed", "tom")
    assert (receipt.records, receipt.recording_head) == (1, opened.sealer.head.hex())
    assert (receipt.bytes_in, receipt.bytes_out) == (1, 2)
    guard.take_recordings()
    assert guard.core.sessions.kept.sessions[receipt.session].stored_powered_ms >= 0


def test_the_first_reason_of_an_end_counts(guard: SessionGuard) -> None:
    opened = guard.enter(seconds=60)
    guard.tick(60_000)
    assert isinstance(opened.told(), End)
    opened.say(Ending("closed", "me", 0, 0))
    opened.close()
    guard.tick()
    assert guard.entries("session.ended")[0]["by"] == "length"


def test_silence_is_measured_from_the_last_byte(guard: SessionGuard) -> None:
    opened = guard.enter(seconds=3600)
    for _ in range(6):
        guard.tick(299_000)
        opened.record(b'[0,"o","x"]\n')
        guard.tick()
    assert guard.core.sessions.live
    guard.tick(300_000)
    assert isinstance(opened.told(), End)
    opened.close()
    guard.tick()
    assert guard.entries("session.ended")[0]["by"] == "idle"


def test_a_process_that_does_not_end_is_killed_and_given_up(guard: SessionGuard) -> None:
    opened = guard.enter(seconds=60)
    guard.tick(60_000)
    # It says nothing and stays; the test is that process, so guard must not have its pid.
    (live,) = guard.core.sessions.live.values()
    if live.process >= 0:
        os.close(live.process)
        live.process = -1
    guard.tick(2000)
    assert not guard.core.sessions.live
    assert guard.entries("session.ended")[0]["by"] == "length"
    opened.close()


def test_no_more_than_so_many_at_once(guard: SessionGuard) -> None:
    for _ in range(MOST_SESSIONS):
        guard.enter()
    request, offer = guard.ask()
    assert guard.refusal(guard.access.grant(request, offer)) == "too_many_sessions"


def test_a_disk_that_is_nearly_full_opens_nothing(
    guard: SessionGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, offer = guard.ask()
    little = os.statvfs_result((4096, 4096, 10**6, 1000, 1000, 1, 1, 1, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: little)
    assert guard.refusal(guard.access.grant(request, offer)) == "disk_full"
    assert not guard.entries("session.opened")


def test_a_channel_of_a_session_that_ended_is_not_handed_over(guard: SessionGuard) -> None:
    opened = guard.enter()
    opened.end()
    guard.tick()
    assert guard.core.handle(TakeChannel(), b"").descriptor is None


def test_receipts_that_the_server_lacks_are_said_after_a_start(guard: SessionGuard) -> None:
    opened = guard.enter()
    opened.end()
    guard.tick()
    guard.start()
    assert [n.kind for n in guard.notes()] == ["receipt"]
    guard.start()
    assert guard.notes() == []
    del opened


def test_stopping_the_agent_ends_its_sessions(guard: SessionGuard) -> None:
    opened = guard.enter()
    opened.close()
    guard.core.close()
    assert guard.entries("session.ended")


def test_the_command_shows_who_is_and_was_inside(
    guard: SessionGuard, capsys: pytest.CaptureFixture[str]
) -> None:
    first = guard.enter()
    first.end()
    guard.tick()
    guard.enter(PAGE)
    guard.core.write_status()
    capsys.readouterr()
    data = str(guard.folder.parent)
    assert main(["sessions", "--data", data, "--json"]) == 0
    now, before = json.loads(capsys.readouterr().out)["sessions"]
    assert (now["person"], now["ended_at_ms"], now["people"]) == ("tom", 0, ["ada"])
    assert now["scopes"] == ["the machine's web page on port 8080"]
    assert (before["ended_by"], before["ended_who"]) == ("closed", "tom")
    assert len(now["words"].split()) == 6
    assert main(["sessions", "--data", data]) == 0
    assert "allowed by ada" in capsys.readouterr().out
