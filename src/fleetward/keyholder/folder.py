"""The owner's folder: sealed keys, signed documents, and what is known of the server.

    owner.toml               name, person, owner root, when and where it was made
    keys/NAME.key            sealed under the owner's passphrase
    fleet-ca.pem             certificate of the fleet CA
    issuing-chain.pem        the server's issuing CA, as signed by it
    server-ca.pem            certificate of the server CA, by which the server is pinned
    introduction.json        addresses and keys of the server, as pinned when the owner was made
    documents/root.json
    documents/policies/00001.json …       rosters/00001.json and rosters/00001.entries …
    documents/heads/00001.json …          leases/0000000001.json …
    documents/invitations/HASH.json       openings/00002.json

The folder belongs on a computer of the owner, not on the server's. It is 0700, every file in it is
written whole or not at all, and a document that was signed is never overwritten by another.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.runtime.files import (
    PRIVATE_FILE,
    atomic_write,
    make_private_directory,
    read_bounded,
    sync_directory,
)
from fleetward.runtime.keys import FileSigner, key_id_of_sealed, open_key, seal_key
from fleetward.trust.errors import Malformed, Refused, Unreachable

DEFAULT_FOLDER: Final = "fleetward-owner"
"""Below the home directory."""
ISSUING_CHAIN_FILE: Final = "issuing-chain.pem"
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_ENTRIES_BYTES: Final = 256 * 1024 * 1024
"""Bytes of one roster's entries: 100,000 machines have 50 MB."""
_MAX_SMALL_BYTES: Final = 64 * 1024
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class OwnerFacts:
    """What `owner.toml` says."""

    name: str
    person: str
    owner_root: str
    created_at: str
    beside_server: bool
    """Whether the folder was made on the server's host. It is never unsaid: keys were there."""


