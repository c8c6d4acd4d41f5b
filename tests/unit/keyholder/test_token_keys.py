"""Keys on a token: made, named, signed with, and refused. The token is SoftHSM, a real module."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import exceptions
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.soft_token import ED25519_PARAMS, MODULE, PIN, SoftToken, token  # noqa: F401
from tests.unit.keyholder.test_access_flow import asked
from typer.testing import CliRunner, Result

from fleetward.cli.access import request_app
from fleetward.cli.owner import owner_app
from fleetward.cli.requester import requester_app
from fleetward.keyholder.access.policy_rules import name_requester
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.requester_line import read_requester_key
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.policy_changes import (
    add_person,
    adopt_draft,
    change_policy,
    set_threshold,
)
from fleetward.keyholder.token_keys import (
    P256_PARAMS,
    TokenSigner,
    _build_public,
    make_token_key,
    open_token_key,
)
from fleetward.keyholder.token_module import check_module
from fleetward.keyholder.token_uri import is_token_uri, read_token_uri
from fleetward.runtime.keys import make_key
from fleetward.trust.access import RootScope
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.keys import ED25519, ES256

Told = list[str]


def ask(told: str) -> bytes:
    return PIN


def refusal(act: Callable[[], object]) -> FleetwardError:
    with pytest.raises(FleetwardError) as refused:
        act()
    return refused.value


def done(result: Result) -> Any:
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


# --- naming


def test_a_uri_is_read_and_written_in_one_spelling() -> None:
    text = "pkcs11:object=my%20key;id=%01%AB;token=Owner?pin-source=file:///p/in&module-path=/m.so"
    uri = read_token_uri(text)
    assert (uri.object, uri.id, uri.token, str(uri.module)) == (
        "my key", b"\x01\xab", "Owner", "/m.so",
    )  # fmt: skip
    assert uri.pin_file == Path("/p/in")
    assert read_token_uri(uri.text) == uri
    assert is_token_uri("PKCS11:token=x") and not is_token_uri("./pkcs11:x")


@pytest.mark.parametrize(
    "text",
    [
        "pkcs11:",
        "pkcs11:token=a;object=b",
        "pkcs11:object=b?module-path=/m.so",
        "pkcs11:token=a?module-path=/m.so",
        "pkcs11:token=a;token=a;object=b?module-path=/m.so",
        "pkcs11:token=a;object=b;x=y?module-path=/m.so",
        "pkcs11:token=a;object=b;type=cert?module-path=/m.so",
        "pkcs11:token=a;object=%zz?module-path=/m.so",
        "pkcs11:token=a;object=%1b?module-path=/m.so",
        "pkcs11:token=a;object=%ff?module-path=/m.so",
        "pkcs11:token=a;object=b?module-path=/m.so&module-name=x",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-source=|cat",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-source=pin",
        "pkcs11:token=a;object=b?module-path=/m.so&pin-source=https://x/y",
        "pkcs11:token=a;object=ä?module-path=/m.so",
        f"pkcs11:token={'a' * 1024};object=b?module-path=/m.so",
    ],
)
def test_a_uri_that_says_something_else_is_refused(text: str) -> None:
    assert refusal(lambda: read_token_uri(text)).reason == "bad_token_uri"


# --- keys


def test_a_key_is_made_found_again_and_signs(token: SoftToken) -> None:
    made = make_token_key(token.read(), ask)
    assert (made.public.suite, made.warnings) == (ES256, ())
    public = made.public
    made.close()
    found = open_token_key(token.read(), ask)
    assert found.public == public
    for message in (b"", b"a grant", bytes(100_000)):
        found.public.verify(found.sign(message), message)
    raw = seal({"type": "fleetward.test.v1"}, [found])
    read_envelope(raw)
    found.close()
    by_file = open_named_key(f"{token.uri()}&pin-source=file:{token.pin_file}", None)
    assert by_file.public == public
    again = refusal(lambda: make_token_key(token.read(), ask))
    assert again.reason == "token_key_exists"


def test_an_ed25519_key_of_another_program_signs(token: SoftToken) -> None:
    token.make("ed", b"\x07", ed25519=True)
    found = open_token_key(token.read("ed"), ask)
    assert found.public.suite == ED25519
    found.public.verify(found.sign(b"yes"), b"yes")


def test_a_key_that_can_be_read_out_is_told(
    token: SoftToken, capsys: pytest.CaptureFixture[str]
) -> None:
    token.make("loose", b"\x08", extractable=True)
    open_named_key(token.uri("loose"), token.pin_file)
    said = capsys.readouterr().err
    assert "WARNING: the key 'loose' on the token 'Owner' can be read out" in said


def test_two_keys_of_one_label_are_told_apart_by_id(token: SoftToken) -> None:
    token.make("approver", b"\x01")
    token.make("approver", b"\x02\xab")
    refused = refusal(lambda: open_token_key(token.read(), ask))
    assert refused.reason == "two_token_keys"
    assert "id=%01" in refused.message and "id=%02%AB" in refused.message
    one, two = (
        open_token_key(read_token_uri(token.uri(more=f";id={id_}")), ask)
        for id_ in ("%01", "%02%AB")
    )
    assert one.public != two.public
    one.public.verify(one.sign(b"x"), b"x")
    two.public.verify(two.sign(b"x"), b"x")


def test_what_is_not_there_is_named(token: SoftToken) -> None:
    token.make("other", b"\x03")
    missing = refusal(lambda: open_token_key(read_token_uri(token.uri(token="Bo")), ask))
    assert missing.reason == "no_such_token" and "'Owner'" in missing.message
    no_key = refusal(lambda: open_token_key(token.read(), ask))
    assert no_key.reason == "no_such_token_key" and "'other'" in no_key.message
    token.add("Owner")
    twins = refusal(lambda: open_token_key(token.read(), ask))
    assert twins.reason == "two_tokens" and "serial=" in twins.message


def test_a_wrong_pin_is_tried_once_and_what_the_token_says_is_told(token: SoftToken) -> None:
    make_token_key(token.read(), ask).close()
    told: Told = []

    def wrong(words: str) -> bytes:
        told.append(words)
        return b"0000"

    refused = refusal(lambda: open_token_key(token.read(), wrong))
    assert refused.reason == "wrong_pin" and "tried once" in refused.message
    assert "a wrong PIN came since" in refused.message
    assert len(told) == 1
    refusal(lambda: open_token_key(token.read(), wrong))
    assert "a wrong PIN came since" in told[1]
    assert refusal(lambda: open_token_key(token.read(), lambda _: b"")).reason == "bad_pin"
    assert refusal(lambda: open_token_key(token.read(), lambda _: b"\xff1")).reason == "bad_pin"


class Removed:
    """A private key whose token was pulled out."""

    key_type = 3

    def sign(self, *_: object, **__: object) -> bytes:
        raise exceptions.DeviceRemoved


class Lying(Removed):
    def sign(self, *_: object, **__: object) -> bytes:
        return bytes(64)


def test_a_token_that_goes_away_or_signs_wrongly(token: SoftToken) -> None:
    made = make_token_key(token.read(), ask)
    made._private = Removed()
    gone = refusal(lambda: made.sign(b"x"))
    assert isinstance(gone, Unreachable) and gone.reason == "token_gone"
    made._private = Lying()
    assert refusal(lambda: made.sign(b"x")).reason == "token_signed_wrongly"
    made.close()
    found = open_token_key(token.read(), ask)
    shutil.rmtree(token.folder / "tokens")
    assert refusal(lambda: found.sign(b"x")).reason == "token_gone"


def test_a_public_half_is_read_wrapped_or_bare() -> None:
    """Also where a bare point looks as if it were wrapped: 04, and 63 for the 63 bytes after."""
    uri = read_token_uri(f"pkcs11:token=a;object=b?module-path={MODULE}")
    bare = b""
    while not bare.startswith(b"\x04\x3f"):
        bare = make_key(ES256).public.spki[-65:]
    key = _build_public(uri, P256_PARAMS, bare)
    assert key.spki.endswith(bare)
    assert _build_public(uri, P256_PARAMS, b"\x04\x41" + bare) == key
    edwards = make_key(ED25519).public
    for point in (edwards.spki[-32:], b"\x04\x20" + edwards.spki[-32:]):
        assert _build_public(uri, ED25519_PARAMS, point) == edwards
    for params, point in (
        (P256_PARAMS, bare[:-1]),
        (P256_PARAMS, b""),
        (P256_PARAMS, b"\x04" + bytes(64)),
        (ED25519_PARAMS, bytes(32)),
        (b"", bare),
    ):
        with pytest.raises(Malformed):
            _build_public(uri, params, point)


# --- the library


def test_a_library_that_others_could_have_written_is_not_loaded(tmp_path: Path) -> None:
    mine = tmp_path / "mine.so"
    mine.write_bytes(b"\x7fELF")
    mine.chmod(0o644)
    assert check_module(mine) == mine.resolve()
    mine.chmod(0o666)
    assert refusal(lambda: check_module(mine)).reason == "module_not_ours"
    mine.chmod(0o644)
    tmp_path.chmod(0o777)
    assert refusal(lambda: check_module(mine)).reason == "module_not_ours"
    tmp_path.chmod(0o700)
    link = tmp_path / "link.so"
    link.symlink_to("mine.so")
    assert check_module(link) == mine.resolve()
    (tmp_path / "round.so").symlink_to("round.so")
    for odd in (tmp_path, tmp_path / "none.so", tmp_path / "round.so"):
        assert refusal(lambda odd=odd: check_module(odd)).reason == "no_module"  # type: ignore[misc]
    for odd in (Path("libsofthsm2.so"), Path("./m.so"), tmp_path / ".." / "m.so"):
        assert refusal(lambda odd=odd: check_module(odd)).reason == "bad_module_path"  # type: ignore[misc]


@pytest.mark.skipif("os.geteuid() != 0", reason="only root gives files away")
def test_a_library_or_a_link_of_another_user_is_not_loaded(tmp_path: Path) -> None:
    mine, link, folder = tmp_path / "mine.so", tmp_path / "link.so", tmp_path / "folder"
    mine.write_bytes(b"\x7fELF")
    folder.mkdir()
    (folder / "good.so").write_bytes(b"\x7fELF")
    link.symlink_to(folder / "good.so")
    for given, named in ((mine, mine), (link, link), (folder, folder / "good.so")):
        os.chown(given, 65534, 65534, follow_symlinks=False)
        assert refusal(lambda named=named: check_module(named)).reason == "module_not_ours"  # type: ignore[misc]


def test_a_library_that_is_none_is_told(tmp_path: Path) -> None:
    mine = tmp_path / "mine.so"
    mine.write_bytes(b"no library")
    uri = read_token_uri(f"pkcs11:token=a;object=b?module-path={mine}")
    assert refusal(lambda: open_token_key(uri, ask)).reason == "no_module"


def test_without_the_support_for_tokens_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delitem(sys.modules, "fleetward.keyholder.token_keys")
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    uri = f"pkcs11:token=a;object=b?module-path={MODULE}"
    refused = refusal(lambda: open_named_key(uri, None))
    assert refused.reason == "no_token_support" and "fleetward[hsm]" in refused.message


# --- a whole session


def test_a_grant_by_a_key_on_a_token(scene: Scene, token: SoftToken, tmp_path: Path) -> None:
    using = ["--passphrase-file", str(token.pin_file), "--json"]
    made = done(CliRunner().invoke(owner_app, [
        "policy", "make-key", "--token", token.uri(), "--out", str(tmp_path / "tess"), *using,
    ]))  # fmt: skip
    assert made["key"] == token.uri() and not (tmp_path / "tess").exists()
    key = read_public_pem(tmp_path / "tess.pub", (object,))
    assert key == read_requester_key(made["line"])
    change_policy(scene.desk, add_person("Tess", key, ["approve"]), now_ms())
    scene.publish()
    token.forget()
    request = asked(scene)
    told = done(CliRunner().invoke(owner_app, [
        "approve", request.hash, "--key", token.uri(), "--yes", "--owner",
        str(scene.desk.folder.path), "--server", scene.server.api.removesuffix("/api/v1"),
        "--token-file", scene.folder.facts().token_file, *using,
    ]))  # fmt: skip
    grant = scene.grants[scene.row.id]
    assert grant.people == ("Tess",) and scene.row.state == "open"
    assert told


def test_a_second_yes_and_a_policy_are_signed_on_a_token(
    scene: Scene, token: SoftToken, tmp_path: Path, passphrase_file: Path
) -> None:
    key = make_token_key(token.read(), ask)
    tess = add_person("Tess", key.public, ["approve", "policy"])
    change_policy(scene.desk, tess, now_ms())
    key.close()
    scene.publish()
    owner = scene.desk.documents().owner
    near = ["--owner", str(scene.desk.folder.path), "--server",
            scene.server.api.removesuffix("/api/v1"), "--token-file",
            scene.folder.facts().token_file, "--passphrase-file", str(passphrase_file)]  # fmt: skip
    using = ["--key", token.uri(), "--passphrase-file", str(token.pin_file), "--json"]
    asked(scene, RootScope())
    first = CliRunner().invoke(owner_app, ["approve", scene.row.id, "--yes", *near])
    assert "more_signatures_needed" in first.stderr
    [draft] = map(str, (scene.desk.folder.path / "drafts").glob("grant-*.json"))
    done(CliRunner().invoke(owner_app, ["cosign", draft, "--root", owner, "--yes", *using]))
    done(CliRunner().invoke(owner_app, [
        "approve", scene.row.id, "--draft", draft, "--no-follow", "--json", *near,
    ]))  # fmt: skip
    assert set(scene.grants[scene.row.id].people) == {"Ada", "Tess"}
    with pytest.raises(Refused) as waiting:
        change_policy(scene.desk, set_threshold(2), now_ms())
    assert waiting.value.reason == "more_signatures_needed"
    [policy] = (scene.desk.folder.path / "drafts").glob("policy-*.json")
    done(CliRunner().invoke(owner_app, ["policy", "sign", str(policy), *using]))
    before = scene.desk.documents().policy.version
    assert adopt_draft(scene.desk, policy).policy.version == before + 1


def test_a_requester_whose_key_is_on_a_token_asks(
    scene: Scene, token: SoftToken, tmp_path: Path
) -> None:
    folder = tmp_path / "una"
    using = ["--passphrase-file", str(token.pin_file), "--json"]
    made = done(CliRunner().invoke(requester_app, [
        "init", "--person", "Una", "--owner-root", scene.desk.documents().owner, "--server",
        scene.server.api.removesuffix("/api/v1"), "--token-file",
        scene.folder.facts().token_file, "--out", str(folder), "--token", token.uri("una"), *using,
    ]))  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == ["requester.toml"]
    assert RequesterFolder.open(folder).facts().key == token.uri("una")
    key = read_requester_key(made["key"])
    assert key.suite == ES256
    change_policy(scene.desk, name_requester("Una", key), now_ms())
    scene.publish()
    token.forget()
    told = done(CliRunner().invoke(request_app, [
        "pump-7", "--scope", "terminal:app", "--reason", "look", "--as", str(folder), *using,
    ]))  # fmt: skip
    assert told["person"] == "Una" and scene.row.state == "offered"
    token.forget()
    token.make("other", b"\x09")
    facts = (folder / "requester.toml").read_text()
    (folder / "requester.toml").write_text(facts.replace("object=una", "object=other"))
    swapped = refusal(lambda: RequesterFolder.open(folder).open_signer(token.pin_file))
    assert isinstance(swapped, Untrusted) and swapped.reason == "another_token_key"


def test_a_key_that_was_made_before_is_taken_by_a_requester(
    scene: Scene, token: SoftToken, tmp_path: Path
) -> None:
    made = make_token_key(token.read("una"), ask)
    public = made.public
    made.close()
    using = ["--passphrase-file", str(token.pin_file), "--json"]
    words = ["init", "--person", "Una", "--owner-root", scene.desk.documents().owner, "--server",
             "https://x.example", "--token-file", scene.folder.facts().token_file, "--token",
             token.uri("una"), "--out", str(tmp_path / "una"), *using]  # fmt: skip
    told = done(CliRunner().invoke(requester_app, words))
    assert read_requester_key(told["key"]) == public
    assert isinstance(made, TokenSigner)
