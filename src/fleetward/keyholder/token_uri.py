"""Naming a key on a token by a PKCS#11 URI (RFC 7512).

    pkcs11:token=Owner;object=approver?module-path=/usr/lib/softhsm/libsofthsm2.so

Of the standard we take `token`, `serial`, `model`, `manufacturer`, `object`, `id`, `type=private`,
and in the query `module-path` and `pin-source=file:/…`. Everything else is refused, so that nobody
believes that a word counts which does not. `pin-value` is refused with its own words: arguments
stand in the list of processes and in the shell's history. No error repeats a value of the query.

A URI comes from the command line or from a technician's or a maker's own folder, and from nowhere
else: no document, draft, or answer of a server has a field that is read as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote_to_bytes

from fleetward.trust.errors import Malformed, Refused

SCHEME: Final = "pkcs11:"
MAX_URI_CHARACTERS: Final = 1024
"""A label and a label of a key have 32 characters or a few more; a path has a few hundred."""
_PATH_NAMES: Final = ("token", "serial", "model", "manufacturer", "object", "id", "type")
_QUERY_NAMES: Final = ("module-path", "pin-source")
_EXAMPLE: Final = "pkcs11:token=NAME;object=KEY?module-path=/usr/lib/softhsm/libsofthsm2.so"


@dataclass(frozen=True, slots=True)
class TokenUri:
    """Where a key is: the library, the token, and the key on it. No PIN is ever part of it."""

    module: Path
    token: str = ""
    serial: str = ""
    model: str = ""
    manufacturer: str = ""
    object: str = ""
    id: bytes = b""
    pin_file: Path | None = None

    @property
    def text(self) -> str:
        """Return the URI in one spelling, which is read back as the same."""
        named = [
            (name, quote(getattr(self, name), safe=""))
            for name in ("token", "serial", "model", "manufacturer", "object")
        ]
        named.append(("id", "".join(f"%{byte:02X}" for byte in self.id)))
        query = f"module-path={quote(str(self.module))}"
        if self.pin_file is not None:
            query += f"&pin-source=file:{quote(str(self.pin_file))}"
        path = ";".join(f"{name}={value}" for name, value in named if value)
        return f"{SCHEME}{path}?{query}"

    @property
    def words(self) -> str:
        """Name the key for a person, without the query."""
        key = repr(self.object) if self.object else f"with the id {self.id.hex()}"
        return f"the key {key} on the token {self.token or self.serial!r}"


def is_token_uri(named: str) -> bool:
    """Say whether what was named as a key is meant as a URI, and not as a file."""
    return named[: len(SCHEME)].lower() == SCHEME


def read_token_uri(text: str) -> TokenUri:
    """Return what a URI names. Raises `Refused` for a PIN in it, `Malformed` for all else."""
    if "pin-value" in unquote_to_bytes(text).decode("utf-8", "replace").lower():
        raise Refused(
            "A PIN is never an argument: it stands in the list of processes and in the shell's "
            "history now, so change it. Leave pin-value out and be asked, or name a file of mode "
            "600 by --passphrase-file or pin-source=file:/….",
            reason="pin_in_uri",
        )
    if not is_token_uri(text) or len(text) > MAX_URI_CHARACTERS or not text.isascii():
        raise _malformed("a URI of at most 1024 characters of ASCII")
    path, _, query = text[len(SCHEME) :].partition("?")
    where = _read_pairs(path, ";", _PATH_NAMES)
    how = _read_pairs(query, "&", _QUERY_NAMES)
    if "module-path" not in how:
        raise _malformed("module-path=, the library of the token's maker")
    if "token" not in where and "serial" not in where:
        raise _malformed("token= or serial=")
    if "object" not in where and "id" not in where:
        raise _malformed("object= or id=")
    if where.get("type", b"private") != b"private":
        raise _malformed("no type= but private")
    names = ("token", "serial", "model", "manufacturer", "object")
    return TokenUri(
        module=Path(_read_text(how, "module-path")),
        id=where.get("id", b""),
        pin_file=_read_pin_file(how),
        **{name: _read_text(where, name) for name in names},
    )


def _read_pairs(text: str, separator: str, known: tuple[str, ...]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for pair in text.split(separator) if text else []:
        name, equals, value = pair.partition("=")
        if not equals or not value or name not in known:
            raise _malformed(f"{separator.join(f'{each}=…' for each in known)} and nothing else")
        if name in found:
            raise _malformed(f"{name}= once")
        if value.count("%") != len([p for p in value.split("%")[1:] if _is_hex(p[:2])]):
            raise _malformed("two hexadecimal digits after each %")
        found[name] = unquote_to_bytes(value)
    return found


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(c in "0123456789abcdefABCDEF" for c in text)


def _read_text(pairs: Mapping[str, bytes], name: str) -> str:
    try:
        text = pairs.get(name, b"").decode("utf-8")
    except UnicodeDecodeError as e:
        raise _malformed(f"{name}= in UTF-8") from e
    if text and not text.isprintable():
        raise _malformed(f"printable characters in {name}=")
    return text


def _read_pin_file(how: Mapping[str, bytes]) -> Path | None:
    text = _read_text(how, "pin-source")
    if not text:
        return None
    path = text.removeprefix("file:").removeprefix("//")
    if not text.startswith("file:") or not path.startswith("/"):
        raise _malformed("pin-source=file:/… with an absolute path; no command is ever run")
    return Path(path)


def _malformed(expected: str) -> Malformed:
    return Malformed(
        f"Expected {expected} in the URI of a key on a token, as {_EXAMPLE}.",
        reason="bad_token_uri",
    )
