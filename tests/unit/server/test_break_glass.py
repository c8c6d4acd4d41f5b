"""BREAK-GLASS on the server: first on the first page, critical in the timeline, never judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.break_glass_world import ROOT, break_glass_of, set_break_glass
from tests.trust_world import refused
from tests.unit.server.overview_world import overview, today

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import make_key
from fleetward.server.overview.store import Filter, Timespan
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import ED25519
from fleetward.wire.subjects import Up


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[AccessServer]:
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made


def test_it_is_first_on_the_first_page_and_loud_everywhere(there: AccessServer) -> None:
    cleo, dan = make_key(ED25519), make_key(ED25519)
    set_break_glass(there.side, break_glass_of([cleo, dan]), [(cleo, "cleo"), (dan, "dan")])
    quiet = there.ask()
    assert not there.detail(quiet).break_glass
    request = there.ask(ROOT, break_glass=True)
    assert there.detail(request).break_glass
    there.note_offer(request)
    (deed,) = there.world.deeds("breakglass.requested")
    assert str(deed["body"]["words"]).startswith("BREAK-GLASS: tom")
    assert len(there.world.deeds("access.requested")) == 1
    there.pump.write("breakglass.asked", {"words": "BREAK-GLASS: tom asks to enter."})
    there.pump.write("session.opened", {"session": "5" * 64, "break_glass": True, "words": "in"})
    there.pump.write("agent.started", {"words": "The agent started."})
    assert there.world.send(there.pump, Up.BATCH, there.pump.cut())["type"] == "receipt"
    cards = today(there.world).cards
    assert (cards[0].id, cards[0].verb.href) == ("breakglass", f"/sessions/{request.hash}")
    assert cards[0].title == "BREAK-GLASS at pump 7"
    assert cards[1].title.startswith("BREAK-GLASS: tom")
    items = overview(there.world).timeline(Timespan(), (1, 100), Filter()).items
    loud = {item.kind for item in items if item.severity == "critical"}
    assert loud == {"breakglass.requested", "breakglass.asked", "session.opened"}


def test_a_mark_that_is_none_is_no_request(there: AccessServer) -> None:
    payload = there.side.request_payload() | {"break_glass": False}
    with refused(Malformed, "bad_field"):
        there.house.access.ask(seal(payload, [there.side.technician]), OPERATOR)
