"""The demo's technician: named once, asked for what the policy says, and not brought back."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock

from fleetward.demo.owning import OwnerSide
from fleetward.demo.places import DemoPlaces, Mark, read_mark, write_mark
from fleetward.demo.technician import STAGED, Allowed, find_user, name_technician, read_allowed
from fleetward.keyholder.access.policy_rules import remove_requester
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.place import find_server

TOM = "Tom"


def enter(name: str, uid: int, shell: str = "/bin/sh") -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))


@pytest.fixture
def places(data: Path) -> DemoPlaces:
    """A demo that was made before there was a technician."""
    made = DemoPlaces(data)
    write_mark(made, Mark(staged=("vending-kiosk-3",)))
    return made


@pytest.fixture
def side(places: DemoPlaces, desk: Desk) -> OwnerSide:
    place = find_server(places.data, "", None)
    return OwnerSide(places, desk, ApiClient(place.api, place.token, place.server_ca_pem))


def test_an_older_demo_gains_him_once(
    places: DemoPlaces, side: OwnerSide, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetward.demo.technician.find_user", lambda: "app")
    before = side.desk.documents().policy
    assert read_allowed(before) == Allowed()
    name_technician(places, side, clock)
    policy = side.desk.documents().policy
    assert policy.version == before.version + 1
    assert read_allowed(policy) == Allowed(
        named=True, user="app", ports=True, folder=str(places.machine_files)
    )
    assert not (policy.access.rules or {}).keys() & {"root"}
    assert STAGED in read_mark(places).staged
    for path, mode in ((places.technician_passphrase, 0o600), (places.technician, 0o700)):
        assert stat.S_IMODE(path.stat().st_mode) == mode
    name_technician(places, side, clock)
    assert side.desk.documents().policy.version == policy.version


def test_a_start_that_was_cut_short_goes_on_with_the_same_key(
    places: DemoPlaces, side: OwnerSide, clock: FixedClock
) -> None:
    name_technician(places, side, clock)
    policy = side.desk.documents().policy
    write_mark(places, Mark())
    name_technician(places, side, clock)
    assert side.desk.documents().policy.version == policy.version
    assert read_mark(places).staged == (STAGED,)


def test_whom_the_owner_took_out_stays_out(
    places: DemoPlaces, side: OwnerSide, clock: FixedClock
) -> None:
    name_technician(places, side, clock)
    side.change_policy(remove_requester(TOM), clock)
    name_technician(places, side, clock)
    assert not read_allowed(side.desk.documents().policy).named


def test_a_terminal_is_never_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = [
        enter("root", 0), enter("www-data", 33), enter("nobody", 65_534),
        enter("locked", 1000, "/usr/sbin/nologin"), enter("ada", 1002), enter("ben", 1001),
    ]  # fmt: skip
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", lambda: everybody)
    monkeypatch.delenv("SUDO_USER", raising=False)
    assert find_user() == "ben"
    monkeypatch.setenv("SUDO_USER", "ada")
    assert find_user() == "ada"
    monkeypatch.setattr(pwd, "getpwall", lambda: everybody[:4])
    assert find_user() == ""
