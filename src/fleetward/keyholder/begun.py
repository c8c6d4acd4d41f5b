"""A folder that is not an owner's yet: new keys, for taking a fleet over or for a recovery.

It is an owner's folder without `owner.toml`, so that no command takes it for one. `begun.json` says
whose it is, with the public halves. Made as a whole or not at all; made again, it is read.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.keyholder.ceremony import make_fleet_ca
from fleetward.keyholder.folder import OwnerFolder
from fleetward.runtime.files import read_bounded
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.runtime.x509 import Authority, certificate_sha256, write_certificates
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import ED25519, ES256

BEGUN_FILE: Final = "begun.json"
FOR: Final = ("take-over", "recovery")
_MAX_BYTES: Final = 64 * 1024
_MAX_NAME: Final = 80
_KEYS: Final = {
    "root": ED25519,
    "approver": ED25519,
    "refresh": ED25519,
    "recording": ES256,
    "fleet-ca": ES256,
}


class Begun(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What `begun.json` says."""

    what: str
    name: str
    person: str
    org: str
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class BegunFolder:
    """New keys in a folder, open."""

    folder: OwnerFolder
    said: Begun
    signers: Mapping[str, FileSigner]

    @property
    def recording_key(self) -> str:
        """The recording key as a policy names it."""
        return f"{ES256}:{to_base64url(self.signers['recording'].public.spki)}"

    def fleet_ca(self) -> Authority:
        """Return the fleet CA of this folder."""
        return make_fleet_ca(
            self.signers["fleet-ca"],
            self.signers["fleet-ca"].public.key_id[:8],
            self.said.created_at_ms,
            self.folder.read("fleet-ca.pem") if self.folder.has("fleet-ca.pem") else b"",
        )

    def fleet_ca_sha256(self) -> str:
        """Return the hash by which a policy names the fleet CA."""
        return certificate_sha256(self.fleet_ca().certificate)


def begin_folder(path: Path, passphrase: bytes, said: Begun) -> BegunFolder:
    """Make new keys at `path`, or open those that were begun there.

    Raises `Refused` when something else lies there, or the passphrase is another one.
    """
    for text in (said.name, said.person, said.org):
        if len(text) > _MAX_NAME or not (text.isprintable() or not text):
            raise Malformed(
                f"Expected names of at most {_MAX_NAME} printable characters.", reason="bad_name"
            )
    if not said.name or not said.person:
        raise Malformed("Expected a name and a person.", reason="bad_name")
    if path.exists():
        return open_begun(path, passphrase, said.what)
    folder = OwnerFolder.create(path)
    try:
        signers = {name: make_key(suite) for name, suite in _KEYS.items()}
        for name, signer in signers.items():
            folder.write_key(name, signer, passphrase)
        made = BegunFolder(folder, said, signers)
        folder.write_once("fleet-ca.pem", write_certificates([made.fleet_ca().certificate]))
        folder.write_once(BEGUN_FILE, msgspec.json.encode(said))
        return BegunFolder(folder.publish(path), said, signers)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def open_begun(path: Path, passphrase: bytes, what: str) -> BegunFolder:
    """Return the new keys that were begun at `path`. Raises `Refused` or `Malformed`."""
    folder = OwnerFolder(path)
    if not folder.has(BEGUN_FILE):
        raise Refused(
            f"Expected a folder that `fleetward owner {_COMMANDS[what]}` began at {path}; there is "
            "none, or it is something else. Name another place by --folder.",
            reason="not_begun",
        )
    try:
        said = msgspec.json.decode(read_bounded(path / BEGUN_FILE, _MAX_BYTES), type=Begun)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected {BEGUN_FILE} of this release; {e}.", reason="bad_begun") from e
    if said.what != what:
        raise Refused(
            f"The folder at {path} was begun for another purpose: {said.what}.",
            reason="not_begun",
        )
    signers = {name: folder.open_signer(name, passphrase) for name in _KEYS}
    return BegunFolder(folder, said, signers)


_COMMANDS: Final = {"take-over": "take-over prepare", "recovery": "recover announce"}
