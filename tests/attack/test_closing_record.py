"""What a server, or a machine, can make a record say of closings, and the owner's check of it.

The server leaves papers out, exchanges them, or makes up what machines said; a machine says that it
was ordered what nobody signed, or keeps what nobody confirmed.
"""

from __future__ import annotations

import pytest
from tests.closing_record import ClosingRecord, ids, words
from tests.closing_wishes import wish

from fleetward.runtime.keys import make_key
from fleetward.trust import ledger_papers
from fleetward.trust.canonical import JsonObject
from fleetward.trust.closing import ClosedPort
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.keys import ED25519, ES256


@pytest.fixture
def record() -> ClosingRecord:
    return ClosingRecord.make()


def blamed(record: ClosingRecord) -> set[str]:
    return ids(record.audit().contradicted)


@pytest.mark.parametrize("outcome", ["applied", "restored", "undone"])
def test_a_closing_that_the_server_left_out_is_missed(record: ClosingRecord, outcome: str) -> None:
    record.say(record.pump, record.hidden(22), outcome)
    report = record.audit()
    (found,) = report.contradicted
    assert (found.id, found.device) == ("closing_not_signed", record.pump.id)
    assert "Pump 7" in found.words and "does not stand before that" in found.words
    assert ids(report.proven) == set()


def test_a_closing_recorded_only_afterwards_is_missed(record: ClosingRecord) -> None:
    closing = record.hidden(22)
    record.say(record.pump, closing, "applied")
    record.world.log.leaves.append(closing.raw)
    assert blamed(record) == {"closing_not_signed"}


def test_a_closing_exchanged_for_another_is_missed(record: ClosingRecord) -> None:
    """The record shows port 80; the machine was handed port 22. Both are truly signed."""
    shown = record.order(80)
    handed = record.hidden(22, serial=shown.serial)
    record.say(record.pump, handed, "applied")
    assert blamed(record) == {"closing_not_signed"}


@pytest.mark.parametrize("changes", [{"serial": 9}, {"devices": "all"}, {"reason": "other"}])
def test_a_changed_closing_is_not_the_one(record: ClosingRecord, changes: JsonObject) -> None:
    closing = record.hidden(22, devices=[record.pump.id])
    payload = {**read_envelope(closing.raw).payload, **changes}
    record.world.log.leaves.append(seal(payload, [make_key(ED25519)]))
    record.say(record.pump, closing, "applied")
    assert blamed(record) == {"closing_not_signed"}


def test_a_machine_that_claims_what_nobody_signed(record: ClosingRecord) -> None:
    closing = record.forged(22, signer=make_key(ED25519))
    report = record.audit()
    assert report.whole and words(report.unknown, "closings_without_force")
    record.say(record.pump, closing, "applied")
    (said,) = words(record.audit().contradicted, "closing_not_signed")
    assert "1 of the people" in said


def test_a_person_who_may_do_something_else_closes_nothing(record: ClosingRecord) -> None:
    record.say(record.pump, record.forged(22, signer=record.world.keys["refresh"]), "applied")
    assert blamed(record) == {"closing_not_signed"}


def test_a_person_who_may_no_longer_closes_nothing(record: ClosingRecord) -> None:
    """The server holds the newer policy back from a machine; the record shows when it came."""
    retired = record.approver
    record.world.keys["approver"] = make_key(ED25519)
    record.world.change_policy()
    record.world.sign_roster(record.world.machines)
    record.say(record.pump, record.forged(22, signer=retired), "applied")
    assert blamed(record) == {"closing_not_signed"}


def test_a_closing_for_another_machine(record: ClosingRecord) -> None:
    record.say(record.pump, record.order(22, devices=[record.door.id]), "applied")
    (said,) = words(record.audit().contradicted, "closing_not_signed")
    assert "for other machines" in said


def test_a_machine_that_closes_something_else_or_under_another_serial(
    record: ClosingRecord,
) -> None:
    closing = record.order(22)
    record.say(record.pump, closing, "applied", closed=(ClosedPort("tcp", 23),))
    record.say(record.door, closing, "applied", serial=closing.serial + 1)
    found = [f.device for f in record.audit().contradicted if f.id == "closing_said_otherwise"]
    assert found == [record.pump.id, record.door.id]


