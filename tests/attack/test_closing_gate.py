"""Attacks on closings, with the server's whole power and with what somebody signed before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.access_world import AccessWorld
from tests.closing_wishes import sign_closing, sign_kept, wish
from tests.closing_world import ClosingGuard, HeldCloser
from tests.trust_world import DAY_MS, NOW_MS, alter, payload_of, refused, resign

from fleetward.device.access.closing_words import Shut, Survey
from fleetward.device.access.closings_kept import MemoryFile
from fleetward.runtime.keys import make_key
from fleetward.trust.closing import verify_closing, verify_closing_report
from fleetward.trust.closing_standing import Standing, begin
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Refused, Unreachable, Untrusted
from fleetward.trust.keys import ED25519


@pytest.fixture
def guard(tmp_path: Path) -> Iterator[ClosingGuard]:
    made = ClosingGuard.of(tmp_path)
    yield made
    made.close()


def test_a_closing_closes_and_comes_back_by_itself(guard: ClosingGuard) -> None:
    closing = guard.shut(22, udp=(161,))
    assert (guard.closer.tcp, guard.closer.udp) == ({22}, {161})
    (report,) = guard.reports("applied")
    assert (report.closing, report.seconds_left) == (closing.hash, 600)
    guard.pass_seconds(599)
    assert guard.closer.tcp == {22}
    guard.pass_seconds(2)
    assert not guard.closer.tcp | guard.closer.udp
    (back,) = guard.reports("restored")
    assert (back.closing, back.closed) == (closing.hash, ())


def test_kept_in_time_it_stays(guard: ClosingGuard) -> None:
    closing = guard.shut(22)
    guard.keep(closing)
    guard.pass_seconds(80_000)
    assert guard.closer.tcp == {22}
    guard.order(wish())
    assert guard.closer.tcp == set()


def test_what_was_kept_comes_back_after_another_was_not(guard: ClosingGuard) -> None:
    guard.keep(guard.shut(22))
    guard.shut(22, 80)
    guard.shut(443)
    guard.pass_seconds(601)
    assert guard.closer.tcp == {22}


def test_of_another_owner_or_epoch_it_is_refused(guard: ClosingGuard) -> None:
    stranger = AccessWorld.make(("eve",))
    assert guard.refusal(sign_closing(stranger, wish(22), 1).raw) == "another_owner"
    ours = sign_closing(guard.access, wish(22), 1)
    signers = [guard.access.trust.signers[0]]
    assert guard.refusal(resign(ours.raw, {"epoch": 7}, signers)) == "old_epoch"
    assert guard.refusal(resign(ours.raw, {"owner": stranger.trust.owner}, signers)) == (
        "another_owner"
    )
    assert not guard.closer.shuts


def test_changed_on_its_way_it_is_refused(guard: ClosingGuard) -> None:
    closing = sign_closing(guard.access, wish(22, 80, restore_seconds=900), 1)
    changes: list[dict[str, Any]] = [
        {"restore_seconds": 60},
        {"ports": [{"port": 443, "protocol": "tcp"}]},
        {"serial": 9},
        {"devices": [guard.access.machine.device]},
        {"reason": "another"},
        {"local_access": ["ssh"]},
    ]
    for change in changes:
        assert guard.refusal(alter(closing.raw, change)) == "bad_signature"
    assert not guard.closer.shuts


def test_signed_by_nobody_who_may_it_is_refused(guard: ClosingGuard) -> None:
    closing = sign_closing(guard.access, wish(22), 1)
    thief = make_key(ED25519)
    assert guard.refusal(resign(closing.raw, {}, [thief])) == "too_few_signatures"
    assert guard.refusal(resign(closing.raw, {}, [guard.access.technician])) == (
        "too_few_signatures"
    )
    assert guard.refusal(resign(closing.raw, {}, [guard.access.machine.identity])) == (
        "too_few_signatures"
    )
    assert not guard.closer.shuts


def test_two_people_are_counted_as_people() -> None:
    access = AccessWorld.make(("ada", "ben"), thresholds={"approve": 2})
    both, policy = access.trust.signers, access.trust.policy
    payload = payload_of(sign_closing(access, wish(22), 1, both).raw)
    with refused(Untrusted, "too_few_signatures"):
        verify_closing(seal(payload, both[:1]), policy, access.machine.device)
    assert verify_closing(seal(payload, both), policy, access.machine.device).people == (
        "ada",
        "ben",
    )


def test_for_other_machines_it_is_refused(guard: ClosingGuard) -> None:
    other = guard.access.trust.machine("other").device
    closing = sign_closing(guard.access, wish(22, devices=(other,)), 1)
    assert guard.refusal(closing.raw) == "another_device"


def test_an_older_one_is_not_taken_again(guard: ClosingGuard) -> None:
    first = guard.shut(22)
    guard.keep(first)
    guard.order(wish())
    assert guard.refusal(first.raw) == "old_serial"
    assert guard.closer.tcp == set()


def test_restored_and_then_replayed_it_stays_open(guard: ClosingGuard) -> None:
    closing = guard.shut(22)
    guard.pass_seconds(601)
    assert guard.refusal(closing.raw) == "old_serial"
    assert guard.refusal(sign_kept(guard.access, closing.hash).raw) == "not_on_trial"
    guard.start()
    guard.settle()
    assert guard.refusal(closing.raw) == "old_serial"
    assert guard.closer.tcp == set()


def test_a_confirmation_of_another_closing_keeps_nothing(guard: ClosingGuard) -> None:
    first = guard.shut(22)
    guard.shut(80)
    assert guard.refusal(sign_kept(guard.access, first.hash).raw) == "not_on_trial"
    guard.pass_seconds(601)
    assert guard.closer.tcp == set()


def test_a_confirmation_before_anything_was_closed_keeps_nothing(guard: ClosingGuard) -> None:
    guard.closer.dies_at = Survey
    closing = sign_closing(guard.access, wish(22), 1)
    guard.push(closing.raw)
    assert guard.refusal(sign_kept(guard.access, closing.hash).raw) == "not_applied_yet"


def test_a_confirmation_held_back_restores(guard: ClosingGuard) -> None:
    """The server drops the confirmation, the report, or both: the clock is the machine's own."""
    closing = guard.shut(22)
    kept = sign_kept(guard.access, closing.hash)
    guard.pass_seconds(601)
    assert guard.closer.tcp == set()
    assert guard.refusal(kept.raw) == "not_on_trial"


