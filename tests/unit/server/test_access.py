"""Sessions on the server: carried, shown, kept; never judged."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from litestar.testing import TestClient
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.access_world import FILES, LOGS, PAGE, TERMINAL
from tests.trust_world import refused, resign
from tests.unit.server.overview_world import overview, today
from tests.unit.web.floor import HOST, Names

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.keys import FileSigner
from fleetward.runtime.x509 import new_key
from fleetward.server.access import reading, store
from fleetward.server.access.decide import MAX_UNANSWERED
from fleetward.server.access.ingest import MAX_NOTES
from fleetward.server.access.routes import AccessRooms, make_access_handlers
from fleetward.server.overview.store import Filter
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.server.web.coverage import find_gaps
from fleetward.trust.access import MAX_SECONDS
from fleetward.trust.canonical import to_base64url
from fleetward.trust.connection import make_connection_payload
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.grants.ending import make_beat_payload, make_stop_payload
from fleetward.trust.words import six_words
from fleetward.wire.access import RecordingChunk
from fleetward.wire.subjects import Up


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[AccessServer]:
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made


def test_a_session_from_its_request_to_its_end(there: AccessServer) -> None:
    request = there.ask(TERMINAL, PAGE)
    assert there.row(request).state == "asked"
    assert there.orders == [(there.pump.device, request.raw)]
    offer = there.note_offer(request)
    grant = there.grant(request, offer)
    assert there.orders[-1] == (there.pump.device, grant.raw)
    there.open(grant)
    there.send_chunk(grant.hash, 0, b"header\n")
    shown = there.detail(request)
    assert (shown.state, shown.session, shown.people) == ("open", grant.hash, ["ada"])
    assert shown.words == six_words(bytes.fromhex(grant.hash)) == grant.words
    assert (shown.person, shown.org, shown.recording_bytes) == ("tom", "Makers Ltd", 7)
    assert shown.scopes == ["a terminal as app", "the machine's web page on port 8080"]
    assert shown.opened_at is not None
    assert there.note("receipt", grant.hash, there.receipt(grant.hash))["type"] == "access"
    shown = there.detail(request)
    assert (shown.state, shown.ended_by, shown.ended_who) == ("ended", "closed", "tom")
    assert (shown.bytes_in, shown.bytes_out) == (10, 2000)
    assert there.states == ["asked", "offered", "granted", "open", "ended"]
    assert there.ended == [grant.hash]
    assert [step.kind for step in shown.steps] == [
        "request", "offer", "grant", "opened", "receipt",
    ]  # fmt: skip


def test_what_is_signed_becomes_an_entry_of_the_record_once(there: AccessServer) -> None:
    request, grant = there.live()
    for _ in range(2):
        there.note("receipt", grant.hash, there.receipt(grant.hash))
    there.house.access.ask(request.raw, OPERATOR)
    kinds = ("request", "offer", "grant", "receipt")
    assert [len(there.world.deeds(f"document.{kind}")) for kind in kinds] == [1, 1, 1, 1]
    assert len(there.world.deeds("access.requested")) == 2
    assert [d["actor"] for d in there.world.deeds("access.granted")] == ["person:p1"]


def test_a_request_that_is_none_or_for_nobody_here(there: AccessServer) -> None:
    good = there.side.request()
    ask = there.house.access.ask
    with refused(Malformed, "wrong_type"):
        ask(there.side.offer(good).raw, OPERATOR)
    with refused(Untrusted, "another_owner"):
        ask(resign(good.raw, {"owner": "0" * 64}, [there.side.technician]), OPERATOR)
    with refused(Refused, "not_found"):
        ask(resign(good.raw, {"device": "b" * 32}, [there.side.technician]), OPERATOR)
    with refused(Malformed, "too_large"):
        ask(b"x" * 20_000, OPERATOR)
    narrow = Caller("token", "t", "elsewhere", Role.OPERATOR, Scope(sites=frozenset({"Ship"})))
    with refused(Refused, "not_found"):
        ask(good.raw, narrow)
    assert there.world.count("access_request") == 0
    assert there.world.deeds("access.requested") == []


def test_a_request_that_no_machine_would_take_is_carried_all_the_same(there: AccessServer) -> None:
    """Who may ask is the machine's to say: a server that says it could be asked to."""
    raw = resign(there.side.request().raw, {"seconds": MAX_SECONDS}, [there.world.trust.signers[0]])
    row = there.house.access.ask(raw, OPERATOR)
    assert row.state == "asked"
    there.note("denial", row.request_id, there.denial(row.request_id, "unknown_requester"))
    shown = there.house.shown.detail(there.house.access.find(row.request_id, OPERATOR))
    assert (shown.state, shown.ended_by) == ("denied", "unknown_requester")
    assert shown.denied_words == "Two people must say yes."


