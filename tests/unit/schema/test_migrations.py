"""The schema from nothing on both databases, against the tables in the code; and failures."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from fleetward.runtime.database import Database
from fleetward.server.schema.everything import all_tables
from fleetward.server.schema.migrate import MIGRATIONS, Step, current_revision, migrate
from fleetward.trust.errors import Refused

SERVER = MIGRATIONS.parents[1]
REVISION = '''"""{words}"""
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {before!r}


def upgrade() -> None:
    op.create_table("{table}", sa.Column("id", sa.BigInteger, primary_key=True))
    {more}
'''


def no_backup() -> None:
    raise AssertionError("an empty database needs no backup")


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Three revisions of our own, the last of which can be made to fail."""
    copied = tmp_path / "migrations"
    (copied / "versions").mkdir(parents=True)
    shutil.copy(MIGRATIONS / "env.py", copied / "env.py")
    for number in (1, 2, 3):
        add_revision(copied, number)
    return copied


def add_revision(scripts: Path, number: int, more: str = "") -> None:
    before = f"t{number - 1}" if number > 1 else None
    text = REVISION.format(
        words=f"Make table {number}.",
        revision=f"t{number}",
        before=before,
        table=f"made_{number}",
        more=more,
    )
    (scripts / "versions" / f"t{number}.py").write_text(text)


def table_names(database: Database) -> set[str]:
    with database.read() as conn:
        return set(sa.inspect(conn).get_table_names())


def test_the_revisions_make_the_tables_in_the_code(database: Database) -> None:
    steps: list[Step] = []
    applied = migrate(database, backup=no_backup, progress=steps.append)
    assert [step.revision for step in steps] == applied
    assert steps[0].words == "Make the first tables."
    with database.read() as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        differences: list[Any] = compare_metadata(context, all_tables())
    assert differences == []
    assert migrate(database, backup=no_backup) == []


def test_a_database_of_the_first_release_is_brought_up_with_what_it_holds(
    database: Database, tmp_path: Path
) -> None:
    first = tmp_path / "first"
    (first / "versions").mkdir(parents=True)
    for name in ("env.py", "versions/0001.py"):
        shutil.copy(MIGRATIONS / name, first / name)
    migrate(database, backup=no_backup, scripts=first)
    assert current_revision(database) == "0001"
    before = table_names(database)
    leaf, device = (all_tables().tables[name] for name in ("audit_leaf", "identity_device"))
    with database.write() as conn:
        conn.execute(
            leaf.insert().values(
                owner_id="o", generation=1, position=0, kind="server.started", actor="server",
                subject="server", reference="0" * 64, reference_start=0, at=1, body=b"\x00\xff",
            )
        )  # fmt: skip
        conn.execute(
            device.insert().values(
                device_id="a" * 32, suite="es256", public=b"key", state="active", name="pump",
                site="Plant", model="", system="", simulated=False, confirmed=True,
                preapproved=False, invitation="", lineage=3, joined_at=1,
            )
        )  # fmt: skip
        held = [list(conn.execute(sa.select(table))) for table in (leaf, device)]
    backups: list[str | None] = []
    applied = migrate(database, backup=lambda: backups.append(current_revision(database)))
    assert (applied[0], backups) == ("0002", ["0001"])
    added = table_names(database) - before - {"directory_announced"}
    assert {name for name in added if name.startswith(("access_", "closing_", "updates_"))} == added
    with database.read() as conn:
        assert [list(conn.execute(sa.select(table))) for table in (leaf, device)] == held
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, all_tables()) == []


def test_every_table_of_devices_people_keys_and_records_has_an_owner_and_a_maker() -> None:
    tables = all_tables().sorted_tables
    assert len(tables) > 10
    without = [
        table.name for table in tables if not {"owner_id", "maker_id"} <= set(table.c.keys())
    ]
    assert without == []


def test_times_are_integers_and_names_begin_with_their_slice() -> None:
    for table in all_tables().sorted_tables:
        assert (SERVER / table.name.partition("_")[0]).is_dir(), table.name
        for column in table.c:
            assert not isinstance(column.type, sa.DateTime | sa.Float | sa.JSON), column
            if column.name == "at" or column.name.endswith("_at"):
                assert isinstance(column.type, sa.BigInteger), column


def test_a_database_that_holds_something_is_backed_up_once(
    database: Database, scripts: Path
) -> None:
    (scripts / "versions" / "t3.py").unlink()
    migrate(database, backup=no_backup, scripts=scripts)
    add_revision(scripts, 3)
    add_revision(scripts, 4)
    backups: list[str | None] = []
    applied = migrate(
        database, backup=lambda: backups.append(current_revision(database)), scripts=scripts
    )
    assert applied == ["t3", "t4"]
    assert backups == ["t2"]


def test_a_failed_backup_stops_the_migration(database: Database, scripts: Path) -> None:
    (scripts / "versions" / "t3.py").unlink()
    migrate(database, backup=no_backup, scripts=scripts)
    add_revision(scripts, 3)

    def fail() -> None:
        raise Refused("the disk is full", reason="backup")

    with pytest.raises(Refused, match="disk is full"):
        migrate(database, backup=fail, scripts=scripts)
    assert current_revision(database) == "t2"


def test_a_revision_that_fails_leaves_nothing_and_can_be_resumed(
    database: Database, scripts: Path
) -> None:
    add_revision(scripts, 3, more='raise RuntimeError("killed")')
    with pytest.raises(RuntimeError, match="killed"):
        migrate(database, backup=no_backup, scripts=scripts)
    assert current_revision(database) == "t2"
    assert {"made_1", "made_2"} <= table_names(database)
    assert "made_3" not in table_names(database)
    add_revision(scripts, 3)
    assert migrate(database, backup=lambda: None, scripts=scripts) == ["t3"]
    assert "made_3" in table_names(database)


def test_two_programs_migrate_one_after_the_other(database: Database, scripts: Path) -> None:
    url = database.engine.url.render_as_string(hide_password=False)
    failures: list[Exception] = []

    def run() -> None:
        own = Database.open(url)
        try:
            migrate(own, backup=lambda: None, scripts=scripts)
        except Exception as error:  # noqa: BLE001
            failures.append(error)
        finally:
            own.close()

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert current_revision(database) == "t3"


def test_a_newer_database_is_left_alone(database: Database, scripts: Path) -> None:
    migrate(database, backup=no_backup, scripts=scripts)
    (scripts / "versions" / "t3.py").unlink()
    with pytest.raises(Refused) as refusal:
        migrate(database, backup=no_backup, scripts=scripts)
    assert refusal.value.reason == "schema_newer"
    assert current_revision(database) == "t3"
