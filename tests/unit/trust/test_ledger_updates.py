"""What machines installed and by whose approval, as the owner's own check of a record says it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.keyholder.ledger_world import write_export
from tests.update_record import UpdateRecord, floor, ids, words

from fleetward.keyholder.verify import verify_export
from fleetward.runtime.keys import make_key
from fleetward.trust.keys import ES256
from fleetward.trust.ledger import Auditor
from fleetward.trust.selector import Selector


@pytest.fixture
def record() -> UpdateRecord:
    return UpdateRecord.make()


def test_a_record_without_releases_says_nothing_of_them(record: UpdateRecord) -> None:
    report = record.audit()
    assert report.whole and ids(report.proven) | ids(report.unknown) == set()


def test_a_release_from_its_approval_to_its_end_is_proven(record: UpdateRecord) -> None:
    approval = record.approve()
    for outcome in ("accepted", "installed", "committed"):
        record.say(record.pump, approval, outcome, installed=floor(11, 11))
    for outcome in ("accepted", "installed", "rolled_back"):
        record.say(record.door, approval, outcome)
    report = record.audit()
    assert report.whole and ids(report.unknown) == set()
    (said,) = words(report.proven, "approval")
    assert said == (
        "Ada approved kiosk 1.1 (counter 11) for all machines. Of the machines, by their own "
        "words, 1 committed it, 1 went back."
    )
    assert words(report.proven, "approvals")[0].startswith("1 approval of releases in the record")


def test_a_standing_approval_covers_what_its_maker_releases(record: UpdateRecord) -> None:
    approval = record.approve(standing=True)
    record.say(record.pump, approval, "committed", version="7", counter=70, release="cd" * 32)
    report = record.audit()
    assert report.whole
    assert "whatever the maker of kiosk releases" in words(report.proven, "approval")[0]


def test_silence_and_refusals_contradict_nothing(record: UpdateRecord) -> None:
    approval = record.approve()
    record.say(record.pump, approval, "refused", approval="", release="", rule="not_approved")
    report = record.audit()
    assert report.whole
    (open_,) = words(report.unknown, "update_unanswered")
    assert "Pump 7" in open_ and "Door 2" in open_


def test_what_was_taken_back_is_told_and_nobody_is_waited_for(record: UpdateRecord) -> None:
    approval = record.approve()
    record.withdraw(approval)
    record.say(record.pump, approval, "accepted")
    report = record.audit()
    assert report.whole and "Ada took it back" in words(report.proven, "approval")[0]
    assert ids(report.unknown) == {"update_after_withdrawal"}


def test_papers_without_force_are_counted(record: UpdateRecord) -> None:
    stranger = make_key(ES256)
    record.world.log.leaves.append(record.sign(signers=[stranger]))
    record.withdraw(record.approve("1.2", 12), stranger)
    report = record.audit()
    assert report.whole and "approvals_without_force" in ids(report.unknown)
    assert "2 approvals or withdrawals" in words(report.unknown, "approvals_without_force")[0]


def test_a_machine_that_was_moved_since_is_not_blamed(record: UpdateRecord) -> None:
    approval = record.approve(selector=Selector(groups=("ward-3",)))
    record.say(record.pump, approval, "committed")
    report = record.audit()
    assert report.whole and "update_for_others" in ids(report.unknown)


def test_the_older_one_told_late_is_not_blamed(record: UpdateRecord) -> None:
    """The server wrote the newer down first; the machine's own clock says which came first."""
    older, newer = record.approve("1.0", 10), record.approve("1.1", 11)
    first = record.report(record.pump, older, "committed", installed=floor(10, 10))
    record.say(record.pump, newer, "committed", installed=floor(11, 11))
    record.world.log.leaves.append(first)
    assert record.audit().whole


def test_the_whole_way_from_an_export_with_its_journals(
    record: UpdateRecord, tmp_path: Path
) -> None:
    approval = record.approve()
    record.journal(record.pump, ("accepted", approval), ("committed", approval))
    hidden = record.hidden("1.2", 12)
    record.journal(record.door, ("committed", hidden))
    folder = write_export(record.world, tmp_path / "export")
    found = verify_export(folder, record.world.owner, Auditor(record.clock))
    assert ids(found.report.contradicted) == {"update_not_approved"}
    assert "1 committed it" in words(found.report.proven, "approval")[0]
