"""Transactions on both databases: what commits, what is refused, and as which family."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from fleetward.runtime import database as database_module
from fleetward.runtime.database import Database
from fleetward.trust.errors import Malformed, Misuse, Refused, Unreachable

METADATA = sa.MetaData()
THINGS = sa.Table(
    "things",
    METADATA,
    sa.Column("id", sa.String(8), primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
)


@pytest.fixture
def things(database: Database) -> Database:
    with database.write() as conn:
        METADATA.create_all(conn)
    return database


def numbers(database: Database) -> list[int]:
    with database.read() as conn:
        return [row.number for row in conn.execute(sa.select(THINGS).order_by(THINGS.c.number))]


def test_commits_what_returns_and_rolls_back_what_raises(things: Database) -> None:
    with things.write() as conn:
        conn.execute(sa.insert(THINGS), {"id": "a", "number": 1})
    with pytest.raises(ZeroDivisionError), things.write() as conn:
        conn.execute(sa.insert(THINGS), {"id": "b", "number": 2})
        raise ZeroDivisionError
    assert numbers(things) == [1]


def test_insert_ignore_counts_only_new_rows(things: Database) -> None:
    rows = [{"id": name, "number": n} for n, name in enumerate("abc")]
    with things.write() as conn:
        assert things.insert_ignore(conn, THINGS, rows[:2], ["id"]) == 2
        assert things.insert_ignore(conn, THINGS, rows, ["id"]) == 1
        assert things.insert_ignore(conn, THINGS, rows, ["id"]) == 0
        assert things.insert_ignore(conn, THINGS, [], ["id"]) == 0
    assert numbers(things) == [0, 1, 2]


def test_rows_go_in_whole_or_not_at_all(things: Database) -> None:
    with things.write() as conn:
        things.insert_rows(conn, THINGS, [("a", 1), ("b", 2)])
        things.insert_rows(conn, THINGS, [])
    with pytest.raises(Refused), things.write() as conn:
        things.insert_rows(conn, THINGS, [("c", 3), ("a", 4)])
    with pytest.raises(Malformed), things.write() as conn:
        things.insert_rows(conn, THINGS, [("d", 2**70)])
    assert numbers(things) == [1, 2]


def test_insert_ignore_without_a_key_is_misuse(things: Database) -> None:
    with pytest.raises(Misuse, match="unique key"), things.write() as conn:
        things.insert_ignore(conn, THINGS, [{"id": "a", "number": 1}], [])


def test_a_reader_cannot_write(things: Database) -> None:
    with pytest.raises(Misuse), things.read() as conn:
        conn.execute(sa.insert(THINGS), {"id": "a", "number": 1})
    assert numbers(things) == []


def test_a_duplicate_is_a_conflict(things: Database) -> None:
    with things.write() as conn:
        conn.execute(sa.insert(THINGS), {"id": "a", "number": 1})
    with pytest.raises(Refused) as refusal, things.write() as conn:
        conn.execute(sa.insert(THINGS), {"id": "a", "number": 2})
    assert refusal.value.reason == "conflict"


@pytest.mark.parametrize("row", [{"id": "a", "number": 2**70}, {"id": "\ud800", "number": 1}])
def test_a_value_that_no_column_holds_is_malformed(
    things: Database, row: dict[str, object]
) -> None:
    with pytest.raises(Malformed), things.write() as conn:
        conn.execute(sa.insert(THINGS), row)


def test_nested_writes_are_misuse_on_sqlite(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with database.write(), pytest.raises(Misuse), database.write():
        raise AssertionError("the inner transaction must not begin")
    database.close()


def test_threads_write_one_after_the_other(things: Database) -> None:
    failures: list[BaseException] = []

    def add(worker: int) -> None:
        try:
            for n in range(10):
                with things.write() as conn:
                    highest = conn.execute(sa.select(sa.func.count()).select_from(THINGS)).scalar()
                    assert highest is not None
                    conn.execute(sa.insert(THINGS), {"id": f"{worker}-{n}", "number": highest})
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    workers = [threading.Thread(target=add, args=(n,)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []
    assert len(numbers(things)) == 80


def test_a_locked_file_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "LOCK_TIMEOUT_MS", 50)
    path = tmp_path / "state.db"
    database = Database.open(f"sqlite:///{path}")
    with database.write() as conn:
        METADATA.create_all(conn)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unreachable) as failure, database.write():
        raise AssertionError("the transaction must not begin")
    assert failure.value.reason == "database_unreachable"
    other.close()
    database.close()


def test_a_full_disk_is_unreachable_and_loses_nothing(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with database.write() as conn:
        METADATA.create_all(conn)
        conn.execute(sa.insert(THINGS), {"id": "a", "number": 1})
    with pytest.raises(Unreachable), database.write() as conn:
        conn.exec_driver_sql("PRAGMA max_page_count=1")
        rows = [{"id": f"{n}", "number": n} for n in range(5000)]
        conn.execute(sa.insert(THINGS), rows)
    assert numbers(database) == [1]
    database.close()


def test_no_server_is_unreachable(tmp_path: Path) -> None:
    database = Database.open(f"postgresql://nobody@/none?host={tmp_path}")
    with pytest.raises(Unreachable), database.read():
        raise AssertionError("there is nothing to read")
    database.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/name"])
def test_other_databases_are_misuse(url: str) -> None:
    with pytest.raises(Misuse):
        Database.open(url)


def test_acknowledged_means_synced(tmp_path: Path) -> None:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with database.read() as conn:
        assert conn.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert conn.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    database.close()
