"""What changed in sessions, on the server: asked for once, kept as it came, shown, never judged."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.access_world import TERMINAL
from tests.trust_world import Machine, refused
from tests.unit.server.overview_world import overview, today

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.overview.act import CHANGED_MS
from fleetward.server.overview.store import Filter
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused
from fleetward.wire.audit import BlobChunk
from fleetward.wire.comparison import (
    ComparedNotice,
    Comparison,
    Difference,
    Finding,
    digest_comparison,
    encode_comparison,
)
from fleetward.wire.subjects import Up

FINDING = Finding("new_user", "warning", "A new user eve", "uid 1001", ("T1136.001",))
OTHER = Finding("new_key", "warning", "A new key opens the user app", "/srv/app/.ssh")


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[AccessServer]:
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made


def make(there: AccessServer, session: str, *findings: Finding, **parts: Any) -> bytes:
    """Return the document of a session."""
    now = there.world.clock.now
    changes = (Difference("user", "added", "eve"),) if findings else ()
    values: dict[str, Any] = {
        "type": "fleetward.comparison.v1", "device": there.pump.device, "session": session,
        "before_at": now, "opened_at": now, "ended_at": now, "after_at": now,
        "findings": findings, "changes": changes,
    }  # fmt: skip
    return encode_comparison(Comparison(**(values | parts)))


def notice(session: str, document: bytes, *findings: Finding) -> dict[str, Any]:
    """Return the body of the entry that names a document."""
    made = ComparedNotice(
        session=session,
        digest=digest_comparison(document),
        size=len(document),
        findings=len(findings),
        changes=len(findings),
        severity="warning" if findings else "none",
        top=tuple(f.words for f in findings),
        words="What changed.",
    )
    found: dict[str, Any] = msgspec.to_builtins(made)
    return found


def tell(there: AccessServer, body: dict[str, Any], machine: Machine | None = None) -> list[str]:
    """Let a machine's journal name a document; return what the server asks for."""
    sender = machine or there.pump
    sender.write("session.compared", body)
    answer = there.world.send(sender, Up.BATCH, sender.cut())
    assert answer["type"] == "receipt", answer
    return list(answer.get("want", ()))


def bring(
    there: AccessServer, document: bytes, name: str = "", machine: Machine | None = None
) -> Any:
    """Let a machine hand a document over."""
    packed = zlib.compress(document)
    chunk = BlobChunk(
        digest=digest_comparison(document),
        offset=0,
        total=len(packed),
        data=to_base64url(packed),
    )
    return there.world.send(there.pump, Up.BLOB, msgspec.json.encode(chunk))


def test_it_is_asked_for_stored_and_shown(there: AccessServer) -> None:
    request, grant = there.live(TERMINAL)
    there.open(grant)
    document = make(there, grant.hash, FINDING, OTHER)
    digest = digest_comparison(document)
    assert tell(there, notice(grant.hash, document, FINDING, OTHER)) == [digest]
    shown = there.detail(request).changes
    assert shown is not None and not shown.here
    with refused(Refused, "not_compared"):
        there.house.changes.read(grant.hash, OPERATOR)
    assert [f.words for f in shown.findings] == [FINDING.words, OTHER.words]
    assert bring(there, document)["complete"] is True
    receipt = there.receipt(grant.hash, changes=digest, findings=2)
    assert there.note("receipt", grant.hash, receipt)["type"] == "access"
    detail = there.detail(request)
    assert detail.changes is not None and detail.changes.here
    assert (detail.changes.finding_count, detail.not_compared) == (2, "")
    assert detail.changes.findings[0].attack == ["T1136.001"]
    assert there.house.changes.read(grant.hash, OPERATOR) == document
    narrow = Caller(
        "person", "p2", "Nan", Role.VIEWER, Scope(sites=frozenset({"Ship"}), devices=frozenset())
    )
    with refused(Refused, "not_found"):
        there.house.changes.read(grant.hash, narrow)
    card = next(c for c in today(there.world).cards if c.id == "after_session")
    assert card.title == "After a session on pump 7: A new user eve, and 1 more finding"
    assert card.verb.href == f"/sessions/{request.hash}"


def test_nothing_found_is_no_card_and_a_card_grows_old(there: AccessServer) -> None:
    _, grant = there.live(TERMINAL)
    document = make(there, grant.hash)
    tell(there, notice(grant.hash, document))
    assert [c.id for c in today(there.world).cards if c.id == "after_session"] == []
    _, second = there.live(TERMINAL)
    tell(there, notice(second.hash, make(there, second.hash, FINDING), FINDING))
    assert [c.id for c in today(there.world).cards if c.id == "after_session"]
    tell(there, notice(grant.hash, make(there, grant.hash, FINDING), FINDING))
    card = next(c for c in today(there.world).cards if c.id == "after_session")
    assert card.title == "After 2 sessions something was found on the devices"
    narrow = Filter(sites=frozenset({"Ship"}), devices=frozenset())
    assert not [c for c in overview(there.world).today(narrow).cards if c.id == "after_session"]
    there.world.clock.now += CHANGED_MS + 1
    assert [c.id for c in today(there.world).cards if c.id == "after_session"] == []


def test_a_document_that_did_not_come_is_asked_for_again(there: AccessServer) -> None:
    _, grant = there.live(TERMINAL)
    document = make(there, grant.hash)
    digest = digest_comparison(document)
    assert tell(there, notice(grant.hash, document)) == [digest]
    there.world.restart()
    there.pump.write("agent.started", {"words": "x"})
    assert there.world.send(there.pump, Up.BATCH, there.pump.cut())["want"] == [digest]
    bring(there, document)
    there.pump.write("agent.started", {"words": "x"})
    assert there.world.send(there.pump, Up.BATCH, there.pump.cut()).get("want", []) == []


def test_a_machine_speaks_of_its_own_sessions_alone_and_in_one_form(there: AccessServer) -> None:
    _, grant = there.live(TERMINAL)
    other = there.world.join("pump 8", preapproved=True)
    there.world.confirm(other)
    document = make(there, grant.hash, FINDING)
    assert tell(there, notice(grant.hash, document, FINDING), other) == []
    assert tell(there, notice("ab" * 32, document, FINDING)) == []
    assert there.house.changes.show(grant.hash) is None
    # An entry in another form is evidence, and nothing else.
    body = notice(grant.hash, document)
    for bad in ({}, body | {"digest": "x"}, body | {"findings": -1}, body | {"top": ["\x1b[2J"]}):
        assert tell(there, bad) == []
    assert there.house.changes.show(grant.hash) is None
    # A document of another session, or in another form, is refused.
    for document in (
        make(there, "ab" * 32),
        make(there, grant.hash, device="b" * 32),
        b'{"type":"fleetward.comparison.v1"}',
        make(there, grant.hash).replace(b'{"after_at"', b'{ "after_at"'),
    ):
        tell(there, notice(grant.hash, document))
        assert bring(there, document)["type"] == "refusal"
    shown = there.house.changes.show(grant.hash)
    assert shown is not None and not shown.here