class OwnerFolder:
    """One owner's folder. It reads and writes; it signs nothing and verifies nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path) -> OwnerFolder:
        """Make a new folder beside `path`, to be put in its place by `publish`.

        Raises `Refused` when something lies at `path` already.
        """
        if path.is_symlink() or path.exists():
            raise Refused(
                f"Expected nothing at {path}; something is there. An owner's folder is never "
                "made over another: choose another place by --out.",
                reason="folder_exists",
            )
        folder = cls(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part"))
        make_private_directory(folder.path)
        return folder

    def publish(self, path: Path) -> OwnerFolder:
        """Move a folder that is complete to where it belongs. Raises `Unreachable`."""
        try:
            self.path.rename(path)
            sync_directory(path.parent)
        except OSError as e:
            raise Unreachable(
                f"Expected to place the owner's folder at {path}; the system says: "
                f"{e.strerror}. It lies complete at {self.path}.",
                reason="disk_refused",
            ) from e
        return OwnerFolder(path)

    @classmethod
    def open(cls, path: Path) -> OwnerFolder:
        """Return the folder at `path`. Raises `Refused` when there is none, or others may read."""
        if not (path / "owner.toml").is_file():
            raise Refused(
                f"Expected an owner's folder at {path}; there is none. Name it by --owner, "
                "or make one by `fleetward owner init`.",
                reason="no_owner_folder",
            )
        if path.stat().st_mode & 0o077:
            raise Refused(
                f"Expected {path} to be closed to other users; it is open. "
                f"See who could read it, then: chmod 700 {path}",
                reason="folder_open",
            )
        return cls(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs of the owner from signing at the same time."""
        descriptor = os.open(
            self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def write_facts(self, facts: OwnerFacts) -> None:
        """Write `owner.toml`, once."""
        lines = [
            f"format = {_FORMAT}",
            f"name = {_quoted(facts.name)}",
            f"person = {_quoted(facts.person)}",
            f"owner_root = {_quoted(facts.owner_root)}",
            f"created_at = {_quoted(facts.created_at)}",
            f"beside_server = {'true' if facts.beside_server else 'false'}",
        ]
        self.write_once("owner.toml", ("\n".join(lines) + "\n").encode("utf-8"))

    def read_facts(self) -> OwnerFacts:
        """Return what `owner.toml` says. Raises `Malformed` for other keys or types."""
        data = read_bounded(self.path / "owner.toml", _MAX_SMALL_BYTES)
        try:
            values = tomllib.loads(data.decode("utf-8"))
            if values.pop("format") != _FORMAT:
                raise TypeError("another format")
            facts = OwnerFacts(**values)
        except (ValueError, TypeError, KeyError) as e:
            raise Malformed(
                f"Expected owner.toml of format {_FORMAT} in {self.path}; {e}.",
                reason="bad_owner_toml",
            ) from e
        texts = (facts.name, facts.person, facts.owner_root, facts.created_at)
        if not all(isinstance(t, str) for t in texts) or not isinstance(facts.beside_server, bool):
            raise Malformed(
                f"Expected texts in {self.path / 'owner.toml'}.", reason="bad_owner_toml"
            )
        return facts

    def write_key(self, name: str, signer: FileSigner, passphrase: bytes) -> None:
        """Seal a key and write it, once."""
        self.write_once(f"keys/{name}.key", seal_key(signer, passphrase, f"fleetward {name}"))

    def key_id(self, name: str) -> str:
        """Return the id of a sealed key, which its file says in the open. Empty without one.

        The seal vouches for it only when the key is opened; nothing is believed before that.
        """
        try:
            sealed = read_bounded(self.path / "keys" / f"{name}.key", _MAX_SMALL_BYTES)
        except Unreachable:
            return ""
        return key_id_of_sealed(sealed)

    def open_signer(self, name: str, passphrase: bytes) -> FileSigner:
        """Return a key of this folder. Raises `Refused` for a wrong passphrase or no such key."""
        try:
            sealed = read_bounded(self.path / "keys" / f"{name}.key", _MAX_SMALL_BYTES)
        except Unreachable as e:
            raise Refused(
                f"Expected the {name} key in {self.path}; it is not there. It may be kept "
                "elsewhere: name that folder by --owner.",
                reason="key_not_here",
            ) from e
        return open_key(sealed, passphrase)

    def promote_key(self, name: str) -> None:
        """Let `NAME.next` take the place of `NAME`, which is gone then. Once more is no error."""
        following = self.path / "keys" / f"{name}.next.key"
        if following.is_file():
            following.replace(self.path / "keys" / f"{name}.key")
            sync_directory(following.parent)

    def drop_key(self, name: str) -> None:
        """Remove a key that nothing names."""
        (self.path / "keys" / f"{name}.key").unlink(missing_ok=True)

    def write_once(self, name: str, content: bytes) -> None:
        """Write a file that never changes again.

        The same bytes again are no error. Raises `Refused` when another file is there.
        """
        path = self.path / name
        make_private_directory(path.parent)
        partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
        atomic_write(partial, content)
        try:
            os.link(partial, path)
        except FileExistsError as e:
            if read_bounded(path, MAX_DOCUMENT_BYTES) != content:
                raise Refused(
                    f"Expected {path} not to exist; another version is there. "
                    "Signed documents are never overwritten.",
                    reason="document_exists",
                ) from e
        except OSError as e:
            raise Unreachable(
                f"Expected to write {path}; the system says: {e.strerror}.", reason="disk_refused"
            ) from e
        finally:
            partial.unlink(missing_ok=True)
        sync_directory(path.parent)

    def replace(self, name: str, content: bytes) -> None:
        """Write a file that may change: what is known of the server."""
        make_private_directory((self.path / name).parent)
        atomic_write(self.path / name, content)

    def keep_draft(self, name: str, content: bytes) -> None:
        """Write what is not signed by enough people yet; a newer draft takes its place."""
        make_private_directory((self.path / name).parent)
        atomic_write(self.path / name, content)

    def read(self, name: str, max_bytes: int = MAX_DOCUMENT_BYTES) -> bytes:
        """Return a file's bytes. Raises `Unreachable`, `Refused` or `Malformed`."""
        return read_bounded(self.path / name, max_bytes)

    def has(self, name: str) -> bool:
        """Say whether there is such a file."""
        return (self.path / name).is_file()

    def numbers(self, kind: str) -> list[int]:
        """Return the versions of `documents/<kind>` that are there, in order."""
        found = (self.path / "documents" / kind).glob("*.json")
        return sorted(int(p.stem) for p in found if p.stem.isdecimal())


def document_name(kind: str, number: int, ending: str = "json") -> str:
    """Return the name of a version below the folder."""
    width = 10 if kind == "leases" else 5
    return f"documents/{kind}/{number:0{width}d}.{ending}"


def _quoted(text: str) -> str:
    """Return a TOML basic string. Control characters were refused before."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
