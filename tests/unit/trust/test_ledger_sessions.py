"""Who was inside with whose permission, as the owner's own check of a server's record says it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.break_glass_world import ROOT, break_glass_of, set_break_glass
from tests.server_world import ServerWorld
from tests.trust_world import resign

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import make_key
from fleetward.server.audit.store import select_bodies
from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.keys import ED25519
from fleetward.trust.ledger import Auditor, LedgerAudit
from fleetward.trust.ledger_documents import HandedOver
from fleetward.trust.ledger_findings import AuditReport


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


class OnServer(Protocol):
    """Whoever has a server."""

    @property
    def world(self) -> ServerWorld: ...


def audit(there: OnServer) -> AuditReport:
    """Check the server's record as the owner's tools do."""
    trust, ledger = there.world.trust, there.world.house.ledger
    size, note = ledger.checkpoint()
    with there.world.database.read() as conn:
        leaves = select_bodies(conn, ledger.owner_id, ledger.generation, 0, size)
    handed = HandedOver(
        trust.owner_root.raw,
        tuple(policy.raw for policy in trust.policies),
        trust.rosters[-1].raw,
        tuple(entry.to_bytes() for entry in trust.entries),
        trust.heads[-1].raw,
        trust.leases[-1].raw,
    )
    judge = LedgerAudit(trust.owner, handed, Auditor(there.world.clock.now), generations=1)
    judge.open_generation(1, note)
    for leaf in leaves:
        judge.add(judge.reader.read(leaf), leaf)
    judge.close_generation()
    return judge.finish()


def words(findings: object, name: str) -> list[str]:
    return [f.words for f in findings if f.id == name]  # type: ignore[attr-defined]


def test_who_was_inside_is_proven(there: AccessServer) -> None:
    request, grant = there.live()
    there.open(grant)
    report = audit(there)
    assert report.whole
    assert len(words(report.unknown, "sessions_open")) == 1
    there.note("receipt", grant.hash, there.receipt(grant.hash))
    report = audit(there)
    assert report.whole
    (said,) = words(report.proven, "session")
    assert "tom of Makers Ltd was inside pump 7" in said
    assert "let in by ada: a terminal as app. It ended: closed." in said
    assert words(report.proven, "sessions")[0].startswith("1 session took place")
    assert words(report.unknown, "strange_entries") == []
    assert request.hash in {read_envelope(request.raw).hash}


def test_break_glass_is_listed_apart(there: AccessServer) -> None:
    cleo, dan = make_key(ED25519), make_key(ED25519)
    set_break_glass(there.side, break_glass_of([cleo, dan]), [(cleo, "cleo"), (dan, "dan")])
    there.world.trust.publish()
    there.world.publish()
    request = there.ask(ROOT, break_glass=True)
    offer = there.note_offer(request)
    raw = there.side.grant(request, offer, signers=[cleo, dan])
    there.house.access.grant(request.hash, raw, OPERATOR)
    grant = there.side.judge(raw, request, offer)
    there.note("receipt", grant.hash, there.receipt(grant.hash, ended_by="panel"))
    report = audit(there)
    assert report.whole
    (said,) = words(report.proven, "break_glass")
    assert said.startswith("BREAK-GLASS: tom was inside pump 7")
    assert "cleo and dan" in said
    assert grant.words in said
    assert words(report.proven, "session")[0].startswith("BREAK-GLASS")


def test_what_anybody_may_hand_in_is_no_contradiction(there: AccessServer) -> None:
    request, offer = there.ask(), None
    offer = there.note_offer(request)
    thief = make_key(ED25519)
    there.house.access.grant(
        request.hash, there.side.grant(request, offer, signers=[thief]), OPERATOR
    )
    there.note("denial", request.hash, there.denial(request.hash))
    forged = resign(there.side.request().raw, {}, [thief])
    there.house.access.ask(forged, OPERATOR)
    report = audit(there)
    assert report.whole
    assert words(report.unknown, "papers_without_force")[0].startswith("2 requests or permissions")
    assert words(report.proven, "denials") == ["Machines said no to 1 request or permission."]


def test_a_grant_that_more_people_sign_later(there: AccessServer) -> None:
    request = there.ask()
    offer = there.note_offer(request)
    thief = make_key(ED25519)
    early = there.side.grant(request, offer, signers=[thief])
    there.house.access.grant(request.hash, early, OPERATOR)
    whole = add_signatures(read_envelope(early), [there.world.trust.signers[0]])
    there.house.access.grant(request.hash, whole, OPERATOR)
    grant = there.side.judge(whole, request, offer)
    there.note("receipt", grant.hash, there.receipt(grant.hash))
    report = audit(there)
    assert (report.whole, len(words(report.proven, "session"))) == (True, 1)
    assert words(report.unknown, "papers_without_force") == []


def test_a_session_without_permission_is_named(there: AccessServer) -> None:
    """A machine that was broken into says honestly that somebody was inside."""
    request = there.ask()
    offer = there.note_offer(request)
    raw = there.side.grant(request, offer, signers=[make_key(ED25519)])
    there.house.access.grant(request.hash, raw, OPERATOR)
    good = there.side.judge(there.side.grant(request, offer), request, offer)
    assert good.hash == read_envelope(raw).hash
    there.note("receipt", good.hash, there.receipt(good.hash))
    report = audit(there)
    (said,) = words(report.contradicted, "session_without_grant")
    assert "pump 7" in said
    assert "1 of the people" in said


def test_a_receipt_for_a_grant_that_the_record_hides(there: AccessServer) -> None:
    request = there.side.request()
    offer = there.side.offer(request)
    grant = there.side.judge(there.side.grant(request, offer), request, offer)
    there.note("receipt", grant.hash, there.receipt(grant.hash))
    (said,) = words(audit(there).contradicted, "session_without_grant")
    assert "not in the record" in said


def test_a_receipt_that_the_server_made_up(there: AccessServer) -> None:
    _, grant = there.live()
    value: JsonObject = dict(read_envelope(there.receipt(grant.hash)).payload)
    forged = seal(value, [make_key(ED25519)])
    there.world.house.ledger.append_signed("receipt", forged, ("server", there.pump.device), 1)
    report = audit(there)
    assert len(words(report.contradicted, "not_by_machine")) == 1
    assert words(report.proven, "session") == []


def test_a_machine_off_the_roster_is_unknown(there: AccessServer) -> None:
    _, grant = there.live()
    there.note("receipt", grant.hash, there.receipt(grant.hash))
    there.world.trust.publish([])
    report = audit(there)
    assert words(report.contradicted, "not_by_machine") == []
    assert len(words(report.unknown, "session_of_stranger")) == 1
