"""The phones of an owner: which there are, and by which secret each is known.

They stand in `phones.json` of the owner's folder, which is read anew at each request, so that a
phone that was removed is out at once, whichever program removed it. Of a secret only the hash is
kept. A phone can do nothing by itself: see `rights`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

import msgspec

from fleetward.keyholder.folder import OwnerFolder
from fleetward.trust.errors import Malformed, Refused

PHONES_FILE: Final = "phones.json"
MAX_PHONES: Final = 5
PHONE_DAYS: Final = 90
"""A phone that was added so long ago is added anew: one that was lost and forgotten goes."""
MAX_NAME: Final = 40
SEEN_EVERY_MS: Final = 3_600_000
_MAX_FILE_BYTES: Final = 64 * 1024
_SECRET_BYTES: Final = 32
_ID_BYTES: Final = 5
_DAY_MS: Final = 86_400_000


class Offered(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A passkey that a phone made and that the owner has not named yet."""

    person: str
    public: str
    credential_id: str
    rp_id: str
    origin: str


class Phone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One phone."""

    id: str
    name: str
    secret_sha256: str
    added_at: int
    ends_at: int
    seen_at: int
    offered: Offered | None = None
    passkeys: list[str] = []
    """Key ids of passkeys that it made and that were named; they stay when it is removed."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    phones: list[Phone]


class Phones:
    """The phones in one owner's folder."""

    def __init__(self, folder: OwnerFolder) -> None:
        self._folder = folder

    def read(self) -> list[Phone]:
        """Return them all, also those whose time is over. Raises `Malformed`."""
        if not self._folder.has(PHONES_FILE):
            return []
        try:
            data = self._folder.read(PHONES_FILE, _MAX_FILE_BYTES)
            return msgspec.json.decode(data, type=_File).phones
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise Malformed(
                f"Expected {self._folder.path / PHONES_FILE} as this program writes it; {e}. No "
                "phone is let in. Remove the file, and add your phones anew.",
                reason="bad_phones_file",
            ) from e

    def find(self, secret: str, now_ms: int) -> Phone | None:
        """Return the phone that has this secret, while it may come in."""
        given = _hash(secret)
        found: Phone | None = None
        for phone in self.read():
            same = hmac.compare_digest(given, phone.secret_sha256)
            if same and now_ms < phone.ends_at:
                found = phone
        return found

    def knows(self, id_: str, now_ms: int) -> bool:
        """Say whether a phone may still come in."""
        return any(phone.id == id_ and now_ms < phone.ends_at for phone in self.read())

    def add(self, name: str, now_ms: int) -> tuple[Phone, str]:
        """Add a phone; return it and its secret, which is kept nowhere else. Raises `Refused`."""
        name = name.strip()
        if not name or len(name) > MAX_NAME or not name.isprintable():
            raise Refused(f"Expected a name of 1 to {MAX_NAME} letters.", reason="bad_name")
        with self._folder.locked():
            phones = [phone for phone in self.read() if now_ms < phone.ends_at]
            if any(phone.name == name for phone in phones):
                raise Refused(
                    f"There is a phone {name!r} already. Choose another name, or remove that one: "
                    "fleetward owner console phones remove",
                    reason="known_name",
                )
            if len(phones) >= MAX_PHONES:
                raise Refused(
                    f"There are {MAX_PHONES} phones already. Remove one: "
                    "fleetward owner console phones remove NAME",
                    reason="too_many_phones",
                )
            secret = secrets.token_urlsafe(_SECRET_BYTES)
            phone = Phone(
                id=secrets.token_hex(_ID_BYTES),
                name=name,
                secret_sha256=_hash(secret),
                added_at=now_ms,
                ends_at=now_ms + PHONE_DAYS * _DAY_MS,
                seen_at=now_ms,
            )
            self._write([*phones, phone])
        return phone, secret

    def remove(self, named: str) -> Phone:
        """Take out the phone of this name or id. Raises `Refused` when there is none."""
        with self._folder.locked():
            phones = self.read()
            gone = [phone for phone in phones if named in (phone.id, phone.name)]
            if len(gone) != 1:
                raise Refused(
                    f"Expected one phone {named[:80]!r}, found {len(gone)}. "
                    "See: fleetward owner console phones list",
                    reason="phone_not_found" if not gone else "bad_name",
                )
            self._write([phone for phone in phones if phone is not gone[0]])
        return gone[0]

    def change(self, id_: str, **fields: object) -> None:
        """Change some fields of a phone, where it is still there."""
        with self._folder.locked():
            phones = self.read()
            if any(phone.id == id_ for phone in phones):
                self._write(
                    [msgspec.structs.replace(p, **fields) if p.id == id_ else p for p in phones]
                )

    def _write(self, phones: list[Phone]) -> None:
        self._folder.replace(PHONES_FILE, msgspec.json.encode(_File(phones)))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