def test_only_so_many_wait_for_one_machine(there: AccessServer) -> None:
    for _ in range(MAX_UNANSWERED):
        there.ask()
    with refused(Refused, "too_many_requests"):
        there.ask()


def test_another_grant_after_a_denial(there: AccessServer) -> None:
    request, grant = there.live()
    there.note("denial", grant.hash, there.denial(grant.hash))
    assert there.row(request).state == "denied"
    there.world.clock.now += 1000
    for _ in range(2):
        there.house.access.grant(request.hash, grant.raw, OPERATOR)
        assert there.row(request).state == "granted"
    assert [step.kind for step in there.detail(request).steps[2:]] == ["grant", "denial", "grant"]
    assert len(there.world.deeds("document.grant")) == 1


def test_a_stop_of_a_request_and_of_a_session(there: AccessServer) -> None:
    request = there.ask()
    there.note_offer(request)
    raw = there.stop(request, request.hash)
    assert there.orders[-1] == (there.pump.device, raw)
    assert there.row(request).state == "stopped"
    with refused(Refused, "already_over"):
        there.house.access.grant(
            request.hash, there.side.grant(request, there.side.offer(request)), OPERATOR
        )
    other, grant = there.live()
    there.open(grant)
    raw = there.stop(other, grant.hash)
    assert there.row(other).state == "open", "it is over when the machine says so"
    assert there.house.access.orders_for(there.pump.device) == [raw]
    there.note(
        "receipt", grant.hash, there.receipt(grant.hash, ended_by="stopped", ended_who="ada")
    )
    assert there.row(other).state == "ended"
    assert there.house.access.orders_for(there.pump.device) == []


def test_a_stop_or_grant_for_another_request(there: AccessServer) -> None:
    request, grant = there.live()
    other = there.ask()
    with refused(Untrusted, "another_request"):
        there.house.access.grant(other.hash, grant.raw, OPERATOR)
    with refused(Untrusted, "another_request"):
        there.stop(other, grant.hash)
    assert there.row(request).state == "granted"


def test_a_beat_is_carried_and_not_stored(there: AccessServer) -> None:
    request, grant = there.live()
    for serial in (1, 2):
        payload = make_beat_payload(there.world.trust.policy, grant.hash, serial)
        raw = seal(payload, [there.world.trust.signers[0]])
        there.house.access.beat(request.hash, raw, OPERATOR)
        assert there.orders[-1] == (there.pump.device, raw)
    assert len(there.world.deeds("access.watched")) == 1
    assert there.world.count("access_note") == 2
    stranger = seal(
        make_beat_payload(there.world.trust.policy, "0" * 64, 1), [there.world.trust.signers[0]]
    )
    with refused(Untrusted, "another_session"):
        there.house.access.beat(request.hash, stranger, OPERATOR)


def test_what_a_machine_that_greets_is_handed_again(there: AccessServer) -> None:
    orders = there.house.access.orders_for
    request = there.ask()
    assert orders(there.pump.device) == [request.raw]
    offer = there.note_offer(request)
    assert orders(there.pump.device) == [request.raw]
    grant = there.grant(request, offer)
    assert orders(there.pump.device) == [grant.raw]
    there.open(grant)
    assert orders(there.pump.device) == []
    late = there.ask()
    there.world.clock.now += 8 * 86_400_000
    assert orders(there.pump.device) == []
    assert there.row(late).state == "asked"


