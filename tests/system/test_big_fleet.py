"""What an owner of thousands of machines does, on a real control plane."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.system.command_line import running_plane

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.hand import hand_over
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import from_pkcs8, make_key, to_pkcs8
from fleetward.trust.keys import ES256
from fleetward.trust.roster import ACTIVE, RosterEntry

MANY = 3000
"""More than fit into a megabyte, which any other body may have."""


def make_entry(number: int) -> RosterEntry:
    key = from_pkcs8(to_pkcs8(make_key(ES256))).public
    return RosterEntry(
        key.key_id, key, f"machine-{number:05d}", "Plant", (), "Sensor", "Any maker", ACTIVE
    )


@pytest.mark.timeout(180)
def test_the_roster_of_a_big_fleet_is_handed_over_and_used(tmp_path: Path) -> None:
    with running_plane(tmp_path) as plane:
        desk = Desk.open(plane.owner, plane.passphrase, SystemClock())
        with desk.folder.locked():
            documents = desk._change_roster(desk.documents(), [make_entry(n) for n in range(MANY)])
        hand_over(desk.folder, ApiClient(plane.ready["api"], plane.host_token), documents)
        held = plane.get("/owner/documents").json()
        assert len(held["entries"]) == MANY
        shown = plane.fleetward("owner", "roster", "show", "--owner", plane.owner, "--json").json
        assert len(shown) == MANY
