"""The maker's folder: sealed keys, the repository that is published, drafts.

    maker.toml                          name, and when it was made
    first-root.json                     the root by which owners know this maker
    keys/NAME.key                       sealed under the folder's passphrase, or
    keys/NAME.at                        where the key is instead: a sealed file, or pkcs11:…
    repository/metadata/                TUF's files: 1.root.json … timestamp.json
    repository/targets/PRODUCT/VERSION/HASH.release.json
    repository/blobs/SHA256             parts, lists of segments, bills of materials
    drafts/N.root.json                  a root that not enough people have signed yet
    drafts/PRODUCT/VERSION/release.json a release that nobody has signed yet

It belongs on a computer of the maker, never on a server. It is 0700. `repository` alone is meant
for others, and is carried to them by copies.
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
from fleetward.trust.errors import Malformed, Refused, Unreachable

DEFAULT_FOLDER: Final = ".fleetward/maker"
"""Below the home directory."""
FACTS_FILE: Final = "maker.toml"
MAX_NAME: Final = 80
_MAX_FACTS_BYTES: Final = 4096
_FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class MakerFacts:
    """What `maker.toml` says."""

    name: str
    created_at: str


class MakerFolder:
    """One maker's folder: where things lie. It signs nothing and verifies nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = path / "keys"
        self.repository = path / "repository"
        self.drafts = path / "drafts"
        self.first_root = path / "first-root.json"

    @classmethod
    def create(cls, path: Path, facts: MakerFacts) -> MakerFolder:
        """Make a new folder beside `path`, to be put in its place by `publish`.

        Raises `Refused` when something lies at `path`.
        """
        check_name(facts.name)
        if path.is_symlink() or path.exists():
            raise Refused(
                f"Expected nothing at {path}; something is there. A maker's folder is never made "
                "over another: choose another place by --maker.",
                reason="folder_exists",
            )
        make_private_directory(path.parent)
        folder = cls(path.with_name(f".{path.name}.{secrets.token_hex(4)}.part"))
        for each in (folder.path, folder.keys, folder.repository, folder.drafts):
            make_private_directory(each)
        said = (
            f"format = {_FORMAT}\nname = {_quoted(facts.name)}\n"
            f"created_at = {_quoted(facts.created_at)}\n"
        )
        atomic_write(folder.path / FACTS_FILE, said.encode("utf-8"))
        return folder

    def publish(self, path: Path) -> MakerFolder:
        """Move a folder that is complete to where it belongs. Raises `Unreachable`."""
        try:
            self.path.rename(path)
            sync_directory(path.parent)
        except OSError as e:
            raise Unreachable(
                f"Expected to place the maker's folder at {path}; the system says: {e.strerror}.",
                reason="disk_refused",
            ) from e
        return MakerFolder(path)

    @classmethod
    def open(cls, path: Path) -> MakerFolder:
        """Return the folder at `path`. Raises `Refused` when there is none, or others may read."""
        if not (path / FACTS_FILE).is_file():
            raise Refused(
                f"Expected a maker's folder at {path}; there is none. Name it by --maker, or make "
                "one: fleetward maker init --name NAME",
                reason="no_maker_folder",
            )
        if path.stat().st_mode & 0o077:
            raise Refused(
                f"Expected {path} to be closed to other users; it is open. See who could read it, "
                f"then: chmod 700 {path}",
                reason="folder_open",
            )
        return cls(path)

    def read_facts(self) -> MakerFacts:
        """Return what `maker.toml` says. Raises `Malformed` for other keys or types."""
        data = read_bounded(self.path / FACTS_FILE, _MAX_FACTS_BYTES)
        try:
            values = tomllib.loads(data.decode("utf-8"))
            if values.pop("format") != _FORMAT or not all(
                isinstance(each, str) for each in values.values()
            ):
                raise TypeError("another format")
            return MakerFacts(**values)
        except (ValueError, TypeError, KeyError) as e:
            raise Malformed(
                f"Expected {FACTS_FILE} of format {_FORMAT} in {self.path}; {e}.",
                reason="bad_maker_toml",
            ) from e

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other programs of the maker from signing at the same time."""
        descriptor = os.open(
            self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
        )
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def find_maker(maker: Path | None) -> Path:
    """Return the maker's folder of a command: named, or the one in the home."""
    return maker if maker is not None else Path.home() / DEFAULT_FOLDER


def check_name(name: str) -> str:
    """Return a maker's or a person's name unchanged. Raises `Malformed`."""
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise Malformed(
            f"Expected a name of 1 to {MAX_NAME} printable characters, got {name[:40]!r}.",
            reason="bad_name",
        )
    return name


def _quoted(text: str) -> str:
    """Return a TOML basic string. Control characters were refused before."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