def test_a_recording_is_kept_in_pieces_without_a_gap(there: AccessServer) -> None:
    _, grant = there.live()
    pieces = [bytes([n]) * 400_000 for n in range(4)]
    for number, data in enumerate(pieces):
        said = there.send_chunk(grant.hash, number * 400_000, data)
        assert (said["type"], said["size"]) == ("recording", (number + 1) * 400_000)
    assert there.send_chunk(grant.hash, 0, pieces[0])["size"] == 1_600_000, "it came before"
    assert there.send_chunk(grant.hash, 1_700_000, b"x")["size"] == 1_600_000, "a gap"
    assert there.send_chunk(grant.hash, 1_600_000, b"", done=True)["size"] == 1_600_000
    assert there.send_chunk(grant.hash, 1_600_000, b"after the end")["size"] == 1_600_000
    whole, offset = b"", 0
    while True:
        piece = there.house.replays.read(grant.hash, offset, OPERATOR)
        assert (piece.size, piece.done) == (1_600_000, True)
        if not piece.data:
            break
        whole += piece.data
        offset += len(piece.data)
    assert whole == b"".join(pieces)
    assert there.house.replays.read(grant.hash, 399_999, OPERATOR).data[:2] == b"\x00\x01"
    assert there.house.replays.read(grant.hash, 2**52, OPERATOR).data == b""
    assert len(there.world.deeds("access.replayed")) == 1
    there.world.clock.now += 3_600_000
    there.house.replays.read(grant.hash, 0, OPERATOR)
    assert len(there.world.deeds("access.replayed")) == 2


def test_a_recording_under_the_short_name_of_its_session(there: AccessServer) -> None:
    _, grant = there.live()
    said = there.send_chunk(grant.hash[:32], 0, b"abc")
    assert (said["session"], said["size"]) == (grant.hash[:32], 3)
    assert there.house.replays.read(grant.hash, 0, OPERATOR).data == b"abc"


def test_pieces_that_are_none(there: AccessServer) -> None:
    _, grant = there.live()
    pump = there.pump
    for payload in (b"", b"{}", b"[]", there.chunk(grant.hash, 0, b"")):
        there.world.refusal(pump, Up.RECORDING, payload)
    big = there.chunk(grant.hash, 0, b"x" * (512 * 1024 + 1))
    assert there.world.refusal(pump, Up.RECORDING, big) == "too_large"
    assert there.world.refusal(pump, Up.RECORDING, there.chunk("ab", 0, b"x")) == "unknown_session"
    strange = there.chunk("0" * 64, 0, b"x")
    assert there.world.refusal(pump, Up.RECORDING, strange) == "unknown_session"
    assert there.world.count("access_recording") == 0


def test_a_receipt_of_a_session_that_this_server_forgot_is_kept(there: AccessServer) -> None:
    request = there.side.request()
    offer = there.side.offer(request)
    grant = there.side.judge(there.side.grant(request, offer), request, offer)
    assert there.note("receipt", grant.hash, there.receipt(grant.hash))["type"] == "access"
    assert len(there.world.deeds("document.receipt")) == 1


def test_a_machine_that_offers_without_end_is_refused(there: AccessServer) -> None:
    request = there.ask()
    for _ in range(MAX_NOTES):
        there.note_offer(request)
    said = there.note("offer", request.hash, there.side.offer(request).raw)
    assert said["reason"] == "too_many_notes"


def test_the_list_is_filtered_paged_and_narrowed(there: AccessServer) -> None:
    first = there.ask(LOGS)
    there.world.clock.now += 1000
    second, _ = there.live(FILES)
    page = there.house.shown.page
    rows, total = page("", "", (0, 1), OPERATOR)
    assert (total, [row.id for row in rows]) == (2, [second.hash])
    assert (rows[0].device_name, rows[0].site) == ("pump 7", "Plant")
    assert [row.id for row in page("asked,offered", "", (0, 9), OPERATOR)[0]] == [first.hash]
    assert page("", "b" * 32, (0, 9), OPERATOR) == ([], 0)
    narrow = Caller("token", "t", "x", Role.VIEWER, Scope(sites=frozenset({"Plant"})))
    assert page("", "", (0, 9), narrow)[1] == 2
    other = Caller("token", "t", "x", Role.VIEWER, Scope(sites=frozenset({"Ship"})))
    assert page("", "", (0, 9), other)[1] == 0
    with refused(Refused, "not_found"):
        there.house.access.find(first.hash, other)
    with refused(Malformed, "bad_state"):
        page("open,happy", "", (0, 9), OPERATOR)
    assert there.house.access.find(first.hash[:8], OPERATOR).request_id == first.hash
    with refused(Malformed, "bad_request_id"):
        there.house.access.find(first.hash[:7], OPERATOR)


