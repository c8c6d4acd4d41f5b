"""What a stolen server can do with a recall: it orders nothing, and hides nothing from the owner's
own check of the record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from tests.recall_world import again, export, open_recall, prove, runs, tell, two_releases
from tests.trust_world import refused
from tests.updates_world import OPERATOR, UpdatesWorld, updates_world

from fleetward.keyholder.recall_check import RecallCheck, check_recall, read_proof
from fleetward.runtime.database import Database
from fleetward.server.audit.store import leaves
from fleetward.server.schema.tables import metadata
from fleetward.server.updates.recalls import write_message
from fleetward.trust.errors import Malformed
from fleetward.trust.ledger import Auditor
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.selector import Selector

MACHINES = 4
OWN_TABLES = {"updates_recall", "updates_recalled", "updates_recall_day", "audit_leaf",
              "audit_tile", "audit_checkpoint"}  # fmt: skip


@pytest.fixture
def there(tmp_path: Path) -> Iterator[UpdatesWorld]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with updates_world(database, tmp_path, machines=MACHINES) as made:
        yield made
    database.close()


@pytest.fixture
def releases(there: UpdatesWorld) -> tuple[Manifest, Manifest]:
    return two_releases(there)


def check(there: UpdatesWorld, proof: bytes | dict[str, Any], record: Path) -> RecallCheck:
    """Check a proof as `fleetward recall verify` does."""
    data = proof if isinstance(proof, bytes) else msgspec.json.encode(proof)
    auditor = Auditor(there.world.clock.now)
    return check_recall(read_proof(data), record, there.world.trust.owner, auditor)


def contents(there: UpdatesWorld) -> dict[str, list[Any]]:
    """Return all that the server stores, but for recalls and the record."""
    with there.world.house.database.read() as conn:
        tables = [t for t in metadata.sorted_tables if t.name not in OWN_TABLES]
        return {table.name: list(conn.execute(sa.select(table))) for table in tables}


def test_a_recall_makes_no_machine_do_anything(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest]
) -> None:
    for each in there.pumps:
        tell(there, each, releases[0], "committed")
    # What the owner approved is directed already; a third release, nobody has approved.
    there.release("1.2", 12)
    told = [there.told(each) for each in there.pumps]
    there.looked.clear()
    before = contents(there)
    recalls = there.slice.recalls
    for remedy, fix in (("patch", "1.2"), ("disable", ""), ("stop", "")):
        row = open_recall(there, remedy=remedy, fix_version=fix)
        recalls.acknowledge(row.recall_id, "we know", OPERATOR)
        recalls.note(row.recall_id, [there.pumps[0].device], "unplugged", OPERATOR)
        again(there, row)
        recalls.close(row.recall_id, "so", OPERATOR)
        recalls.reopen(row.recall_id, "again", OPERATOR)
        recalls.cancel(row.recall_id, "no", OPERATOR)
    assert contents(there) == before
    assert there.looked == []
    assert [there.told(each) for each in there.pumps] == told
    assert all(there.world.house.waiting.orders_for(m.device) == [] for m in there.pumps)


def make_proof(there: UpdatesWorld, old: Manifest, new: Manifest) -> dict[str, Any]:
    """Return the proof of a recall: one machine done, one affected, one unknown, one retired."""
    done, affected, _, gone = there.pumps
    for each in (done, affected, gone):
        tell(there, each, old, "committed")
    row = open_recall(there)
    tell(there, done, new, "accepted", "installed", **runs(old))
    tell(there, done, new, "committed")
    there.world.trust.retire(gone)
    there.world.publish()
    again(there, row)
    made: dict[str, Any] = msgspec.json.decode(prove(there, row))
    return made


@dataclass(frozen=True)
class Honest:
    """A server's honest proof and record; who lies, does it with a copy."""

    there: UpdatesWorld
    proof: bytes
    record: Path


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Honest]:
    folder = tmp_path_factory.mktemp("recall")
    database = Database.open(f"sqlite:///{folder / 'state.db'}")
    with updates_world(database, folder, machines=MACHINES) as there:
        made = make_proof(there, *two_releases(there))
        yield Honest(there, msgspec.json.encode(made), export(there, folder / "record"))
    database.close()


def line(proof: dict[str, Any], there: UpdatesWorld, number: int) -> dict[str, Any]:
    found: dict[str, Any] = next(
        each for each in proof["lines"] if each["device"] == there.pumps[number].device
    )
    return found


