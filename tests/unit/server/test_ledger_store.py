"""The ledger on both databases: appending, proving, waiting, crashing, and a new generation."""

from __future__ import annotations

import threading

import pytest
import sqlalchemy as sa
from tests.server_world import SetClock
from tests.trust_world import NOW_MS, World

from fleetward.runtime.database import Database
from fleetward.server.audit import store
from fleetward.server.audit.act import Ledger
from fleetward.server.audit.check import RecordCheck
from fleetward.server.audit.decide import Leaf, describe_leaf
from fleetward.server.deeds import Deed
from fleetward.server.schema.migrate import migrate
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.trust.generation import make_opening_payload, verify_opening
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.merkle import hash_leaf, verify_consistency, verify_inclusion
from fleetward.trust.note import origin_of, verify_checkpoint
from fleetward.wire.audit import ProofRequest


class Record:
    """A ledger over a database, and its owner."""

    def __init__(self, database: Database) -> None:
        migrate(database, backup=lambda: None)
        self.database, self.trust, self.clock = database, World.make(), SetClock()
        self.open()

    def open(self) -> Ledger:
        self.ledger = Ledger(self.database, self.trust.log, self.clock)  # type: ignore[arg-type]
        return self.ledger

    def begin(self) -> None:
        raw = self.trust.owner_root.raw
        self.ledger.append_document(self.trust.owner, "root", raw, NOW_MS)

    def deed(self, number: int = 0) -> int:
        body = {"number": number}
        return self.ledger.record(
            Deed("test.done", "server", "server", self.ledger.owner_id, body, NOW_MS)
        )

    def kinds(self, generation: int = 1) -> list[str]:
        owner = self.trust.owner if generation else ""
        with self.database.read() as conn:
            rows = conn.execute(
                store.leaves.select()
                .where(store.leaves.c.generation == generation, store.leaves.c.owner_id == owner)
                .order_by(store.leaves.c.position)
            ).all()
        assert [row.position for row in rows] == list(range(len(rows)))
        return [row.kind for row in rows]

    def seen(self) -> SeenCheckpoint:
        """The newest checkpoint, verified as a machine does."""
        _, note = self.ledger.checkpoint()
        origin = origin_of(self.trust.owner, self.ledger.generation)
        checkpoint = verify_checkpoint(note, origin, self.trust.log.public)
        return SeenCheckpoint(self.ledger.generation, checkpoint.size, checkpoint.root.hex())

    def close(self) -> None:
        """What `fleetward restore` does."""
        with self.database.write() as conn:
            store.close_restored(conn)
        self.open()

    def opening(self, known: SeenCheckpoint) -> bytes:
        payload = make_opening_payload(self.trust.policy, known, "the disk died", NOW_MS)
        return seal(payload, self.trust.signers)

    def reopen(self) -> None:
        raw = self.opening(self.ledger.last_known())
        self.ledger.open_generation(verify_opening(raw, self.trust.policies), NOW_MS)


@pytest.fixture
def record(database: Database) -> Record:
    return Record(database)


def test_before_the_owner_deeds_are_kept_and_become_the_first_leaves(record: Record) -> None:
    assert record.deed(1) == record.deed(2) == -1
    with pytest.raises(Refused) as caught:
        record.ledger.checkpoint()
    assert caught.value.reason == "no_owner"
    record.open()  # a restart
    record.begin()
    assert record.kinds() == ["test.done", "test.done", "document.root"]
    assert record.kinds(0) == []
    assert record.deed(3) == 3
    size = record.seen().size
    assert size == 4
    assert record.open().size == 4


def test_a_document_is_a_leaf_once_and_of_one_owner(record: Record) -> None:
    record.begin()
    for _ in range(3):
        record.begin()
        record.ledger.append_document(record.trust.owner, "policy", b"{}", NOW_MS)
    assert record.kinds() == ["document.root", "document.policy"]
    with pytest.raises(Refused) as caught:
        record.ledger.append_document("0" * 64, "root", b"other", NOW_MS)
    assert caught.value.reason == "another_owner"


def test_batches_are_leaves_once_however_often_they_come(record: Record) -> None:
    record.begin()
    first, second = ("a" * 32, "1" * 64, b"one"), ("b" * 32, "2" * 64, b"two")
    record.ledger.append_batches([first, second, first], (), NOW_MS)
    record.ledger.append_batches([second], {second[1]}, NOW_MS)
    record.ledger.append_batches([], (), NOW_MS)
    assert record.kinds() == ["document.root", "batch", "batch"]


def test_hashes_that_begin_alike_are_told_apart(record: Record) -> None:
    record.begin()
    one, two, never = ("ab" * 8 + end * 48 for end in "123")
    record.ledger.append_batches(
        [("a" * 32, one, b"one"), ("a" * 32, two, b"two")], {one, two}, NOW_MS
    )
    assert [record.ledger.place_of(each) for each in (one, two, never)] == [1, 2, None]
    record.ledger.append_batches([("a" * 32, never, b"x")], {never}, NOW_MS)
    assert record.ledger.place_of(never) == 3


