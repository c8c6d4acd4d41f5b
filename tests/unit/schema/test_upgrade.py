"""A newer release, started on what an older one kept: copied, brought up, put back on failure."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from fleetward.runtime.database import Database
from fleetward.server.schema import upgrade as upgrade_module
from fleetward.server.schema.migrate import MIGRATIONS, current_revision, migrate
from fleetward.server.schema.upgrade import MOST_COPIES, upgrade
from fleetward.trust.errors import Refused, Unreachable

REVISIONS = [
    script.revision for script in ScriptDirectory(str(MIGRATIONS)).walk_revisions()
][::-1]  # fmt: skip
BEFORE_UPDATES = "0008"
"""The last revision of the release that had no updates."""
Rows = dict[str, list[dict[str, Any]]]


def scripts_up_to(revision: str, folder: Path) -> Path:
    """Return the migrations as a release had them whose newest revision was this one."""
    (folder / "versions").mkdir(parents=True)
    shutil.copy(MIGRATIONS / "env.py", folder / "env.py")
    for name in REVISIONS[: REVISIONS.index(revision) + 1]:
        shutil.copy(MIGRATIONS / "versions" / f"{name}.py", folder / "versions")
    return folder


def add_failing(scripts: Path, before: str) -> None:
    (scripts / "versions" / "bad.py").write_text(
        f'"""Fail in the middle."""\nfrom alembic import op\n\nrevision = "bad"\n'
        f'down_revision = "{before}"\n\n\ndef upgrade() -> None:\n'
        '    op.execute("DELETE FROM audit_leaf")\n    raise RuntimeError("no")\n'
    )


def no_copy_of_an_empty_one() -> None:
    raise AssertionError("an empty database needs no backup")


def fill(database: Database) -> None:
    """Put two rows into every table that there is, with whatever its columns take."""
    found = sa.MetaData()
    with database.write() as conn:
        found.reflect(conn)
        for table in found.sorted_tables:
            if table.name != "alembic_version":
                conn.execute(table.insert(), [make_row(table, n) for n in (1, 2)])


def make_row(table: sa.Table, number: int) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for column in table.c:
        kind = column.type.python_type
        name = next((key.column.name for key in column.foreign_keys), column.name)
        row[column.name] = {int: number, bool: True, bytes: b"\x00\xff" * number}.get(
            kind, f"{name[:6]}{number}"
        )
    return row


def read_rows(database: Database, columns: Rows | None = None) -> Rows:
    """Return what every table holds; given older rows, of their tables and columns alone."""
    found, rows = sa.MetaData(), {}
    with database.read() as conn:
        found.reflect(conn)
        for table in found.sorted_tables:
            if table.name == "alembic_version" or (columns and table.name not in columns):
                continue
            names = columns[table.name][0].keys() if columns else table.c.keys()
            chosen = sa.select(*(table.c[name] for name in names)).order_by(*table.primary_key)
            rows[table.name] = [dict(row) for row in conn.execute(chosen).mappings()]
    return rows


def open_older(database: Database, folder: Path, revision: str) -> Rows:
    migrate(
        database, backup=no_copy_of_an_empty_one, scripts=scripts_up_to(revision, folder / revision)
    )
    fill(database)
    rows = read_rows(database)
    assert rows and all(len(each) == 2 for each in rows.values())
    return rows


@pytest.fixture
def sqlite(tmp_path: Path) -> Database:
    return Database.open(f"sqlite:///{tmp_path / 'state.db'}")


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_what_every_earlier_release_kept_is_all_there(
    sqlite: Database, tmp_path: Path, revision: str
) -> None:
    before = open_older(sqlite, tmp_path, revision)
    said: list[str] = []
    applied = upgrade(sqlite, tmp_path / "copies", say=said.append)
    assert applied == REVISIONS[REVISIONS.index(revision) + 1 :]
    assert read_rows(sqlite, before) == before
    assert len(said) == 1 + len(applied)
    copies = list((tmp_path / "copies").glob("*"))
    assert [path.name for path in copies] == [f"0001-{revision}.db"]
    assert copies[0].stat().st_mode & 0o777 == 0o600
    kept = Database.open(f"sqlite:///{copies[0]}")
    assert read_rows(kept) == before
    kept.close()
    sqlite.close()


def test_on_both_databases_and_what_is_not_copied_is_said(
    database: Database, tmp_path: Path
) -> None:
    before = open_older(database, tmp_path, BEFORE_UPDATES)
    said: list[str] = []
    upgrade(database, tmp_path / "copies", say=said.append)
    assert read_rows(database, before) == before
    copied = database.dialect == "sqlite"
    assert (tmp_path / "copies").exists() == copied
    assert ("is not copied" in said[0]) != copied


def test_a_new_database_has_nothing_to_copy(sqlite: Database, tmp_path: Path) -> None:
    assert upgrade(sqlite, tmp_path / "copies") == REVISIONS
    assert not (tmp_path / "copies").exists()
    assert upgrade(sqlite, tmp_path / "copies") == []
    sqlite.close()


def test_an_upgrade_that_fails_puts_back_what_was(sqlite: Database, tmp_path: Path) -> None:
    before = open_older(sqlite, tmp_path, BEFORE_UPDATES)
    broken = scripts_up_to(REVISIONS[-1], tmp_path / "broken")
    add_failing(broken, REVISIONS[-1])
    with pytest.raises(Refused, match="put back") as caught:
        upgrade(sqlite, tmp_path / "copies", scripts=broken)
    assert caught.value.reason == "upgrade_failed"
    again = Database.open(str(sqlite.engine.url))
    assert current_revision(again) == BEFORE_UPDATES
    assert read_rows(again) == before
    # The older release goes on with it, and so does a mended one.
    assert migrate(again, backup=no_copy_of_an_empty_one, scripts=tmp_path / BEFORE_UPDATES) == []
    assert upgrade(again, tmp_path / "copies") == REVISIONS[REVISIONS.index(BEFORE_UPDATES) + 1 :]
    assert read_rows(again, before) == before
    again.close()


def test_who_was_killed_in_the_middle_goes_on_with_the_first_copy(
    sqlite: Database, tmp_path: Path
) -> None:
    before = open_older(sqlite, tmp_path, "0003")
    copies = tmp_path / "copies"

    def kill(words: str) -> None:
        if words.startswith("Upgrade 3"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(sqlite, copies, say=kill)
    assert current_revision(sqlite) not in ("0003", REVISIONS[-1])
    broken = scripts_up_to(REVISIONS[-1], tmp_path / "broken")
    add_failing(broken, REVISIONS[-1])
    with pytest.raises(Refused, match="put back"):
        upgrade(sqlite, copies, scripts=broken)
    again = Database.open(str(sqlite.engine.url))
    assert (current_revision(again), read_rows(again)) == ("0003", before)
    assert [path.name for path in copies.iterdir()] == ["0001-0003.db"]
    again.close()


def test_a_copy_from_before_the_older_release_went_on_is_not_taken(
    sqlite: Database, tmp_path: Path
) -> None:
    """The newer release was killed before its first revision; the older one ran for a week more."""
    before = open_older(sqlite, tmp_path, BEFORE_UPDATES)

    def kill(words: str) -> None:
        if words.startswith("Upgrade 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        upgrade(sqlite, tmp_path / "copies", say=kill)
    with sqlite.write() as conn:
        conn.execute(sa.text("DELETE FROM guide_note"))
    broken = scripts_up_to(REVISIONS[-1], tmp_path / "broken")
    add_failing(broken, REVISIONS[-1])
    with pytest.raises(Refused):
        upgrade(sqlite, tmp_path / "copies", scripts=broken)
    again = Database.open(str(sqlite.engine.url))
    assert read_rows(again) == before | {"guide_note": []}
    again.close()


def test_without_a_copy_nothing_is_changed(
    sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = open_older(sqlite, tmp_path, BEFORE_UPDATES)

    def is_full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(upgrade_module, "_copy", is_full)
    with pytest.raises(Unreachable, match="No space left") as caught:
        upgrade(sqlite, tmp_path / "copies")
    assert caught.value.reason == "no_copy"
    assert (current_revision(sqlite), read_rows(sqlite)) == (BEFORE_UPDATES, before)
    assert list((tmp_path / "copies").iterdir()) == []
    sqlite.close()


def test_the_newest_copies_stay(sqlite: Database, tmp_path: Path) -> None:
    folder = tmp_path / "copies"
    folder.mkdir()
    for number in range(1, 6):
        (folder / f"{number:04}-0001.db").write_bytes(b"")
    open_older(sqlite, tmp_path, BEFORE_UPDATES)
    upgrade(sqlite, folder)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == MOST_COPIES and names[-1] == f"0006-{BEFORE_UPDATES}.db"
    sqlite.close()
