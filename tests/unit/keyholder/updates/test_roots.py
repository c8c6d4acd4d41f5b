"""Makers, director and origins in the policy: named by files, asked of the server, shown."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.trust_world import refused
from tests.unit.keyholder.access_scene import now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE, FixedClock
from tests.unit.keyholder.release_scene import OtherRepository, ReleaseScene, make_repository
from tests.unit.keyholder.small_server import TOKEN, SmallServer
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.keyholder.policy_changes import change_policy
from fleetward.keyholder.policy_settings import read_setting
from fleetward.keyholder.updates.roots import ask_director, find_maker, set_director, set_origins
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.words import six_words

pytestmark = pytest.mark.usefixtures("quick_keys")


def offer(root: bytes) -> dict[str, str]:
    """Return what a server answers when it has a director."""
    return {"sha256": sha256(root).hexdigest(), "root": to_base64url(root)}


@pytest.fixture
def root() -> bytes:
    return make_repository("kiosk").files["1.root.json"]


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_a_maker_is_named_by_his_file_and_dismissed(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path, root: bytes
) -> None:
    file = tmp_path / "root.json"
    file.write_bytes(root)
    digest = sha256(root).hexdigest()
    done = scene.says(passphrase_file, "policy", "set", "maker", "pump", file)
    assert done.exit_code == 0, done.stderr
    words = six_words(bytes.fromhex(digest))
    assert words in done.stderr and "policy set maker pump none" in done.stderr
    assert find_maker(scene.desk.documents().policy, "pump") == digest
    shown = scene.says(None, "policy", "show", near=False).stdout
    assert f"pump: {words}" in shown and "no director" in shown
    again = scene.says(passphrase_file, "policy", "set", "maker", "pump", digest.upper())
    assert again.exit_code == 0, again.stderr
    gone = scene.says(passphrase_file, "policy", "set", "maker", "pump", "none")
    assert gone.exit_code == 0, gone.stderr
    with refused(Refused, "no_maker"):
        find_maker(scene.desk.documents().policy, "pump")
    twice = scene.says(passphrase_file, "policy", "set", "maker", "pump", "none")
    assert "[unknown_maker]" in twice.stderr


def test_the_director_is_asked_of_the_server(
    scene: ReleaseScene, passphrase_file: Path, root: bytes
) -> None:
    none = scene.says(passphrase_file, "policy", "set", "director")
    assert "[no_director]" in none.stderr
    scene.director = offer(root)
    done = scene.says(passphrase_file, "policy", "set", "director")
    assert done.exit_code == 0, done.stderr
    digest = sha256(root).hexdigest()
    assert six_words(bytes.fromhex(digest)) in done.stderr
    assert scene.desk.documents().policy.roots.director == digest
    shown = answer(scene.says(None, "policy", "show", "--json", near=False))["updates"]
    assert shown["director"]["sha256"] == digest and list(shown["makers"]) == ["kiosk"]
    scene.says(passphrase_file, "policy", "set", "director", "none")
    assert scene.desk.documents().policy.roots.director == ""


def test_origins_are_https_a_host_and_perhaps_a_folder(scene: ReleaseScene) -> None:
    pinned = "https://10.20.0.5:8443#sha256=" + "0a" * 32
    named = ["https://b.example/acme/releases", "https://a.example:8443", pinned]
    change_policy(scene.desk, set_origins(named), now_ms())
    policy = scene.desk.documents().policy
    assert policy.roots.download_origins == tuple(reversed(named))
    change_policy(scene.desk, read_setting("origins", ["none"]), now_ms())
    assert scene.desk.documents().policy.roots.download_origins == ()
    for bad in ("http://a.example", "https://a.example/", "https://u@a.example", "https://",
                "a.example", "https://a.example?x", "https://ä.example", pinned[:-1],
                "https://" + "a" * 250):  # fmt: skip
        with refused(Malformed, "bad_origin"):
            set_origins([bad])
    for own in ("https://127.0.0.1", "https://localhost:8443", "https://169.254.169.254"):
        with refused(Refused, "address_refused"):
            set_origins([own])
    with refused(Malformed, "bad_origin"):
        set_origins([f"https://{n}.example" for n in range(33)])


@pytest.mark.parametrize(("name", "values"), [
    ("maker", []), ("maker", ["kiosk"]), ("maker", ["a", "b", "c"]), ("director", ["a", "b"]),
    ("origins", []),
])  # fmt: skip
def test_settings_say_what_they_expect(name: str, values: list[str]) -> None:
    with refused(Malformed, "bad_setting"):
        read_setting(name, values)


def test_a_product_has_a_plain_name() -> None:
    with refused(Malformed, "bad_product"):
        read_setting("maker", ["../x", "00" * 32])


def test_a_new_owner_names_the_director_that_the_server_offers(
    server: SmallServer, tmp_path: Path, root: bytes
) -> None:
    server.answers["/updates/director/root"] = offer(root)
    named = name_local_server(server.write_data(tmp_path / "data"))
    made = init_owner(tmp_path / "new", PASSPHRASE, named, ("Ward 3", "Ada"), FixedClock())
    assert made.documents.policy.roots.director == sha256(root).hexdigest()


def test_a_server_that_offers_no_root_ends_the_ceremony(
    server: SmallServer, tmp_path: Path, root: bytes
) -> None:
    server.answers["/updates/director/root"] = offer(root) | {"root": to_base64url(b"{}")}
    named = name_local_server(server.write_data(tmp_path / "data"))
    with pytest.raises(Malformed):
        init_owner(tmp_path / "new", PASSPHRASE, named, ("Ward 3", "Ada"), FixedClock())
    assert not (tmp_path / "new").exists()


def test_a_server_that_does_not_answer_has_no_director(scene: ReleaseScene) -> None:
    assert ask_director(scene.client) == ""
    assert ask_director(ApiClient(scene.server.api, "another-token")) == ""
    assert ask_director(ApiClient("http://127.0.0.1:9/api/v1", "")) == ""


def test_a_director_is_named_no_more(scene: ReleaseScene) -> None:
    change_policy(scene.desk, set_director("00" * 32), now_ms())
    change_policy(scene.desk, set_director(""), now_ms())
    assert scene.desk.documents().policy.roots.director == ""


def test_who_takes_a_fleet_over_names_the_director_that_it_lacks(
    scene: ReleaseScene, passphrase_file: Path, tmp_path: Path, root: bytes
) -> None:
    offered, file, theirs = tmp_path / "offer.json", tmp_path / "sale.json", tmp_path / "theirs"
    theirs.write_bytes(b"another horse battery staple")
    theirs.chmod(0o600)
    mine = ["--folder", str(tmp_path / "buyer"), "--passphrase-file", str(theirs), "--json"]
    run = CliRunner().invoke
    answer(run(owner_app, ["take-over", "prepare", "--name", "Care Ltd", "--person", "Cleo",
                           "--out", str(offered), *mine]))  # fmt: skip
    sold = scene.says(passphrase_file, "policy", "transfer", "--to", offered, "--out", file,
                      near=False)  # fmt: skip
    assert sold.exit_code == 0, sold.stderr
    scene.director = offer(root)
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)
    near = ["--server", scene.server.api.removesuffix("/api/v1"), "--token-file", str(token)]
    done = answer(run(owner_app, ["take-over", "finish", str(file), *mine, *near]))
    policy = load_documents(OwnerFolder.open(tmp_path / "buyer")).policy
    assert (policy.roots.director, policy.epoch) == (sha256(root).hexdigest(), 2)
    assert done["policy"] == policy.version == sold_version(scene) + 2
    again = answer(run(owner_app, ["take-over", "finish", str(file), *mine, *near]))
    assert again["policy"] == policy.version
    scene.director = offer(make_repository("pump", kind=OtherRepository).files["1.root.json"])
    other = run(owner_app, ["take-over", "finish", str(file), *mine, *near])
    assert "another director" in other.stderr and other.exit_code == 0


def sold_version(scene: ReleaseScene) -> int:
    """Return the seller's own newest policy."""
    return scene.desk.documents().policy.version
