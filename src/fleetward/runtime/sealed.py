"""An encrypted stream under a passphrase, for backups.

The first line is a header in canonical JSON; scrypt (RFC 7914) turns the passphrase into a key.
Behind it come records: four bytes of length (big endian), then AES-256-GCM of at most 1 MiB. The
nonce is the record's number; the associated data are the header and one byte that says whether the
record is the last, so that no record can be dropped, doubled, moved or cut off (the STREAM
construction of Hoang, Reyhanitabar, Rogaway and Vizar, 2015).
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.fields import Fields

RECORD_BYTES: Final = 1024 * 1024
SCRYPT_COST: Final = 2**16
"""64 MiB and about 0.2 s a guess."""
MAX_HEADER_BYTES: Final = 1024
SEALED_TYPE: Final = "fleetward.sealed-stream.v1"
_TAG_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">I")


def seal_stream(chunks: Iterable[bytes], passphrase: bytes, what: str) -> Iterator[bytes]:
    """Yield the bytes of an encrypted stream over `chunks`. `what` says what it is."""
    salt = secrets.token_bytes(16)
    value: JsonObject = {
        "cost": SCRYPT_COST,
        "salt": to_base64url(salt),
        "type": SEALED_TYPE,
        "what": what,
    }
    header = canonical.encode(value)
    cipher = AESGCM(_stretch(passphrase, salt))
    yield header + b"\n"
    number = 0
    held: bytes | None = None
    for record in _records(chunks):
        if held is not None:
            yield _seal(cipher, number, header, held, last=False)
            number += 1
        held = record
    yield _seal(cipher, number, header, held or b"", last=True)


def open_stream(source: BinaryIO, passphrase: bytes, what: str) -> Iterator[bytes]:
    """Yield the plain bytes of a stream.

    Raises `Malformed` for another file, `Refused` for a wrong passphrase or an altered, shortened
    or lengthened stream. What was yielded before that is true, but not the whole.
    """
    line = source.readline(MAX_HEADER_BYTES)
    header = line.rstrip(b"\n")
    try:
        fields = Fields(
            canonical.decode(header, max_bytes=MAX_HEADER_BYTES),
            "the header",
            {"cost", "salt", "type", "what"},
        )
        fields.choice("type", (SEALED_TYPE,))
        fields.choice("what", (what,))
        fields.integer("cost", low=SCRYPT_COST, high=SCRYPT_COST)
        salt = fields.binary("salt", most=16)
    except Malformed as e:
        raise Malformed(
            f"Expected an encrypted {what.replace('-', ' ')} of this release; the file is "
            f"something else. ({e.message})",
            reason="not_sealed",
        ) from e
    cipher = AESGCM(_stretch(passphrase, salt))
    number, last = 0, False
    while not last:
        sealed = _read_record(source)
        following = source.read(1)
        last = not following
        if following:
            source.seek(-1, 1)
        yield _open(cipher, number, header, sealed, last=last)
        number += 1


def _records(chunks: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for chunk in chunks:
        held += chunk
        while len(held) >= RECORD_BYTES:
            yield bytes(held[:RECORD_BYTES])
            del held[:RECORD_BYTES]
    if held:
        yield bytes(held)


def _seal(cipher: AESGCM, number: int, header: bytes, plain: bytes, *, last: bool) -> bytes:
    sealed = cipher.encrypt(_nonce(number), plain, header + (b"\x01" if last else b"\x00"))
    return _LENGTH.pack(len(sealed)) + sealed


def _open(cipher: AESGCM, number: int, header: bytes, sealed: bytes, *, last: bool) -> bytes:
    try:
        return cipher.decrypt(_nonce(number), sealed, header + (b"\x01" if last else b"\x00"))
    except InvalidTag as e:
        raise Refused(
            "The passphrase is not the one of this backup, or the file was altered or cut off.",
            reason="wrong_passphrase",
        ) from e


def _read_record(source: BinaryIO) -> bytes:
    prefix = source.read(_LENGTH.size)
    length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else 0
    if not _TAG_BYTES <= length <= RECORD_BYTES + _TAG_BYTES:
        raise Malformed("Expected a record of a backup.", reason="bad_backup")
    sealed = source.read(length)
    if len(sealed) != length:
        raise Malformed("The backup ends too early.", reason="backup_cut_off")
    return sealed


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _stretch(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=8, p=1).derive(passphrase)
