"""What a machine, a technician or a stranger tries at the server's side of sessions."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from cryptography import x509 as raw_x509
from tests.access_server import OPERATOR, AccessServer, access_server
from tests.trust_world import Machine, alter, refused, resign

from fleetward.runtime import x509
from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.server.access import ingest
from fleetward.trust.canonical import to_base64url
from fleetward.trust.connection import make_connection_payload
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted
from fleetward.trust.grants.grant import Grant
from fleetward.trust.grants.request import Request
from fleetward.trust.keys import ED25519, ES256, Signer
from fleetward.wire.access import AccessNote
from fleetward.wire.subjects import Up, session_name

TABLES = ("access_note", "access_recording", "access_recording_piece")


@pytest.fixture
def there(tmp_path: Path) -> Iterator[AccessServer]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with access_server(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


@pytest.fixture
def thief(there: AccessServer) -> Machine:
    return there.world.join("thief", preapproved=True)


def stored(there: AccessServer) -> tuple[int, ...]:
    return tuple(there.world.count(table) for table in TABLES)


def test_another_machines_word_about_a_session(there: AccessServer, thief: Machine) -> None:
    request, grant = there.live()
    before = stored(there)
    receipt, denial = there.receipt(grant.hash), there.denial(request.hash)
    offer = there.side.offer(request).raw
    for kind, subject, raw in (
        ("receipt", grant.hash, receipt),
        ("denial", request.hash, denial),
        ("offer", request.hash, offer),
    ):
        # The true words of the machine, brought by another; and the thief's own words about it.
        assert there.note(kind, subject, raw, thief)["reason"] == "wrong_signer"
        forged = resign(raw, {}, [thief.identity])
        assert there.note(kind, subject, forged, thief)["reason"] == "another_device"
        assert there.note(kind, subject, forged)["reason"] == "wrong_signer"
        mine = resign(raw, {"device": thief.device}, [thief.identity])
        assert there.note(kind, subject, mine, thief)["reason"] == "another_device"
    assert there.row(request).state == "granted"
    assert stored(there) == before
    assert {"wrong_signer", "another_device"} <= set(there.world.reasons("intake.refused"))


def test_words_that_were_changed_or_are_none(there: AccessServer) -> None:
    request, grant = there.live()
    before, receipt = stored(there), there.receipt(grant.hash)
    bad = {
        "changed": alter(receipt, {"ended_by": "idle"}),
        "of another type": there.denial(grant.hash),
        "to another owner": resign(receipt, {"owner": "0" * 64}, [there.pump.identity]),
        "with a field too many": resign(receipt, {"more": 1}, [there.pump.identity]),
        "cut": receipt[:-10],
        "empty": b"",
        "long": b"x" * 10_000,
    }
    for name, raw in bad.items():
        assert there.note("receipt", grant.hash, raw)["type"] == "refusal", name
    assert there.note("receipt", request.hash, receipt)["reason"] == "wrong_subject"
    for payload in (b"", b"[]", b'{"kind":"grant","subject":"","envelope":""}', b"\xff" * 100):
        there.world.refusal(there.pump, Up.ACCESS, payload)
    assert stored(there) == before
    assert there.row(request).state == "granted"


def test_who_waits_or_was_retired_says_nothing_of_sessions(there: AccessServer) -> None:
    _, grant = there.live()
    waiting = there.world.join("waiting")
    note = msgspec.json.encode(
        AccessNote(kind="receipt", subject=grant.hash, envelope=to_base64url(b"x"))
    )
    chunk = there.chunk(grant.hash, 0, b"x")
    for word, payload in ((Up.ACCESS, note), (Up.RECORDING, chunk)):
        assert there.world.refusal(waiting, word, payload) == "waiting_for_owner"
    there.world.trust.retire(there.pump)
    there.world.publish()
    for word, payload in ((Up.ACCESS, note), (Up.RECORDING, chunk)):
        assert there.world.refusal(there.pump, word, payload) == "retired"


def test_another_machines_recording(there: AccessServer, thief: Machine) -> None:
    _, grant = there.live()
    there.send_chunk(grant.hash, 0, b"header")
    for offset in (0, 6):
        chunk = there.chunk(grant.hash, offset, b"forged", done=True)
        assert there.world.refusal(thief, Up.RECORDING, chunk) == "another_device"
    assert there.house.replays.read(grant.hash, 0, OPERATOR).data == b"header"


def test_a_recording_fills_no_disk(there: AccessServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest, "MAX_RECORDING_BYTES", 10)
    _, grant = there.live()
    assert there.send_chunk(grant.hash, 0, b"12345678")["size"] == 8
    assert there.send_chunk(grant.hash, 8, b"9012")["reason"] == "too_large"
    assert there.send_chunk(grant.hash, 8, b"90", done=True)["size"] == 10


def test_a_stored_piece_is_never_changed(there: AccessServer) -> None:
    _, grant = there.live()
    there.send_chunk(grant.hash, 0, b"first")
    there.send_chunk(grant.hash, 5, b"second")
    for offset in range(12):
        there.send_chunk(grant.hash, offset, b"FORGED"[: 11 - offset] or b"x")
        if offset < 11:
            assert there.house.replays.read(grant.hash, 0, OPERATOR).data == b"firstsecond"
    assert there.house.replays.read(grant.hash, 0, OPERATOR).data == b"firstsecondx"


def connect(
    there: AccessServer, request: Request, session: str, signer: Signer, *, owner: str = ""
) -> str:
    """Ask for a certificate; return the chain."""
    public = FileSigner(x509.new_key()).public
    payload = make_connection_payload(owner or there.world.trust.owner, session, public)
    sent = (to_base64url(public.spki), to_base64url(seal(payload, [signer])))
    made = there.house.connections.connect(request.hash, sent, ["here:1"], OPERATOR)
    return str(made.certificate)


def test_only_who_asked_gets_the_certificate(there: AccessServer) -> None:
    request, grant = there.live()
    _, other = there.live()
    technician = there.side.technician
    for signer in (make_key(ED25519), make_key(ES256), there.world.trust.signers[0]):
        with refused(Untrusted, "wrong_signer"):
            connect(there, request, grant.hash, signer)
    with refused(Untrusted, "another_session"):
        connect(there, request, other.hash, technician)
    with refused(Untrusted, "another_session"):
        connect(there, request, grant.hash, technician, owner="0" * 64)
    public = FileSigner(x509.new_key()).public
    payload = make_connection_payload(there.world.trust.owner, grant.hash, public)
    proof = to_base64url(seal(payload, [technician]))
    stolen = to_base64url(FileSigner(x509.new_key()).public.spki)
    with refused(Untrusted, "another_key"):
        there.house.connections.connect(request.hash, (stolen, proof), [], OPERATOR)
    with refused(Malformed, "wrong_type"):
        there.house.connections.connect(
            request.hash, (stolen, to_base64url(request.raw)), [], OPERATOR
        )
    assert there.world.deeds("access.connected") == []
    connect(there, request, grant.hash, technician)
    assert len(there.world.deeds("access.connected")) == 1


def test_no_certificate_without_a_live_session(there: AccessServer) -> None:
    asked = there.ask()
    with refused(Refused, "not_live"):
        connect(there, asked, "0" * 64, there.side.technician)
    request, grant = there.live()
    there.note("receipt", grant.hash, there.receipt(grant.hash))
    with refused(Refused, "not_live"):
        connect(there, request, grant.hash, there.side.technician)
    late, expired = there.live()
    there.world.clock.now += 2 * 86_400_000
    with refused(Refused, "expired"):
        connect(there, late, expired.hash, there.side.technician)


def test_a_certificate_ends_with_its_grant(there: AccessServer) -> None:
    request, grant = there.live()
    chain = x509.read_certificates(
        connect(there, request, grant.hash, there.side.technician).encode()
    )
    ends = x509.not_after_ms(chain[0])
    assert there.world.clock.now < ends <= grant.not_after_ms + grant.seconds * 1000
    assert ends <= there.world.clock.now + 86_400_000
    named = x509.read_peer_id(chain[0])
    assert isinstance(named, x509.SessionSpiffeId)
    assert named.session == session_name(grant.hash)
    # No reader of machines' names takes it for a machine.
    with refused(Malformed, "certificate_names_no_device"):
        x509.read_spiffe_id(chain[0])


@pytest.mark.parametrize(
    "uri",
    [
        "spiffe://{owner}/session/{device}",
        "spiffe://{owner}/device/{session}",
        "spiffe://{owner}/session/{session}/device/{device}",
        "spiffe://{owner}/session/{session}0",
        "spiffe://{owner}/Session/{session}",
        "spiffe://{owner}//session/{session}",
        "spiffe://{owner}/session/{session}?x=1",
        "https://{owner}/session/{session}",
    ],
)
def test_a_name_of_another_shape_is_neither(uri: str) -> None:
    name = uri.format(owner="ab" * 32, device="z" * 32, session="01" * 16)
    key = x509.new_key()
    authority = x509.make_authority("self", not_before_ms=10**12, days=9, path_length=0, key=key)
    made = x509._sign_below(
        authority,
        x509._Profile(
            "x", authority.certificate.subject, 10**12, 10**12 + 10**6, 5, x509._named_by(name)
        ),
        key.public_key(),
    )
    assert isinstance(made, raw_x509.Certificate)
    with refused(Malformed, "certificate_names_no_device"):
        x509.read_peer_id(made)


def test_no_certificate_is_made_for_a_name_of_another_shape() -> None:
    key = x509.new_key()
    authority = x509.make_authority("self", not_before_ms=10**12, days=9, path_length=0, key=key)
    for owner, session in (("ab" * 32, "z" * 32), ("ab" * 31, "01" * 16), ("ab" * 32, "../x")):
        with refused(Misuse, "spiffe_malformed"):
            x509.issue_session_certificate(
                authority,
                key.public_key(),
                spiffe_id=x509.SessionSpiffeId(owner, session),
                serial=1,
                not_before_ms=10**12,
                not_after_ms=10**12 + 10**6,
            )


def test_the_server_opens_nothing_by_itself(there: AccessServer) -> None:
    """Whatever the server stores, the machine's own judge refuses what its owner did not sign."""
    request = there.ask()
    offer = there.note_offer(request)
    raw = there.side.grant(request, offer, signers=[there.world.trust.log])
    there.house.access.grant(request.hash, raw, OPERATOR)
    assert there.row(request).state == "granted", "it is only carried"
    with refused(Untrusted, "too_few_signatures"):
        there.side.judge(raw, request, offer)
    there.note("denial", request.hash, there.denial(request.hash))
    assert there.row(request).state == "denied"


def test_grant_type_is_checked(there: AccessServer) -> None:
    request, grant = there.live()
    assert isinstance(grant, Grant)
    for raw in (there.receipt(grant.hash), request.raw, b"{}", b"\xff"):
        with pytest.raises((Malformed, Untrusted)):
            there.house.access.grant(request.hash, raw, OPERATOR)
        with pytest.raises((Malformed, Untrusted)):
            there.house.access.stop(request.hash, raw, OPERATOR)