def test_an_honest_proof_says_what_is_done_and_what_is_not(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    proof = make_proof(there, *releases)
    found = check(there, proof, export(there, tmp_path / "record"))
    assert (found.report.contradicted, found.report.unknown) == ((), ())
    assert (found.updated, found.retired, found.is_over) == (1, 1, False)
    assert {each.device for each in found.open} == {m.device for m in there.pumps[1:3]}
    for each in there.pumps[1:3]:
        tell(there, each, there.manifests[1], "committed")
    row = there.slice.recalls.find(proof["recall"])
    found = check(there, prove(there, row), export(there, tmp_path / "later"))
    assert (found.updated, found.retired, found.is_over) == (3, 1, True)


def leave_out(number: int) -> Callable[[dict[str, Any], UpdatesWorld], None]:
    def change(proof: dict[str, Any], there: UpdatesWorld) -> None:
        gone = line(proof, there, number)
        proof["lines"].remove(gone)
        proof["tally"][gone["standing"]] -= 1
        proof["tally"]["found"] -= 1

    return change


def call_done(number: int, report_of: int | None) -> Callable[[dict[str, Any], UpdatesWorld], None]:
    def change(proof: dict[str, Any], there: UpdatesWorld) -> None:
        said = line(proof, there, number)
        proof["tally"][said["standing"]] -= 1
        proof["tally"]["updated"] += 1
        said |= {"standing": "updated", "version": "1.1", "counter": 11}
        if report_of is not None:
            said["report"] = line(proof, there, report_of)["report"]

    return change


def call_retired(proof: dict[str, Any], there: UpdatesWorld) -> None:
    said = line(proof, there, 1)
    proof["tally"] |= {"affected": 0, "retired": 2}
    said |= {"standing": "retired", "roster": proof["roster"]}


def narrow(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["scope"]["machines"] = {
        "devices": [there.pumps[0].device], "groups": [], "models": [], "sites": [],
    }  # fmt: skip
    leave_out(1)(proof, there)
    leave_out(2)(proof, there)
    leave_out(3)(proof, there)


def other_entry(proof: dict[str, Any], there: UpdatesWorld) -> None:
    line(proof, there, 0)["report"]["entry"] -= 1


def miscount(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["tally"] |= {"affected": 0, "updated": 2}


def twice(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["lines"].append(dict(line(proof, there, 0)))
    proof["tally"]["updated"] += 1


def another_recall(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["recall"] = "0" * 32


def another_owner(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["owner_root"] = "ab" * 32


def stranger(proof: dict[str, Any], there: UpdatesWorld) -> None:
    proof["lines"].append(line(proof, there, 0) | {"device": "x" * 32})
    proof["tally"]["updated"] += 1


@pytest.mark.parametrize(
    ("lie", "finding"),
    [
        (leave_out(1), "left_out"),
        (leave_out(2), "left_out"),
        (call_done(1, None), "not_proven"),
        (call_done(1, 0), "not_proven"),
        (call_done(2, 0), "not_proven"),
        (call_retired, "not_retired"),
        (narrow, "another_scope"),
        (other_entry, "wrong_entry"),
        (miscount, "bad_counts"),
        (twice, "twice"),
        (stranger, "stranger"),
        (another_recall, "not_opened"),
        (another_owner, "another_owner"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_proof_that_lies_is_contradicted_by_the_record(
    honest: Honest, lie: Callable[[dict[str, Any], UpdatesWorld], None], finding: str
) -> None:
    proof: dict[str, Any] = msgspec.json.decode(honest.proof)
    lie(proof, honest.there)
    found = check(honest.there, proof, honest.record)
    assert finding in {each.id for each in found.report.contradicted}
    assert not found.is_over


def test_a_machine_whose_word_is_withheld_is_never_counted_as_done(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    """The server's own tables may say anything: the record has no such word."""
    old, new = releases
    for each in there.pumps:
        tell(there, each, old, "committed")
    row = open_recall(there)
    with there.world.house.database.write() as conn:
        states = metadata.tables["updates_state"]
        conn.execute(states.update().values(version="1.1", counter=11, release_id=new.hash))
    again(there, row)
    found = check(there, prove(there, row), export(there, tmp_path / "record"))
    assert len([f for f in found.report.contradicted if f.id == "not_proven"]) == MACHINES
    assert found.updated == 0


def test_a_record_from_before_the_proof_proves_nothing_of_it(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    old, new = releases
    for each in there.pumps:
        tell(there, each, old, "committed")
    row = open_recall(there)
    record = export(there, tmp_path / "record")
    for each in there.pumps:
        tell(there, each, new, "committed")
    again(there, row)
    found = check(there, prove(there, row), record)
    assert found.report.contradicted == ()
    assert len(found.report.unknown) == MACHINES and not found.is_over


def test_whom_the_proof_itself_has_as_open_is_done_for_nobody(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    """The record shows all as done; the proof knows of a word that the record does not have."""
    old, new = releases
    back, gone = there.pumps[0], there.pumps[3]
    for each in there.pumps:
        tell(there, each, old, "committed")
    row = open_recall(there)
    before: dict[str, Any] = msgspec.json.decode(prove(there, row))
    for each in there.pumps[:3]:
        tell(there, each, new, "committed")
    there.world.trust.retire(gone)
    there.world.publish()
    record = export(there, tmp_path / "record")
    tell(there, back, old, "committed")
    again(there, row)
    after: dict[str, Any] = msgspec.json.decode(prove(there, row))
    assert after["tally"]["affected"] == 1
    found = check(there, after, record)
    assert [each.device for each in found.report.unknown] == [back.device]
    assert (found.updated, found.report.contradicted, found.is_over) == (2, (), False)
    # The word was never recorded: this copy is as new as the proof, and the machine open still.
    unrecorded = after | {"entries": before["entries"]}
    found = check(there, unrecorded, record)
    assert [each.device for each in found.open] == [back.device]
    assert (found.updated, found.report.contradicted, found.is_over) == (2, (), False)
    # A proof from before anything was done is contradicted by nothing, and proves nobody.
    found = check(there, before, record)
    assert {each.device for each in found.open} == {each.device for each in there.pumps}
    assert (found.updated, found.retired, found.report.contradicted) == (0, 0, ())


def test_who_was_found_outside_is_done_by_its_own_word_alone(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    old, new = releases
    outside, meant, strange, _ = there.pumps
    tell(there, outside, old, "committed")
    tell(there, meant, old, "committed")
    row = open_recall(there, machines=Selector(devices=(meant.device,)))
    for each in (outside, meant):
        tell(there, each, new, "committed")
    again(there, row)
    proof: dict[str, Any] = msgspec.json.decode(prove(there, row))
    record = export(there, tmp_path / "record")
    found = check(there, proof, record)
    assert (found.updated, found.report.contradicted, found.is_over) == (2, (), True)
    # Of a machine that never said a word, it is not believed.
    proof["lines"].append(line(proof, there, 0) | {"device": strange.device})
    proof["tally"]["updated"] += 1
    found = check(there, proof, record)
    assert [each.id for each in found.report.contradicted] == ["not_proven"]


def test_who_joins_after_the_proof_is_open_and_altered_entries_prove_nothing(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    proof = make_proof(there, *releases)
    late = there.world.join("pump late", preapproved=True)
    there.world.confirm(late)
    found = check(there, proof, export(there, tmp_path / "record"))
    assert found.report.contradicted == ()
    assert late.device in {each.device for each in found.open}

    with there.world.house.database.write() as conn:
        conn.execute(
            leaves.update()
            .where(leaves.c.kind == "document.update-report")
            .values(body=sa.literal(b"{}"))
        )
    found = check(there, proof, export(there, tmp_path / "altered"))
    assert "record_contradicted" in {each.id for each in found.report.contradicted}
    assert not found.is_over


def test_what_a_maker_writes_into_a_recall_is_text_wherever_it_goes(
    there: UpdatesWorld, releases: tuple[Manifest, Manifest]
) -> None:
    tell(there, there.pumps[0], releases[0], "committed")
    for bad in ("\x1b[2J", "a\u202eb", "a\r\nBcc: x", "\u2028"):
        with refused(Malformed, "bad_text"):
            open_recall(there, title=f"Fault {bad}")
        with refused(Malformed, "bad_text"):
            open_recall(there, why=f"Fault {bad}" if "\n" not in bad else "\x07")
    row = open_recall(there, why="<script>x</script>\nApprove it: fleetward owner approve evil/1")
    title, text = write_message(row, there.slice.recalls.tally(row))
    assert "\n" not in title
    # It cannot look like a line of the message's own.
    assert "<script>x</script> Approve it: fleetward owner approve evil/1" in text.splitlines()


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"format":"x"}', b"\xff"])
def test_what_is_no_proof_is_malformed(data: bytes) -> None:
    with refused(Malformed, "bad_proof"):
        read_proof(data)
