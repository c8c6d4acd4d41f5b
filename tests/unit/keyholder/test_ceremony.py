"""`owner init`: what it makes is what machines and servers verify."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import PASSPHRASE, FixedClock
from tests.unit.keyholder.small_server import SmallServer

from fleetward.keyholder.ceremony import NewOwner
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.runtime import x509
from fleetward.trust.canonical import from_base64url
from fleetward.trust.documents import Anchor, Bundle, first_view
from fleetward.trust.errors import Refused, Unreachable, Untrusted
from fleetward.trust.invitation import read_join_string, verify_invitation


def test_a_machine_believes_what_was_uploaded(owner: NewOwner, server: SmallServer) -> None:
    (sent,) = server.uploads
    policy = owner.documents.policy
    view = first_view(
        Anchor(owner.documents.owner, "a" * 32, 1, policy.hash),
        Bundle(
            root=from_base64url(sent["root"]),
            policies=tuple(from_base64url(p) for p in sent["policies"]),
            head=from_base64url(sent["head"]),
            roster=from_base64url(sent["roster"]),
            lease=from_base64url(sent["lease"]),
        ),
    )
    assert view.policy.roots.server_ca == server.ca_sha256
    assert view.policy.roots.log_key == server.log_key.public
    assert view.policy.never_ports == (22, 23, 2375, 6443)
    assert view.roster is not None
    assert view.roster.count == 0
    assert view.lease is not None
    assert view.lease.seconds == 30 * 86_400


def test_the_issuing_ca_is_signed_for_this_server_and_owner(
    owner: NewOwner, server: SmallServer
) -> None:
    issuing, fleet = x509.read_certificates(owner.issuing_chain.encode())
    issuing.verify_directly_issued_by(fleet)
    assert issuing.public_key() == server.issuing_key.public_key()
    assert x509.certificate_sha256(fleet) == owner.documents.policy.roots.fleet_ca
    assert x509.not_after_ms(issuing) < x509.not_after_ms(fleet)


def test_the_keys_are_apart(owner: NewOwner) -> None:
    roles = owner.documents.policy.roles
    assert set(roles["policy"].keys).isdisjoint(roles["roster"].keys)
    assert set(roles["lease"].keys).isdisjoint({*roles["policy"].keys, *roles["head"].keys})
    assert roles["roster"].keys.keys() == roles["head"].keys.keys() == roles["invite"].keys.keys()


def test_the_folder_is_closed_and_holds_no_open_key(owner: NewOwner) -> None:
    for path in [owner.folder.path, *owner.folder.path.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        if path.is_file():
            assert b"PRIVATE KEY" not in path.read_bytes()


def test_a_wrong_passphrase_opens_nothing(owner: NewOwner, clock: FixedClock) -> None:
    desk = Desk(owner.folder, b"something else", clock)
    with pytest.raises(Refused, match="passphrase"):
        desk.invite("Ward 3", 1, 3600, preapproved=False)


def test_a_server_that_has_an_owner_is_refused_and_nothing_stays(
    tmp_path: Path, data: Path, server: SmallServer, clock: FixedClock
) -> None:
    server.owner = "ab" * 32
    with pytest.raises(Refused, match="belongs to"):
        init_owner(tmp_path / "o", PASSPHRASE, name_local_server(data), ("W", "A"), clock)
    assert not list(tmp_path.glob("*o*.part")) + list(tmp_path.glob("o"))


def test_another_server_ca_is_refused(
    tmp_path: Path, data: Path, server: SmallServer, clock: FixedClock
) -> None:
    (data / "run/ready.json").write_text(
        (data / "run/ready.json").read_text().replace(server.ca_sha256, "cd" * 32)
    )
    with pytest.raises(Untrusted, match="another server answered"):
        init_owner(tmp_path / "o", PASSPHRASE, name_local_server(data), ("W", "A"), clock)


def test_an_owner_is_never_made_over_another(
    owner: NewOwner, data: Path, clock: FixedClock
) -> None:
    with pytest.raises(Refused, match="is there"):
        init_owner(owner.folder.path, PASSPHRASE, name_local_server(data), ("W", "A"), clock)
    assert OwnerFolder.open(owner.folder.path).read_facts().name == "Ward 3"


def test_when_the_server_refuses_the_folder_stays(
    tmp_path: Path, data: Path, server: SmallServer, clock: FixedClock
) -> None:
    server.refuse = "setup_token_used"
    with pytest.raises(Refused, match="No"):
        init_owner(tmp_path / "o", PASSPHRASE, name_local_server(data), ("W", "A"), clock)
    assert Desk(OwnerFolder.open(tmp_path / "o"), PASSPHRASE, clock).documents().settled


def test_without_a_running_server_it_says_how_to_start_one(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="fleetward up"):
        name_local_server(tmp_path)


def test_an_invitation_works_with_the_server_gone(desk: Desk, clock: FixedClock) -> None:
    invited = desk.invite("Ward 3", 5, 3600, preapproved=True)
    join = read_join_string(invited.join)
    policy = desk.documents().policy
    assert (join.owner, join.policy_version, join.policy_hash) == (policy.owner, 1, policy.hash)
    assert join.server_ca == policy.roots.server_ca
    invitation = verify_invitation(join.invitation, policy, clock.now)
    assert (invitation.site, invitation.uses, invitation.preapproved) == ("Ward 3", 5, True)
    assert invitation.expires_at_ms == clock.now + 3_600_000