def test_the_wall_clock_neither_ends_nor_prolongs_a_trial(guard: ClosingGuard) -> None:
    guard.shut(22)
    guard.clock.wall -= 10**9
    guard.pass_seconds(300)
    assert guard.closer.tcp == {22}
    guard.clock.wall += 10**10
    guard.pass_seconds(299)
    assert guard.closer.tcp == {22}
    guard.pass_seconds(2)
    assert guard.closer.tcp == set()


def test_a_reboot_counts_what_passed_and_closes_again_first(guard: ClosingGuard) -> None:
    guard.shut(22)
    guard.pass_seconds(400)
    guard.closer.tcp.clear()
    guard.boot = "boot-2"
    guard.clock.since_boot = 5_000
    guard.start()
    # Closed again before uplink was answered, and without another word of the server.
    assert guard.closer.tcp == {22}
    guard.pass_seconds(190)
    assert guard.closer.tcp == {22}
    guard.pass_seconds(30)
    assert guard.closer.tcp == set()


def test_a_damaged_file_takes_nothing_that_was_signed_before(guard: ClosingGuard) -> None:
    first = guard.shut(22)
    (guard.folder / "closing.json").write_bytes(b"{")
    guard.start()
    assert guard.refusal(first.raw) == "old_serial"
    guard.serial = guard.clock.wall
    guard.shut(80)
    assert guard.closer.tcp == {80}


