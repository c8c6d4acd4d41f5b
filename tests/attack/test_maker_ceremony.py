"""Attacks on a maker: by who reads what leaves him, carries his drafts, or writes where he signs.

What is worth stealing is a private key. What is worth changing is a draft of a root between two
people, and a repository that a maker's own tools will sign again tomorrow.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.adversary.release_repository import Machine
from tests.maker_world import Maker, MemoryKeys, make_maker
from tests.release_world import edit
from tests.unit.keyholder.maker.update_server import UpdateServer, serving
from tests.unit.keyholder.soft_token import PIN, SoftToken, token  # noqa: F401
from tuf.api.metadata import TargetFile

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.ceremony import InitWish, begin_maker, continue_maker, replace_key
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import MakerFacts, MakerFolder
from fleetward.keyholder.maker.key_ring import FolderKeys
from fleetward.keyholder.maker.parts import read_health
from fleetward.keyholder.maker.person_keys import make_person_key, sign_file
from fleetward.keyholder.maker.releasing import sign_release
from fleetward.keyholder.maker.root_draft import RootPerson
from fleetward.keyholder.maker.sending import send_release
from fleetward.keyholder.maker.tuf_keys import write_tuf_key
from fleetward.keyholder.place import api_address
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519

FLEETWARD = str(Path(sys.executable).parent / "fleetward")
PASSPHRASE = b"a passphrase of six dice words"
FILES = {"bin/run": b"#!/bin/sh\n", "index.html": b"hello"}


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    made = make_maker(tmp_path)
    made.release("kiosk", "1", FILES)
    return made


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with serving() as made:
        yield made


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(PASSPHRASE + b"\n")
    file.chmod(0o600)
    return file


def refused(family: type[FleetwardError], act: Callable[[], object]) -> str:
    with pytest.raises(family) as found:
        act()
    return found.value.reason


# --- what leaves


def spell(raw: bytes) -> list[bytes]:
    """Return a secret in every spelling that a program might write it in."""
    return [
        raw, raw.hex().encode(), base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
    ]  # fmt: skip


def test_no_key_is_in_anything_that_leaves_a_maker(
    maker: Maker, server: UpdateServer, tmp_path: Path
) -> None:
    """Every byte of the repository, drafts, requests, a published folder and a bundle is read."""
    maker.build("kiosk", "2", FILES)
    maker.keys.held.pop("root-2"), maker.keys.held.pop("root-3")
    replace_key(maker.desk, "timestamp", None, "")
    maker.publish("kiosk", "1", tmp_path / "www")
    maker.bundle("kiosk", "1", tmp_path / "bundle")
    send_release(
        ApiClient(api_address(server.address), "t"), maker.desk, maker.leaving("kiosk", "1"),
        quiet=True,
    )  # fmt: skip
    secrets = [each for raw in maker.keys.private_bytes() for each in spell(raw)]
    for signer in maker.keys.held.values():
        assert isinstance(signer, FileSigner)
        der = signer.private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        secrets += spell(der[:-1])
    assert len(secrets) >= 8 * 6
    left = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    left += [body for _, body in server.asked]
    left += [line.encode() for line, _ in server.asked]
    assert len(left) > 30
    for content in left:
        assert not [each for each in secrets if each in content]
        assert b"PRIVATE KEY" not in content


def test_sealed_keys_stay_in_their_folder(tmp_path: Path, secret: Path) -> None:
    """The commands, as programs: a sealed key is not even copied, and its passphrase is nowhere."""
    home = tmp_path / "home"
    (home / "app").mkdir(parents=True)
    (home / "app/index.html").write_bytes(b"hello")
    out = b""
    for words in (
        ["maker", "init", "--name", "Acme", "--passphrase-file", str(secret)],
        ["maker", "product", "add", "kiosk", "--support-ends", "2035-12-31",
         "--passphrase-file", str(secret)],
        ["release", "build", "kiosk", "1", "--part", "app=app"],
        ["release", "sign", "kiosk/1", "--passphrase-file", str(secret)],
        ["release", "publish", "kiosk/1", "--to", "www"],
        ["release", "bundle", "kiosk/1", "--out", "kiosk.bundle"],
        ["release", "show", "kiosk/1"], ["release", "list"], ["maker", "status"],
        ["maker", "product", "list"],
    ):  # fmt: skip
        ran = subprocess.run(
            [FLEETWARD, *words, "--json"], cwd=home, env={**os.environ, "HOME": str(home)},
            capture_output=True, check=False, timeout=120,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        json.loads(ran.stdout)
        out += ran.stdout + ran.stderr
    folder = home / ".fleetward/maker"
    sealed = [path for path in home.rglob("*") if b"sealed-key" in _read(path)]
    assert len(sealed) == 7
    assert {path.parent for path in sealed} == {folder / "keys"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in sealed)
    for content in (out, *(_read(path) for path in home.rglob("*"))):
        assert PASSPHRASE not in content


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_a_pin_is_no_argument_and_in_no_file(token: SoftToken, tmp_path: Path) -> None:
    """A product's key on a token: the PIN comes from its own file, and is in nothing of ours."""
    secret = tmp_path / "secret"
    secret.write_bytes(PASSPHRASE + b"\n")
    secret.chmod(0o600)
    token.forget()
    env = {**os.environ, "HOME": str(tmp_path)}
    uri = f"{token.uri('kiosk')}&pin-source=file:{token.pin_file}"
    ends = ["--support-ends", "2035-12-31", "--passphrase-file", str(secret), "--json"]
    for words, status in (
        (["maker", "init", "--name", "Acme", "--passphrase-file", str(secret), "--json"], 0),
        (["maker", "product", "add", "kiosk", "--key", uri, *ends], 0),
        (["maker", "product", "add", "other", "--key",
          f"{token.uri('other')}&pin-value={PIN.decode()}", *ends], 1),
    ):  # fmt: skip
        ran = subprocess.run(
            [FLEETWARD, *words], cwd=tmp_path, env=env, capture_output=True, check=False,
            timeout=120,
        )  # fmt: skip
        assert ran.returncode == status, ran.stderr
        assert PIN not in ran.stdout + ran.stderr
    assert b"pin_in_uri" in ran.stderr
    mine = [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path != token.pin_file and token.folder not in path.parents
    ]
    assert [path for path in mine if path.name == "product-kiosk.at"]
    assert not [path for path in mine if PIN in path.read_bytes()]


