"""Bringing a database to this program's schema. Forward only.

Rules it keeps:

1. A database that holds anything is backed up before the first change.
2. Each revision is one transaction, with its version row: it happened whole or not at all, and a
   run that was killed goes on where it was.
3. On PostgreSQL a revision waits for locks at most `LOCK_TIMEOUT_MS`, so that a release which runs
   beside it is never held up for longer; and only one program migrates at a time.
4. A database of a newer program is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection

from fleetward.runtime.database import Database
from fleetward.trust.errors import Refused

MIGRATIONS: Final = Path(__file__).parent / "migrations"
LOCK_TIMEOUT_MS: Final = 3_000
STATEMENT_TIMEOUT_MS: Final = 600_000
"""A revision may rewrite a large table; ten minutes is a mistake."""
ADVISORY_LOCK: Final = 0x666C6565
"""Any constant serves, as long as every release has the same."""


@dataclass(frozen=True, slots=True)
class Step:
    """Where a migration is: `number` of `total`, and what this revision does in words."""

    number: int
    total: int
    revision: str
    words: str


def migrate(
    database: Database,
    *,
    backup: Callable[[], None],
    progress: Callable[[Step], None] = lambda _step: None,
    scripts: Path = MIGRATIONS,
) -> list[str]:
    """Apply every revision that is missing; return their names, oldest first.

    Raises Refused (`schema_newer`) for a database of a newer program, whatever `backup` raises, and
    Unreachable when a lock or the disk does not give way: run it again then.
    """
    pending = _pending(database, scripts)
    if not pending:
        return []
    if current_revision(database) is not None:
        backup()
    for number, (revision, words) in enumerate(pending, 1):
        progress(Step(number, len(pending), revision, words))
        with database.write() as conn:
            _set_limits(database, conn)
            # Another program may have been faster while this one waited for its turn.
            if revision in _applied(conn, scripts):
                continue
            command.upgrade(_config(scripts, conn), revision)
    return [revision for revision, _ in pending]


def current_revision(database: Database) -> str | None:
    """Return the newest revision that the database has, or None for an empty database."""
    with database.read() as conn:
        return _revision(conn)


@contextmanager
def alembic_config(database: Database, scripts: Path = MIGRATIONS) -> Iterator[Config]:
    """Yield Alembic's configuration on an open transaction, for writing a new revision."""
    with database.write() as conn:
        yield _config(scripts, conn)


def _pending(database: Database, scripts: Path) -> list[tuple[str, str]]:
    directory = ScriptDirectory(str(scripts))
    known = [
        (script.revision, script.doc.splitlines()[0]) for script in directory.walk_revisions()
    ][::-1]
    current = current_revision(database)
    if current is None:
        return known
    names = [revision for revision, _ in known]
    if current not in names:
        raise Refused(
            f"expected a schema up to {names[-1] if names else 'none'}, got {current}: a newer "
            "Fleetward has used this database; install that one, or restore an older backup",
            reason="schema_newer",
        )
    return known[names.index(current) + 1 :]


def _applied(conn: Connection, scripts: Path) -> set[str]:
    current = _revision(conn)
    if current is None:
        return set()
    directory = ScriptDirectory(str(scripts))
    return {script.revision for script in directory.iterate_revisions(current, "base")}


def _revision(conn: Connection) -> str | None:
    return MigrationContext.configure(conn).get_current_revision()


def _set_limits(database: Database, conn: Connection) -> None:
    if database.dialect == "postgresql":
        conn.execute(sa.text(f"SET LOCAL statement_timeout = {STATEMENT_TIMEOUT_MS}"))
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(ADVISORY_LOCK)))
        conn.execute(sa.text(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS}"))


def _config(scripts: Path, conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = conn
    return config
