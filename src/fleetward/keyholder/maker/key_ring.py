"""The key of each role of a maker: a sealed file in his folder, or a note where it is.

A note (`keys/NAME.at`) names a sealed file elsewhere, such as on a stick, or a key on a token. The
folder's passphrase is asked for once a command, and only when a sealed key of the folder is used.
It is never tried as the PIN of a token: that comes from the URI's own `pin-source`, or is asked
for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final, Protocol

from fleetward.keyholder.maker.folder import MakerFolder
from fleetward.keyholder.named_key import open_named_key, open_named_token
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.token_uri import is_token_uri, read_token_uri
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.runtime.keys import MAX_SEALED_BYTES, make_key, open_key, seal_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import ED25519, Signer

ONLINE: Final = ("targets", "snapshot", "timestamp")
"""The roles that root names besides itself."""
NEXT: Final = ".next"
"""Ends the name of a key that a root still to be signed will name. No role's name has a dot."""
_MAX_NOTE_BYTES: Final = 2048
_OF: Final = "the maker's folder"


class Opens(Protocol):
    """Where signing gets its keys from."""

    def open(self, name: str) -> Signer:
        """Return the key of a name. Raises `Refused` when it is not here."""
        ...


class KeyRing(Opens, Protocol):
    """The keys of a maker: opened, made, replaced."""

    def make(self, name: str) -> Signer:
        """Make and keep an Ed25519 key. Raises `Refused` when there is one of that name."""
        ...

    def note(self, name: str, named: str) -> Signer:
        """Keep where a key is, and return it. Raises as opening it does."""
        ...

    def promote(self, name: str) -> None:
        """Let `NAME.next` take the place of `NAME`. Once more is no error."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names of the keys that are here."""
        ...


class FolderKeys:
    """The keys in a maker's folder."""

    def __init__(
        self, folder: MakerFolder, ask: Callable[[], bytes], passphrase_file: Path | None = None
    ) -> None:
        self._folder = folder
        self._ask = ask
        self._file = passphrase_file
        self._opened: dict[str, Signer] = {}

    def open(self, name: str) -> Signer:
        """Return the key of a name. Raises `Refused` when it is not here, or does not open."""
        if name not in self._opened:
            self._opened[name] = self._open(name)
        return self._opened[name]

    def _open(self, name: str) -> Signer:
        sealed, note = self._paths(name)
        if note.is_file():
            _require_own(note)
            named = read_bounded(note, _MAX_NOTE_BYTES).decode("utf-8", "replace").strip()
            return open_key_at(named, self._file)
        if not sealed.is_file():
            raise Refused(
                f"Expected the key {name!r} in {self._folder.keys}; it is not there. If you moved "
                f"it away, bring {sealed.name} back for as long as you sign.",
                reason="key_not_here",
            )
        return open_key(read_bounded(sealed, MAX_SEALED_BYTES), self._ask())

    def make(self, name: str) -> Signer:
        """Make and seal an Ed25519 key. Raises `Refused` when there is one of that name."""
        self._check_free(name)
        signer = make_key(ED25519)
        sealed = seal_key(signer, self._ask(), f"fleetward maker {name}")
        atomic_write(self._paths(name)[0], sealed)
        self._opened[name] = signer
        return signer

    def note(self, name: str, named: str) -> Signer:
        """Keep where a key is, and return it; one on a token is made there if there is none."""
        self._check_free(name)
        signer = open_key_at(named, self._file, or_make=True)
        said = named if is_token_uri(named) else str(Path(named).absolute())
        atomic_write(self._paths(name)[1], f"{said}\n".encode())
        return signer

    def promote(self, name: str) -> None:
        """Let `NAME.next` take the place of `NAME`, which is gone then. Once more is no error."""
        self._opened.clear()
        for coming, other in (self._paths(f"{name}{NEXT}"), self._paths(f"{name}{NEXT}")[::-1]):
            if coming.is_file():
                place = coming.with_name(coming.name.replace(NEXT, "", 1))
                coming.replace(place)
                place.with_suffix(other.suffix).unlink(missing_ok=True)
                sync_directory(self._folder.keys)

    def names(self) -> tuple[str, ...]:
        """Return the names of the keys that are here."""
        found = [*self._folder.keys.glob("*.key"), *self._folder.keys.glob("*.at")]
        return tuple(sorted({path.name.rpartition(".")[0] for path in found}))

    def _paths(self, name: str) -> tuple[Path, Path]:
        return self._folder.keys / f"{name}.key", self._folder.keys / f"{name}.at"

    def _check_free(self, name: str) -> None:
        if any(path.exists() for path in self._paths(name)):
            raise Refused(
                f"Expected no key {name!r} in {self._folder.keys}; there is one.",
                reason="key_exists",
            )


def ask_once(passphrase_file: Path | None, *, new: bool = False) -> Callable[[], bytes]:
    """Return what asks for the folder's passphrase when it is first needed; `new` asks twice."""
    return cache(lambda: ask_passphrase(passphrase_file, twice=new, of=_OF))


def open_key_at(named: str, passphrase_file: Path | None, *, or_make: bool = False) -> Signer:
    """Return a key that is elsewhere: `passphrase_file` serves for files, never as a PIN."""
    if is_token_uri(named):
        return open_named_token(read_token_uri(named), None, or_make=or_make)
    return open_named_key(named, passphrase_file, of=f"the key {named}")


def open_own_key(named: str, secret_file: Path | None) -> Signer:
    """Return a person's own key, by what he named: `secret_file` holds its passphrase or PIN."""
    return open_named_key(named, secret_file, of=f"the key {named.partition('?')[0]}")


def make_key_on_token(uri: str, pin_file: Path | None) -> tuple[Signer, str]:
    """Make a key on a token; return it, and the URI in its one spelling."""
    token = read_token_uri(uri)
    return open_named_token(token, pin_file, make=True), token.text


def _require_own(note: Path) -> None:
    """A note may name a library to load: nobody else may have written it."""
    found = note.lstat()
    if found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise Refused(
            f"Expected {note} to be yours alone; somebody else could have written it, and it may "
            "name a library to load. Make the key's note anew: remove it, and name the key again.",
            reason="folder_not_yours",
        )


class ComingKeys:
    """A ring as it will be when the next root stands: what is called `NAME.next` goes first."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def open(self, name: str) -> Signer:
        """Return the key of a name, the coming one if there is one."""
        coming = f"{name}{NEXT}"
        return self._ring.open(coming if coming in self._ring.names() else name)


def product_key(product: str) -> str:
    """Return the name of a product's key in the folder: no role of root is called so."""
    return f"product-{product}"


def key_of_role(role: str) -> str:
    """Return the name of the key that signs for a role."""
    return role if role in ONLINE else product_key(role)
