"""The sealed channel between the one who asked and the machine. Whoever relays it sees sizes.

The keys are those of the signed documents: the request names the requester's session key, the
offer the machine's, and the grant binds both by their hashes. HPKE in auth mode (RFC 9180 section
5.1.3; DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM) gives both sides two secrets by its
export interface (section 5.3), one for each direction. `info` is the grant's hash, so that keys of
another session never fit.

A record is eight bytes of counter, big endian, and AES-256-GCM over the plain text with the
counter as nonce. The counter begins at 0 and rises by one: a record that is missing, doubled, out
of order, changed or of the other direction closes the channel for good. Every 2**20 records the
key is replaced by HKDF-Expand of itself, and the old one forgotten.

    private, public = make_session_key()
    first, channel = open_as_requester(private, offer.session_key, grant_hash)
    channel = open_as_machine(machine_private, request.session_key, first, grant_hash)
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from pyhpke import AEADId, CipherSuite, KDFId, KEMId
from pyhpke.exceptions import PyHPKEError
from pyhpke.keys.x25519_key import X25519Key

from fleetward.trust.errors import Malformed, Misuse, Untrusted

KEY_BYTES: Final = 32
ENC_BYTES: Final = 32
MAX_PLAIN_BYTES: Final = 64 * 1024 + 64
"""A frame of 64 KiB of data and its head."""
COUNTER_BYTES: Final = 8
TAG_BYTES: Final = 16
MAX_RECORD_BYTES: Final = COUNTER_BYTES + MAX_PLAIN_BYTES + TAG_BYTES
REKEY_RECORDS: Final = 2**20
"""At 64 KiB a record, 64 GiB under one key; AES-GCM's bound for it is far above."""
_INFO: Final = b"fleetward.session-channel.v1\x00"
_TO_MACHINE: Final = b"to the machine"
_TO_REQUESTER: Final = b"to the requester"
_SUITE: Final = CipherSuite.new(
    KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, AEADId.AES256_GCM
)


def make_session_key() -> tuple[bytes, bytes]:
    """Return a fresh private and public X25519 key, 32 bytes each."""
    key = X25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw()


class Channel:
    """One side of an open channel. After the first `Untrusted` it opens and seals nothing more."""

    def __init__(self, sealing: bytes, opening: bytes) -> None:
        self._sealing = _Half(sealing)
        self._opening = _Half(opening)
        self._broken = False

    def seal(self, plain: bytes) -> bytes:
        """Return the next record. Raises `Misuse` for too long a text or a broken channel."""
        if self._broken or len(plain) > MAX_PLAIN_BYTES:
            raise Misuse("A record cannot be sealed here.", reason="bad_record")
        cipher, counter = self._sealing.next()
        return counter.to_bytes(COUNTER_BYTES, "big") + cipher.encrypt(
            counter.to_bytes(12, "big"), plain, None
        )

    def open(self, record: bytes) -> bytes:
        """Return the plain text of the next record. Raises `Untrusted`, and then always."""
        if self._broken:
            raise Untrusted("The channel is closed.", reason="channel_closed")
        self._broken = True
        counter, expected = record[:COUNTER_BYTES], self._opening.count
        if len(record) > MAX_RECORD_BYTES or int.from_bytes(counter, "big") != expected:
            raise Untrusted(
                f"Expected record {expected}; another came. The session ends: what lies between "
                "dropped, doubled or reordered something.",
                reason="record_out_of_order",
            )
        cipher, number = self._opening.next()
        try:
            plain = cipher.decrypt(number.to_bytes(12, "big"), record[COUNTER_BYTES:], None)
        except InvalidTag as e:
            raise Untrusted(
                "A record was changed on its way. The session ends.", reason="record_altered"
            ) from e
        self._broken = False
        return plain


def open_as_requester(private: bytes, machine_key: bytes, session: str) -> tuple[bytes, Channel]:
    """Return the bytes to send first, and the channel. Raises `Malformed` for a bad key."""
    try:
        enc, context = _SUITE.create_sender_context(
            X25519Key.from_public_bytes(machine_key),
            info=_INFO + bytes.fromhex(session),
            sks=X25519Key.from_private_bytes(private),
        )
        to_machine = context.export(_TO_MACHINE, KEY_BYTES)
        return enc, Channel(to_machine, context.export(_TO_REQUESTER, KEY_BYTES))
    except (PyHPKEError, ValueError) as e:
        raise Malformed("Expected a session key of the machine.", reason="bad_session_key") from e


def open_as_machine(private: bytes, requester_key: bytes, enc: bytes, session: str) -> Channel:
    """Return the channel that `enc` opens. Raises `Malformed` for bad keys.

    That the other side holds the requester's key shows when its first record opens.
    """
    try:
        context = _SUITE.create_recipient_context(
            enc,
            X25519Key.from_private_bytes(private),
            info=_INFO + bytes.fromhex(session),
            pks=X25519Key.from_public_bytes(requester_key),
        )
        to_requester = context.export(_TO_REQUESTER, KEY_BYTES)
        return Channel(to_requester, context.export(_TO_MACHINE, KEY_BYTES))
    except (PyHPKEError, ValueError) as e:
        raise Malformed("Expected the opening of a channel.", reason="bad_session_key") from e


class _Half:
    """The key and the counter of one direction."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        self.count = 0

    def next(self) -> tuple[AESGCM, int]:
        """Return the cipher for the next record and its number."""
        if self.count and self.count % REKEY_RECORDS == 0:
            expand = HKDFExpand(hashes.SHA256(), KEY_BYTES, b"fleetward.session-rekey.v1")
            self._key = expand.derive(self._key)
            self._cipher = AESGCM(self._key)
        number = self.count
        self.count += 1
        return self._cipher, number
