"""The stolen server changes the past: rows in its database, and a record signed anew.

The thief has the database and the log key. A fresh export is then checked as its owner checks it:
with the owner root's hash, and with what others have seen (an older checkpoint, a machine's own
signed words, a witness). Whatever he changed is named.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.adversary.estate import Estate, open_estate
from tests.adversary.machine import FieldMachine
from tests.adversary.stage import Stage, open_stage
from tests.adversary.thief import Thief

from fleetward.runtime.keys import make_key
from fleetward.server.audit.decide import Leaf
from fleetward.trust.keys import ED25519
from fleetward.trust.ledger import Auditor
from fleetward.trust.ledger_findings import AuditReport, Finding
from fleetward.trust.note import cosign

Rewriting = Callable[[list[Leaf]], list[Leaf]]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("record")) as opened:
        yield opened


def first(report: AuditReport) -> Finding:
    assert report.contradicted, "nothing was noticed"
    return report.contradicted[0]


async def audit_now(stage: Stage, auditor: Auditor | None = None) -> AuditReport:
    """Check a fresh export of the record as it stands."""
    name = f"export-{len(list(stage.estate.folder.glob('export-*')))}"
    return await stage.estate.audit(await stage.estate.export(name), auditor=auditor)


# --- rows changed by hand


@contextlib.asynccontextmanager
async def changed_row(stage: Stage, where: str, column: str, value: object) -> AsyncIterator[int]:
    """Change a column of the first leaf that fits; yield its place; put it back."""
    thief = stage.thief
    [row] = thief.rows(
        f"select position, {column} from audit_leaf where {where} order by position limit 1"
    )
    change = f"update audit_leaf set {column} = :value where position = :place and generation = 1"
    if isinstance(value, bytes) and value == b"altered":
        value = bytes(row[1]).replace(b"joined", b"strayed")
    assert thief.write(change, value=value, place=row.position) == 1
    try:
        yield int(row.position)
    finally:
        back = row.position if column != "position" else value
        thief.write(change, value=row[1], place=back)


def test_an_altered_entry_is_named(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine():
            assert (await audit_now(stage)).whole
            where = "kind = 'device.joined'"
            async with changed_row(stage, where, "body", b"altered") as place:
                assert first(await audit_now(stage)).entry == place
            assert (await audit_now(stage)).whole

    stage.run(act)


def test_a_deleted_entry_is_named(stage: Stage) -> None:
    async def act() -> None:
        async with (
            stage.machine(),
            changed_row(stage, "kind = 'device.joined'", "position", 10**6) as place,
        ):
            found = first(await audit_now(stage))
            assert found.entry is None or found.entry <= place

    stage.run(act)


def exchange(thief: Thief, one: int, two: int) -> None:
    for before, after in ((one, 10**6), (two, one), (10**6, two)):
        thief.write(
            "update audit_leaf set position = :after where position = :before",
            before=before,
            after=after,
        )


def test_two_entries_that_changed_places_are_named(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine():
            where = "kind = 'batch'"
            rows = stage.thief.rows(
                f"select position from audit_leaf where {where} order by position limit 2"
            )
            one, two = (int(r.position) for r in rows)
            exchange(stage.thief, one, two)
            try:
                assert first(await audit_now(stage)).entry == one
            finally:
                exchange(stage.thief, one, two)

    stage.run(act)


@pytest.mark.parametrize("change", ["alter", "delete"])
def test_an_event_that_was_changed_in_the_store_is_named(stage: Stage, change: str) -> None:
    """The newest words of a machine travel with the record, and must be what it signed."""

    async def act() -> None:
        async with stage.machine() as machine:
            last = machine.speak("port 23 opened by busybox")
            await machine.settled()
            who = {"device": machine.device, "last": last}
            where = "where device_id = :device and sequence = :last"
            if change == "alter":
                raw = bytes(stage.thief.rows(f"select body from events_event {where}", **who)[0][0])
                told = raw.replace(b"port 23", b"port 22")
                stage.thief.write(f"update events_event set body = :told {where}", told=told, **who)
            else:
                stage.thief.write(f"delete from events_event {where}", **who)
            report = await audit_now(stage)
            if change == "delete":
                # What the server withholds is no contradiction, and is never called proven.
                [absent] = [f for f in report.unknown if f.id == "contents_absent"
                            and f.device == machine.device]  # fmt: skip
                newest = len(machine.core.journal.batches)
                assert f"of {newest} batches" in absent.words
            else:
                assert first(report).id == "content_altered"
                assert first(report).device == machine.device
                stage.thief.write(f"update events_event set body = :told {where}", told=raw, **who)

    stage.run(act)


# --- the whole record, signed anew with the stolen log key


@contextlib.asynccontextmanager
async def rewritten(estate: Estate, thief: Thief, change: Rewriting) -> AsyncIterator[None]:
    """Have the server's own code write and sign another past; then the true one again."""
    rows = thief.rows("select * from audit_leaf where generation = 1 order by position")
    told = [Leaf(r.kind, r.actor, r.subject, r.reference, r.at, bytes(r.body)) for r in rows]
    await asyncio.to_thread(tell, estate, thief, change(list(told)))
    try:
        yield
    finally:
        await asyncio.to_thread(tell, estate, thief, told)


