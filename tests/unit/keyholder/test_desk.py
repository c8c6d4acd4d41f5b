"""Confirming, retiring and renewing: what is signed, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.keyholder.owner_fixtures import PASSPHRASE, FixedClock
from tests.unit.keyholder.small_server import TOKEN, SmallServer

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import document_name
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.pending import Confirmation, confirm_machine, fetch_pending
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.keys import ES256
from fleetward.trust.words import device_words


def waiting(key: FileSigner, **changes: Any) -> dict[str, Any]:
    """Return a machine as the server's API shows one that waits."""
    machine = {
        "id": key.public.key_id,
        "suite": ES256,
        "public": to_base64url(key.public.spki),
        "name_suggested": "pump-7",
        "site": "Ward 3",
        "model": "Pump 2",
        "maker": "Acme",
        "words": "made up by the server as it likes",
        "joined_at": "2026-11-23T14:02:05.123Z",
        "invitation": "ab" * 32,
        "preapproved": False,
        "simulated": True,
    }
    return machine | changes


@pytest.fixture
def client(server: SmallServer) -> ApiClient:
    return ApiClient(server.api, TOKEN)


def test_the_right_words_put_a_machine_on_the_roster(
    desk: Desk, server: SmallServer, client: ApiClient
) -> None:
    key = make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key)]}
    words = device_words(desk.documents().owner, key.public.key_id).upper().replace(" ", " - ")
    said = Confirmation(key.public.key_id, words, name="Pump 7")
    documents = confirm_machine(desk, fetch_pending(client), said)
    hand_over(desk.folder, client, documents)
    (entry,) = documents.entries
    assert (entry.name, entry.site, entry.maker, entry.state) == (
        "Pump 7", "Ward 3", "Acme", "active",
    )  # fmt: skip
    assert documents.settled
    assert (documents.roster.version, documents.head.version) == (2, 2)
    assert server.uploads[-1]["entries"] == [to_base64url(entry.to_bytes())]


def test_wrong_words_sign_nothing(desk: Desk, server: SmallServer, client: ApiClient) -> None:
    key, other = make_key(ES256), make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key)]}
    words = device_words(desk.documents().owner, other.public.key_id)
    with pytest.raises(Refused, match="six words"):
        confirm_machine(desk, fetch_pending(client), Confirmation(key.public.key_id, words))
    assert desk.documents().roster.version == 1


def test_a_server_that_swaps_the_key_is_caught(
    desk: Desk, server: SmallServer, client: ApiClient
) -> None:
    key, rogue = make_key(ES256), make_key(ES256)
    swapped = waiting(key, public=to_base64url(rogue.public.spki))
    server.answers["/owner/pending"] = {"items": [swapped]}
    words = device_words(desk.documents().owner, key.public.key_id)
    with pytest.raises(Untrusted, match="another key"):
        confirm_machine(desk, fetch_pending(client), Confirmation(key.public.key_id, words))


@pytest.mark.parametrize(
    "changes", [{"name_suggested": "a\x1b[2Jb"}, {"model": "x" * 81}, {"site": "a\nb"}]
)
def test_hostile_names_are_not_signed(
    desk: Desk, server: SmallServer, client: ApiClient, changes: dict[str, str]
) -> None:
    key = make_key(ES256)
    server.answers["/owner/pending"] = {"items": [waiting(key, **changes)]}
    words = device_words(desk.documents().owner, key.public.key_id)
    with pytest.raises(Malformed, match="printable"):
        confirm_machine(desk, fetch_pending(client), Confirmation(key.public.key_id, words))
    assert desk.documents().entries == ()


def put_one(desk: Desk) -> str:
    """Put a machine on the roster without a server."""
    key = make_key(ES256)
    owner = desk.documents().owner
    import msgspec

    from fleetward.keyholder.pending import PendingMachine

    machine = msgspec.convert(waiting(key), PendingMachine)
    said = Confirmation(key.public.key_id, device_words(owner, key.public.key_id))
    confirm_machine(desk, [machine], said)
    return key.public.key_id


def test_a_retired_machine_stays_on_the_roster_as_retired(desk: Desk) -> None:
    device = put_one(desk)
    documents = desk.retire(device)
    assert [(e.device, e.state) for e in documents.entries] == [(device, "retired")]
    with pytest.raises(Refused, match="not"):
        desk.retire(device)


def test_a_lease_serial_rises_even_when_the_clock_fell(desk: Desk, clock: FixedClock) -> None:
    first = desk.documents().lease
    clock.now -= 86_400_000
    second = desk.renew().lease
    assert first is not None
    assert second is not None
    assert second.serial == first.serial + 1
    assert second.head == first.head


def test_a_clock_that_fell_signs_no_dead_invitation(desk: Desk, clock: FixedClock) -> None:
    clock.now = 600_000
    with pytest.raises(Refused, match="set the clock right") as refused:
        desk.invite("Ward 3", 1, 3600, preapproved=False)
    assert refused.value.reason == "clock_behind"
    assert not desk.folder.numbers("invitations")


def test_a_power_cut_between_roster_and_head_is_mended(desk: Desk) -> None:
    put_one(desk)
    documents = desk.documents()
    for name in (document_name("heads", 2), document_name("leases", documents.lease.serial)):  # type: ignore[union-attr]
        (desk.folder.path / name).unlink()
    assert not desk.documents().head_settled
    mended = desk.renew()
    assert mended.settled
    assert mended.roster.hash == documents.roster.hash


def test_signed_documents_are_never_overwritten(desk: Desk) -> None:
    with pytest.raises(Refused, match="never overwritten"):
        desk.folder.write_once(document_name("policies", 1), b"another")


def test_a_folder_that_somebody_altered_is_refused(desk: Desk) -> None:
    put_one(desk)
    path = desk.folder.path / document_name("rosters", 2, "entries")
    path.write_bytes(path.read_bytes().replace(b"pump-7", b"pump-8"))
    with pytest.raises(Untrusted):
        desk.renew()


def test_an_open_folder_is_refused(desk: Desk, clock: FixedClock) -> None:
    from fleetward.keyholder.folder import OwnerFolder

    desk.folder.path.chmod(0o755)
    with pytest.raises(Refused, match="chmod 700"):
        Desk(OwnerFolder.open(desk.folder.path), PASSPHRASE, clock)


def test_with_the_server_gone_the_signature_is_kept(desk: Desk) -> None:
    device = put_one(desk)
    nobody = ApiClient("http://127.0.0.1:1/api/v1", TOKEN)
    with pytest.raises(Unreachable, match="owner refresh"):
        hand_over(desk.folder, nobody, desk.documents())
    assert desk.documents().entries[0].device == device
