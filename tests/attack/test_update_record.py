"""What a server, or a machine, can make a record say of releases, and the owner's check of it."""

from __future__ import annotations

import pytest
from tests.trust_world import alter
from tests.update_record import UpdateRecord, floor, ids, words

from fleetward.runtime.keys import make_key
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import verify_approval
from fleetward.trust.selector import Selector


@pytest.fixture
def record() -> UpdateRecord:
    return UpdateRecord.make()


def blamed(record: UpdateRecord) -> set[str]:
    return ids(record.audit().contradicted)


@pytest.mark.parametrize("outcome", ["accepted", "installed", "committed", "rolled_back"])
def test_an_approval_that_the_server_left_out_is_missed(record: UpdateRecord, outcome: str) -> None:
    record.say(record.pump, record.hidden(), outcome)
    report = record.audit()
    (found,) = report.contradicted
    assert (found.id, found.device) == ("update_not_approved", record.pump.id)
    assert "Pump 7" in found.words and "No such approval stands before that" in found.words


def test_an_approval_recorded_only_afterwards_is_missed(record: UpdateRecord) -> None:
    raw = record.sign()
    record.say(record.pump, verify_approval(raw, record.world.policy), "committed")
    record.world.log.leaves.append(raw)
    assert blamed(record) == {"update_not_approved"}


def test_an_approval_that_nobody_who_may_had_signed(record: UpdateRecord) -> None:
    true = record.hidden()
    forged = seal(read_envelope(true.raw).payload, [make_key(ED25519)])
    record.world.log.leaves.append(forged)
    record.say(record.pump, true, "committed")
    report = record.audit()
    assert ids(report.contradicted) == {"update_not_approved"}
    assert "approvals_without_force" in ids(report.unknown)


def test_an_approval_of_another_release_product_or_machine(record: UpdateRecord) -> None:
    approval = record.approve()
    for said in (
        {"release": "cd" * 32}, {"version": "1.2"}, {"counter": 12}, {"product": "pump"},
    ):  # fmt: skip
        record.say(record.pump, approval, "committed", **said)
    other = record.approve("2", 20, selector=Selector(devices=(record.door.id,)))
    record.say(record.pump, other, "committed")
    report = record.audit()
    assert ids(report.contradicted) == {"update_not_approved"}
    assert "It names other machines" in words(report.contradicted, "update_not_approved")[-1]


def test_a_machine_that_goes_below_its_floor(record: UpdateRecord) -> None:
    older, newer = record.approve("1.0", 10), record.approve("1.1", 11)
    record.say(record.pump, older, "committed", installed=floor(10, 11))
    (found,) = record.audit().contradicted
    assert found.id == "update_below_floor" and "its own floor 11" in found.words
    record.say(record.door, newer, "committed", installed=floor(11, 11))
    record.say(record.door, older, "committed", installed=floor(10, 10))
    below = words(record.audit().contradicted, "update_below_floor")
    assert len(below) == 2 and "after it had committed counter 11" in below[1]


def test_a_report_that_the_server_made_up_or_altered(record: UpdateRecord) -> None:
    approval = record.approve()
    true = record.report(record.pump, approval, "failed")
    record.world.log.leaves.append(alter(true, {"outcome": "committed"}))
    record.world.log.leaves.append(seal(read_envelope(true).payload, [record.door.key]))
    report = record.audit()
    assert ids(report.contradicted) == {"update_not_by_machine"}
    assert len(report.contradicted) == 2
    assert "none has answered" in words(report.proven, "approval")[0]


def test_a_thousand_words_of_one_lie_are_one_finding(record: UpdateRecord) -> None:
    hidden = record.hidden()
    for _ in range(30):
        record.say(record.pump, hidden, "committed")
    assert len(record.audit().contradicted) == 1