def tell(estate: Estate, thief: Thief, leaves: Sequence[Leaf]) -> None:
    ledger = estate.program.house.ledger
    with ledger._lock:
        for table in ("audit_leaf", "audit_tile", "audit_checkpoint"):
            thief.write(f"delete from {table} where generation = 1")
        ledger._loaded, ledger._signed = None, (-1, b"", 0)
        ledger.append(leaves)


def without_a_deed(leaves: list[Leaf]) -> list[Leaf]:
    place = next(i for i, leaf in enumerate(leaves) if leaf.kind == "device.joined")
    return leaves[:place] + leaves[place + 1 :]


def another_deed(leaves: list[Leaf]) -> list[Leaf]:
    place = next(i for i, leaf in enumerate(leaves) if leaf.kind == "device.joined")
    leaves[place] = replace(
        leaves[place], body=leaves[place].body.replace(b"joined", b"strayed")
    )  # fmt: skip
    return leaves


def reordered(leaves: list[Leaf]) -> list[Leaf]:
    places = [i for i, leaf in enumerate(leaves) if leaf.kind == "device.joined"][:1]
    place = places[0]
    return [*leaves[:place], leaves[place + 1], leaves[place], *leaves[place + 2 :]]


REWRITINGS = {
    "without a deed": without_a_deed,
    "with another deed": another_deed,
    "in another order": reordered,
}


@pytest.mark.parametrize("name", REWRITINGS)
def test_a_record_signed_anew_is_contradicted(stage: Stage, name: str) -> None:
    """By what a machine had journalled, by an older checkpoint, and by a witness, each alone."""

    async def act() -> None:
        async with stage.machine() as machine:
            machine.speak()
            await machine.settled()
            ledger, clock = stage.estate.program.house.ledger, stage.estate.clock
            _, note = ledger.checkpoint()
            harbour = make_key(ED25519)
            seen = cosign(note, "harbour", harbour, clock.wall_ms() // 1000)
            # The machine journals the state that it was shown, and signs it with its next words.
            machine.speak()
            await machine.settled()
            assert (await audit_now(stage)).whole
            now = clock.wall_ms()
            checkers = (
                Auditor(now_ms=now),
                Auditor(now_ms=now, older=(note,)),
                Auditor(now_ms=now, older=(seen,), witnesses={"harbour": harbour.public}),
            )
            async with rewritten(stage.estate, stage.thief, REWRITINGS[name]):
                for checker in checkers:
                    report = await audit_now(stage, checker)
                    assert not report.whole
                    found = {f.id for f in report.contradicted}
                    assert found & {"seen_otherwise", "entries_removed"}, found

    stage.run(act)


def test_a_machine_notices_itself_that_the_record_was_rewritten(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            # Where the tree that it saw is a subtree of the newer one, a proof shows no fork: the
            # machine then says "unproven", and what it signed contradicts the record in an audit.
            while (size := machine.core.outbox.checkpoint.size) & (size - 1) == 0:
                machine.speak()
                await machine.settled()
            before, checkpoint = machine.belief(), machine.checkpoint
            async with rewritten(stage.estate, stage.thief, another_deed):
                last = machine.speak()
                await stage.expect_refusal(machine, before, ("checkpoint", "forked"))
                assert machine.checkpoint == checkpoint
                assert machine.core.state.record == "contradicted"
                batch = machine.core.journal.find_after(last - 1)
                assert batch is not None
                assert batch.proof is None

    stage.run(act)


# --- a database of yesterday


def test_a_database_of_yesterday_is_noticed_by_everybody(tmp_path: Path) -> None:
    """The thief puts an older copy of the database in place, to have something forgotten."""

    async def act() -> None:
        async with open_estate(tmp_path) as estate:
            machine = await estate.add_machine()
            database = estate.program.places.database
            yesterday = tmp_path / "yesterday.db"
            await stop_and(estate, lambda: copy_database(database, yesterday))
            await machine.until(lambda: machine.core.connection.state == "connected", "it is back")
            # A deed that the thief wants to have forgotten, and what the machine said behind it.
            await estate.renew_lease()
            machine.speak("port 23 opened by busybox")
            await machine.settled()
            checkpoint = machine.checkpoint
            _, note = estate.program.house.ledger.checkpoint()
            await stop_and(estate, lambda: copy_database(yesterday, database))
            await machine.until(lambda: machine.entries("store.lost"), "the machine notices")
            assert machine.checkpoint == checkpoint, "it follows no shorter record"
            # What was to be forgotten is there again: the machine had kept it.
            await machine.until(
                lambda: "busybox" in stored_words(estate, machine), "it is sent again"
            )
            assert machine.core.outbox.unproven > 0 or machine.core.state.record != "intact"
            report = await estate.audit(await estate.export("after"), older=(note,))
            assert not report.whole

    asyncio.run(act())


async def stop_and(estate: Estate, change: Callable[[], None]) -> None:
    """Change something while the server is down."""
    await estate.stop_server()
    change()
    await estate.start_server()


def copy_database(source: Path, target: Path) -> None:
    """Put the whole of `source` in the place of `target`, with what still stands in its log."""
    for ending in ("", "-wal", "-shm"):
        target.with_name(target.name + ending).unlink(missing_ok=True)
    with (
        contextlib.closing(sqlite3.connect(source)) as old,
        contextlib.closing(sqlite3.connect(target)) as new,
    ):
        old.backup(new)


def stored_words(estate: Estate, machine: FieldMachine) -> str:
    rows = Thief(estate).rows(
        "select body from events_event where device_id = :device", device=machine.device
    )
    return " ".join(bytes(row.body).decode() for row in rows)
