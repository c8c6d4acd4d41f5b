"""One way to the state database, the same on SQLite and on PostgreSQL.

It opens transactions, sets the limits that keep one query from holding up the others, and says
in our own words what went wrong. It knows no table and no program.

    database = Database.open("sqlite:////srv/fleetward/state.db")
    with database.write() as conn:
        conn.execute(insert(table), rows)

Rules it keeps:

1. A transaction that returned is on the disk (WAL with synchronous=FULL; PostgreSQL's default).
2. On SQLite there is one writer at a time, and it takes its lock at BEGIN, so that no transaction
   fails half-way because another one wrote first.
3. A reader cannot write: it would do so without the writer's lock.
4. No driver's exception leaves a transaction: see `_translate`.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.pool import QueuePool

from fleetward.trust.errors import FleetwardError, Malformed, Misuse, Refused, Unreachable

STATEMENT_TIMEOUT_MS: Final = 30_000
"""No query of a page or a worker is worth more than half a minute of the database."""
LOCK_TIMEOUT_MS: Final = 5_000
"""Waiting longer than this for another transaction means that something hangs: say so instead."""
IDLE_IN_TRANSACTION_TIMEOUT_MS: Final = 60_000
POOL_SIZE: Final = 8
POOL_OVERFLOW: Final = 40
"""Request threads are capped at 40 by the event loop's thread limiter."""
POOL_WAIT_SECONDS: Final = 10
CACHE_KIB: Final = 32 * 1024
"""SQLite's pages in memory, a connection at most. Hashes are indexed at random places: with its
2 MiB of old, every leaf of the ledger would read and write a page of its own."""
CHECKPOINT_PAGES: Final = 8_000
"""The WAL goes into the database at 32 MiB: a page that changes often is written once."""
INTEGER_LIMIT: Final = 2**63
_WRITES: Final = "fleetward_writes"

Dialect = Literal["sqlite", "postgresql"]
RowValues = tuple[int | str | bytes, ...]
_PLACE: Final[Mapping[Dialect, str]] = {"sqlite": "?", "postgresql": "%s"}

# SQLite's primary result codes that pass when the cause does: busy, locked, out of memory, I/O,
# full, cannot open, protocol. The driver's extended codes keep the primary one in the low byte.
_SQLITE_PASSING: Final = frozenset({5, 6, 7, 10, 13, 14, 15})
# SQLSTATE classes that pass: connection, transaction rollback, resources, operator, system error.
_POSTGRESQL_PASSING: Final = frozenset({"08", "40", "53", "55", "57", "58"})


