"""A token in software (SoftHSM) in a directory of the test's own."""

from __future__ import annotations

import gc
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism, MechanismFlag

from fleetward.keyholder.token_keys import P256_PARAMS
from fleetward.keyholder.token_uri import TokenUri, read_token_uri

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = b"cobalt-4711"
ED25519_PARAMS = b"\x13\x0cedwards25519"


@dataclass
class SoftToken:
    """A directory of tokens; the first is called Owner."""

    folder: Path
    pin_file: Path

    def uri(self, object_: str = "approver", token: str = "Owner", more: str = "") -> str:
        return f"pkcs11:token={token};object={object_}{more}?module-path={MODULE}"

    def read(self, object_: str = "approver") -> TokenUri:
        return read_token_uri(self.uri(object_))

    def add(self, label: str = "Owner") -> None:
        """Make one more token."""
        self.forget()
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "so-87654321",
             "--pin", PIN.decode()],
            check=True, capture_output=True,
        )  # fmt: skip

    def make(
        self, label: str, id_: bytes, *, ed25519: bool = False, extractable: bool = False
    ) -> None:
        """Make a key as another program would."""
        kind, params = KeyType.EC, P256_PARAMS
        if ed25519:
            kind, params = KeyType.EC_EDWARDS, ED25519_PARAMS
        token = pkcs11.lib(str(MODULE.resolve())).get_token(token_label="Owner")
        with token.open(rw=True, user_pin=PIN.decode()) as session:
            curve = session.create_domain_parameters(
                kind, {Attribute.EC_PARAMS: params}, local=True
            )
            curve.generate_keypair(
                id=id_, label=label, store=True,
                mechanism=Mechanism.EC_EDWARDS_KEY_PAIR_GEN if ed25519 else None,
                capabilities=MechanismFlag.SIGN | MechanismFlag.VERIFY,
                private_template={Attribute.EXTRACTABLE: extractable},
            )  # fmt: skip

    def forget(self) -> None:
        """Begin anew, as another process would: nobody is logged in."""
        gc.collect()
        with_library(lambda library: library.finalize())


def with_library(act: Callable[..., object]) -> None:
    """Do something with the library, if it is loaded."""
    library = pkcs11._loaded.get(str(MODULE.resolve()))
    if library is not None and library.initialized:
        act(library)


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SoftToken]:
    if not MODULE.is_file() or shutil.which("softhsm2-util") is None:
        pytest.skip("softhsm2 is not installed: no token to try keys on")
    folder = tmp_path / "softhsm"
    (folder / "tokens").mkdir(parents=True)
    (folder / "conf").write_text(
        f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n"
        "log.level = ERROR\n"
    )
    monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "conf"))
    pin_file = tmp_path / "pin"
    pin_file.write_bytes(PIN + b"\n")
    pin_file.chmod(0o600)
    made = SoftToken(folder, pin_file)
    made.add()
    yield made
    made.forget()