def test_proofs_lead_from_every_older_checkpoint(record: Record) -> None:
    record.begin()
    seen = [SeenCheckpoint(0, 0, "")]
    for number in range(1, 40):
        digest, raw = f"{number:064x}", str(number).encode()
        record.ledger.append_batches([("a" * 32, digest, raw)], (), NOW_MS)
        record.clock.now += 2000
        asked = ProofRequest(generation=seen[-1].generation, size=seen[-1].size, batches=[digest])
        reply = record.ledger.prove(asked)
        checkpoint = verify_checkpoint(
            reply.checkpoint.encode(), origin_of(record.trust.owner, 1), record.trust.log.public
        )
        (item,) = reply.items
        path = [from_base64url(h) for h in item.path]
        verify_inclusion(hash_leaf(raw), item.index, checkpoint.size, path, checkpoint.root)
        if seen[-1].generation:
            verify_consistency(
                seen[-1].size,
                bytes.fromhex(seen[-1].root),
                checkpoint.size,
                checkpoint.root,
                [from_base64url(h) for h in reply.consistency],
            )
        seen.append(SeenCheckpoint(1, checkpoint.size, checkpoint.root.hex()))
        if number % 10 == 0:
            record.open()
    unknown = record.ledger.prove(ProofRequest(generation=1, size=3, batches=["f" * 64]))
    assert unknown.items == []


def test_one_checkpoint_serves_a_fleet_that_asks_at_once(record: Record) -> None:
    record.begin()
    for number in range(20):
        record.ledger.append_batches([("a" * 32, f"{number:064x}", b"x%d" % number)], (), NOW_MS)
    asked = [ProofRequest(generation=0, size=0, batches=[f"{n:064x}"]) for n in range(20)]
    first = record.ledger.prove(asked[0]).checkpoint
    record.deed()
    assert {record.ledger.prove(a).checkpoint for a in asked} == {first}
    record.clock.now += 1000
    assert record.ledger.prove(asked[0]).checkpoint != first


def test_who_knows_more_than_the_ledger_is_told_so(record: Record) -> None:
    record.begin()
    for generation, size in ((1, 50), (2, 1)):
        with pytest.raises(Refused) as caught:
            record.ledger.prove(ProofRequest(generation=generation, size=size, batches=[]))
        assert caught.value.reason == "ledger_behind"


