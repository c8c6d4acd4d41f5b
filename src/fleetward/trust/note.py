"""C2SP signed notes, checkpoints and cosignatures.

Formats: c2sp.org/signed-note, c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature.

A checkpoint is a note whose text has three lines: origin, size in decimal, root in base64. The
log signs the text itself (algorithm 0x01, Ed25519); a witness signs the text behind a header
that holds its time (algorithm 0x04, cosignature/v1).

    fleetward/<owner root>/1
    42
    xh1…=

    — fleetward/<owner root>/1 AbCd…
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.keys import ED25519, PublicKey, Signer
from fleetward.trust.merkle import HASH_BYTES

MAX_NOTE_BYTES: Final = 16 * 1024
"""Bytes of a note with its signatures; one with 60 witnesses has 9 KB."""
MAX_NOTE_SIGNATURES: Final = 64
_ED25519_BYTE: Final = b"\x01"
_COSIGNATURE_BYTE: Final = b"\x04"
_NAME = re.compile(r"[!-*,-~]{1,256}")
_SIGNATURE_LINE = re.compile("\u2014 ([!-*,-~]{1,256}) ([A-Za-z0-9+/=]{1,512})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: how many leaves, and the root over them."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the note text (c2sp.org/tlog-checkpoint, without extension lines)."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note, not yet checked."""

    name: str
    key_hash: bytes
    value: bytes


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint with its signature lines. **Nothing in it is verified.**"""

    checkpoint: Checkpoint
    signatures: tuple[NoteSignature, ...]
    raw: bytes


def origin_of(owner_root: str, generation: int) -> str:
    """Return the origin line of an owner's ledger in one of its generations."""
    return f"fleetward/{owner_root}/{generation}"


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Return the signed note of a checkpoint. The key's name is the origin."""
    text = checkpoint.text()
    line = _line(checkpoint.origin, _ED25519_BYTE, signer.public, signer.sign(text.encode("utf-8")))
    return f"{text}\n{line}".encode()


def cosign(note: bytes, name: str, signer: Signer, at_seconds: int) -> bytes:
    """Return `note` with a witness's cosignature/v1 line added (c2sp.org/tlog-cosignature)."""
    signed = read_checkpoint(note)
    value = signer.sign(_cosigned(signed.checkpoint, at_seconds))
    line = _line(name, _COSIGNATURE_BYTE, signer.public, at_seconds.to_bytes(8, "big") + value)
    return note + line.encode("utf-8")


def read_checkpoint(data: bytes) -> SignedCheckpoint:
    """Parse a signed checkpoint without checking any signature. Raises `Malformed`."""
    if len(data) > MAX_NOTE_BYTES:
        raise Malformed("Expected a shorter note.", reason="bad_note")
    try:
        note = data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Malformed("Expected a note in UTF-8.", reason="bad_note") from e
    text, separator, tail = note.partition("\n\n")
    lines = text.split("\n")
    if not separator or not tail.endswith("\n") or len(lines) != 3 or not _SIZE.fullmatch(lines[1]):
        raise Malformed(
            "Expected a checkpoint: origin, size, root, an empty line, signatures.",
            reason="bad_note",
        )
    checkpoint = Checkpoint(origin=lines[0], size=int(lines[1]), root=_read_root(lines[2]))
    if checkpoint.text() + "\n" != text + "\n\n" or not _NAME.fullmatch(checkpoint.origin):
        raise Malformed("Expected the canonical spelling of a checkpoint.", reason="bad_note")
    signature_lines = tail[:-1].split("\n")
    if len(signature_lines) > MAX_NOTE_SIGNATURES:
        raise Malformed("Expected fewer signatures on a note.", reason="bad_note")
    return SignedCheckpoint(checkpoint, tuple(_read_line(s) for s in signature_lines), data)


