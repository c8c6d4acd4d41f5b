"""The commands: one JSON document on stdout, words on stderr, exit 0 done and 1 refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.unit.keyholder.ledger_world import World, rewrite_bundles, write_export
from tests.unit.keyholder.small_server import SmallServer
from tests.unit.keyholder.test_desk import waiting
from typer.testing import CliRunner, Result

from fleetward.cli.audit import audit_app
from fleetward.cli.owner import owner_app
from fleetward.keyholder.ceremony import NewOwner
from fleetward.runtime.keys import make_key
from fleetward.trust.invitation import read_join_string
from fleetward.trust.keys import ES256
from fleetward.trust.words import device_words


def run(app: typer.Typer, *arguments: object) -> Result:
    return CliRunner().invoke(app, [str(each) for each in arguments])


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def at(owner: NewOwner, data: Path, passphrase_file: Path) -> list[object]:
    """The options that name folder, server and passphrase."""
    return ["--owner", owner.folder.path, "--data", data, "--passphrase-file", passphrase_file]


def test_init_prints_the_root_and_says_where_the_keys_lie(
    data: Path, tmp_path: Path, passphrase_file: Path
) -> None:
    out = tmp_path / "made"
    result = run(
        owner_app, "init", "--name", "Ward 3", "--person", "Ada", "--data", data,
        "--passphrase-file", passphrase_file, "--out", out, "--json",
    )  # fmt: skip
    told = answer(result)
    assert len(told["owner_root"]) == 64
    assert (told["folder"], told["same_host"]) == (str(out), True)
    assert "server's own computer" in result.stderr
    assert (data / "server/owner-was-here").exists()


def test_invite_prints_a_join_string(at: list[object], owner: NewOwner) -> None:
    told = answer(
        run(owner_app, "invite", "--site", "Ward 3", "--uses", 2, "--ttl", 600, *at, "--json")
    )
    assert set(told) == {"join", "expires_at", "owner_root"}
    assert read_join_string(told["join"]).owner == owner.documents.owner == told["owner_root"]


def test_confirm_list_and_retire(at: list[object], owner: NewOwner, server: SmallServer) -> None:
    key = make_key(ES256)
    device = key.public.key_id
    server.answers["/owner/pending"] = {"items": [waiting(key)]}
    (row,) = answer(run(owner_app, "pending", *at[:4], "--json"))
    words = device_words(owner.documents.owner, device)
    assert (row["id"], row["words"], row["state"]) == (device, words, "pending")
    wrong = device_words(owner.documents.owner, "b" * 32)
    refused = run(owner_app, "confirm", device, wrong, *at, "--json")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "words_differ" in refused.stderr
    told = answer(run(owner_app, "confirm", device, words, *at, "--json"))
    assert (told["id"], told["state"], told["site"]) == (device, "active", "Ward 3")
    (row,) = answer(run(owner_app, "roster", "show", *at[:4], "--json"))
    assert row["name"] == "pump-7"
    assert answer(run(owner_app, "retire", device, *at, "--json"))["state"] == "retired"
    assert answer(run(owner_app, "refresh", *at, "--json"))["head"] == 3
    assert len(server.uploads) == 4


def test_the_policy_is_shown_changed_and_kept(at: list[object], server: SmallServer) -> None:
    assert answer(run(owner_app, "policy", "show", *at[:4], "--json"))["version"] == 1
    changed = answer(run(owner_app, "policy", "set-lease", 60, *at, "--json"))
    assert (changed["version"], changed["lease_seconds"]) == (2, 60 * 86_400)
    rows = answer(run(owner_app, "policy", "history", *at[:4], "--json"))
    assert [row["version"] for row in rows] == [1, 2]
    assert len(server.uploads[-1]["policies"]) == 2


def test_without_a_terminal_it_asks_for_a_file(owner: NewOwner) -> None:
    result = run(owner_app, "invite", "--site", "x", "--owner", owner.folder.path)
    assert result.exit_code == 1
    assert "--passphrase-file" in result.stderr


def test_the_demos_own_passphrase_is_found_from_its_data_alone(
    owner: NewOwner, data: Path, passphrase_file: Path
) -> None:
    shutil.copytree(owner.folder.path, data / "owner")
    (data / "owner").chmod(0o700)
    shutil.copy2(passphrase_file, data / "owner-passphrase")
    invite = ("invite", "--site", "x", "--json")
    # A folder that no demo made has no passphrase that could be found.
    assert run(owner_app, *invite, "--data", data).exit_code == 1
    (data / "fleetward-demo.json").write_text("{}")
    found = run(owner_app, *invite, "--data", data)
    assert answer(found)["owner_root"] == owner.documents.owner
    assert str(data / "owner-passphrase") in found.stderr
    # Another owner's folder is another's, whatever lies beside the server.
    named = run(owner_app, *invite, "--data", data, "--owner", owner.folder.path)
    assert (named.exit_code, "no_passphrase" in named.stderr) == (1, True)


def test_a_second_owner_is_refused_with_what_to_do(
    data: Path, tmp_path: Path, passphrase_file: Path
) -> None:
    (data / "server/setup-token").unlink()
    result = run(
        owner_app, "init", "--name", "Ward 3", "--person", "Ada", "--data", data,
        "--passphrase-file", passphrase_file, "--out", tmp_path / "made",
    )  # fmt: skip
    assert (result.exit_code, "owner_exists" in result.stderr) == (1, True)
    assert not (tmp_path / "made").exists()


def test_a_missing_option_is_misuse() -> None:
    assert run(owner_app, "invite").exit_code == 2


def test_verify_exits_by_what_is_contradicted(tmp_path: Path) -> None:
    world = World().live()
    folder = write_export(world, tmp_path / "e")
    command = ["verify", folder, "--root", world.owner]
    told = answer(run(audit_app, *command, "--json"))
    assert (told["whole"], told["contradicted"]) == (True, [])
    assert all("age_seconds" in f for f in told["unknown"] if f["id"] == "tail_unknown")
    older = tmp_path / "older"
    older.write_bytes(world.log.checkpoint(5))
    public = tmp_path / "notary.pem"
    assert run(audit_app, *command, "--checkpoint", older).exit_code == 0
    assert run(audit_app, *command, "--witness", f"x={public}").exit_code == 1

    def alter(leaves: list[bytes]) -> list[bytes]:
        leaves[7] = leaves[7].replace(b"turn.0", b"turn.8")
        return leaves

    rewrite_bundles(folder, world.log, alter)
    result = run(audit_app, *command)
    assert result.exit_code == 1
    assert "Entry 7 is not the one that was recorded" in result.stdout
    told = json.loads(run(audit_app, *command, "--json").stdout)
    assert told["contradicted"][0]["entry"] == 7


def test_an_altered_entry_is_named_once_also_when_it_is_no_json_any_more(tmp_path: Path) -> None:
    world = World().live()
    for entry, (old, new) in enumerate([(b"{", b"?"), (b'"signature":"', b'"signature":"AAAA')]):
        folder = write_export(world, tmp_path / str(entry))

        def alter(leaves: list[bytes], old: bytes = old, new: bytes = new) -> list[bytes]:
            leaves[2] = leaves[2].replace(old, new, 1)
            return leaves

        rewrite_bundles(folder, world.log, alter)
        result = run(audit_app, "verify", folder, "--root", world.owner, "--json")
        found = json.loads(result.stdout)["contradicted"]
        assert [(each["id"], each["entry"]) for each in found][:1] == [("entry_altered", 2)]
        assert sum(each["entry"] == 2 for each in found) == 1
        assert result.exit_code == 1


def test_what_is_no_export_and_no_root_is_refused(tmp_path: Path) -> None:
    result = run(audit_app, "verify", tmp_path, "--root", "ab" * 32)
    assert (result.exit_code, "no_export" in result.stderr) == (1, True)
    folder = write_export(World(), tmp_path / "e")
    assert run(audit_app, "verify", folder, "--root", "not a hash").exit_code == 1
