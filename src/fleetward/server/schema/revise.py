"""Writing the next revision: `python -m fleetward.server.schema.revise "add a column for x"`.

It compares the tables in the code with what the revisions make, and writes the difference into
`migrations/versions/`. Format and read the file before it is committed: a rename looks like a drop
and an add. A revision that was committed is never changed again: what exists was made by it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from alembic import command

from fleetward.runtime.database import Database
from fleetward.server.schema.migrate import MIGRATIONS, alembic_config, migrate

MAX_STATEMENTS: Final = 50
LONG_LIST: Final = "def upgrade() -> None:  # noqa: PLR0915 -- a list of tables, no procedure"


def write_revision(words: str, scripts: Path = MIGRATIONS) -> None:
    """Write the revision that brings the newest schema to the tables in the code."""
    # A number may be missing: what was never released was taken back.
    number = max(int(path.stem) for path in (scripts / "versions").glob("[0-9]*.py")) + 1
    with tempfile.TemporaryDirectory() as directory:
        database = Database.open(f"sqlite:///{directory}/revise.db")
        migrate(database, backup=lambda: None, scripts=scripts)
        with alembic_config(database, scripts) as config:
            config.set_main_option("file_template", "%%(rev)s")
            command.revision(config, words, autogenerate=True, rev_id=f"{number:04d}")
        database.close()
    written = scripts / "versions" / f"{number:04d}.py"
    kept = [line for line in written.read_text().splitlines() if "# ### " not in line]
    if sum(line.startswith("    op.") for line in kept) >= MAX_STATEMENTS:
        kept = [line.replace("def upgrade() -> None:", LONG_LIST) for line in kept]
    written.write_text("\n".join(kept) + "\n")


if __name__ == "__main__":
    write_revision(" ".join(sys.argv[1:]) or "change the tables")