def verify_checkpoint(data: bytes, origin: str, log_key: PublicKey) -> Checkpoint:
    """Return the checkpoint that the log of `origin` signed with `log_key`.

    Raises `Malformed`, or `Untrusted` for another origin or a missing or wrong signature.
    """
    signed = read_checkpoint(data)
    if signed.checkpoint.origin != origin:
        raise Untrusted(
            f"Expected a checkpoint of {origin}, got one of {signed.checkpoint.origin[:200]}.",
            reason="wrong_origin",
        )
    wanted = _key_hash(origin, _ED25519_BYTE, log_key)
    for signature in signed.signatures:
        if signature.name == origin and signature.key_hash == wanted:
            log_key.verify(signature.value, signed.checkpoint.text().encode("utf-8"))
            return signed.checkpoint
    raise Untrusted("The log named by the owner's policy did not sign.", reason="unsigned_note")


def verify_cosignature(data: bytes, name: str, witness: PublicKey) -> int:
    """Return the Unix second at which `witness` saw this checkpoint. Raises as above.

    That the log signed it, and of which owner it is, `verify_checkpoint` says: call both.
    """
    signed = read_checkpoint(data)
    wanted = _key_hash(name, _COSIGNATURE_BYTE, witness)
    for signature in signed.signatures:
        if signature.name == name and signature.key_hash == wanted:
            at_seconds = int.from_bytes(signature.value[:8], "big")
            witness.verify(signature.value[8:], _cosigned(signed.checkpoint, at_seconds))
            return at_seconds
    raise Untrusted(f"The witness {name!r} did not sign.", reason="not_cosigned")


def _cosigned(checkpoint: Checkpoint, at_seconds: int) -> bytes:
    return f"cosignature/v1\ntime {at_seconds}\n{checkpoint.text()}".encode()


def _raw_ed25519(key: PublicKey) -> bytes:
    loaded = serialization.load_der_public_key(key.spki)
    if key.suite != ED25519 or not isinstance(loaded, ed25519.Ed25519PublicKey):
        raise Misuse("Notes are signed with Ed25519 keys.", reason="wrong_suite")
    return loaded.public_bytes_raw()


def _key_hash(name: str, algorithm: bytes, key: PublicKey) -> bytes:
    material = name.encode("utf-8") + b"\n" + algorithm + _raw_ed25519(key)
    return hashlib.sha256(material).digest()[:4]


def check_signer_name(name: str) -> str:
    """Return the name when a note can be signed under it. Raises `Malformed`."""
    if not _NAME.fullmatch(name):
        raise Malformed(
            "Expected a note signer's name of printable ASCII without space and plus.",
            reason="bad_note_name",
        )
    return name


def _line(name: str, algorithm: bytes, key: PublicKey, value: bytes) -> str:
    try:
        check_signer_name(name)
    except Malformed as e:
        raise Misuse("A note was to be signed under a bad name.", reason=e.reason) from e
    blob = base64.b64encode(_key_hash(name, algorithm, key) + value).decode("ascii")
    return f"\u2014 {name} {blob}\n"


def _read_line(line: str) -> NoteSignature:
    match = _SIGNATURE_LINE.fullmatch(line)
    if match is None:
        raise Malformed("Expected a signature line of a note.", reason="bad_note")
    try:
        blob = base64.b64decode(match[2], validate=True)
    except binascii.Error as e:
        raise Malformed("Expected base64 in a signature line.", reason="bad_note") from e
    if len(blob) < 5 or base64.b64encode(blob).decode("ascii") != match[2]:
        raise Malformed("Expected a whole signature line in its one spelling.", reason="bad_note")
    return NoteSignature(name=match[1], key_hash=blob[:4], value=blob[4:])


def _read_root(text: str) -> bytes:
    try:
        root = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as e:
        raise Malformed("Expected the root in base64.", reason="bad_note") from e
    if len(root) != HASH_BYTES:
        raise Malformed("Expected a root of 32 bytes.", reason="bad_note")
    return root