@pytest.mark.parametrize("step", ["insert_leaves", "upsert_tiles"])
def test_a_crash_between_the_steps_of_an_append_leaves_nothing(
    record: Record, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.begin()
    before = record.seen()

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(store, step, die)
            with pytest.raises(Unreachable):
                record.deed()
        assert record.ledger.size == before.size
        assert record.seen() == before
    assert record.deed() == before.size
    after = record.seen()
    record.open()
    assert record.seen() == after


def test_a_store_that_cannot_even_be_read_back_leads_to_no_gap(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.begin()

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    with monkeypatch.context() as patch:
        for name in ("upsert_tiles", "count_leaves", "select_tile"):
            patch.setattr(store, name, die)
        for _ in range(2):
            with pytest.raises(Unreachable):
                record.deed()
        with pytest.raises(Unreachable):
            record.ledger.checkpoint()
    assert record.deed() == 1
    assert record.kinds() == ["document.root", "test.done"]
    assert RecordCheck(record.database, record.ledger, record.clock).run(whole=True).state == (
        "intact"
    )


def test_after_a_restore_the_record_waits_for_its_owner(record: Record) -> None:
    record.begin()
    for number in range(5):
        record.deed(number)
    lost = record.seen()
    record.close()
    assert record.ledger.waiting_for_owner
    with pytest.raises(Refused) as caught:
        record.ledger.append_batches([("a" * 32, "1" * 64, b"one")], (), NOW_MS)
    assert caught.value.reason == "record_waits"
    assert record.deed(6) == -1
    # An opening that names another checkpoint, or one by somebody else, opens nothing.
    wrong = SeenCheckpoint(1, lost.size + 1, lost.root)
    with pytest.raises(Refused) as caught:
        record.ledger.open_generation(
            verify_opening(record.opening(wrong), record.trust.policies), NOW_MS
        )
    assert caught.value.reason == "wrong_opening"
    payload = make_opening_payload(record.trust.policy, lost, "", NOW_MS)
    with pytest.raises(FleetwardError):
        verify_opening(seal(payload, [record.trust.log]), record.trust.policies)
    record.reopen()
    assert (record.ledger.generation, record.ledger.waiting_for_owner) == (2, False)
    assert record.kinds(2) == ["document.generation", "test.done"]
    # A machine that knew the old generation is led into the new one.
    reply = record.ledger.prove(ProofRequest(generation=1, size=400, batches=[]))
    checkpoint = verify_checkpoint(
        reply.checkpoint.encode(), origin_of(record.trust.owner, 2), record.trust.log.public
    )
    opening = from_base64url(reply.opening)
    path = [from_base64url(h) for h in reply.opening_path]
    verify_inclusion(hash_leaf(opening), 0, checkpoint.size, path, checkpoint.root)
    assert verify_opening(opening, record.trust.policies).last_known == lost
    with pytest.raises(Refused) as caught:
        record.reopen()
    assert caught.value.reason == "not_restored"
    # The batch that came in generation 1 becomes a leaf again in generation 2.
    record.ledger.append_batches([("a" * 32, "1" * 64, b"one")], (), NOW_MS)
    assert record.kinds(2)[-1] == "batch"


def test_the_last_known_checkpoint_is_signed_for_the_export(record: Record) -> None:
    record.begin()
    record.seen()
    record.deed()
    record.close()
    known = record.ledger.last_known()
    with record.database.read() as conn:
        kept = store.select_checkpoint(conn, record.trust.owner, 1)
    assert kept is not None
    assert kept.size == known.size == 2


@pytest.mark.parametrize("step", ["insert_generation", "insert_leaves", "upsert_tiles"])
def test_a_crash_while_a_generation_opens_leaves_it_closed(
    record: Record, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.begin()
    record.close()
    record.deed()

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, step, die)
        with pytest.raises(Unreachable):
            record.reopen()
    assert record.ledger.waiting_for_owner
    assert record.open().waiting_for_owner
    record.reopen()
    assert record.kinds(2) == ["document.generation", "test.done"]


def test_a_crash_while_early_deeds_become_leaves_doubles_none(
    record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    record.deed(1)

    def die(*_: object) -> None:
        raise Unreachable("gone", reason="gone")

    with monkeypatch.context() as patch:
        patch.setattr(store, "delete_early", die)
        with pytest.raises(Unreachable):
            record.begin()
    record.open()
    record.begin()
    assert sorted(record.kinds()) == ["document.root", "test.done"]
    assert record.kinds(0) == []


def test_many_threads_append_one_after_the_other(record: Record) -> None:
    record.begin()
    threads = [
        threading.Thread(target=lambda: [record.deed(n) for n in range(15)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(record.kinds()) == 61
    seen = record.seen()
    record.open()
    assert record.seen() == seen


def test_the_servers_own_check_finds_an_altered_and_a_missing_entry(record: Record) -> None:
    check = RecordCheck(record.database, record.ledger, record.clock)
    assert check.run().state == "unknown"
    record.begin()
    for number in range(5):
        record.deed(number)
    assert check.run().state == "intact"
    record.deed(9)
    assert (check.run().state, check.last.size) == ("intact", 7)
    with record.database.write() as conn:
        conn.execute(
            store.leaves.update().where(store.leaves.c.position == 2).values(body=b"a lie")
        )
    assert check.run().state == "intact"  # what is new: nothing
    assert check.run(whole=True).state == "broken"
    with record.database.write() as conn:
        conn.execute(store.leaves.delete().where(store.leaves.c.position == 2))
    found = check.run(whole=True)
    assert found.state == "broken"
    assert "missing" in found.words


def test_a_leaf_in_words() -> None:
    leaf = Leaf("test.some_thing", "server", "server", "0" * 64, NOW_MS, b"\xff")
    assert describe_leaf(leaf.kind, leaf.body) == "test.some_thing"
    assert describe_leaf("document.policy", b"") == "The owner signed a new policy."
    assert describe_leaf("a.b_c", b'{"body":{"words":"Done."}}') == "Done."
    assert describe_leaf("a.b_c", b'{"body":{}}') == "a b c"


def test_a_leaf_is_found_by_the_start_of_its_reference_however_long_the_record(
    database: Database,
) -> None:
    """A proof that reads the whole record costs the more, the longer it is: SQLite did, when the
    owner and the generation stood in the question too."""
    record = Record(database)
    record.begin()
    asked: list[tuple[str, object]] = []

    def note(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        asked.append((statement, parameters))

    reference = "ab" * 32
    sa.event.listen(database.engine, "before_cursor_execute", note)
    assert record.ledger.lacking([reference]) == [reference]
    assert record.ledger.places_of([reference]) == {}
    sa.event.remove(database.engine, "before_cursor_execute", note)
    found = [each for each in asked if "FROM audit_leaf" in each[0]]
    assert len(found) == 2
    if database.engine.dialect.name != "sqlite":
        return
    for statement, parameters in found:
        with database.read() as conn:
            # They are what the driver got a moment ago; the event does not say of which type.
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).all()  # type: ignore[arg-type]
        assert "ix_audit_leaf_reference_start" in str(plan), plan
