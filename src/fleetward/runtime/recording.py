"""A recording: what was seen and typed in a session, sealed to its owner, and chained.

The first line is a header in canonical JSON: whose, of which session, and a content key sealed to
the owner's recording key by HPKE in base mode (RFC 9180 section 5.1.1; DHKEM(P-256, HKDF-SHA256)).
Behind it come records: four bytes of length, big endian, then AES-256-GCM under the content key.
The nonce is the record's number, the associated data the chain's head before it:

    head(0) = SHA-256("fleetward.recording-start.v1" 0x00 header line)
    head(n) = SHA-256("fleetward.recording.v1" 0x00 head(n-1) SHA-256(record n, length included))

The machine signs heads into its journal while the session runs, and the last one into the receipt.
Who stores a recording can neither read it nor shorten it unnoticed. A record holds lines in the
format of asciinema v2 (without its header line): `[seconds, code, text]`, the codes `o` output,
`i` input, `r` resize, `m` mark.

The writer knows the content key and the public recording key alone: a machine cannot read back
what it recorded before it was started.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError
from pyhpke.keys.ec_key import ECKey

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ES256, read_public_key

RECORDING_TYPE: Final = "fleetward.recording.v1"
MAX_HEADER_BYTES: Final = 4096
MAX_RECORD_BYTES: Final = 256 * 1024
"""Bytes of one record; a larger piece of output is cut into several."""
CONTENT_KEY_BYTES: Final = 32
_TAG_BYTES: Final = 16
_LENGTH: Final = struct.Struct(">I")
_SUITE: Final = CipherSuite.new(KEMId.DHKEM_P256_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM)


@dataclass(frozen=True, slots=True)
class Header:
    """The first line as read. `enc` and `sealed` hold the content key for the owner."""

    owner: str
    device: str
    session: str
    started_at_ms: int
    enc: bytes
    sealed: bytes
    raw: bytes


class Sealer:
    """Makes a recording, record after record; the caller writes them down before it goes on."""

    def __init__(
        self, owner: str, device: str, session: str, recording_key: str, now_ms: int
    ) -> None:
        """Make the header. Raises `Malformed` when the policy names no usable recording key."""
        content_key = secrets.token_bytes(CONTENT_KEY_BYTES)
        enc, sealed = _seal_key(content_key, recording_key, device, session)
        value: JsonObject = {
            "device": device,
            "enc": to_base64url(enc),
            "owner": owner,
            "sealed": to_base64url(sealed),
            "session": session,
            "started_at": now_ms,
            "type": RECORDING_TYPE,
        }
        self._cipher = AESGCM(content_key)
        self.header: Final = canonical.encode(value) + b"\n"
        self.head = start_of_chain(self.header)
        self.records = 0

    def seal(self, lines: bytes) -> bytes:
        """Return the bytes of the next record, and move the head on."""
        nonce = self.records.to_bytes(12, "big")
        sealed = self._cipher.encrypt(nonce, lines, self.head)
        record = _LENGTH.pack(len(sealed)) + sealed
        self.head = next_head(self.head, record)
        self.records += 1
        return record


def start_of_chain(header: bytes) -> bytes:
    """Return head(0) for a header line, its line break included."""
    return hashlib.sha256(b"fleetward.recording-start.v1\x00" + header).digest()


def next_head(head: bytes, record: bytes) -> bytes:
    """Return the head after a record."""
    return hashlib.sha256(
        b"fleetward.recording.v1\x00" + head + hashlib.sha256(record).digest()
    ).digest()


def read_header(source: BinaryIO) -> Header:
    """Return the header of a recording. Raises `Malformed`."""
    line = source.readline(MAX_HEADER_BYTES)
    fields = Fields(
        canonical.decode(line.rstrip(b"\n"), max_bytes=MAX_HEADER_BYTES),
        "the recording",
        {"device", "enc", "owner", "sealed", "session", "started_at", "type"},
    )
    fields.choice("type", (RECORDING_TYPE,))
    return Header(
        owner=fields.digest("owner"),
        device=fields.key_id("device"),
        session=fields.digest("session"),
        started_at_ms=fields.integer("started_at"),
        enc=fields.binary("enc", most=128),
        sealed=fields.binary("sealed", most=128),
        raw=line,
    )


def read_records(source: BinaryIO) -> Iterator[bytes]:
    """Yield the records behind the header, sealed, as far as they are whole.

    Raises `Malformed` for a length that no record has. A record that is cut off ends the reading:
    a crash leaves that, and the heads say whether something is missing.
    """
    while len(prefix := source.read(_LENGTH.size)) == _LENGTH.size:
        (length,) = _LENGTH.unpack(prefix)
        if not _TAG_BYTES <= length <= MAX_RECORD_BYTES + _TAG_BYTES:
            raise Malformed("Expected a record of a recording.", reason="bad_recording")
        sealed = source.read(length)
        if len(sealed) != length:
            return
        yield prefix + sealed


def open_content_key(header: Header, private: ec.EllipticCurvePrivateKey) -> bytes:
    """Return the content key with the owner's recording key. Raises `Refused` for another key."""
    try:
        key = ECKey(private)
        context = _SUITE.create_recipient_context(header.enc, key, info=_info(header.session))
        return context.open(header.sealed, aad=header.device.encode())
    except (PyHPKEError, ValueError) as e:
        raise Refused(
            "This recording was sealed to another recording key. Use the folder of the owner "
            "whose policy was in force then.",
            reason="another_recording_key",
        ) from e


class Opener:
    """Reads records with the content key, checking each against the chain."""

    def __init__(self, header: Header, content_key: bytes) -> None:
        self._cipher = AESGCM(content_key)
        self.head = start_of_chain(header.raw)
        self.records = 0

    def open(self, record: bytes) -> bytes:
        """Return the lines of the next record. Raises `Untrusted` when it is not the next."""
        nonce = self.records.to_bytes(12, "big")
        try:
            lines = self._cipher.decrypt(nonce, record[_LENGTH.size :], self.head)
        except InvalidTag as e:
            raise Untrusted(
                f"Record {self.records} of this recording was altered, dropped or moved.",
                reason="recording_altered",
            ) from e
        self.head = next_head(self.head, record)
        self.records += 1
        return lines


def _seal_key(
    content_key: bytes, recording_key: str, device: str, session: str
) -> tuple[bytes, bytes]:
    suite, _, text = recording_key.partition(":")
    if suite != ES256:
        raise Malformed(
            "Expected the policy to name a P-256 recording key.", reason="no_recording_key"
        )
    public = load_der_public_key(read_public_key(ES256, from_base64url(text)).spki)
    try:
        enc, context = _SUITE.create_sender_context(ECKey(public), info=_info(session))
        return enc, context.seal(content_key, aad=device.encode())
    except (PyHPKEError, ValueError) as e:
        raise Malformed("Expected a usable recording key.", reason="no_recording_key") from e


def _info(session: str) -> bytes:
    return RECORDING_TYPE.encode() + b"\x00" + bytes.fromhex(session)
