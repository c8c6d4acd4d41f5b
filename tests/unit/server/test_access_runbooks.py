"""Runbooks on the server: kept with their request, handed over first, and never judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.access_world import TERMINAL
from tests.runbook_world import WORD, Hole, Maker, let_runbooks, scope_of
from tests.trust_world import alter, resign

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.access.runbooks import read_kept
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.grants.request import Request
from fleetward.trust.runbook import Runbook


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[AccessServer]:
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made


def ask(there: AccessServer, book: Runbook, *sent: bytes) -> Request:
    request = there.side.request(scope_of(book, what="a"), TERMINAL)
    there.house.access.ask(request.raw, OPERATOR, [to_base64url(raw) for raw in sent])
    return request


def test_a_runbook_goes_to_the_machine_before_its_request(there: AccessServer) -> None:
    maker = Maker()
    let_runbooks(there.side, maker)
    book = maker.sign([("/bin/echo", Hole("what"))], WORD)
    request = ask(there, book, book.raw)
    assert there.orders == [(there.pump.device, book.raw), (there.pump.device, request.raw)]
    # And again when the machine greets, and when the same is asked again.
    assert there.house.access.orders_for(there.pump.device) == [book.raw, request.raw]
    there.house.access.ask(request.raw, OPERATOR)
    assert [raw for _, raw in there.orders[2:]] == [book.raw, request.raw]
    (shown,) = there.detail(request).runbooks
    assert (shown.digest, shown.name, shown.version) == (book.digest, "support-bundle", 1)
    assert shown.envelope == to_base64url(book.raw)
    assert there.detail(request).scopes[0].startswith(f"the runbook {book.digest[:16]} as app")


def test_a_bad_signature_is_carried_and_stands_for_no_other(there: AccessServer) -> None:
    """The server does not judge; what one sends is what his own request carries."""
    maker = Maker()
    let_runbooks(there.side, maker)
    book = maker.sign([("/bin/echo", Hole("what"))], WORD)
    bad = resign(book.raw, {}, [Maker().key])
    ask(there, book, bad)
    good = ask(there, book, book.raw)
    assert [runbook.envelope for runbook in there.detail(good).runbooks] == [to_base64url(book.raw)]
    assert there.orders[-2] == (there.pump.device, book.raw)


def test_what_no_machine_could_use_is_not_stored(there: AccessServer) -> None:
    maker = Maker()
    let_runbooks(there.side, maker)
    book = maker.sign([("/bin/echo", Hole("what"))], WORD)
    other = alter(book.raw, {"version": 2})
    with pytest.raises(Refused, match="names no runbook"):
        ask(there, book, other)
    with pytest.raises(Malformed):
        ask(there, book, there.world.trust.heads[-1].raw)
    with pytest.raises(Malformed):
        ask(there, book, b"{" + b" " * 100_000)
    assert not there.orders
    # Without its document a request is carried all the same: the machine may have it.
    request = ask(there, book)
    assert there.orders == [(there.pump.device, request.raw)]
    assert there.detail(request).runbooks == []
    assert read_kept([b"what a later release wrote", book.raw])[0].digest == book.digest
