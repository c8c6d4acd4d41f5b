"""A sale from folder to folder: dry run, crash, altered offers and drafts, and no way back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.trust_world import alter, payload_of
from tests.unit.keyholder.owner_fixtures import PASSPHRASE, FixedClock

from fleetward.keyholder.begun import Begun, BegunFolder, begin_folder, open_begun
from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import ISSUING_CHAIN_FILE, OwnerFolder
from fleetward.keyholder.pending import (
    Confirmation,
    PendingMachine,
    compute_words,
    confirm_machine,
)
from fleetward.keyholder.policy_changes import (
    add_person,
    adopt_draft,
    change_policy,
    keep_as_it_is,
    set_threshold,
    sign_draft,
)
from fleetward.keyholder.taking_over import (
    finish_folder,
    make_offer_of,
    read_transfer,
    sign_as_buyer,
)
from fleetward.keyholder.transfer import (
    cancel_transfer,
    describe_transfer,
    draft_transfer,
    read_offer,
    say_transfer,
    sign_transfer,
    write_transfer,
)
from fleetward.runtime import x509
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonObject, decode_object, from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.policy import verify_next_policy
from fleetward.trust.takeover import verify_offer_to_take_over

BUYER = b"another horse battery staple"
pytestmark = pytest.mark.usefixtures("quick_keys")


@dataclass
class Sale:
    """A seller, a buyer, and the files between them."""

    seller: Desk
    buyer: BegunFolder
    place: Path
    clock: FixedClock

    @property
    def offer(self) -> Path:
        return self.place / "offer.json"

    @property
    def file(self) -> Path:
        return self.place / "sale.json"

    def sign(self, draft: Path | None = None) -> None:
        offer = read_offer(self.offer)
        write_transfer(self.file, sign_transfer(self.seller, offer, draft, self.clock.now))

    def finish(self) -> Any:
        draft, papers = read_transfer(self.file)
        policy = sign_as_buyer(self.buyer, draft, papers)
        return finish_folder(self.buyer, papers, policy, BUYER, self.clock)


@pytest.fixture
def sale(desk: Desk, clock: FixedClock, tmp_path: Path) -> Iterator[Sale]:
    said = Begun("take-over", "Care Ltd", "Cleo", "Care", clock.now)
    buyer = begin_folder(tmp_path / "buyer", BUYER, said)
    made = Sale(desk, buyer, tmp_path, clock)
    atomic_write(made.offer, make_offer_of(buyer))
    yield made


def a_machine() -> PendingMachine:
    """Return a machine that waits, as a server tells it."""
    key = make_key(ES256).public
    return PendingMachine(
        id=key.key_id,
        suite=key.suite,
        public=to_base64url(key.spki),
        name_suggested="pump",
        site="Hall",
        model="",
        joined_at="",
        preapproved=False,
    )


def test_a_fleet_is_sold(sale: Sale, owner: NewOwner) -> None:
    desk = sale.seller
    machine = a_machine()
    said = Confirmation(machine.id, compute_words(owner.documents.owner, machine))
    confirm_machine(desk, [machine], said)
    before = desk.documents()
    plan = describe_transfer(
        before, read_offer(sale.offer), draft_transfer(desk, read_offer(sale.offer))
    )
    assert (plan.from_name, plan.to_name, plan.machines) == ("Ward 3", "Care Ltd", 1)
    assert (plan.people_before, plan.people_after) == (["Ada"], ["Cleo"])
    assert "readable by you alone" in say_transfer(plan)
    assert desk.documents().policy.hash == before.policy.hash
    assert not (desk.folder.path / "drafts").exists()
    sale.sign()
    # Nothing has changed for the seller, who goes on until the buyer signs.
    assert desk.documents().policy.hash == before.policy.hash
    documents = sale.finish()
    assert documents.settled
    assert (documents.name, documents.policy.epoch) == ("Care Ltd", 2)
    assert [e.device for e in documents.entries] == [machine.id]
    assert documents.roster.version == before.roster.version + 1
    # His folder works as any owner's: a machine is invited, another confirmed.
    bought = Desk(OwnerFolder.open(sale.place / "buyer"), BUYER, sale.clock)
    assert bought.invite("Hall", 1, 600, preapproved=False).owner_root == before.owner
    other = a_machine()
    words = compute_words(before.owner, other)
    assert len(confirm_machine(bought, [other], Confirmation(other.id, words)).entries) == 2
    chain = x509.read_certificates(bought.folder.read(ISSUING_CHAIN_FILE))
    assert x509.certificate_sha256(chain[1]) == documents.policy.roots.fleet_ca
    chain[0].verify_directly_issued_by(chain[1])
    # The seller's keys sign nothing more that follows.
    theirs = change_policy(desk, keep_as_it_is(), sale.clock.now).policy
    with pytest.raises(Untrusted):
        verify_next_policy(theirs.raw, documents.policy)


def test_it_can_be_finished_again_after_a_crash_at_any_file(
    sale: Sale, monkeypatch: pytest.MonkeyPatch
) -> None:
    sale.sign()
    for name in ("write_once", "replace"):
        real = getattr(OwnerFolder, name)
        for number in range(0, 12, 2):
            left = [number]

            def cut(self: OwnerFolder, file: str, content: bytes) -> None:
                left[0] -= 1  # noqa: B023
                if left[0] < 0:  # noqa: B023
                    raise KeyboardInterrupt
                real(self, file, content)  # noqa: B023

            with monkeypatch.context() as patched:
                patched.setattr(OwnerFolder, name, cut)
                try:
                    sale.finish()
                except KeyboardInterrupt:
                    continue
    documents = sale.finish()
    assert documents.settled
    assert load_documents(OwnerFolder.open(sale.place / "buyer")).policy.epoch == 2
    again = open_begun(sale.place / "buyer", BUYER, "take-over")
    assert again.fleet_ca_sha256() == documents.policy.roots.fleet_ca


def test_where_two_of_the_seller_must_sign(sale: Sale) -> None:
    desk, bo = sale.seller, make_key(ED25519)
    change_policy(desk, add_person("Bo", bo.public, ["policy"]), sale.clock.now)
    with pytest.raises(Refused):
        change_policy(desk, set_threshold(2), sale.clock.now)
    draft = desk.folder.path / "drafts/policy-00003.json"
    atomic_write(draft, sign_draft(draft, bo))
    adopt_draft(desk, draft)
    with pytest.raises(Refused) as refused:
        sale.sign()
    assert refused.value.reason == "more_signatures_needed"
    assert not sale.file.exists()
    draft = desk.folder.path / "drafts/policy-00004.json"
    travelled = sale.place / "draft.json"
    atomic_write(travelled, sign_draft(draft, bo))
    sale.sign(travelled)
    assert sale.finish().policy.epoch == 2


def test_a_sale_that_was_cancelled(sale: Sale) -> None:
    sale.sign()
    cancel_transfer(sale.seller)
    mine = change_policy(sale.seller, keep_as_it_is(), sale.clock.now).policy
    sold, papers = read_transfer(sale.file)
    policy = sign_as_buyer(sale.buyer, sold, papers)
    # Two policies of one version: whoever has the seller's takes no sale.
    assert (policy.version, policy.epoch) == (mine.version, 2)
    with pytest.raises(Untrusted):
        verify_next_policy(policy.raw, mine)


def test_an_offer_that_was_altered(sale: Sale) -> None:
    offer = sale.offer.read_bytes()
    thief = make_key(ED25519).public.to_json()
    keys = payload_of(offer)["keys"]
    assert isinstance(keys, dict)
    changes: list[JsonObject] = [
        {"name": "Thief"},
        {"recording_key": "es256:AAAA"},
        {"fleet_ca": "00" * 32},
        {"keys": {**keys, "approver": thief}},
        {"keys": {**keys, "approver": keys["root"]}},
        {"keys": {"root": keys["root"]}},
        {"more": 1},
    ]
    for change in changes:
        with pytest.raises((Malformed, Untrusted)):
            verify_offer_to_take_over(alter(offer, change))
    signed = read_envelope(offer)
    one = {"payload": signed.payload, "signatures": [s.to_json() for s in signed.signatures[:2]]}
    with pytest.raises(Untrusted):
        verify_offer_to_take_over(msgspec.json.encode(decode_object(json_of(one))))


def json_of(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_a_seller_who_sells_less_than_he_says(sale: Sale) -> None:
    """Keys of his own, or of a friend's, in the policy that he hands over."""
    sale.sign()
    friend = make_key(ED25519)
    root = sale.seller.signer("root")
    honest, _ = read_transfer(sale.file)
    payload = read_envelope(honest).payload
    keys, roles, roots = payload["keys"], payload["roles"], payload["roots"]
    assert isinstance(keys, list)
    assert isinstance(roles, dict)
    assert isinstance(roots, dict)
    row: JsonObject = {**friend.public.to_json(), "org": "", "person": "Friend"}
    mine = roles["approve"]
    assert isinstance(mine, dict)
    ids = mine["keys"]
    assert isinstance(ids, list)
    rule: JsonObject = {"seconds": 60, "threshold": 1, "watched": False}
    access: JsonObject = {"requesters": [friend.public.key_id], "root": rule, "walls": "any"}
    lies: list[JsonObject] = [
        {"keys": [*keys, row]},
        {
            "keys": [*keys, row],
            "roles": {**roles, "approve": {"keys": [*ids, friend.public.key_id], "threshold": 1}},
        },
        {"keys": [*keys, row], "access": access},
        {"roots": {**roots, "recording_key": "es256:AAAA"}},
        {"roots": {**roots, "fleet_ca": "ab" * 32}},
        {"name": "Somebody Ltd"},
    ]
    for lie in lies:
        file = msgspec.json.decode(sale.file.read_bytes())
        file["policy"] = to_base64url(seal({**payload, **lie}, [root]))
        lied = sale.place / "lie.json"
        lied.write_bytes(msgspec.json.encode(file))
        draft, papers = read_transfer(lied)
        with pytest.raises(Refused) as refused:
            sign_as_buyer(sale.buyer, draft, papers)
        assert refused.value.reason == "not_as_offered", lie
    stale: JsonObject = {"epoch": 1}
    file = msgspec.json.decode(sale.file.read_bytes())
    file["policy"] = to_base64url(seal({**payload, **stale}, [root]))
    lied.write_bytes(msgspec.json.encode(file))
    draft, papers = read_transfer(lied)
    with pytest.raises(FleetwardError):
        sign_as_buyer(sale.buyer, draft, papers)


