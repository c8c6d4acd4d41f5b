"""Attacks on keys on a token: by who reads what is left behind, and by who names a library.

Loading a shared library is code execution with all the owner's rights, so the questions are who
can name one, and who could have written it. A PIN is worth the key while the token is near.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pkcs11
import pytest
from tests.trust_world import resign
from tests.unit.keyholder.access_scene import Scene, now_ms, scene  # noqa: F401
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.soft_token import MODULE, PIN, SoftToken, token  # noqa: F401
from tests.unit.keyholder.test_access_flow import asked, granted
from typer.testing import CliRunner

from fleetward.cli.owner import owner_app
from fleetward.keyholder.access.requester_folder import (
    RequesterFacts,
    RequesterFolder,
    make_requester_on_token,
)
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.policy_changes import add_person, change_policy
from fleetward.keyholder.token_keys import make_token_key, open_token_key
from fleetward.keyholder.token_uri import read_token_uri
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ED25519

SOURCES = Path(__file__).resolve().parents[2] / "src" / "fleetward"
EVIL = "pkcs11:token=Owner;object=approver?module-path=/tmp/evil.so"


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every library that anybody loads."""
    loaded: list[str] = []
    real = pkcs11.lib

    def load(path: str) -> object:
        loaded.append(path)
        return real(path)

    monkeypatch.setattr(pkcs11, "lib", load)
    return loaded


def refused(act: Callable[[], object]) -> FleetwardError:
    with pytest.raises(FleetwardError) as found:
        act()
    return found.value


# --- what is left behind


def test_a_pin_is_in_no_error_and_no_chain_of_errors(token: SoftToken) -> None:
    make_token_key(token.read(), lambda _: PIN).close()
    for pin in (b"wrong-4711-pin", b"wrong-4711-pin\xff", b"wrong-4711-pin" * 40):
        error = refused(lambda pin=pin: open_token_key(token.read(), lambda _: pin))  # type: ignore[misc]
        assert "4711" not in "".join(traceback.format_exception(error))
    text = f"{token.uri()}&pin-value={PIN.decode()}"
    for spelled in (text, text.replace("pin-v", "PIN-V"), text.replace("pin-v", "pin%2Dv"),
                    f"pkcs11:pin-value={PIN.decode()}"):  # fmt: skip
        error = refused(lambda spelled=spelled: read_token_uri(spelled))  # type: ignore[misc]
        assert error.reason == "pin_in_uri"
        assert "4711" not in "".join(traceback.format_exception(error))
    slip = refused(lambda: read_token_uri(f"{token.uri()}&pin={PIN.decode()}"))
    assert "4711" not in "".join(traceback.format_exception(slip))


