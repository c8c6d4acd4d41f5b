"""What dies when a server is restored from a backup, and what it waits for.

    python -m fleetward.server.restored --data DIR

`fleetward restore` runs it on the unpacked data before the first start. Sessions, tokens, links and
invitations end: nobody knows what became of them since the backup. The record's generation is
closed: the owner opens the next one, naming the last checkpoint that is still here.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleetward.runtime.clock import SystemClock
from fleetward.runtime.config import load_config
from fleetward.runtime.database import Database
from fleetward.runtime.files import read_bounded
from fleetward.runtime.keys import from_pkcs8
from fleetward.server.audit import store as audit_store
from fleetward.server.audit.act import Ledger
from fleetward.server.events import store as events_store
from fleetward.server.identity import store as identity_store
from fleetward.server.main import MAX_CONFIG_BYTES
from fleetward.server.people.wiring import PeopleSettings, open_people
from fleetward.server.settings import CONSOLE_NAME, Places, ServerSettings
from fleetward.server.web.caller import ON_THE_HOST
from fleetward.trust.errors import FleetwardError


def close_after_restore(places: Places) -> None:
    """End credentials and invitations, and close the record until its owner opens it again."""
    settings = load_config(ServerSettings, read_bounded(places.config, MAX_CONFIG_BYTES))
    database = Database.open(settings.database_url or places.database_url)
    clock = SystemClock()
    with database.write() as conn:
        audit_store.close_restored(conn)
    with database.write() as conn:
        identity_store.end_invitations(conn, clock.wall_ms())
        identity_store.update_connected(conn, None, False)
    with database.write() as conn:
        events_store.mark_restored(conn)
    ledger = Ledger(database, from_pkcs8(read_bounded(places.log_key, 4096)), clock)
    people = open_people(
        database,
        ledger,
        clock,
        lambda: ledger.owner_id,
        PeopleSettings(CONSOLE_NAME, f"http://{CONSOLE_NAME}", loopback_only=True),
    )
    people.people.end_all_credentials(ON_THE_HOST, "restored from a backup")
    database.close()


def main() -> int:
    """Run on the data folder that the command line names."""
    parser = argparse.ArgumentParser(description="Close a restored control plane's record.")
    parser.add_argument("--data", type=Path, required=True)
    try:
        close_after_restore(Places(parser.parse_args().data.resolve()))
    except FleetwardError as e:
        print(e.message, file=sys.stderr)  # noqa: T201 - for `fleetward restore`, which shows it
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
