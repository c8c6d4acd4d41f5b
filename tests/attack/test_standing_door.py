"""What anybody may send to the server about permissions ahead, and what a server may do with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.access_world import LOGS
from tests.standing_world import Ahead, weekly
from tests.trust_world import NOW_MS, resign
from tests.unit.trust.test_ledger_sessions import audit, words

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import make_key
from fleetward.server.access import standing
from fleetward.server.access.standing import MOST_STATES
from fleetward.server.access.standing_store import Wanted, update_line
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.grants.standing import verify_standing
from fleetward.trust.grants.standing_state import StandingState, make_state_payload
from fleetward.trust.keys import ED25519

NARROW = Caller("token", "t", "ship", Role.OPERATOR, Scope(sites=frozenset({"Ship"})))


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


def say(
    there: AccessServer, standing: str, state: str, next_window: int = 0, at_ms: int = NOW_MS
) -> bytes:
    """Return the machine's word about a document."""
    said = StandingState(
        there.pump.device, there.world.trust.owner, standing, state, next_window, "", at_ms, "", b""
    )
    return seal(make_state_payload(said), [there.pump.identity])


def came(there: AccessServer, ahead: Ahead, standing: bytes, window: int = 0) -> str:
    """Let the technician come by a window, and the machine sign that a session took place."""
    request = there.ask()
    offer = there.note_offer(request)
    allowed = verify_standing(standing, there.world.trust.policy)
    entry = ahead.entry(allowed, request, offer, window)
    row = there.house.standings.enter(request.hash, entry, OPERATOR)
    there.note("receipt", row.session_id, there.receipt(row.session_id))
    return str(row.session_id)


def test_a_machine_says_only_what_is_its_own(there: AccessServer) -> None:
    ahead = Ahead(there.side)
    standing = ahead.standing()
    there.house.standings.add(standing.raw, OPERATOR)
    other = there.world.join("pump 8", preapproved=True)
    word = say(there, standing.hash, "revoked")
    assert there.note("standing", standing.hash, word, other)["reason"] == "wrong_signer"
    forged = resign(word, {"device": other.device}, [other.identity])
    assert there.note("standing", standing.hash, forged, other)["reason"] == "unknown_standing"
    assert there.note("standing", "0" * 64, word)["reason"] == "wrong_subject"
    unknown = say(there, "0" * 64, "held")
    assert there.note("standing", "0" * 64, unknown)["reason"] == "unknown_standing"
    (row,) = there.house.standings.some(Wanted(), OPERATOR)
    assert [machine.state for machine in row.machines] == [""]
    assert there.note("standing", standing.hash, word)["type"] == "access"


def test_a_machine_that_never_stops_talking_fills_no_record(there: AccessServer) -> None:
    standing = Ahead(there.side).standing()
    there.house.standings.add(standing.raw, OPERATOR)
    before = there.world.house.ledger.checkpoint()[0]
    for number in range(5):
        there.note("standing", standing.hash, say(there, standing.hash, "held", 0, NOW_MS + number))
    assert there.world.house.ledger.checkpoint()[0] - before == 1
    with there.world.database.write() as conn:
        update_line(conn, standing.hash, there.pump.device, {"times": MOST_STATES})
    word = say(there, standing.hash, "dropped")
    assert there.note("standing", standing.hash, word)["reason"] == "too_many_notes"


def test_the_server_shows_and_carries_and_judges_nothing(there: AccessServer) -> None:
    ahead, thief = Ahead(there.side), make_key(ED25519)
    forged = ahead.raw([thief])
    row = there.house.standings.add(forged, OPERATOR)
    assert row.people == [f"key {thief.public.key_id[:8]}"]
    assert there.orders[-1] == (there.pump.device, forged)
    request = there.ask(LOGS)
    offer = there.note_offer(request)
    true = ahead.standing()
    there.house.standings.add(true.raw, OPERATOR)
    entry = ahead.entry(true, request, offer, signer=thief)
    there.house.standings.enter(request.hash, entry, OPERATOR)
    assert there.orders[-2:] == [(there.pump.device, true.raw), (there.pump.device, entry)]
    for bad, reason in (
        (ahead.entry(true, there.side.request(), offer), "another_request"),
        (ahead.entry(ahead.standing(), request, offer), "not_found"),
    ):
        with pytest.raises((Refused, Untrusted)) as e:
            there.house.standings.enter(request.hash, bad, OPERATOR)
        assert e.value.reason == reason
    report = audit(there)
    assert report.whole
    assert words(report.unknown, "ahead_without_force")


def test_who_may_not_see_a_machine_learns_nothing_of_its_windows(there: AccessServer) -> None:
    standing = Ahead(there.side).standing()
    with pytest.raises(Refused):
        there.house.standings.add(standing.raw, NARROW)
    there.house.standings.add(standing.raw, OPERATOR)
    assert there.house.standings.some(Wanted(), NARROW) == []
    with pytest.raises(Refused):
        there.house.standings.find(standing.hash, NARROW)
    stop = Ahead(there.side).revocation(standing.hash)
    with pytest.raises(Refused):
        there.house.standings.revoke(standing.hash, stop, NARROW)


def test_no_machine_is_crowded_with_permissions(
    there: AccessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = Ahead(there.side)
    monkeypatch.setattr(standing, "MOST_FOR_DEVICE", 3)
    for _ in range(3):
        there.house.standings.add(ahead.raw(), OPERATOR)
    with pytest.raises(Refused) as e:
        there.house.standings.add(ahead.raw(), OPERATOR)
    assert e.value.reason == "too_many_standing"


def test_a_machine_that_lets_in_twice_by_one_window_is_named(there: AccessServer) -> None:
    ahead = Ahead(there.side)
    raw = ahead.raw()
    there.house.standings.add(raw, OPERATOR)
    came(there, ahead, raw)
    assert audit(there).whole
    came(there, ahead, raw)
    report = audit(there)
    assert not report.whole
    (said,) = words(report.contradicted, "window_used_twice")
    assert "pump 7" in said


def test_a_machine_that_lets_in_after_it_took_back_is_named(there: AccessServer) -> None:
    ahead = Ahead(there.side)
    standing = ahead.standing(windows=weekly(3))
    there.house.standings.add(standing.raw, OPERATOR)
    there.house.standings.revoke(standing.hash, ahead.revocation(standing.hash), OPERATOR)
    there.note("standing", standing.hash, say(there, standing.hash, "revoked", 0, NOW_MS - 60_000))
    assert audit(there).whole
    came(there, ahead, standing.raw)
    assert words(audit(there).contradicted, "entered_after_revoked")


def test_a_copy_without_the_owners_signatures_keeps_the_true_one_out_of_nothing(
    there: AccessServer,
) -> None:
    standing = Ahead(there.side).standing()
    forged = resign(standing.raw, {}, [make_key(ED25519)])
    there.house.standings.add(forged, OPERATOR)
    there.house.standings.add(standing.raw, OPERATOR)
    (row,) = there.house.standings.some(Wanted(), OPERATOR)
    assert (row.envelope, row.people) == (to_base64url(standing.raw), ["ada of Acme"])
    assert there.house.standings.orders_for(there.pump.device) == [standing.raw]


def test_a_session_by_a_forged_permission_is_named(there: AccessServer) -> None:
    ahead = Ahead(there.side)
    standing = ahead.standing()
    forged = resign(standing.raw, {}, [make_key(ED25519)])
    there.house.standings.add(forged, OPERATOR)
    came(there, ahead, standing.raw)
    assert words(audit(there).contradicted, "session_without_grant")