def test_types_and_sizes_are_those_of_the_documents() -> None:
    from fleetward.trust.grants import (
        ending,
        entry,
        grant,
        offer,
        report,
        request,
        standing,
        standing_state,
    )

    assert reading.TYPES == {
        "request": request.REQUEST_TYPE, "grant": grant.GRANT_TYPE, "stop": ending.STOP_TYPE,
        "beat": ending.BEAT_TYPE, "offer": offer.OFFER_TYPE, "denial": report.DENIAL_TYPE,
        "receipt": report.RECEIPT_TYPE, "standing": standing.STANDING_TYPE,
        "entry": entry.ENTRY_TYPE, "standing-state": standing_state.STATE_TYPE,
    }  # fmt: skip
    assert reading.SIZES == {
        "request": request.MAX_REQUEST_BYTES, "grant": grant.MAX_GRANT_BYTES,
        "stop": ending.MAX_ENDING_BYTES, "beat": ending.MAX_ENDING_BYTES,
        "offer": offer.MAX_OFFER_BYTES, "denial": report.MAX_REPORT_BYTES,
        "receipt": report.MAX_REPORT_BYTES, "standing": standing.MAX_STANDING_BYTES,
        "entry": entry.MAX_ENTRY_BYTES, "standing-state": standing_state.MAX_STATE_BYTES,
    }  # fmt: skip


def test_who_asks_is_the_first_card_of_today(there: AccessServer) -> None:
    assert [card.id for card in today(there.world).cards if card.id == "sessions"] == []
    request = there.ask(TERMINAL)
    assert [card.id for card in today(there.world).cards if card.id == "sessions"] == []
    there.note_offer(request)
    card = today(there.world).cards[0]
    assert (card.id, card.title) == ("sessions", "tom of Makers Ltd asks to enter pump 7")
    assert (card.where, card.verb.href) == ("Plant", f"/sessions/{request.hash}")
    assert "the pump does not start" in card.why and "owner’s console" in card.why
    other = there.ask(LOGS)
    there.note_offer(other)
    card = today(there.world).cards[0]
    assert card.title == "2 requests to enter machines wait for their owner"
    assert card.verb.href == "/sessions?state=offered"
    narrow = overview(there.world).today(Filter(sites=frozenset({"Ship"}), devices=frozenset()))
    assert [each.id for each in narrow.cards if each.id == "sessions"] == []


