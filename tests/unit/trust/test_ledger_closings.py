"""What machines closed and by whose order, as the owner's own check of a record says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.closing_record import ClosingRecord, ids, words
from tests.closing_wishes import wish
from tests.unit.keyholder.ledger_world import Machine, World, write_export

from fleetward.keyholder.audit_words import show_report, tell_report
from fleetward.keyholder.verify import verify_export
from fleetward.runtime.keys import make_key
from fleetward.trust import ledger_papers
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.closing import verify_closing_of_owner
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_papers import Papers


@pytest.fixture
def record() -> ClosingRecord:
    return ClosingRecord.make()


def test_a_record_without_closings_says_nothing_of_them(record: ClosingRecord) -> None:
    report = record.audit()
    assert report.whole
    assert ids(report.proven) | ids(report.unknown) == set()


def test_a_closing_from_its_order_to_its_end_is_proven(record: ClosingRecord) -> None:
    closing = record.order(22)
    for machine in (record.pump, record.door):
        record.say(machine, closing, "applied")
    record.keep(closing)
    record.say(record.pump, closing, "kept")
    record.say(record.door, closing, "restored")
    report = record.audit()
    assert report.whole
    (said,) = words(report.proven, "closing")
    assert said == (
        "Ada had all machines close tcp/22 (serial 1). Ada confirmed it. "
        "Of the machines, by their own words, 1 keeps it, 1 went back, since nobody had confirmed "
        "it."
    )
    assert words(report.proven, "closings")[0].startswith("1 closing stands in the record")
    assert ids(report.unknown) == set()


def test_a_record_of_an_earlier_release_is_whole_and_says_what_it_lacks(
    record: ClosingRecord,
) -> None:
    """There closings and confirmations were entries, and what machines said was none."""
    old, new = record.order(22), record.order(23, devices=[record.pump.id])
    record.keep(old)
    report = record.audit()
    assert report.whole
    unanswered = words(report.unknown, "closing_unanswered")
    assert [closing.hash[:12] in said for closing, said in zip((new, old), unanswered, strict=True)]
    # What only a machine's newest word tells, on such a server's next release.
    record.say(record.door, old, "kept")
    record.say(record.pump, old, "applied", seconds_left=0)
    report = record.audit()
    assert (report.whole, len(words(report.unknown, "closing_unanswered"))) == (True, 1)


def test_what_has_not_arrived_cannot_be_known(record: ClosingRecord) -> None:
    closing = record.order(22)
    (said,) = words(record.audit().unknown, "closing_unanswered")
    assert "Pump 7" in said and "Door 2" in said
    record.say(record.pump, closing, "applied")
    report = record.audit()
    (silent,) = [f for f in report.unknown if f.id == "closing_unanswered"]
    (trial,) = [f for f in report.unknown if f.id == "closing_on_trial"]
    assert (silent.device, trial.device) == (record.door.id, record.pump.id)
    # A newer one counts for the machine that it names.
    newer = record.order(80, devices=[record.pump.id])
    assert ids(record.audit().unknown) == {"closing_unanswered"}
    record.say(record.pump, newer, "refused", rule="kept_open", closed=(), seconds_left=0)
    report = record.audit()
    assert [f.device for f in report.unknown if f.id.startswith("closing_")] == [record.door.id]
    assert "1 said no" in words(report.proven, "closing")[-1]


def test_opening_everything_needs_no_confirmation(record: ClosingRecord) -> None:
    closed = record.order(22, devices=[record.pump.id])
    record.say(record.pump, closed, "applied")
    opened = record.order(devices=[record.pump.id])
    record.say(record.pump, opened, "applied")
    report = record.audit()
    assert (report.whole, ids(report.unknown)) == (True, set())
    assert "open again all that was closed (serial 2)" in words(report.proven, "closing")[1]
    record.say(record.pump, opened, "kept")
    assert ids(record.audit().contradicted) == {"kept_not_confirmed"}


def test_what_holds_may_be_said_again(record: ClosingRecord) -> None:
    """After a restart, when a filter was put back, or for a server that has lost it."""
    first = record.order(22, devices=[record.pump.id])
    record.say(record.pump, first, "applied")
    record.say(record.pump, first, "applied")
    record.keep(first)
    record.say(record.pump, first, "kept")
    second = record.order(80, devices=[record.pump.id])
    record.say(record.pump, second, "applied")
    record.say(record.pump, second, "restored", closed=first.ports)
    record.say(record.pump, first, "undone")
    record.say(record.pump, first, "applied", seconds_left=0)
    record.say(record.pump, first, "kept")
    record.say(record.pump, first, "refused", rule="old_serial")
    report = record.audit()
    assert report.whole
    assert "1 keeps it" in words(report.proven, "closing")[0]
    assert "1 went back" in words(report.proven, "closing")[1]


def test_one_that_more_people_sign_later(record: ClosingRecord) -> None:
    wanted = record.sign(wish(22))
    early = seal(read_envelope(wanted).payload, [make_key(ED25519)])
    record.world.log.leaves.append(early)
    closing = verify_closing_of_owner(wanted, record.world.policy)
    assert words(record.audit().unknown, "closings_without_force")[0].startswith("1 closing or")
    record.world.log.leaves.append(add_signatures(read_envelope(early), [record.approver]))
    record.say(record.pump, closing, "applied")
    report = record.audit()
    assert (report.whole, words(report.unknown, "closings_without_force")) == (True, [])


def test_one_whose_policy_was_recorded_after_it(record: ClosingRecord) -> None:
    """A machine may have the policy before the record shows it."""
    new = make_key(ED25519)
    raw = record.sign(wish(22), signers=[new])
    kept_place = len(record.world.log.leaves) + 1
    record.world.log.leaves.append(raw)
    record.world.keys["approver"] = new
    record.world.change_policy()
    record.world.sign_roster(record.world.machines)
    closing = verify_closing_of_owner(raw, record.world.policy)
    record.world.log.leaves.insert(kept_place, record.confirmation(closing))
    record.say(record.pump, closing, "applied")
    record.say(record.pump, closing, "kept")
    report = record.audit()
    assert (ids(report.contradicted), ids(report.proven)) == (set(), {"closing", "closings"})


def test_what_was_ordered_under_a_policy_that_has_passed(record: ClosingRecord) -> None:
    closing = record.order(22)
    record.world.keys["approver"] = make_key(ED25519)
    record.world.change_policy()
    record.world.sign_roster(record.world.machines)
    record.say(record.pump, closing, "applied")
    assert record.audit().contradicted == ()


def test_what_a_restore_lost_is_open_because_the_owner_signed(record: ClosingRecord) -> None:
    kept = len(record.world.log.leaves)
    closing = record.order(22)
    record.world.open_generation(kept)
    record.say(record.pump, closing, "applied")
    record.say(record.pump, closing, "kept")
    report = record.audit()
    assert ids(report.contradicted) == set()
    assert len(words(report.unknown, "closing_lost")) == 1


def test_what_another_generation_holds_is_found(record: ClosingRecord) -> None:
    closing = record.order(22)
    record.world.open_generation(len(record.world.log.leaves))
    record.say(record.pump, closing, "applied")
    report = record.audit()
    assert (ids(report.contradicted), words(report.unknown, "closing_lost")) == (set(), [])


def test_a_machine_off_the_roster_is_unknown(record: ClosingRecord) -> None:
    stray = World(("Stray",)).machines[0]
    record.say(stray, record.order(22), "applied")
    report = record.audit()
    assert ids(report.contradicted) == set()
    assert len(words(report.unknown, "closing_of_stranger")) == 1


def test_the_order_of_what_came_first_blames_nobody_alone(record: ClosingRecord) -> None:
    """A server that takes two batches in the wrong order swaps two words; the clock shows it."""
    older, newer = (record.order(p, devices=[record.pump.id]) for p in (22, 80))
    said = [record.report(record.pump, each, "applied") for each in (older, newer)]
    record.world.log.leaves += reversed(said)
    assert record.audit().whole


def test_a_limit_blames_nobody(record: ClosingRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_papers, "MAX_PAPERS", 1)
    record.order(22)
    record.say(record.pump, record.order(80), "applied")
    report = record.audit()
    assert (report.whole, len(words(report.unknown, "closing_lost"))) == (True, 1)


def test_copies_without_force_are_few(record: ClosingRecord) -> None:
    papers = Papers(verify_closing_of_owner)
    for _ in range(20):
        raw = record.sign(wish(22), serial=1, signers=[make_key(ED25519)])
        papers.take("a", raw, record.world.policy)
    assert len(papers.waiting["a"]) == ledger_papers.MAX_WAITING
    assert papers.count_idle() == 20


def test_many_machines_are_counted_and_many_closings_too() -> None:
    record = ClosingRecord(World([f"Pump {n}" for n in range(8)]).live(1))
    for port in range(1, 53):
        record.order(port)
    report = record.audit()
    (said,) = words(report.unknown, "closing_unanswered")
    assert said.count("Pump") == 5 and "3 other machines" in said
    assert len(words(report.proven, "closing")) == 50
    assert words(report.proven, "closings")[0].startswith("52 closings stand")


# The journal itself, where the copy of the record holds it.


def check(record: ClosingRecord, folder: Path, *, contents: bool = True) -> dict[str, set[str]]:
    write_export(record.world, folder, contents=contents)
    result = verify_export(folder, record.world.owner, Auditor(record.clock))
    shown, told = show_report(result), tell_report(result)
    assert all(f["words"] in told for f in shown["contradicted"])
    return {
        name: {f["id"] for f in shown[name] if f["id"].startswith(("clos", "kept", "not_by"))}
        for name in ("proven", "contradicted", "unknown")
    }


def test_a_journal_counts_as_much_as_a_report(record: ClosingRecord, tmp_path: Path) -> None:
    closing = record.order(22, devices=[record.pump.id])
    record.journal(record.pump, ("accepted", closing), ("applied", closing))
    record.keep(closing)
    record.journal(record.pump, ("confirmed", closing), ("kept", closing))
    found = check(record, tmp_path / "with")
    assert found == {"proven": {"closing", "closings"}, "contradicted": set(), "unknown": set()}
    found = check(record, tmp_path / "without", contents=False)
    assert found["unknown"] == {"closing_unanswered"}


def test_a_journal_that_says_what_nobody_ordered(record: ClosingRecord, tmp_path: Path) -> None:
    closing = record.hidden(22)
    record.journal(record.pump, ("accepted", closing))
    assert check(record, tmp_path / "a")["contradicted"] == {"closing_not_signed"}
    assert check(record, tmp_path / "b", contents=False)["contradicted"] == set()


def test_a_journal_that_keeps_what_nobody_confirmed(record: ClosingRecord, tmp_path: Path) -> None:
    closing = record.order(22)
    record.journal(record.pump, ("accepted", closing), ("confirmed", closing))
    assert check(record, tmp_path / "a")["contradicted"] == {"kept_not_confirmed"}


def test_a_report_in_a_journal_that_is_none_hides_nothing(
    record: ClosingRecord, tmp_path: Path
) -> None:
    closing = record.hidden(22)
    thief = Machine("thief", make_key(ES256))
    report = record.report(thief, closing, "applied")
    body = {"closing": closing.hash, "report": report.decode("latin-1"), "words": "x"}
    said = [("closing.applied", body), ("closing.kept", {"closing": 7}), ("closing.more", {})]
    record.world.log.leaves.append(record.world.say(record.pump, said=said))  # type: ignore[arg-type]
    assert check(record, tmp_path / "a")["contradicted"] == {"closing_not_signed"}


def test_a_true_report_of_another_closing_hides_nothing(
    record: ClosingRecord, tmp_path: Path
) -> None:
    true, closing = record.order(80), record.hidden(22)
    report = to_base64url(record.report(record.pump, true, "applied"))
    body: JsonObject = {"closing": closing.hash, "report": report, "words": "x"}
    batch = record.world.say(record.pump, said=[("closing.applied", body)])
    record.world.log.leaves.append(batch)
    assert check(record, tmp_path / "a")["contradicted"] == {"closing_not_signed"}


def test_a_word_is_blamed_once(record: ClosingRecord) -> None:
    closing = replace(record.hidden(22))
    for _ in range(3):
        record.say(record.pump, closing, "applied")
    assert len(words(record.audit().contradicted, "closing_not_signed")) == 1