class Database:
    """An engine with its transactions. Safe to share between threads; not between processes."""

    def __init__(self, engine: Engine, dialect: Dialect) -> None:
        self.engine: Final = engine
        self.dialect: Final[Dialect] = dialect
        self._writer: Final = threading.Lock()
        self._writing: int | None = None

    @classmethod
    def open(cls, url: str) -> Database:
        """Prepare the pool for `sqlite:///FILE` or `postgresql://…`; connect at the first use.

        Raises Misuse for any other URL, and for a SQLite database that lives in memory only.
        """
        parsed = make_url(url)
        match parsed.get_backend_name():
            case "sqlite":
                return cls(_open_sqlite(parsed), "sqlite")
            case "postgresql":
                return cls(_open_postgresql(parsed), "postgresql")
            case other:
                raise Misuse(
                    f"expected a sqlite or postgresql URL, got {other!r}: mend database.url",
                    reason="database_url",
                )

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection in a read-only transaction, rolled back at the end.

        Raises our own families for whatever the driver raises in the block.
        """
        with self._translated(), self.engine.connect() as conn:
            if self.dialect == "postgresql":
                conn = conn.execution_options(postgresql_readonly=True)
            with conn.begin() as transaction:
                yield conn
                transaction.rollback()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection in a transaction that commits at the end, or rolls back on an error.

        Raises Misuse when the same thread already writes, Unreachable when the database is locked,
        full or gone, Malformed for a value that the database cannot hold, Refused on a conflict.
        """
        if self._writing == threading.get_ident():
            raise Misuse(
                "a write transaction is already open in this thread: pass its connection on",
                reason="nested_write",
            )
        if self.dialect == "postgresql":
            with self._translated(), self.engine.connect() as conn, conn.begin():
                yield conn
            return
        with self._alone(), self._translated(), self.engine.connect() as conn:
            conn = conn.execution_options(**{_WRITES: True})
            with conn.begin():
                yield conn

    def insert_rows(self, conn: Connection, table: sa.Table, rows: Sequence[RowValues]) -> None:
        """Insert rows that have a value for each column, in the table's order.

        For what arrives by the thousand: the values go to the driver as they are, which knows
        integers, text and bytes, and nothing is converted.
        """
        if rows:
            quote = self.engine.dialect.identifier_preparer
            names = ", ".join(quote.format_column(column) for column in table.columns)
            places = ", ".join([_PLACE[self.dialect]] * len(table.columns))
            conn.exec_driver_sql(
                f"INSERT INTO {quote.format_table(table)} ({names}) VALUES ({places})",  # noqa: S608 -- names of our own tables
                list(rows),
            )

    def insert_ignore(
        self,
        conn: Connection,
        table: sa.Table,
        rows: Sequence[Mapping[str, Any]],
        index_elements: Sequence[str],
    ) -> int:
        """Insert the rows whose unique key `index_elements` is new; return how many were new.

        Raises Misuse when `index_elements` is empty, for then nothing would be ignored.
        """
        if not index_elements:
            raise Misuse("expected the columns of a unique key, got none", reason="no_unique_key")
        if not rows:
            return 0
        insert = sqlite.insert if self.dialect == "sqlite" else postgresql.insert
        statement = insert(table).on_conflict_do_nothing(index_elements=list(index_elements))
        result = conn.execute(
            statement.execution_options(preserve_rowcount=True), [dict(row) for row in rows]
        )
        return result.rowcount

    def close(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._writer.acquire(timeout=STATEMENT_TIMEOUT_MS / 1000):
            raise Unreachable(
                f"no write began within {STATEMENT_TIMEOUT_MS} ms: another holds the database",
                reason="database_busy",
            )
        self._writing = threading.get_ident()
        try:
            yield
        finally:
            self._writing = None
            self._writer.release()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sa.exc.SQLAlchemyError, OverflowError, UnicodeEncodeError) as error:
            raise _translate(error) from error


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:" or "mode=memory" in url.database:
        raise Misuse(
            "expected sqlite:///FILE, got a database in memory: it would lose what it acknowledged",
            reason="database_url",
        )
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(
        url.set(drivername="sqlite+pysqlite"),
        poolclass=QueuePool,
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_WAIT_SECONDS,
        connect_args={"check_same_thread": False, "timeout": LOCK_TIMEOUT_MS / 1000},
    )
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # `_begin_sqlite` begins; the driver must not.
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"cache_size=-{CACHE_KIB}",
        f"wal_autocheckpoint={CHECKPOINT_PAGES}",
        f"busy_timeout={LOCK_TIMEOUT_MS}",
        "trusted_schema=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(conn: Connection) -> None:
    writes = bool(conn.get_execution_options().get(_WRITES, False))
    conn.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    conn.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _open_postgresql(url: URL) -> Engine:
    limits = {
        "statement_timeout": STATEMENT_TIMEOUT_MS,
        "lock_timeout": LOCK_TIMEOUT_MS,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT_MS,
    }
    return sa.create_engine(
        url.set(drivername="postgresql+psycopg"),
        isolation_level="READ COMMITTED",
        pool_size=POOL_SIZE,
        max_overflow=POOL_OVERFLOW,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": 10,
            "options": " ".join(f"-c {name}={value}" for name, value in limits.items()),
        },
    )


def _translate(error: Exception) -> FleetwardError:
    """Say which family a driver's error belongs to, by what the caller must do about it."""
    if isinstance(error, sa.exc.TimeoutError) or _is_passing(error):
        return Unreachable(
            f"the database did not answer: {_first_line(error)}; try again in a moment",
            reason="database_unreachable",
        )
    if isinstance(error, sa.exc.DataError | OverflowError | UnicodeEncodeError):
        return Malformed(
            f"expected a value that the database can hold: {_first_line(error)}",
            reason="value_out_of_range",
        )
    if isinstance(error, sa.exc.IntegrityError):
        return Refused(
            f"the database already holds something that excludes this: {_first_line(error)}",
            reason="conflict",
        )
    return Misuse(f"the database refused a statement: {_first_line(error)}", reason="database")


def _is_passing(error: Exception) -> bool:
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    origin: object = error.orig
    if isinstance(origin, sqlite3.Error):
        code = getattr(origin, "sqlite_errorcode", None)
        return isinstance(code, int) and (code & 0xFF) in _SQLITE_PASSING
    state = getattr(origin, "sqlstate", None)
    if state is None:  # psycopg gives no state when it never reached the server.
        return isinstance(error, sa.exc.OperationalError)
    return str(state)[:2] in _POSTGRESQL_PASSING


def _first_line(error: Exception) -> str:
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    return (str(origin) or type(error).__name__).splitlines()[0]