def test_the_routes(there: AccessServer, tmp_path: Path) -> None:
    house = there.house
    rooms = AccessRooms(
        house.access,
        house.shown,
        house.connections,
        house.replays,
        house.standings,
        house.changes,
        lambda: ["pumps.example:4222"],
    )
    app = create_app(
        Services(
            handlers=make_access_handlers(rooms),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost"})),
            static=tmp_path / "static",
        )
    )
    assert find_gaps(app) == []
    request = there.side.request(TERMINAL)
    base = "/api/v1/access"
    with TestClient(app, base_url=f"http://{HOST}") as client:

        def say(path: str, raw: bytes, who: str = "operator") -> Any:
            body = {"envelope": to_base64url(raw)}
            return client.post(base + path, json=body, headers=bearer(who))

        def bearer(who: str) -> dict[str, str]:
            return {"authorization": f"Bearer {who}"}

        assert say("/requests", request.raw, "viewer").status_code == 403
        made = say("/requests", request.raw)
        assert (made.status_code, made.json()["id"]) == (201, request.hash)
        assert made.json()["offered_at"] is None
        offer = there.note_offer(request)
        grant = there.side.grant(request, offer)
        place = f"/requests/{request.hash[:12]}"
        assert say(f"{place}/grant", request.raw).status_code == 400
        taken = say(f"{place}/grant", grant)
        assert (taken.status_code, taken.json()) == (
            202, {"id": request.hash, "state": "granted"},
        )  # fmt: skip
        shown = client.get(base + place, headers=bearer("viewer")).json()
        assert (shown["request"], shown["offer"], shown["grant"]) == tuple(
            to_base64url(raw) for raw in (request.raw, offer.raw, grant)
        )
        assert shown["device_key"]["key_id"] == there.pump.device
        listed = client.get(f"{base}/requests?state=granted", headers=bearer("viewer")).json()
        assert (listed["total"], listed["items"][0]["state"]) == (1, "granted")
        assert client.get(f"{base}/requests?state=x", headers=bearer("viewer")).status_code == 400
        session = shown["session"]
        public = FileSigner(new_key()).public
        payload = make_connection_payload(there.world.trust.owner, session, public)
        wish = {
            "public_key": to_base64url(public.spki),
            "proof": to_base64url(seal(payload, [there.side.technician])),
        }
        connected = client.post(base + place + "/connection", json=wish, headers=bearer("operator"))
        assert connected.status_code == 200
        assert connected.json()["bus"] == ["pumps.example:4222"]
        assert connected.json()["device_id"] == there.pump.device
        there.send_chunk(session, 0, b"sealed", done=True)
        read = client.get(
            f"{base}/sessions/{session}/recording?offset=2", headers=bearer("operator")
        )
        assert (read.status_code, read.content) == (200, b"aled")
        assert read.headers["content-type"] == "application/octet-stream"
        assert read.headers["fleetward-recording-size"] == "6"
        assert read.headers["fleetward-recording-done"] == "true"
        refused_read = client.get(f"{base}/sessions/{session}/recording", headers=bearer("viewer"))
        assert refused_read.status_code == 403
        stop = make_stop_payload(there.world.trust.policy, session, "enough", 1)
        assert say(f"{place}/stop", seal(stop, [there.world.trust.signers[0]])).status_code == 202
        beat = make_beat_payload(there.world.trust.policy, session, 1)
        assert say(f"{place}/beat", seal(beat, [there.world.trust.signers[0]])).status_code == 202
        missing = client.get(f"{base}/requests/{'0' * 64}", headers=bearer("viewer"))
        assert missing.status_code == 404


def test_pieces_of_many_sessions_are_stored_together(there: AccessServer) -> None:
    grants = [there.live()[1] for _ in range(3)]
    device, door = there.pump.device, there.house.door
    chunks = [
        (device, RecordingChunk(session=grant.hash, offset=2 * n, data="YWE", done=n == 2))
        for n in range(3)
        for grant in grants
    ]
    bad = RecordingChunk(session="0" * 64, offset=0, data="YWE", done=False)
    answers = door.take_chunks([*chunks[:4], (device, bad), *chunks[4:]])
    assert [a.reason for a in answers if isinstance(a, Refused)] == ["unknown_session"]
    assert [a for a in answers if isinstance(a, int)] == [2, 2, 2, 4, 4, 4, 6, 6, 6]
    for grant in grants:
        piece = there.house.replays.read(grant.hash, 0, OPERATOR)
        assert (piece.data, piece.done) == (b"aaaaaa", True)
    there.world.restart()
    assert there.send_chunk(grants[0].hash, 6, b"more")["size"] == 6


def test_pieces_that_could_not_be_stored_are_taken_when_they_come_again(
    there: AccessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, grant = there.live()
    there.send_chunk(grant.hash, 0, b"first")

    def fail(*_: object) -> bool:
        raise Unreachable("the disk is full", reason="database_full")

    with monkeypatch.context() as patched:
        patched.setattr(store, "append_piece", fail)
        assert there.send_chunk(grant.hash, 5, b"second")["reason"] == "database_full"
    assert there.send_chunk(grant.hash, 5, b"second")["size"] == 11
    assert there.house.replays.read(grant.hash, 0, OPERATOR).data == b"firstsecond"
