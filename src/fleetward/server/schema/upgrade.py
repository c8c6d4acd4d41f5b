"""A start of a newer release on what an older one kept: a copy first, then the revisions, and the
copy put back when one fails.

1. Before the first revision the state database is copied into `server/before-upgrade/`, in one
   piece, and is on the disk. Without a copy nothing is changed.
2. When a revision fails, the copy takes the database's place, so that the older release can be
   started again. Whoever is killed in the middle goes on at the next start, with the copy that was
   made first.
3. The newest `MOST_COPIES` copies stay. They hold what the database held, and are as private.

A PostgreSQL server is backed up by its own tools before a newer release is started; revisions are
transactions there too, but those that were done stay.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from fleetward.runtime.database import Database
from fleetward.runtime.files import (
    PRIVATE_FILE,
    atomic_write,
    make_private_directory,
    sync_directory,
)
from fleetward.server.schema.migrate import MIGRATIONS, Step, current_revision, migrate
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

MOST_COPIES: Final = 3
UNDER_WAY: Final = "under-way"


def upgrade(
    database: Database,
    folder: Path,
    *,
    say: Callable[[str], None] = lambda _words: None,
    scripts: Path = MIGRATIONS,
) -> list[str]:
    """Bring the database to this program's schema; return the revisions that were applied.

    `folder` is where copies are kept. Raises what `migrate` raises, with the database as it was;
    after that it is closed.
    """
    copies = Copies(folder) if database.dialect == "sqlite" else None

    def back_up() -> None:
        revision = current_revision(database)
        if copies is None:
            say("This release changes the tables of a PostgreSQL database, which is not copied.")
        elif revision is not None:
            say(f"The state database is copied to {copies.make(database, revision)}.")

    def show(step: Step) -> None:
        say(f"Upgrade {step.number} of {step.total} ({step.revision}): {step.words}")

    try:
        applied = migrate(database, backup=back_up, progress=show, scripts=scripts)
    except Exception as e:  # a revision may raise anything; the boundary to Alembic
        put_back = copies is not None and copies.put_back(database)
        if isinstance(e, FleetwardError) and not put_back:
            raise
        words = e.message if isinstance(e, FleetwardError) else f"{type(e).__name__}: {e}"
        back = "What was there before was put back" if put_back else "What was done stays"
        raise Refused(
            f"The upgrade failed: {words.rstrip('.')}. {back}. Start the release that ran before, "
            "or this one again once the cause is gone.",
            reason="upgrade_failed",
        ) from e
    if copies is not None:
        copies.finish()
    return applied


class Copies:
    """Copies of a SQLite database, one for each upgrade."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mark = folder / UNDER_WAY

    def make(self, database: Database, revision: str) -> Path:
        """Copy the database, unless an upgrade that was killed has; return the copy's path.

        Raises `Unreachable`.
        """
        begun = self._find_begun()
        if begun is not None and _revision_of(begun) != revision:
            return begun
        make_private_directory(self._folder)
        numbers = [int(path.name.partition("-")[0]) for path in self._list()]
        path = self._folder / f"{max(numbers, default=0) + 1:04}-{revision}.db"
        part = path.with_suffix(".part")
        try:
            _copy(_path_of(database), part)
            part.replace(path)
            sync_directory(self._folder)
        except (OSError, sqlite3.Error) as e:
            part.unlink(missing_ok=True)
            raise Unreachable(
                f"The state database could not be copied before its upgrade: {e}. Make room, and "
                "start again; nothing was changed.",
                reason="no_copy",
            ) from e
        atomic_write(self._mark, path.name.encode("utf-8"))
        return path

    def put_back(self, database: Database) -> bool:
        """Have the copy of this upgrade take the database's place; return whether there was one.

        Nothing to do where no revision was applied. Raises `Unreachable`.
        """
        begun = self._find_begun()
        if begun is None:
            return False
        target = _path_of(database)
        database.close()
        part = target.with_name(target.name + ".part")
        try:
            part.unlink(missing_ok=True)
            _copy(begun, part)
            for side in ("-wal", "-shm"):
                target.with_name(target.name + side).unlink(missing_ok=True)
            part.replace(target)
            sync_directory(target.parent)
        except (OSError, sqlite3.Error) as e:
            raise Unreachable(
                f"The upgrade failed, and the copy could not be put back: {e}. The copy is "
                f"{begun}; put it in the place of {target} by hand.",
                reason="not_put_back",
            ) from e
        self._mark.unlink(missing_ok=True)
        return True

    def finish(self) -> None:
        """The upgrade is over: older copies go."""
        with contextlib.suppress(OSError):
            self._mark.unlink(missing_ok=True)
            for path in self._list()[:-MOST_COPIES]:
                path.unlink()

    def _list(self) -> list[Path]:
        return sorted(self._folder.glob("[0-9]*-*.db"))

    def _find_begun(self) -> Path | None:
        """Return the copy of an upgrade that is not over."""
        with contextlib.suppress(OSError):
            path = self._folder / self._mark.read_text("utf-8")
            return path if path in self._list() else None
        return None


def _revision_of(copy: Path) -> str:
    return copy.stem.partition("-")[2]


def _path_of(database: Database) -> Path:
    return Path(database.engine.url.database or "")


def _copy(source: Path, target: Path) -> None:
    """Copy a database as it stands, into one file, and have it on the disk."""
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, PRIVATE_FILE))
    with (
        closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as live,
        closing(sqlite3.connect(target)) as copy,
    ):
        live.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")
    with target.open("rb") as file:
        os.fsync(file.fileno())