def test_a_pin_is_in_no_output_argument_or_file(
    scene: Scene, token: SoftToken, tmp_path: Path
) -> None:
    """The commands run as a program, so that their arguments are real; then all files are read."""
    using = ["--passphrase-file", str(token.pin_file), "--json"]
    words = ["owner", "policy", "make-key", "--token", token.uri(), "--out", "tess", *using]
    token.forget()
    ran = subprocess.run(
        [str(Path(sys.executable).parent / "fleetward"), *words],
        cwd=tmp_path, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    signer = open_named_key(token.uri(), token.pin_file)
    assert signer.public.key_id == told["key_id"]
    facts = RequesterFacts(
        "Una",
        "",
        scene.desk.documents().owner,
        "",
        server="https://x.example",
        token_file=str(token.pin_file),
    )
    folder = tmp_path / "una"
    make_requester_on_token(folder, token.read(), facts, None, token.pin_file)
    change_policy(scene.desk, add_person("Tess", signer.public, ["approve"]), now_ms())
    secrets = {PIN, PIN.hex().encode(), b"PRIVATE KEY"}
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    mine = [p for p in left if p != token.pin_file and token.folder not in p.parents]
    assert folder / "requester.toml" in mine and tmp_path / "tess.pub" in mine
    for content in (ran.stdout, ran.stderr, *(p.read_bytes() for p in mine)):
        assert not [each for each in secrets if each in content]
    assert PIN.decode() not in repr(vars(signer))


# --- who names a library


def test_no_word_of_a_document_is_taken_for_a_key(
    scene: Scene, tmp_path: Path, loads: list[str], passphrase_file: Path
) -> None:
    """A person, a reason and a case that are URIs are shown, and open nothing."""
    change_policy(
        scene.desk, add_person(EVIL[:80], make_key(ED25519).public, ["approve"]), now_ms()
    )
    scene.publish()
    request = asked(scene)
    row = scene.row
    row.request = resign(row.request, {"reason": EVIL, "case": EVIL[:64]}, [scene.technician])
    scene.rows = {row.id: row}
    scene.push_request(row)
    granted(scene)
    draft = tmp_path / "draft.json"
    draft.write_text(json.dumps({"key": EVIL, "type": EVIL}))
    for words in (
        ["cosign", str(draft), "--root", scene.desk.documents().owner],
        ["policy", "sign", str(draft)],
    ):
        key = tmp_path / "key"
        key.write_text(EVIL)
        using = ["--key", str(key), "--yes", "--passphrase-file", str(passphrase_file)]
        using = using if words[0] == "cosign" else [*using[:2], *using[3:]]
        assert CliRunner().invoke(owner_app, [*words, *using]).exit_code == 1
    assert request and loads == []


def test_uris_are_read_where_a_person_names_a_key_and_nowhere_else() -> None:
    readers: dict[str, set[str]] = {
        "read_token_uri": set(),
        "open_named_key": set(),
        "open_named_token": set(),
    }
    for path in SOURCES.rglob("*.py"):
        text = path.read_text()
        for name, found in readers.items():
            if re.search(rf"(?<!def )\b{name}\(", text):
                found.add(str(path.relative_to(SOURCES)))
    assert readers["read_token_uri"] == {
        "cli/owner_policy.py", "cli/requester.py", "keyholder/named_key.py",
        "keyholder/access/requester_folder.py", "keyholder/maker/key_ring.py",
    }  # fmt: skip
    assert readers["open_named_token"] == readers["read_token_uri"] - {"cli/requester.py"}
    assert "keyholder/maker/key_ring.py" in readers["open_named_key"]
    assert all(
        name.startswith("cli/")
        for name in readers["open_named_key"] - {"keyholder/maker/key_ring.py"}
    )


def test_a_library_that_others_could_have_written_is_never_loaded(
    tmp_path: Path, loads: list[str], token: SoftToken
) -> None:
    evil, shared = tmp_path / "evil.so", tmp_path / "shared"
    evil.write_bytes(MODULE.read_bytes())
    evil.chmod(0o666)
    shared.mkdir()
    (shared / "good.so").write_bytes(MODULE.read_bytes())
    (shared / "good.so").chmod(0o644)
    shared.chmod(0o777)
    (tmp_path / "link.so").symlink_to(shared / "good.so")
    for module, reason in (
        (evil, "module_not_ours"),
        (shared / "good.so", "module_not_ours"),
        (tmp_path / "link.so", "module_not_ours"),
        ("libsofthsm2.so", "bad_module_path"),
        ("/usr/lib/softhsm/../softhsm/libsofthsm2.so", "bad_module_path"),
        ("/dev/null", "module_not_ours"),
        (tmp_path / "none.so", "no_module"),
    ):
        text = f"pkcs11:token=Owner;object=approver?module-path={module}"
        error = refused(lambda text=text: open_named_key(text, token.pin_file))  # type: ignore[misc]
        assert error.reason == reason
    assert loads == []


@pytest.mark.skipif("os.geteuid() != 0", reason="only root gives files away")
def test_a_folder_of_somebody_else_names_no_library(
    tmp_path: Path, loads: list[str], token: SoftToken
) -> None:
    make_token_key(token.read("una"), lambda _: PIN).close()
    facts = RequesterFacts(
        "Una", "", "ab" * 32, "", server="https://x.example", token_file=str(token.pin_file)
    )
    made, _ = make_requester_on_token(
        tmp_path / "una", token.read("una"), facts, None, token.pin_file
    )
    loads.clear()
    os.chown(made.path / "requester.toml", 65534, 65534)
    error = refused(lambda: RequesterFolder.open(made.path).open_signer(token.pin_file))
    assert error.reason == "folder_not_yours"
    assert loads == []


def test_a_pin_file_that_others_can_read_is_refused_before_it_is_tried(token: SoftToken) -> None:
    make_token_key(token.read(), lambda _: PIN).close()
    token.pin_file.chmod(0o640)
    for text, file in (
        (token.uri(), token.pin_file),
        (f"{token.uri()}&pin-source=file:{token.pin_file}", None),
    ):
        error = refused(lambda text=text, file=file: open_named_key(text, file))  # type: ignore[misc]
        assert error.reason == "passphrase_file_open"


# --- a token that lies


def test_a_signature_that_the_tokens_own_key_does_not_verify_is_never_handed_on(
    token: SoftToken,
) -> None:
    """A public half that was swapped on the token, as by who had its PIN for a minute."""
    token.make("approver", b"\x01")
    signer = open_token_key(token.read(), lambda _: PIN)
    signer.close()
    token.forget()
    token.make("other", b"\x02")
    with (
        pkcs11.lib(str(MODULE.resolve()))
        .get_token(token_label="Owner")
        .open(rw=True, user_pin=PIN.decode()) as session
    ):
        kind = pkcs11.ObjectClass.PUBLIC_KEY
        [mine] = session.get_objects({pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.ID: b"\x01"})
        mine.destroy()
        [other] = session.get_objects({pkcs11.Attribute.CLASS: kind, pkcs11.Attribute.ID: b"\x02"})
        other[pkcs11.Attribute.ID] = b"\x01"
    swapped = open_token_key(token.read(), lambda _: PIN)
    assert swapped.public != signer.public
    assert refused(lambda: swapped.sign(b"a grant")).reason == "token_signed_wrongly"