def test_kept_without_a_confirmation(record: ClosingRecord) -> None:
    closing = record.order(22)
    record.say(record.pump, closing, "applied")
    assert record.audit().whole
    record.say(record.pump, closing, "kept")
    report = record.audit()
    (said,) = words(report.contradicted, "kept_not_confirmed")
    assert "No confirmation of it stands before that" in said
    assert "keeps it" not in words(report.proven, "closing")[0]


def test_kept_by_a_confirmation_that_does_not_count(record: ClosingRecord) -> None:
    """Of somebody else, of another closing, or recorded only afterwards."""
    closing, other = record.order(22), record.order(80)
    record.keep(closing, make_key(ED25519))
    record.keep(other)
    record.say(record.pump, closing, "kept")
    assert blamed(record) == {"kept_not_confirmed"}
    record.keep(closing)
    report = record.audit()
    assert ids(report.contradicted) == {"kept_not_confirmed"}


def test_an_old_closing_taken_again(record: ClosingRecord) -> None:
    first, second = record.order(22), record.order(80)
    record.say(record.pump, second, "applied")
    record.say(record.pump, first, "applied")
    assert blamed(record) == {"closing_out_of_order"}


def test_two_of_one_serial(record: ClosingRecord) -> None:
    for port in (22, 80):
        record.say(record.pump, record.order(port, serial=5), "applied")
    assert blamed(record) == {"closing_out_of_order"}


@pytest.mark.parametrize("end", ["restored", "kept"])
def test_one_that_ended_taken_again(record: ClosingRecord, end: str) -> None:
    closing = record.order(22)
    record.keep(closing)
    for outcome in ("applied", end):
        record.say(record.pump, closing, outcome)
    assert record.audit().whole
    record.say(record.pump, closing, "applied")
    (said,) = words(record.audit().contradicted, "closing_out_of_order")
    assert "took it again" in said


def test_a_report_that_the_server_made_up(record: ClosingRecord) -> None:
    closing = record.order(22)
    true = record.report(record.pump, closing, "applied")
    record.world.log.leaves += [
        seal(read_envelope(true).payload, [make_key(ES256)]),
        record.report(record.door, closing, "applied", device=record.pump.id),
        seal({**read_envelope(true).payload, "outcome": "gone"}, [record.pump.key]),
    ]
    report = record.audit()
    assert len(words(report.contradicted, "not_by_machine")) == 3
    assert "none has answered" in words(report.proven, "closing")[0]


def test_a_word_that_the_server_keeps_back_is_never_called_known(record: ClosingRecord) -> None:
    record.order(22)
    report = record.audit()
    assert report.whole
    assert words(report.unknown, "closing_unanswered")
    assert "none has answered" in words(report.proven, "closing")[0]


def test_no_heap_of_forgeries_makes_a_lie_unknown(
    record: ClosingRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_papers, "MAX_PAPERS", 4)
    thief = make_key(ED25519)
    for port in range(1, 9):
        record.keep(record.forged(port, signer=thief), thief)
    true = record.order(22)
    record.keep(true)
    for outcome in ("applied", "kept"):
        record.say(record.pump, true, outcome)
    report = record.audit()
    assert report.whole
    assert words(report.unknown, "closings_without_force")[0].startswith("16 closings")
    record.say(record.pump, record.hidden(80), "applied")
    assert blamed(record) == {"closing_not_signed"}


def test_noise_of_these_kinds_is_named_and_stops_nothing(record: ClosingRecord) -> None:
    closing = record.order(22)
    for kind in ("closing", "closing-kept", "closing-report"):
        for payload in ({"type": f"fleetward.{kind}.v1"}, {
            **read_envelope(record.sign(wish(22))).payload, "type": f"fleetward.{kind}.v1",
            "device": record.pump.id, "closing": [],
        }):  # fmt: skip
            record.world.log.leaves.append(seal(payload, [record.approver]))
    record.say(record.pump, closing, "applied")
    report = record.audit()
    assert ids(report.contradicted) == {"not_by_machine"}
    assert "1 carried it out" in words(report.proven, "closing")[0]