@pytest.mark.skipif("os.geteuid() != 0", reason="only root gives files away")
@pytest.mark.parametrize("whose", ["another's", "open"])
def test_a_note_that_another_could_have_written_opens_nothing(tmp_path: Path, whose: str) -> None:
    """It could name a library, whose code would run with the maker's keys."""
    folder = MakerFolder.create(tmp_path / "m", MakerFacts("Acme", ""))
    note = folder.keys / "product-kiosk.at"
    note.write_text("pkcs11:token=T;object=k?module-path=/tmp/evil.so\n")
    note.chmod(0o600 if whose == "another's" else 0o666)
    if whose == "another's":
        os.chown(note, 65534, 65534)
    keys = FolderKeys(folder, lambda: PASSPHRASE)
    assert refused(Refused, lambda: keys.open("product-kiosk")) == "folder_not_yours"


# --- drafts that are carried


def change_threshold(parsed: dict[str, Any]) -> None:
    parsed["signed"]["roles"]["root"]["threshold"] = 1


def change_expiry(parsed: dict[str, Any]) -> None:
    parsed["signed"]["expires"] = "2099-01-01T00:00:00Z"


def change_maker(parsed: dict[str, Any]) -> None:
    parsed["signed"]["x-fleetward-maker"] = "Acne"


def change_person(parsed: dict[str, Any]) -> None:
    people = parsed["signed"]["x-fleetward-people"]
    people[next(iter(people))] = "Mallory"


def put_own_key(role: str) -> Callable[[dict[str, Any]], None]:
    def change(parsed: dict[str, Any]) -> None:
        key = write_tuf_key(make_key(ED25519).public)
        signed = parsed["signed"]
        old = signed["roles"][role]["keyids"][-1]
        signed["roles"][role]["keyids"][-1] = key.keyid
        signed["keys"].pop(old)
        signed["keys"][key.keyid] = key.to_dict()

    return change