@pytest.mark.parametrize(
    "part", ["root", "policies", "roster", "entries", "head", "lease", "server_ca_pem", "format"]
)
def test_a_transfer_file_that_was_altered(sale: Sale, part: str, owner: NewOwner) -> None:
    sale.sign()
    file = msgspec.json.decode(sale.file.read_bytes())
    if isinstance(file[part], list):
        file[part] = file[part][:-1] or ["AAAA"]
    elif part == "server_ca_pem":
        file[part] = owner.folder.read("fleet-ca.pem").decode()
    else:
        raw = from_base64url(file[part]) if part != "format" else b"another"
        file[part] = to_base64url(raw[:-9] + b"AAAAAAAAA") if part != "format" else "another"
    sale.file.write_bytes(msgspec.json.encode(file))
    with pytest.raises((Malformed, Untrusted, Refused)):
        sale.finish()
    assert not (sale.place / "buyer/owner.toml").exists()


def test_another_root_than_the_one_that_was_told(sale: Sale) -> None:
    sale.sign()
    with pytest.raises(Untrusted):
        read_transfer(sale.file, "00" * 32)


def test_a_begun_folder(sale: Sale, tmp_path: Path) -> None:
    path = sale.place / "buyer"
    with pytest.raises(Refused, match="none"):
        OwnerFolder.open(path)
    said = Begun("take-over", "Care Ltd", "Cleo", "Care", 1)
    assert make_offer_of(begin_folder(path, BUYER, said)) == sale.offer.read_bytes()
    with pytest.raises(Refused):
        open_begun(path, PASSPHRASE, "take-over")
    with pytest.raises(Refused):
        open_begun(path, BUYER, "recovery")
    with pytest.raises(Refused):
        begin_folder(tmp_path, BUYER, said)
    with pytest.raises(Malformed):
        begin_folder(tmp_path / "x", BUYER, Begun("take-over", "", "Cleo", "", 1))
    assert not list(tmp_path.glob(".x*"))
