"""The commands, from an empty home to a bundle, with sealed keys; and the ring of those keys."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.maker_world import make_maker
from typer.testing import CliRunner

from fleetward.cli.maker import maker_app
from fleetward.cli.release import release_app
from fleetward.keyholder.maker.folder import MakerFacts, MakerFolder
from fleetward.keyholder.maker.key_ring import NEXT, FolderKeys
from fleetward.runtime.keys import make_key, seal_key
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.keys import ED25519

SECRET = b"six words of a dice list"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(SECRET + b"\n")
    file.chmod(0o600)
    return file


class Shell:
    """Runs commands of one maker and reads what they print."""

    def __init__(self, tmp_path: Path, secret: Path) -> None:
        self.place = tmp_path / "m"
        self.secret = secret

    def run(self, app: Any, *words: str, status: int = 0) -> str:
        maker = [] if words[:2] in (("key", "make"), ("key", "sign")) else ["--maker", self.place]
        told = [*words, *map(str, maker)]
        signs = words[0] in ("init", "refresh", "sign") or words[:2] in (
            ("product", "add"), ("product", "set"), ("key", "make"), ("key", "sign"),
            ("key", "replace"), ("key", "renew"),
        )  # fmt: skip
        if signs:
            told += ["--passphrase-file", str(self.secret)]
        ran = CliRunner().invoke(app, told)
        assert ran.exit_code == status, ran.output
        return ran.stdout if status == 0 else ran.output

    def maker(self, *words: str, status: int = 0) -> str:
        return self.run(maker_app, *words, status=status)

    def release(self, *words: str, status: int = 0) -> str:
        return self.run(release_app, *words, status=status)


@pytest.fixture
def shell(tmp_path: Path, secret: Path) -> Shell:
    return Shell(tmp_path, secret)


def test_from_an_empty_home_to_a_bundle(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app/index.html").write_bytes(b"hello")
    words = shell.maker("init", "--name", "Acme")
    assert "in force" in words
    assert "/media/STICK_1/" in words
    shell.maker("product", "add", "kiosk", "--support-ends", "2035-12-31")
    part = f"app={tmp_path / 'app'}"
    built = json.loads(shell.release("build", "kiosk", "1.0", "--part", part, "--json"))
    assert (built["state"], built["counter"]) == ("draft", 1)
    assert "Draft: kiosk/1.0" in shell.maker("status")
    signed = json.loads(shell.release("sign", "kiosk/1.0", "--json"))
    assert {**built, "state": "signed"} == signed
    shown = json.loads(shell.release("show", "kiosk/1.0", "--json"))
    assert (shown["state"], shown["before"], shown["components"]) == ("signed", "", None)
    [row] = json.loads(shell.release("list", "--json"))["releases"]
    assert row == {**signed}
    [product] = json.loads(shell.maker("product", "list", "--json"))["products"]
    assert (product["newest"], product["models"], product["notice"]) == ("1.0", ["*"], "")
    assert "mended until 2035-12-31" in shell.maker("product", "list")
    shell.release("publish", "kiosk/1.0", "--to", str(tmp_path / "www"))
    assert (tmp_path / "www/metadata/timestamp.json").is_file()
    told = shell.release("bundle", "kiosk/1.0", "--out", str(tmp_path / "b"), "--json")
    assert json.loads(told)["bundle"]["size_bytes"] == (tmp_path / "b").stat().st_size
    assert "timestamp: until" in shell.maker("refresh", "--all")


def test_three_people_and_a_new_key(shell: Shell, tmp_path: Path) -> None:
    for name in ("bo", "cy"):
        shell.maker("key", "make", "--person", name, "--out", str(tmp_path / name))
    others = [f"--root-key={tmp_path / name}.pub" for name in ("bo", "cy")]
    told = json.loads(shell.maker("init", "--name", "A", "--person", "Anna", *others, "--json"))
    assert (told["in_force"], told["missing_signatures"]) == (False, 1)
    assert "waits for signatures" in shell.maker("status")
    draft = str(told["draft"])
    assert "Enough have signed" in shell.maker("key", "sign", draft, "--key", str(tmp_path / "bo"))
    told = json.loads(shell.maker("init", "--json"))
    assert told["in_force"]
    assert len(told["root"]) == 64
    told = json.loads(shell.maker("key", "replace", "timestamp", "--json"))
    assert not told["in_force"]
    shell.maker("key", "sign", str(told["draft"]), "--key", str(tmp_path / "cy"))
    assert json.loads(shell.maker("init", "--json"))["version"] == 2
    shell.maker("product", "add", "kiosk", "--support-ends", "2035-12-31")
    shell.maker("product", "set", "kiosk", "--support-ends", "2036-12-31")
    assert "new key" in shell.maker("key", "replace", "kiosk")
    assert "waits" in shell.maker("key", "renew")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("product", "list"), "no_maker_folder"),
        (("status",), "no_maker_folder"),
        (("init",), "bad_name"),
    ],
)
def test_without_a_folder_a_command_says_what_to_do(
    shell: Shell, words: tuple[str, ...], reason: str
) -> None:
    assert reason in shell.maker(*words, status=1)


def test_where_to_publish_must_be_said(tmp_path: Path, shell: Shell) -> None:
    make_maker(tmp_path).desk.folder.path.rename(shell.place)
    assert "no_place_named" in shell.release("publish", "kiosk/1", status=2)
    assert "no_such_product" in shell.release("sign", "kiosk/1", status=1)
    assert "bad_release" in shell.release("sign", "kiosk", status=1)


def test_a_second_init_with_a_name_is_refused(tmp_path: Path, shell: Shell) -> None:
    make_maker(tmp_path).desk.folder.path.rename(shell.place)
    assert "folder_exists" in shell.maker("init", "--name", "B", status=1)


# --- the ring


@pytest.fixture
def folder(tmp_path: Path) -> MakerFolder:
    return MakerFolder.create(tmp_path / "r", MakerFacts("Acme", "2026-01-01T00:00:00Z"))


def ring(folder: MakerFolder, secret: Path) -> FolderKeys:
    return FolderKeys(folder, lambda: SECRET, secret)


def test_a_key_is_made_once_and_opened_again(folder: MakerFolder, secret: Path) -> None:
    made = ring(folder, secret).make("targets")
    assert ring(folder, secret).open("targets").public == made.public
    with pytest.raises(Refused) as caught:
        ring(folder, secret).make("targets")
    assert caught.value.reason == "key_exists"
    with pytest.raises(Refused) as caught:
        FolderKeys(folder, lambda: b"another passphrase").open("targets")
    assert caught.value.reason == "wrong_passphrase"


def test_a_key_that_was_moved_away_is_named(folder: MakerFolder, secret: Path) -> None:
    with pytest.raises(Refused) as caught:
        ring(folder, secret).open("root-2")
    assert caught.value.reason == "key_not_here"
    assert "root-2.key" in caught.value.message


def test_a_note_leads_to_a_key_elsewhere(folder: MakerFolder, secret: Path, tmp_path: Path) -> None:
    other = make_key(ED25519)
    (tmp_path / "stick.key").write_bytes(seal_key(other, SECRET, "x"))
    assert ring(folder, secret).note("root-1", str(tmp_path / "stick.key")).public == other.public
    assert ring(folder, secret).open("root-1").public == other.public
    assert ring(folder, secret).names() == ("root-1",)
    (tmp_path / "stick.key").unlink()
    with pytest.raises(FleetwardError):
        ring(folder, secret).open("root-1")


@pytest.mark.parametrize("coming", ["key", "at"])
def test_the_next_key_takes_the_place_of_the_one_before(
    folder: MakerFolder, secret: Path, tmp_path: Path, coming: str
) -> None:
    keys = ring(folder, secret)
    keys.make("targets")
    if coming == "key":
        new = keys.make(f"targets{NEXT}")
    else:
        new = make_key(ED25519)
        (tmp_path / "stick.key").write_bytes(seal_key(new, SECRET, "x"))
        keys.note(f"targets{NEXT}", str(tmp_path / "stick.key"))
    assert keys.names() == ("targets", f"targets{NEXT}")
    for _ in range(2):
        keys.promote("targets")
        assert keys.names() == ("targets",)
        assert keys.open("targets").public == new.public


def test_facts_are_read_as_they_were_written(tmp_path: Path) -> None:
    facts = MakerFacts('A "quoted" \\ name é', "2026-01-01T00:00:00Z")
    folder = MakerFolder.create(tmp_path / "f", facts)
    assert folder.read_facts() == facts
    (folder.path / "maker.toml").write_text("format = 2\n")
    with pytest.raises(Malformed):
        folder.read_facts()


@pytest.mark.parametrize("name", ["", "x" * 81, "two\nlines"])
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(Malformed) as caught:
        MakerFolder.create(tmp_path / "f", MakerFacts(name, ""))
    assert caught.value.reason == "bad_name"
    assert not list(tmp_path.iterdir())