CHANGES = [
    change_threshold, change_expiry, change_maker, change_person, put_own_key("root"),
    put_own_key("targets"), put_own_key("timestamp"),
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("strips", [False, True])
def test_a_draft_that_was_changed_on_its_way_is_refused(
    tmp_path: Path, secret: Path, change: Callable[[dict[str, Any]], None], *, strips: bool
) -> None:
    """With signatures the next signer sees it; without, the maker's folder does, and six words."""
    for name in ("Bo", "Cy"):
        make_person_key(name, tmp_path / name, "", secret)
    now_ms, keys = SystemClock().wall_ms(), MemoryKeys()
    wish = InitWish("Acme", others=(tmp_path / "Bo.pub", tmp_path / "Cy.pub"))
    folder = begin_maker(tmp_path / "m", wish, lambda _: keys, now_ms)
    desk = MakerDesk.of(folder, keys, now_ms)
    file = continue_maker(desk).file
    assert file is not None
    away = tmp_path / "stick.json"

    def meddle(parsed: dict[str, Any]) -> None:
        change(parsed)
        if strips:
            parsed["signatures"] = []

    away.write_bytes(edit(file.read_bytes(), meddle))
    if strips:
        honest = tmp_path / "honest.json"
        honest.write_bytes(file.read_bytes())
        seen = [sign_file(each, str(tmp_path / "Bo"), None, secret) for each in (away, honest)]
        assert seen[0].words != seen[1].words
    else:
        sign = lambda: sign_file(away, str(tmp_path / "Bo"), None, secret)  # noqa: E731
        assert refused(Untrusted, sign) == "draft_changed"
    come = away.read_bytes()
    assert refused(Untrusted, lambda: continue_maker(desk, (come,))) == "draft_changed"
    assert not desk.repository.is_begun


def test_a_signature_of_somebody_else_makes_no_root(tmp_path: Path, secret: Path) -> None:
    """Neither a stranger's key, nor one signature written in under another's name, counts."""
    make_person_key("Bo", tmp_path / "Bo", "", secret)
    make_person_key("Eve", tmp_path / "Eve", "", secret)
    now_ms, keys = SystemClock().wall_ms(), MemoryKeys()
    wish = InitWish("Acme", people=2, others=(tmp_path / "Bo.pub",))
    folder = begin_maker(tmp_path / "m", wish, lambda _: keys, now_ms)
    desk = MakerDesk.of(folder, keys, now_ms)
    file = continue_maker(desk).file
    assert file is not None
    away = tmp_path / "stick.json"
    away.write_bytes(file.read_bytes())
    sign = lambda: sign_file(away, str(tmp_path / "Eve"), None, secret)  # noqa: E731
    assert refused(Refused, sign) == "another_key"
    own = json.loads(file.read_bytes())
    bo = next(
        k for k in own["signed"]["roles"]["root"]["keyids"] if k != own["signatures"][0]["keyid"]
    )

    def meddle(parsed: dict[str, Any]) -> None:
        parsed["signatures"].append({"keyid": bo, "sig": parsed["signatures"][0]["sig"]})

    come = edit(file.read_bytes(), meddle)
    assert refused(Untrusted, lambda: continue_maker(desk, (come,))) == "draft_changed"
    assert not desk.repository.is_begun


def test_a_next_root_needs_the_people_of_the_one_before(maker: Maker) -> None:
    """Who has the folder with one root key drafts what he likes; nothing comes of it."""
    for name in ("root-2", "root-3"):
        maker.keys.held.pop(name)
    before = maker.desk.repository.read("timestamp.json")
    thief = make_key(ED25519)
    progress = replace_key(maker.desk, "root key 2", RootPerson("Mallory", thief.public), "")
    assert progress.file is not None
    maker.keys.held["root-2"] = thief
    progress = continue_maker(maker.desk)
    assert progress.file is not None, "two of the new people signed, one of the old"
    assert maker.desk.repository.read("timestamp.json") == before
    assert maker.desk.repository.read("2.root.json") is None


# --- folders that are packed


def test_a_folder_that_leads_elsewhere_is_not_packed(maker: Maker, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_bytes(b"secret of the maker's computer")
    folder = maker.write("odd", FILES)
    (folder / "etc").symlink_to(tmp_path)
    build = lambda: maker.build("kiosk", "2", parts=(maker.part("app", folder),))  # noqa: E731
    assert refused(Refused, build) == "not_a_plain_file"
    (folder / "etc").unlink()
    os.mkfifo(folder / "pipe")
    assert refused(Refused, build) == "not_a_plain_file"
    (folder / "pipe").unlink()
    (folder / "su").write_bytes(b"x")
    (folder / "su").chmod(0o4755)
    assert refused(Refused, build) == "setuid"
    (folder / "su").unlink()
    linked = maker.work / "linked"
    linked.symlink_to(folder)
    through = lambda: maker.build("kiosk", "2", parts=(maker.part("app", linked),))  # noqa: E731
    assert refused(Refused, through) == "not_a_folder"
    assert not list(maker.desk.folder.drafts.glob("*/*/*"))
    assert maker.release("kiosk", "2", FILES).counter == 2


@pytest.mark.parametrize("path", ["../bin/sh", "/bin/sh", "bin/../../sh", "./run", "bin//run", ""])
def test_no_hook_or_check_leads_out_of_its_part(maker: Maker, path: str) -> None:
    if path:
        refused(Malformed, lambda: maker.build("kiosk", "2", FILES, hook=path))
    refused(Malformed, lambda: read_health([f"command:app/{path}"]))
    refused(Malformed, lambda: read_health([f"file:app/{path}"]))


# --- a repository that others can write


def add_release(data: bytes) -> bytes:
    """Add a target without the key of the product."""
    target = TargetFile(1, {"sha256": "0" * 64}, "kiosk/666/release.json")

    def meddle(parsed: dict[str, Any]) -> None:
        parsed["signed"]["targets"]["kiosk/666/release.json"] = target.to_dict()

    return edit(data, meddle)


def test_what_was_written_into_a_repository_is_not_signed_along(maker: Maker) -> None:
    """The tools read what they extend as a machine does, from the root of the maker's folder."""
    maker.build("kiosk", "2", FILES)
    metadata = maker.desk.repository.metadata
    place = metadata / "2.kiosk.json"
    honest = place.read_bytes()
    place.write_bytes(add_release(honest))
    with pytest.raises((Untrusted, Malformed)):
        sign_release(maker.desk, "kiosk", "2")
    place.write_bytes(honest)
    thief = make_maker(maker.work.parent / "thief")
    thief.release("kiosk", "1", FILES)
    shutil.rmtree(metadata)
    shutil.copytree(thief.desk.repository.metadata, metadata)
    sign = lambda: sign_release(maker.desk, "kiosk", "2")  # noqa: E731
    assert refused(Untrusted, sign) == "another_root"


def test_a_draft_under_another_name_is_not_signed(maker: Maker) -> None:
    """A draft that says another product, or that was exchanged for a signed older one."""
    maker.build("kiosk", "2", FILES)
    maker.build("other", "2", FILES)
    drafts = maker.desk.folder.drafts
    shutil.copy(drafts / "other/2/release.json", drafts / "kiosk/2/release.json")
    sign = lambda: sign_release(maker.desk, "kiosk", "2")  # noqa: E731
    assert refused(Malformed, sign) == "another_release"


def test_a_newer_copy_is_not_put_back_by_an_older_folder(maker: Maker, tmp_path: Path) -> None:
    """A maker's folder from a backup, or a second computer, does not take releases away."""
    shutil.copytree(maker.desk.folder.path, tmp_path / "backup")
    backup = Maker(
        MakerDesk.of(type(maker.desk.folder)(tmp_path / "backup"), maker.keys, maker.desk.now_ms),
        maker.keys, maker.work,
    )  # fmt: skip
    maker.release("kiosk", "2", FILES)
    maker.publish("kiosk", "2", tmp_path / "www")
    before = {p: _read(p) for p in (tmp_path / "www").rglob("*")}
    publish = lambda: backup.publish("kiosk", "1", tmp_path / "www")  # noqa: E731
    assert refused(Refused, publish) == "newer_there"
    backup.release("kiosk", "3", FILES)
    assert refused(Refused, lambda: backup.publish("kiosk", "3", tmp_path / "www")) == "newer_there"
    assert {p: _read(p) for p in (tmp_path / "www").rglob("*")} == before


# --- a computer that stops


def die_at(point: int, act: Callable[[], object]) -> bool:
    """Run something in a child that is killed before its `point`th change of a file.

    Returns whether it was killed. The kernel does it: nothing of the child runs afterwards.
    """
    child = os.fork()
    if child == 0:
        left = [point]

        def watch(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            if writes or event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"):
                left[0] -= 1
                if left[0] <= 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        try:
            sys.addaudithook(watch)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "it failed by itself"
    return os.WIFSIGNALED(status)


def kill_everywhere(
    maker: Maker, act: Callable[[Maker], object], check: Callable[[Maker], None]
) -> int:
    """Kill `act` at each of its points, over a fresh copy each time; return how many there are."""
    point = 0
    while True:
        point += 1
        place = maker.work.parent / f"copy-{point}"
        shutil.copytree(maker.desk.folder.path, place / "maker")
        folder = type(maker.desk.folder)(place / "maker")
        keys = MemoryKeys(dict(maker.keys.held), maker.keys.elsewhere)
        copy = Maker(MakerDesk.of(folder, keys, maker.desk.now_ms), keys, place)
        killed = die_at(point, lambda copy=copy: act(copy))  # type: ignore[misc]
        check(copy)
        shutil.rmtree(place)
        if not killed:
            return point


def verify_as_machine(maker: Maker) -> Machine:
    """A machine that had seen release 1 before takes whatever state there is."""
    machine = Machine(maker.root)
    answer = lambda want: maker.desk.repository.read(want.file_name)  # noqa: E731
    machine.find(answer, "kiosk/1/release.json", maker.desk.now_ms)
    return machine


def test_a_killed_signing_leaves_a_repository_that_verifies(maker: Maker) -> None:
    maker.build("kiosk", "2", FILES)

    def check(copy: Maker) -> None:
        machine = verify_as_machine(copy)
        assert machine.version("timestamp") in (3, 4)
        assert sign_release(copy.desk, "kiosk", "2").counter == 2
        assert copy.leaving("kiosk", "2").manifest.counter == 2
        assert not list(copy.desk.folder.drafts.glob("*/*/release.json"))
        verify_as_machine(copy)

    points = kill_everywhere(maker, lambda copy: sign_release(copy.desk, "kiosk", "2"), check)
    assert points > 20


def test_a_killed_change_of_keys_goes_on(maker: Maker) -> None:
    """Also between the new root and the timestamp that its new key signs."""

    def check(copy: Maker) -> None:
        draft = list(copy.desk.folder.drafts.glob("*.root.json"))
        if draft or (copy.desk.folder.path / ".coming").exists():
            for name in ("timestamp", "timestamp.next"):
                copy.keys.held.setdefault(name, made[name])
            continue_maker(copy.desk)
            assert copy.desk.repository.read("2.root.json") is not None
        verify_as_machine(copy)

    made = {"timestamp": maker.keys.held["timestamp"], "timestamp.next": make_key(ED25519)}

    def act(copy: Maker) -> None:
        copy.keys.make = lambda name: copy.keys._keep(name, made[name])  # type: ignore[method-assign]
        replace_key(copy.desk, "timestamp", None, "")

    assert kill_everywhere(maker, act, check) > 20


def test_a_killed_ceremony_goes_on(tmp_path: Path) -> None:
    now_ms, keys = SystemClock().wall_ms(), MemoryKeys()
    folder = begin_maker(tmp_path / "maker", InitWish("Acme"), lambda _: keys, now_ms)
    fresh = Maker(MakerDesk.of(folder, keys, now_ms), keys, tmp_path / "work")

    def check(copy: Maker) -> None:
        progress = continue_maker(copy.desk)
        assert progress.file is None
        machine = Machine(copy.root)
        machine.refresh(lambda want: copy.desk.repository.read(want.file_name), now_ms)

    assert kill_everywhere(fresh, lambda copy: continue_maker(copy.desk), check) > 15


def test_a_killed_publishing_shows_the_old_state_or_the_new(maker: Maker, tmp_path: Path) -> None:
    maker.publish("kiosk", "1", tmp_path / "maker/www")
    maker.release("kiosk", "2", {"a": b"b"})
    both = ("kiosk/1/release.json", "kiosk/2/release.json")

    def check(copy: Maker) -> None:
        out = copy.desk.folder.path / "www"
        machine = Machine(copy.root)
        answer = lambda want: _read(out / "metadata" / want.file_name) or None  # noqa: E731
        found = [machine.find(answer, path, copy.desk.now_ms) for path in both]
        assert found[0] is not None
        for target in filter(None, found):
            assert (out / "targets" / target.file_name).is_file()
        copy.publish("kiosk", "2", out)
        assert machine.find(answer, both[1], copy.desk.now_ms)

    def act(copy: Maker) -> None:
        copy.publish("kiosk", "2", copy.desk.folder.path / "www")

    assert kill_everywhere(maker, act, check) > 8
