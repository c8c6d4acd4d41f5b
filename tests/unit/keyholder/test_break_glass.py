"""BREAK-GLASS on the owner's and the technician's side: rules, two people, a banner, the record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN
from tests.unit.keyholder.test_access_console import SECRET, get, post
from typer.testing import CliRunner, Result

from fleetward.cli.access import request_app
from fleetward.cli.owner import owner_app
from fleetward.keyholder.access.answering import (
    Answer,
    prepare_grant,
    read_question,
    sign_grant,
)
from fleetward.keyholder.access.asking import Wait, ask
from fleetward.keyholder.access.break_glass_rules import (
    StandIns,
    remove_break_glass,
    set_break_glass,
)
from fleetward.keyholder.access.policy_rules import Limits
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.console.app import create_app
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.policy_changes import change_policy, remove_person
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write
from fleetward.runtime.keys import FileSigner, make_key, seal_key
from fleetward.trust.access import RootScope
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.grants.request import Request, Wish
from fleetward.trust.keys import ED25519

Run = Callable[..., Result]


@pytest.fixture
def cleo() -> FileSigner:
    return make_key(ED25519)


@pytest.fixture
def broken(scene: Scene, cleo: FileSigner) -> Scene:
    """A scene whose policy lets Bo and Cleo break in."""
    change = set_break_glass(
        StandIns(("Bo",), (("Cleo", cleo.public),)), ["root"], Limits(900, None, False)
    )
    change_policy(scene.desk, change, now_ms())
    scene.publish()
    return scene


@pytest.fixture
def as_owner(scene: Scene) -> Run:
    near = [
        "--owner", str(scene.desk.folder.path), "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file", scene.folder.facts().token_file,
    ]  # fmt: skip

    def run(*words: object, passphrase: Path | None = None) -> Result:
        more = ["--passphrase-file", str(passphrase)] if passphrase else []
        return CliRunner().invoke(owner_app, [*map(str, words), *near, *more])

    return run


def break_in(scene: Scene) -> Request:
    learned = scene.folder.learn(scene.api.client)
    wish = Wish(scene.machine.device, (RootScope(),), 600, "nobody answers", "", True)
    return ask(scene.folder, scene.api, learned, wish, (scene.technician, now_ms()))


def answer(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_two_stand_ins_sign_and_everybody_reads_what_it_is(
    broken: Scene, as_owner: Run, cleo: FileSigner, passphrase_file: Path, tmp_path: Path
) -> None:
    request = break_in(broken)
    keys = {"bo": broken.second, "cleo": cleo}
    for name, signer in keys.items():
        atomic_write(tmp_path / f"{name}.key", seal_key(signer, PASSPHRASE, name))
    # The owner's own approver is none of them.
    own = as_owner("approve", request.hash, "--yes", passphrase=passphrase_file)
    assert "no_approver" in own.stderr
    alone = as_owner(
        "approve", request.hash, "--key", tmp_path / "cleo.key", "--yes",
        passphrase=passphrase_file,
    )  # fmt: skip
    assert "more_signatures_needed" in alone.stderr
    assert "BREAK-GLASS" in alone.stderr
    assert "presses at the machine" in alone.stderr
    draft = broken.desk.folder.path / f"drafts/grant-{request.hash[:16]}.json"
    told = CliRunner().invoke(owner_app, [
        "cosign", str(draft), "--root", broken.desk.documents().owner, "--key",
        str(tmp_path / "bo.key"), "--yes", "--passphrase-file", str(passphrase_file), "--json",
    ])  # fmt: skip
    assert answer(told)["break_glass"] is True
    done = as_owner("approve", request.hash, "--draft", draft, passphrase=passphrase_file)
    assert done.exit_code == 0, done.stderr
    assert "presses" in done.stdout
    assert broken.grants[request.hash].people == ("Bo", "Cleo")


def test_the_technician_waits_for_the_press(broken: Scene, cleo: FileSigner) -> None:
    asked = break_in(broken)
    question = read_question(broken.judge, broken.api.papers(asked.hash), now_ms())
    assert question.people == 2
    prepared = prepare_grant(question, Answer(), now_ms())
    raw = sign_grant(prepared, [broken.second, cleo])
    broken.off = True
    broken.api.hand(asked.hash, "grant", raw)
    told: list[str] = []
    wait = Wait(broken.folder, broken.api, asked.hash)

    def press(_: float) -> None:
        broken.push_grant(broken.row)

    case = wait.until_pressed(told.append, press)
    assert case.grant is not None
    assert any("press at the machine" in line and case.grant.words in line for line in told)


def test_the_rules_are_set_shown_and_removed_by_commands(
    scene: Scene, as_owner: Run, cleo: FileSigner, passphrase_file: Path, tmp_path: Path
) -> None:
    pem = tmp_path / "cleo.pub"
    pem.write_bytes(
        cleo.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    group = ("policy", "break-glass")
    near = ["--owner", str(scene.desk.folder.path), "--json"]

    def run(*words: str) -> Result:
        return CliRunner().invoke(owner_app, [*group, *words, *near])

    assert answer(run("show")) == {}
    sealed = ["--passphrase-file", str(passphrase_file)]
    told = answer(run("set", "--person", "Bo", "--key", f"Cleo={pem}", "--allow", "root",
                      "--allow", "tcp:8080", "--for", "15m", *sealed))  # fmt: skip
    assert (told["people"], told["threshold"], told["seconds"]) == (["Bo", "Cleo"], 2, 900)
    assert answer(run("show"))["allowed"][0].startswith("root")
    assert answer(run("remove", *sealed))["version"] > told["version"]
    assert answer(run("show")) == {}


def test_a_person_who_goes_leaves_no_rules_for_one(broken: Scene) -> None:
    with pytest.raises(FleetwardError, match="people"):
        change_policy(broken.desk, remove_person("Cleo"), now_ms())
    change_policy(broken.desk, remove_break_glass(), now_ms())
    change_policy(broken.desk, remove_person("Cleo"), now_ms())


def test_rules_that_nobody_could_use_are_refused(scene: Scene, cleo: FileSigner) -> None:
    tom = scene.technician.public
    only = StandIns((), (("Tom", tom), ("Cleo", cleo.public)))
    with pytest.raises(Refused, match="could say yes"):
        change_policy(scene.desk, set_break_glass(only, ["root"], Limits()), now_ms())
    for people, said in ((("Bo",), "2 people"), (("Nobody", "Bo"), "knows no")):
        with pytest.raises(Refused, match=said):
            change_policy(
                scene.desk, set_break_glass(StandIns(people), ["root"], Limits()), now_ms()
            )
    with pytest.raises(Refused, match="no rules"):
        change_policy(scene.desk, remove_break_glass(), now_ms())
    for allowed in ([], ["dance"], ["root:app"]):
        with pytest.raises(Malformed):
            set_break_glass(only, allowed, Limits())
    with pytest.raises(Malformed):
        set_break_glass(only, ["root"], Limits(9 * 3600))


def test_asking_says_what_it_is(broken: Scene, passphrase_file: Path) -> None:
    def run(app: typer.Typer, *words: str) -> Result:
        return CliRunner().invoke(
            app, [*words, "--as", str(broken.folder.path), "--passphrase-file",
                  str(passphrase_file)]
        )  # fmt: skip

    said = run(request_app, "pump-7", "--scope", "root", "--reason", "it leaks", "--break-glass",
               "--for", "10m")  # fmt: skip
    assert said.exit_code == 0, said.stderr
    assert said.stdout.startswith("BREAK-GLASS")
    # What is allowed every day is not allowed for breaking in.
    no = run(
        request_app,
        "pump-7",
        "--scope",
        "terminal:app",
        "--reason",
        "x",
        "--break-glass",
        "--for",
        "5m",
    )
    assert "scope_not_in_policy" in no.stderr


@pytest.fixture
def page(broken: Scene, tmp_path: Path) -> Iterator[TestClient[Litestar]]:
    (tmp_path / "static").mkdir()
    (tmp_path / "static/index.html").write_text("<!doctype html><title>Owner</title>")
    broken.server.answers["/owner/pending"] = {"items": []}
    keeper = Keeper(broken.desk, lambda: ApiClient(broken.server.api, TOKEN), SystemClock())
    app = create_app(keeper, SECRET, SystemClock(), tmp_path / "static")
    with TestClient(app, base_url="http://owner.localhost:7480") as client:
        client.headers["authorization"] = f"Bearer {SECRET}"
        yield client


def test_the_page_tells_of_it_until_somebody_knows(
    page: TestClient[Litestar], broken: Scene
) -> None:
    request = break_in(broken)
    (view,) = get(page, "/access")["items"]
    assert (view["break_glass"], view["acknowledged"]) == (True, False)
    assert "BREAK-GLASS" in view["answerable"], "the folder's own key is none of them"
    post(page, "/access/acknowledge", {"id": request.hash})
    (view,) = get(page, "/access")["items"]
    assert view["acknowledged"]
    # It is kept in the owner's folder, over the next start of the program.
    keeper = Keeper(broken.desk, lambda: ApiClient(broken.server.api, TOKEN), SystemClock())
    assert keeper.access.view(request.hash, keeper.passkeys.caller()).acknowledged
    (broken.desk.folder.path / "break-glass-known.json").write_text("{")
    assert not keeper.access.view(request.hash, keeper.passkeys.caller()).acknowledged, (
        "what is damaged is told again"
    )