def test_a_damaged_file_under_a_clock_that_fell_back(guard: ClosingGuard) -> None:
    """A machine without power has neither a whole file nor the time: what the owner signed last is
    the present at least, and the epoch is the policy's."""
    signed = guard.core.view.signed_at_ms
    old = sign_closing(guard.access, wish(), signed - 60_000)
    guard.clock.wall = 1000
    (guard.folder / "closing.json").write_bytes(b"{")
    guard.start()
    assert guard.standing.epoch == guard.access.trust.policy.epoch
    assert guard.refusal(old.raw) == "old_serial"
    guard.order(wish(80), serial=signed + 60_000)
    assert guard.closer.tcp == {80}


def test_after_a_handover_a_damaged_file_takes_nothing_old(guard: ClosingGuard) -> None:
    """The highest serial is lost, and so must not be the epoch in which it was counted."""
    lost = Standing(epoch=2, serial=NOW_MS)
    memory, damaged = MemoryFile(guard.folder / "state.json").load(lost)
    assert damaged and memory.standing == lost
    with refused(Refused, "old_serial"):
        begin(memory.standing, replace(sign_closing(guard.access, wish(), NOW_MS), epoch=2))


def test_nobody_gives_the_last_serial_that_there_is(guard: ClosingGuard) -> None:
    """One approver of a threshold of one would have the last word for ever."""
    for far in (2**53 - 1, guard.clock.wall + 2 * DAY_MS):
        assert guard.refusal(sign_closing(guard.access, wish(22), far).raw) == "serial_ahead"
    assert guard.standing.serial == 0
    guard.order(wish(80), serial=guard.clock.wall)
    assert guard.closer.tcp == {80}


