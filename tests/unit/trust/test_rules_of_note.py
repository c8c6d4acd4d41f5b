"""Checkpoints and cosignatures, against the published examples of C2SP and their rules."""

from __future__ import annotations

import base64
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from tests.trust_world import refused

from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.keys import ED25519, ES256, public_key_of
from fleetward.trust.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    check_signer_name,
    cosign,
    origin_of,
    read_checkpoint,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignature,
)

OWNER = "ab" * 32
ORIGIN = origin_of(OWNER, 1)
CHECKPOINT = Checkpoint(origin=ORIGIN, size=42, root=hashlib.sha256(b"root").digest())
LOG = make_key(ED25519)
WITNESS = make_key(ED25519)
NOTE = sign_checkpoint(CHECKPOINT, LOG)
LINE = NOTE.decode().split("\n\n")[1]

PUBLISHED = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

"""
"""The body of the example in c2sp.org/tlog-checkpoint."""
GO_NAME = "PeterNeumann"
GO_KEY = "ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)
"""The example of golang.org/x/mod/sumdb/note: name, key, text and signature of another author."""


def test_the_go_example_verifies_with_our_key_hash() -> None:
    key = base64.b64decode(GO_KEY)
    assert key[0] == 1
    public = public_key_of(ed25519.Ed25519PublicKey.from_public_bytes(key[1:]))
    blob = base64.b64decode(GO_SIGNATURE)
    assert blob[:4] == bytes.fromhex("c74f20a3")
    assert hashlib.sha256(GO_NAME.encode() + b"\n" + key).digest()[:4] == blob[:4]
    public.verify(blob[4:], GO_TEXT.encode())


def test_our_lines_are_built_as_the_specification_says() -> None:
    raw = LOG.public.spki[-32:]
    name, blob = LINE.rstrip("\n").removeprefix("\u2014 ").split(" ")
    data = base64.b64decode(blob)
    assert name == ORIGIN
    assert data[:4] == hashlib.sha256(ORIGIN.encode() + b"\n\x01" + raw).digest()[:4]
    LOG.public.verify(data[4:], CHECKPOINT.text().encode())
    line = cosign(NOTE, "witness.example", WITNESS, 1_795_000_000).decode().split("\n")[-2]
    data = base64.b64decode(line.split(" ")[2])
    raw = WITNESS.public.spki[-32:]
    assert data[:4] == hashlib.sha256(b"witness.example\n\x04" + raw).digest()[:4]
    assert data[4:12] == (1_795_000_000).to_bytes(8, "big")
    body = b"cosignature/v1\ntime 1795000000\n" + CHECKPOINT.text().encode()
    WITNESS.public.verify(data[12:], body)


def test_a_published_checkpoint_is_read() -> None:
    signed = read_checkpoint(PUBLISHED.encode() + b"\xe2\x80\x94 a AAAAAAA=\n")
    assert signed.checkpoint.origin == "example.com/behind-the-sofa"
    assert signed.checkpoint.size == 20852163
    assert signed.checkpoint.text() + "\n" == PUBLISHED


def test_round_trip() -> None:
    assert verify_checkpoint(NOTE, ORIGIN, LOG.public) == CHECKPOINT
    twice = cosign(NOTE, "w1", WITNESS, 7)
    assert verify_checkpoint(twice, ORIGIN, LOG.public) == CHECKPOINT
    assert verify_cosignature(twice, "w1", WITNESS.public) == 7


def test_another_origin_key_or_text_is_refused() -> None:
    with refused(Untrusted, "wrong_origin"):
        verify_checkpoint(NOTE, origin_of(OWNER, 2), LOG.public)
    with refused(Untrusted, "unsigned_note"):
        verify_checkpoint(NOTE, ORIGIN, WITNESS.public)
    with refused(Untrusted, "bad_signature"):
        verify_checkpoint(NOTE.replace(b"\n42\n", b"\n43\n"), ORIGIN, LOG.public)


def test_a_cosignature_is_of_one_witness_one_text_and_one_time() -> None:
    twice = cosign(NOTE, "w1", WITNESS, 7)
    with refused(Untrusted, "not_cosigned"):
        verify_cosignature(NOTE, "w1", WITNESS.public)
    with refused(Untrusted, "not_cosigned"):
        verify_cosignature(twice, "w2", WITNESS.public)
    with refused(Untrusted, "not_cosigned"):
        verify_cosignature(twice, "w1", LOG.public)
    with refused(Untrusted, "bad_signature"):
        verify_cosignature(twice.replace(b"\n42\n", b"\n43\n"), "w1", WITNESS.public)
    blob = base64.b64decode(twice.decode().split("\n")[-2].split(" ")[2])
    later = blob[:4] + (8).to_bytes(8, "big") + blob[12:]
    forged = twice.replace(base64.b64encode(blob), base64.b64encode(later))
    with refused(Untrusted, "bad_signature"):
        verify_cosignature(forged, "w1", WITNESS.public)


def test_the_log_is_not_its_own_witness() -> None:
    """A log's signature under the witness's name has another key hash, so it is not looked at."""
    line = LINE.replace(ORIGIN, "w1")
    with refused(Untrusted, "not_cosigned"):
        verify_cosignature(NOTE + line.encode(), "w1", LOG.public)


TEXT = CHECKPOINT.text()
ROOT64 = base64.b64encode(CHECKPOINT.root).decode()


@pytest.mark.parametrize(
    "note",
    [
        b"",
        b"\xff",
        TEXT.encode(),
        (TEXT + "\n").encode(),
        (TEXT + LINE).encode(),
        (TEXT + "\n" + LINE[:-1]).encode(),
        (TEXT + "\n\n" + LINE).encode(),
        (TEXT + "\n" + LINE + "\n").encode(),
        (TEXT + "extension\n\n" + LINE).encode(),
        (TEXT.replace("42", "042") + "\n" + LINE).encode(),
        (TEXT.replace("42", "+42") + "\n" + LINE).encode(),
        (TEXT.replace("42", "\u0664\u0662") + "\n" + LINE).encode(),
        (TEXT.replace("42", "-1") + "\n" + LINE).encode(),
        (TEXT.replace("42", "9" * 17) + "\n" + LINE).encode(),
        (TEXT.replace(ROOT64, ROOT64[:-2] + "5=") + "\n" + LINE).encode(),
        (TEXT.replace(ROOT64, "AAAA") + "\n" + LINE).encode(),
        (TEXT.replace(ROOT64, "\u00e4") + "\n" + LINE).encode(),
        (TEXT.replace(ORIGIN, "") + "\n" + LINE).encode(),
        (TEXT.replace(ORIGIN, "a b") + "\n" + LINE).encode(),
        (TEXT.replace(ORIGIN, "a\x00") + "\n" + LINE).encode(),
        (TEXT.replace("\n", "\r\n") + "\n" + LINE).encode(),
        (TEXT + "\n- " + LINE[2:]).encode(),
        (TEXT + "\n\u2014 a+b AAAAAAA=\n").encode(),
        (TEXT + "\n\u2014 a AAAAAA==\n").encode(),
        (TEXT + "\n\u2014 a AAAAAAB=\n").encode(),
        (TEXT + "\n\u2014 a AAA\n").encode(),
        (TEXT + "\n" + LINE * 65).encode(),
        NOTE + b" " * MAX_NOTE_BYTES,
    ],
)
def test_another_spelling_is_no_note(note: bytes) -> None:
    with refused(Malformed, "bad_note"):
        read_checkpoint(note)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n", "\u00e4", "a" * 257])
def test_a_signer_has_a_plain_name(name: str) -> None:
    with refused(Malformed, "bad_note_name"):
        check_signer_name(name)
    with refused(Misuse, "bad_note_name"):
        cosign(NOTE, name, WITNESS, 7)


def test_notes_are_signed_with_ed25519() -> None:
    with refused(Misuse, "wrong_suite"):
        sign_checkpoint(CHECKPOINT, make_key(ES256))
    assert isinstance(LOG, FileSigner)
