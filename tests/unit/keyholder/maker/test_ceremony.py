"""A root is signed by several people on several computers, and changes hands later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.adversary.release_repository import Machine
from tests.maker_world import MemoryKeys, make_maker
from tests.unit.keyholder.soft_token import SoftToken, token  # noqa: F401

from fleetward.keyholder.maker.ceremony import (
    InitWish,
    begin_maker,
    continue_maker,
    list_people,
    replace_key,
)
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import MakerFolder
from fleetward.keyholder.maker.key_ring import FolderKeys
from fleetward.keyholder.maker.people import read_person, write_person
from fleetward.keyholder.maker.person_keys import make_person_key, sign_file
from fleetward.keyholder.maker.products import add_product
from fleetward.keyholder.maker.root_draft import RootPerson, read_draft
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.releases.names import name_file

NOW_MS = SystemClock().wall_ms()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(b"six words of a dice list\n")
    file.chmod(0o600)
    return file


def begun(tmp_path: Path, secret: Path, others: int, **wish: Any) -> MakerDesk:
    """A maker with so many other people, whose keys are sealed files elsewhere."""
    publics = []
    for name in ("Bo", "Cy")[:others]:
        make_person_key(name, tmp_path / name, "", secret)
        publics.append(tmp_path / f"{name}.pub")
    keys = MemoryKeys()
    asked = InitWish("Acme", person="Anna", others=tuple(publics))
    folder = begin_maker(tmp_path / "m", replace(asked, **wish), lambda _: keys, NOW_MS)
    return MakerDesk.of(folder, keys, NOW_MS)


def test_one_person_needs_one_command(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    root = read_draft(maker.root).signed
    assert len(root.roles["root"].keyids) == 3
    assert root.roles["root"].threshold == 2
    used = [key for role in root.roles.values() for key in role.keyids]
    assert len(set(used)) == len(used)
    assert root.consistent_snapshot
    machine = Machine(maker.root)
    machine.refresh(lambda want: maker.desk.repository.read(want.file_name), maker.desk.now_ms)


def test_nothing_is_released_before_enough_have_signed(tmp_path: Path, secret: Path) -> None:
    desk = begun(tmp_path, secret, 2)
    progress = continue_maker(desk)
    assert progress.file is not None
    assert progress.draft.missing == 1
    assert not desk.repository.is_begun
    with pytest.raises(Refused) as caught:
        add_product(desk, "kiosk", "2031-12-31", "")
    assert caught.value.reason == "maker_not_begun"


def test_a_draft_goes_round_and_comes_back(tmp_path: Path, secret: Path) -> None:
    desk = begun(tmp_path, secret, 2)
    file = continue_maker(desk).file
    assert file is not None
    away = tmp_path / "stick.json"
    away.write_bytes(file.read_bytes())
    state = sign_file(away, str(tmp_path / "Cy"), None, secret)
    assert state.missing == 0
    progress = continue_maker(desk, (away.read_bytes(),))
    assert progress.file is None
    assert progress.root
    assert [signed for _, signed in progress.draft.people] == [True, False, True]
    again = continue_maker(desk)
    assert (again.root, again.file) == (progress.root, None)
    add_product(desk, "kiosk", "2031-12-31", "")


def test_drafts_that_were_signed_apart_are_joined(tmp_path: Path, secret: Path) -> None:
    desk = begun(tmp_path, secret, 2, threshold=3)
    file = continue_maker(desk).file
    assert file is not None
    come = []
    for name in ("Bo", "Cy"):
        away = tmp_path / f"{name}.json"
        away.write_bytes(file.read_bytes())
        sign_file(away, str(tmp_path / name), None, secret)
        come.append(away.read_bytes())
    assert continue_maker(desk, (come[0],)).draft.missing == 1
    assert continue_maker(desk, (come[1],)).file is None


@pytest.mark.parametrize(
    ("people", "threshold", "others", "reason"),
    [
        (1, 2, 0, "bad_threshold"), (3, 0, 0, "bad_threshold"), (3, 4, 0, "bad_threshold"),
        (17, 2, 0, "bad_threshold"), (1, 1, 2, "too_many_people"),
    ],
)  # fmt: skip
def test_people_that_cannot_be_leave_nothing_behind(
    tmp_path: Path, secret: Path, people: int, threshold: int, others: int, reason: str
) -> None:
    with pytest.raises(Malformed) as caught:
        begun(tmp_path, secret, others, people=people, threshold=threshold)
    assert caught.value.reason == reason
    assert not [path for path in tmp_path.iterdir() if path.name.strip(".").startswith("m")]


def test_one_key_is_not_two_people(tmp_path: Path, secret: Path) -> None:
    make_person_key("Bo", tmp_path / "Bo", "", secret)
    twin = tmp_path / "Cy.pub"
    twin.write_bytes(write_person(RootPerson("Cy", read_person(tmp_path / "Bo.pub").key)))
    wish = InitWish("Acme", others=(tmp_path / "Bo.pub", twin))
    with pytest.raises(Malformed) as caught:
        begin_maker(tmp_path / "m", wish, lambda _: MemoryKeys(), NOW_MS)
    assert caught.value.reason == "same_key"


def test_a_second_maker_is_not_made_over_the_first(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    with pytest.raises(Refused) as caught:
        begin_maker(maker.desk.folder.path, InitWish("B"), lambda _: MemoryKeys(), NOW_MS)
    assert caught.value.reason == "folder_exists"


@pytest.mark.parametrize("suite", [ED25519, ES256])
def test_a_person_is_replaced_and_machines_follow(tmp_path: Path, suite: str) -> None:
    maker = make_maker(tmp_path)
    maker.release("kiosk", "1", {"a": b"a"})
    machine = Machine(maker.root)
    answer = lambda want: maker.desk.repository.read(want.file_name)  # noqa: E731
    machine.refresh(answer, maker.desk.now_ms)
    new = RootPerson("Zoe", make_key(suite).public)
    progress = replace_key(maker.desk, "root key 3", new, "")
    assert progress.file is None, "two of the keys that stay are here"
    assert [name for name, _ in progress.draft.people] == ["root key 1", "root key 2", "Zoe"]
    machine.refresh(answer, maker.desk.now_ms)
    assert machine.version("root") == 2
    assert maker.release("kiosk", "2", {"a": b"b"}).counter == 2
    assert maker.root == Machine(maker.root).root


@pytest.mark.parametrize("role", ["targets", "snapshot", "timestamp"])
def test_the_key_of_a_role_is_replaced_and_machines_follow(tmp_path: Path, role: str) -> None:
    maker = make_maker(tmp_path)
    maker.release("kiosk", "1", {"a": b"a"})
    machine = Machine(maker.root)
    answer = lambda want: maker.desk.repository.read(want.file_name)  # noqa: E731
    machine.refresh(answer, maker.desk.now_ms)
    old = maker.keys.open(role).public
    assert replace_key(maker.desk, role, None, "").file is None
    assert maker.keys.open(role).public != old
    machine.refresh(answer, maker.desk.now_ms)
    assert maker.release("kiosk", "2", {"a": b"b"}).counter == 2
    assert machine.find(answer, "kiosk/2/release.json", maker.desk.now_ms)


def test_a_root_is_renewed(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    later = maker.at(maker.desk.now_ms + 365 * 86_400_000)
    before = read_draft(maker.root).signed.expires
    assert replace_key(later.desk, "", None, "").draft.version == 2
    state = later.desk.repository.verify()
    assert (read_draft(state.root).signed.expires - before).days == 365


def test_without_enough_keys_the_old_root_stays_in_force(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    away = {name: maker.keys.held.pop(name) for name in ("root-2", "root-3")}
    progress = replace_key(maker.desk, "timestamp", None, "")
    assert progress.file is not None
    assert maker.release("kiosk", "1", {"a": b"a"}).counter == 1
    with pytest.raises(Refused) as caught:
        replace_key(maker.desk, "snapshot", None, "")
    assert caught.value.reason == "draft_waits"
    maker.keys.held["root-3"] = away["root-3"]
    assert continue_maker(maker.desk).file is None
    assert maker.release("kiosk", "2", {"a": b"b"}).counter == 2


def test_a_name_that_nobody_has_is_refused(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    with pytest.raises(Refused) as caught:
        replace_key(maker.desk, "Nobody", None, "")
    assert caught.value.reason == "no_such_key"
    assert not list(maker.desk.folder.drafts.iterdir())


def test_people_are_read_back_as_they_were_named(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    people = list_people(read_draft(maker.root).signed)
    assert [each.key for each in people] == [
        maker.keys.open(f"root-{number}").public for number in (1, 2, 3)
    ]


def test_keys_on_tokens_sign_roots_and_products(
    tmp_path: Path,
    secret: Path,
    token: SoftToken,  # noqa: F811
) -> None:
    """Cy's root key and the product's key never leave a token; P-256 beside Ed25519."""
    pin = f"&pin-source=file:{token.pin_file}"
    token.add("Cy")
    make_person_key("Cy", tmp_path / "Cy", token.uri("root", "Cy") + pin, None)
    assert not (tmp_path / "Cy").exists()
    wish = InitWish("Acme", person="Anna", others=(tmp_path / "Cy.pub",), people=2)
    folder = begin_maker(
        tmp_path / "m", wish, lambda made: FolderKeys(made, secret.read_bytes, secret), NOW_MS
    )
    desk = MakerDesk.of(folder, FolderKeys(folder, secret.read_bytes, secret), NOW_MS)
    file = continue_maker(desk).file
    assert file is not None
    sign_file(file, token.uri("root", "Cy") + pin, None, None)
    assert continue_maker(desk, (file.read_bytes(),)).file is None
    add_product(desk, "pump", "2031-12-31", token.uri("pump") + pin)
    assert (folder.keys / "product-pump.at").is_file()
    assert not (folder.keys / "product-pump.key").exists()
    root = read_draft(folder.first_root.read_bytes()).signed
    assert {key.keytype for key in root.keys.values()} == {"ecdsa", "ed25519"}


def test_the_files_of_a_role_are_named_as_tuf_says(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    names = {path.name for path in maker.desk.repository.metadata.iterdir()}
    expected = {name_file(role, 1) for role in ("root", "targets", "snapshot")}
    assert names == {*expected, "timestamp.json"}


def test_a_folder_of_others_is_not_opened(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    maker.desk.folder.path.chmod(0o755)
    with pytest.raises(Refused) as caught:
        MakerFolder.open(maker.desk.folder.path)
    assert caught.value.reason == "folder_open"


def test_a_name_of_any_letters_is_signed_as_it_is(tmp_path: Path) -> None:
    name = 'Ä "quoted" \\ name \N{SNOWMAN}'
    maker = make_maker(tmp_path, name)
    assert maker.release("kiosk", "1", {"a": b"a"}).counter == 1
    assert continue_maker(maker.desk).draft.maker == name
    assert maker.desk.folder.read_facts().name == name