def test_a_full_disk_makes_no_trial_longer(
    guard: ClosingGuard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server hands the next closing over again and again while nothing can be written."""
    guard.shut(22)
    longer = sign_closing(guard.access, wish(22, 80, restore_seconds=80_000), 9)

    def is_full(*_: object) -> None:
        raise Unreachable("no space left", reason="disk_full")

    monkeypatch.setattr(MemoryFile, "save", is_full)
    with refused(Unreachable, "disk_full"):
        guard.push(longer.raw)
    monkeypatch.undo()
    guard.pass_seconds(601)
    assert guard.closer.tcp == set()
    assert [report.closing for report in guard.reports("applied")] != [longer.hash]


def test_a_trial_is_never_longer_than_signed_whatever_the_disk_says(guard: ClosingGuard) -> None:
    guard.shut(22)
    (guard.folder / "state.json").unlink()
    kept = (guard.folder / "closing.json").read_text()
    digits = kept.split('"until_powered_ms":')[1].split(",")[0]
    (guard.folder / "closing.json").write_text(kept.replace(digits, str(10**15)))
    guard.start()
    guard.pass_seconds(601)
    assert guard.closer.tcp == set()


BAD_PORTS: list[tuple[list[Any], str]] = [
    ([{"port": 0, "protocol": "tcp"}], "bad_field"),
    ([{"port": 65536, "protocol": "tcp"}], "bad_field"),
    ([{"port": -1, "protocol": "tcp"}], "bad_field"),
    ([{"port": True, "protocol": "tcp"}], "bad_field"),
    ([{"port": "22", "protocol": "tcp"}], "bad_field"),
    ([{"port": "22; flush ruleset", "protocol": "tcp"}], "bad_field"),
    ([{"port": 22, "protocol": "tcp dport 1 accept"}], "bad_field"),
    ([{"port": 22, "protocol": "tcp"}] * 2, "bad_order"),
    ([{"port": 23, "protocol": "tcp"}, {"port": 22, "protocol": "tcp"}], "bad_order"),
    ([{"port": 22, "protocol": "tcp", "comment": "x"}], "unknown_field"),
    ([{"port": n, "protocol": "tcp"} for n in range(1, 200)], "bad_field"),
]


def test_ports_that_are_none_are_refused(guard: ClosingGuard) -> None:
    closing = sign_closing(guard.access, wish(22), 1)
    signers = [guard.access.trust.signers[0]]
    for ports, reason in BAD_PORTS:
        assert guard.refusal(resign(closing.raw, {"ports": ports}, signers)) == reason, ports
    assert not guard.closer.shuts


BAD_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"local_access": ["serial"]}, "bad_field"),
    ({"local_access": ["ssh", "ssh"]}, "bad_field"),
    ({"local_access": ["ssh; reboot"]}, "bad_field"),
    ({"devices": []}, "bad_field"),
    ({"devices": "everything"}, "bad_field"),
    ({"restore_seconds": 59}, "bad_field"),
    ({"restore_seconds": 86_401}, "bad_field"),
    ({"serial": 0}, "bad_field"),
    ({"extra": 1}, "unknown_field"),
]


def test_other_fields_are_as_strict(guard: ClosingGuard) -> None:
    closing = sign_closing(guard.access, wish(22), 1)
    signers = [guard.access.trust.signers[0]]
    for changes, reason in BAD_FIELDS:
        assert guard.refusal(resign(closing.raw, changes, signers)) == reason, changes
    assert not guard.closer.shuts


def test_what_the_maker_keeps_open_is_refused_by_name(
    guard: ClosingGuard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keep-open.toml"
    _keep_open(monkeypatch, file)
    file.write_text('[[port]]\nport = 104\nwhy = "takes images"\n')
    closing = sign_closing(guard.access, wish(22, 104), 1)
    with pytest.raises(FleetwardError, match=r"tcp/104 stays open.*takes images"):
        guard.push(closing.raw)
    assert not guard.closer.shuts and guard.standing.wanted is None
    (report,) = guard.reports("refused")
    assert report.rule == "kept_open"
    assert [n.kind for n in guard.notes()] == ["denial"]


def test_a_file_of_the_maker_that_is_damaged_lets_nothing_be_closed(
    guard: ClosingGuard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keep-open.toml"
    _keep_open(monkeypatch, file)
    closing = sign_closing(guard.access, wish(22), 1)
    for text in ("[[port]]\nport = 0\n", "ports = 1\n", "\x00", "[[port]]\nport = 1"):
        file.write_text(text)
        assert guard.refusal(closing.raw) == "keep_open_damaged"
    file.unlink()
    file.symlink_to("/etc/passwd")
    assert guard.refusal(closing.raw) == "keep_open_damaged"


def test_a_program_that_calls_itself_sshd_closes_no_port_that_is_kept_open(
    guard: ClosingGuard, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "keep-open.toml"
    _keep_open(monkeypatch, file)
    file.write_text('[[port]]\nport = 104\nwhy = "takes images"\n')
    guard.closer.waiting = (22, 104)
    guard.order(wish(ways=("ssh",)))
    assert guard.closer.tcp == {22}


def test_without_root_or_nft_it_is_refused_and_signed(guard: ClosingGuard) -> None:
    guard.closer.problem = "nft is missing: install the package nftables on this machine."
    closing = guard.shut(22)
    assert guard.standing.wanted is None
    (report,) = guard.reports("refused")
    assert (report.closing, report.rule) == (closing.hash, "cannot_close")
    (note,) = guard.notes()
    assert (note.kind, note.subject) == ("denial", closing.hash)


def test_services_that_were_on_are_started_again_and_no_others(guard: ClosingGuard) -> None:
    guard.closer.units = {"ssh.service": True, "sshd.service": False}
    guard.order(wish(ways=("ssh",)))
    assert guard.closer.units == {"ssh.service": False, "sshd.service": False}
    guard.start()
    guard.pass_seconds(601)
    assert guard.closer.units == {"ssh.service": True, "sshd.service": False}


@pytest.mark.parametrize("word", [Survey, Shut])
def test_killed_at_any_step_it_is_whole_afterwards(guard: ClosingGuard, word: type) -> None:
    """Guard, or the closer, is gone between any two steps: the next start finishes or undoes."""
    guard.closer.units = {"ssh.service": True}
    guard.keep(guard.order(wish(22)))
    guard.closer.dies_at = word
    closing = sign_closing(guard.access, wish(80, ways=("ssh",)), 5)
    guard.push(closing.raw)
    guard.core.closings.tick()
    guard.closer.dies_at = None
    guard.start()
    guard.settle()
    assert guard.closer.tcp == {22, 80} and guard.closer.units == {"ssh.service": False}
    guard.pass_seconds(700)
    assert guard.closer.tcp == {22} and guard.closer.units == {"ssh.service": True}


def test_a_filter_that_somebody_flushed_is_a_finding_and_comes_back(guard: ClosingGuard) -> None:
    closing = guard.shut(22)
    guard.keep(closing)
    guard.closer.tcp, guard.closer.mark = set(), ""
    guard.core.closings.check_soon()
    guard.settle()
    guard.settle()
    (found,) = guard.reports("undone")
    assert found.closing == closing.hash and "open again" in found.words
    assert guard.closer.tcp == {22}
    assert guard.reports("applied")[-1].closing == closing.hash


def test_a_report_is_of_this_machine_alone(guard: ClosingGuard) -> None:
    guard.shut(22)
    (report,) = guard.reports("applied")
    stranger = make_key("es256").public
    with pytest.raises(FleetwardError):
        verify_closing_report(report.raw, stranger, guard.access.trust.owner)
    with pytest.raises(FleetwardError):
        verify_closing_report(report.raw, guard.access.machine.key, "00" * 32)


def test_unconfirmed_and_past_the_lease_nothing_is_closed(tmp_path: Path) -> None:
    unconfirmed = ClosingGuard.of(tmp_path / "a", confirmed=False)
    assert unconfirmed.refusal(sign_closing(unconfirmed.access, wish(22), 1).raw) == (
        "not_confirmed"
    )
    unconfirmed.close()
    late = ClosingGuard.of(tmp_path / "b")
    late.clock.pass_ms(500 * 86_400_000)
    assert late.refusal(sign_closing(late.access, wish(22), 1).raw) == "lease_expired"
    late.close()


def test_a_flood_is_counted_and_not_signed_one_by_one(guard: ClosingGuard) -> None:
    closing = guard.shut(22)
    guard.order(wish())
    for _ in range(200):
        with pytest.raises(FleetwardError):
            guard.push(closing.raw)
    assert len(guard.reports("refused")) <= 60


def _keep_open(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    from fleetward.device import gate_closing
    from fleetward.device.access import closings
    from fleetward.device.access.keep_open import read_keep_open

    monkeypatch.setattr(gate_closing, "read_keep_open", lambda: read_keep_open(file))
    monkeypatch.setattr(closings, "read_keep_open", lambda: read_keep_open(file))


def test_the_one_that_holds_is_said_again_and_not_again_and_again(guard: ClosingGuard) -> None:
    closing = guard.shut(22)
    for _ in range(20):
        guard.push(closing.raw)
    assert len(guard.reports("applied")) == 2 and len(guard.closer.shuts) == 1
    guard.keep(closing)
    guard.pass_seconds(700)
    guard.push(closing.raw)
    assert len(guard.reports("kept")) == 2


def test_held_closer_is_only_handed_numbers(guard: ClosingGuard) -> None:
    guard.order(wish(22, ways=("ssh", "telnet"), udp=(53,)))
    assert isinstance(guard.closer, HeldCloser)
    for word in guard.closer.shuts:
        assert all(isinstance(p, int) for p in (*word.tcp, *word.udp))
