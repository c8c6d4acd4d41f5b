"""Runbooks outside a machine: made, signed, asked for, shown and allowed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.runbook_world import WORD, Hole, Maker, scope_of
from tests.trust_world import alter
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.test_access_flow import asked, granted
from typer.testing import CliRunner, Result

from fleetward.cli.access import request_app
from fleetward.cli.owner import owner_app
from fleetward.cli.runbook import runbook_app
from fleetward.keyholder.access.answering import Answer, prepare_grant, read_question, sign_grant
from fleetward.keyholder.access.cosigning import cosign, make_draft, open_draft
from fleetward.keyholder.access.policy_rules import Limits, forbid_scope, remove_requester
from fleetward.keyholder.access.runbook_rules import RunbookSigner, allow_runbooks, forbid_signer
from fleetward.keyholder.access.runbooks import draft_runbook, parse_arguments, sign_runbook
from fleetward.keyholder.access.telling import show_prepared, tell_prepared, tell_question
from fleetward.keyholder.console.access_views import show_scopes
from fleetward.keyholder.policy_changes import change_policy, remove_person
from fleetward.trust.access_serial import SerialScope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.runbook import Runbook, fill_in, read_runbook

TOML = b"""
name = "bundle"
version = 3
description = "What support asks for first."
run_as = "app"
seconds = 90
steps = [["/opt/pump/bundle", "--day", { argument = "day" }], ["/bin/sh", "-c", "exit 0"]]
[arguments.day]
kind = "text"
characters = ["digit", "dash"]
low = 10
high = 10
"""
Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    def invoke(app: Any, *words: str | Path) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return invoke


def book_of(scene: Scene, **changes: Any) -> Runbook:
    return scene.maker.sign([("/opt/pump/bundle", Hole("what"))], WORD, **changes)


# --- making


def test_a_maker_writes_toml_and_signs_it() -> None:
    maker = Maker()
    draft = draft_runbook(TOML, maker.key.public.key_id)
    book = sign_runbook(draft, maker.key)
    assert (book.name, book.version, book.seconds, book.run_as) == ("bundle", 3, 90, "app")
    assert book.steps[0] == ("/opt/pump/bundle", "--day", Hole("day"))
    assert book.digest == read_runbook(draft).digest
    with pytest.raises(Refused, match="as its signer"):
        sign_runbook(draft, Maker().key)


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        (b"name = ", "in TOML"),
        (b"\xff", "in TOML"),
        (TOML + b"shell = true\n", "shell|not one"),
        (TOML.replace(b"seconds = 90", b"seconds = 90.5"), "fractions"),
        (TOML.replace(b"seconds = 90", b"when = 2026-11-26"), "not one"),
        (TOML.replace(b'"/opt/pump/bundle"', b'"bundle"'), "absolute path"),
        (TOML.replace(b'"--day"', b'"--day={day}"'), "whole argument"),
        (TOML.replace(b"[arguments.day]", b"[[arguments]]"), "table of its own"),
        (TOML.replace(b'"/opt/pump/bundle"', b'"/usr/bin/env"'), "left open"),
        (b"steps = 1", "field"),
    ],
)
def test_what_a_maker_wrote_wrong_is_told(toml: bytes, words: str) -> None:
    with pytest.raises(Malformed, match=words):
        draft_runbook(toml, Maker().key.public.key_id)


def test_arguments_as_people_type_them() -> None:
    assert parse_arguments(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    for bad in (["a"], ["=x"], ["a=1", "a=2"]):
        with pytest.raises(Malformed):
            parse_arguments(bad)


def test_the_commands_of_a_maker(run: Run, tmp_path: Path) -> None:
    source, out, secret = tmp_path / "b.toml", tmp_path / "b.runbook", tmp_path / "secret"
    source.write_bytes(TOML)
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    key, using = tmp_path / "maker.key", ("--passphrase-file", secret, "--json")
    assert run(owner_app, "policy", "make-key", "--out", key, *using).exit_code == 0
    unsigned = run(runbook_app, "make", source, "--out", out, "--signer", f"{key}.pub", "--json")
    assert json.loads(unsigned.stdout)["signed"] is False
    refused = run(runbook_app, "check", out, "--signer", f"{key}.pub")
    assert refused.exit_code == 1
    signed = run(runbook_app, "sign", out, "--key", key, *using)
    digest = json.loads(signed.stdout)["digest"]
    assert json.loads(unsigned.stdout)["digest"] == digest
    checked = run(runbook_app, "check", out, "--signer", f"{key}.pub", "--json")
    assert json.loads(checked.stdout)["signature_checked"] is True
    plan = run(runbook_app, "show", out, "--argument", "day=2026-11-26", "--json")
    assert json.loads(plan.stdout)["plan"][0] == ["/opt/pump/bundle", "--day", "2026-11-26"]
    shown = run(runbook_app, "show", out)
    assert "--argument day=" in shown.stdout and "10 to 10 characters" in shown.stdout
    assert run(runbook_app, "show", out, "--argument", "day=x;y").exit_code == 1
    assert run(runbook_app, "make", source, "--out", out).exit_code == 1


# --- asking and answering


def test_who_says_yes_is_shown_the_very_steps(scene: Scene) -> None:
    book = book_of(scene)
    scope = scope_of(book, what="pump.7")
    asked(scene, scope, SerialScope("/dev/ttyUSB0", 9600), runbooks=(book.raw,))
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    told = tell_question(question)
    assert "support-bundle 1: Collect what support asks for." in told
    assert "step 1 of 1: /opt/pump/bundle pump.7" in told
    assert "the serial port /dev/ttyUSB0 at 9600 baud" in told
    prepared = prepare_grant(question, Answer(scopes=(scope,)), now_ms())
    assert "support-bundle 1" in tell_prepared(prepared)
    assert show_prepared(prepared)["runbooks"][0]["digest"] == book.digest
    (view,) = show_scopes(prepared.terms.scopes, question.runbooks)
    assert view.run is not None and view.run.steps == ["/opt/pump/bundle pump.7"]
    assert granted(scene, Answer(scopes=(scope,))).scopes == (scope,)


def test_what_the_machine_would_refuse_is_told_before_anybody_is_asked(scene: Scene) -> None:
    book, other = book_of(scene), Maker().sign([("/bin/true",)])
    good = scope_of(book, what="a")
    for scope, papers, reason in (
        (good, (), "runbook_unknown"),
        (good, (other.raw,), "unknown_signer"),
        (scope_of(book, what="a;b"), (book.raw,), "bad_argument"),
        (replace(good, run_as="other"), (book.raw,), "another_user"),
        (good, (book.raw, book_of(scene, version=2).raw), "another_runbook"),
        (good, (alter(book.raw, {"seconds": 9}),), "bad_signature"),
    ):
        with pytest.raises((Refused, Untrusted)) as refused:
            asked(scene, scope, runbooks=papers)
        assert refused.value.reason == reason
    assert not scene.rows


def test_a_server_that_holds_a_runbook_back_or_shows_another(scene: Scene) -> None:
    """Nobody says yes to steps that he was not shown."""
    book = book_of(scene)
    asked(scene, scope_of(book, what="a"), runbooks=(book.raw,))
    row = scene.row
    row.runbooks = []
    with pytest.raises(Refused) as refused:
        read_question(scene.judge, scene.api.papers(row.id), now_ms())
    assert refused.value.reason == "runbook_unknown"
    harmless = scene.maker.sign([("/bin/true",)])
    for shown, reason in (
        (harmless.raw, "another_runbook"),
        (alter(book.raw, {"steps": [["/bin/true"]], "arguments": []}), "bad_signature"),
    ):
        row.runbooks = [to_base64url(shown)]
        with pytest.raises(Untrusted) as untrusted:
            read_question(scene.judge, scene.api.papers(row.id), now_ms())
        assert untrusted.value.reason == reason


def test_who_signs_too_sees_the_steps_without_a_server(scene: Scene) -> None:
    book = book_of(scene, run_as="root")
    scope = scope_of(book, what="a")
    asked(scene, scope, runbooks=(book.raw,))
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    assert (question.people, question.must_watch) == (2, True), "root's rule counts"
    prepared = prepare_grant(question, Answer(), now_ms())
    raw = sign_grant(prepared, [scene.desk.signer("approver")])
    draft = make_draft(scene.desk.documents(), question, raw)
    opened = open_draft(draft, scene.desk.documents().owner, now_ms())
    assert "step 1 of 1: /opt/pump/bundle a" in tell_question(opened.prepared.question)
    assert open_draft(cosign(opened, scene.second), scene.desk.documents().owner, now_ms())
    without = {**json.loads(draft), "runbooks": []}
    with pytest.raises(Refused):
        open_draft(json.dumps(without).encode(), scene.desk.documents().owner, now_ms())


def test_the_command_asks_with_a_runbook(scene: Scene, run: Run, tmp_path: Path) -> None:
    secret, file = tmp_path / "secret", tmp_path / "b.runbook"
    secret.write_bytes(PASSPHRASE)
    secret.chmod(0o600)
    book = book_of(scene)
    file.write_bytes(book.raw)
    near = ("--as", scene.folder.path, "--passphrase-file", secret, "--reason", "look", "--json")
    said = run(request_app, "pump-7", "--runbook", file, "--argument", "what=a", *near)
    assert said.exit_code == 0, said.output
    assert scene.row.runbooks == [to_base64url(book.raw)]
    assert json.loads(said.stdout)["scopes"] == [f"runbook:{book.digest}:app:what=a"]
    for words in (
        ("--argument", "what=a"),
        ("--runbook", file),
        ("--runbook", file, "--argument", "what=a", "--argument", "more=b"),
        (),
    ):
        assert run(request_app, "pump-7", *words, *near).exit_code == 1


# --- the owner's rule


def test_the_rule_for_runbooks(scene: Scene) -> None:
    def change(made: Any) -> Any:
        return change_policy(scene.desk, made, now_ms()).policy

    other = Maker().key.public
    with pytest.raises(Refused, match="does not know the key"):
        change(allow_runbooks([RunbookSigner(other.key_id)], [], Limits()))
    named = RunbookSigner(other.key_id, other, "Nora")
    policy = change(allow_runbooks([named], ["ab" * 32], Limits(people=1, seconds=60)))
    rule = policy.access.rules["runbook"]
    assert rule.signers == (scene.maker.key.public.key_id, other.key_id)
    assert (rule.allowed, rule.seconds) == (("*", "ab" * 32), 60)
    policy = change(forbid_scope("runbook", "*"))
    assert policy.access.rules["runbook"].allowed == ("ab" * 32,)
    policy = change(remove_person("Mia"))
    assert policy.access.rules["runbook"].signers == (other.key_id,)
    policy = change(forbid_signer(other.key_id))
    assert "runbook" not in policy.access.rules
    with pytest.raises(Refused):
        change(forbid_signer(other.key_id))
    with pytest.raises(Refused, match="--signer"):
        change(allow_runbooks([], [], Limits()))
    # A requester who goes does not take a signer's key along.
    change(allow_runbooks([RunbookSigner(scene.technician.public.key_id)], [], Limits()))
    policy = change(remove_requester("Tom"))
    assert scene.technician.public.key_id in policy.keys


def test_the_runbook_of_the_documentation_is_one() -> None:
    page = (Path(__file__).parents[3] / "docs" / "operate" / "runbooks.md").read_text()
    toml = page.partition("```toml\n")[2].partition("```")[0]
    maker = Maker()
    book = sign_runbook(draft_runbook(toml.encode(), maker.key.public.key_id), maker.key)
    plan = fill_in(book, {"lines": "50", "log": "/var/log/dpkg.log"})
    assert plan.steps[-1] == ("/usr/bin/tail", "-n", "50", "/var/log/dpkg.log")
