"""The machine's journal: a hash chain of entries, and the batches cut from it.

An entry is one line of canonical JSON: `{"at", "body", "boot", "kind", "seq"}`. `at` is the
machine's own clock, which may be wrong; nothing is ordered by it. The chain is

    head(0)   = SHA-256("fleetward.journal-start.v1" 0x00 owner 0x00 device)
    head(n)   = SHA-256("fleetward.journal.v1" 0x00 head(n-1) SHA-256(entry n))

A **batch** is a run of entries behind a signed header: first and last sequence, the head before
and after, and the last checkpoint of the ledger that the machine had received. One signature by
the identity key thus vouches for every entry and for the whole past, and says how much of the
ledger the machine had seen. On the wire a batch is lines: the header's envelope, then the entries.
Canonical JSON has no line break, so the framing needs no lengths. A batch that begins with entry 1
begins with head(0). A machine that has seen no checkpoint names `NO_CHECKPOINT`, and that alone
has generation 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonLike, JsonObject
from fleetward.trust.envelope import Envelope, read_envelope, seal, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey, Signer

BATCH_TYPE: Final = "fleetward.batch.v1"
MAX_ENTRY_BYTES: Final = 32 * 1024
"""Bytes of one journal entry. Large things are named by their digest."""
MAX_BATCH_ENTRIES: Final = 1000
MAX_BATCH_BYTES: Final = 768 * 1024
"""Below the broker's limit of 1 MiB for a message."""
MAX_HEADER_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class Entry:
    """One journal entry. `raw` are the bytes that the chain covers."""

    sequence: int
    at_ms: int
    boot: str
    kind: str
    body: JsonObject
    raw: bytes


@dataclass(frozen=True, slots=True)
class SeenCheckpoint:
    """The last checkpoint that a machine had journalled; generation 0 means none."""

    generation: int
    size: int
    root: str


NO_CHECKPOINT: Final = SeenCheckpoint(generation=0, size=0, root=hashlib.sha256(b"").hexdigest())


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """A batch's header as read; verified when it comes out of a `verify_*` function."""

    device: str
    owner: str
    boot: str
    first: int
    last: int
    previous: str
    head: str
    checkpoint: SeenCheckpoint
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """A verified batch: the identity key vouches for each of its entries."""

    header: BatchHeader
    entries: tuple[Entry, ...]


def start_of_chain(owner: str, device: str) -> bytes:
    """Return head(0) of a machine's journal under an owner."""
    text = f"fleetward.journal-start.v1\x00{owner}\x00{device}"
    return hashlib.sha256(text.encode("ascii")).digest()


def next_head(head: bytes, entry: bytes) -> bytes:
    """Return the chain's head after `entry`."""
    return hashlib.sha256(
        b"fleetward.journal.v1\x00" + head + hashlib.sha256(entry).digest()
    ).digest()


def make_entry(sequence: int, at_ms: int, boot: str, kind: str, body: JsonLike) -> bytes:
    """Return the bytes of an entry. Raises `Misuse` for a body that cannot be encoded."""
    return canonical.encode(
        {"at": at_ms, "body": body, "boot": boot, "kind": kind, "seq": sequence}
    )


def read_entry(data: bytes) -> Entry:
    """Parse one entry. Raises `Malformed`."""
    fields = Fields(
        canonical.decode(data, max_bytes=MAX_ENTRY_BYTES),
        "a journal entry",
        {"at", "body", "boot", "kind", "seq"},
    )
    return Entry(
        sequence=fields.integer("seq", low=1),
        at_ms=fields.integer("at"),
        boot=fields.text("boot", most=64),
        kind=fields.text("kind", most=64, least=1),
        body=fields.map("body"),
        raw=data,
    )


def make_batch_header(header: BatchHeader, signer: Signer) -> bytes:
    """Return the signed header; `hash` and `raw` of the argument are ignored."""
    payload: JsonObject = {
        "boot": header.boot,
        "checkpoint": {
            "generation": header.checkpoint.generation,
            "root": header.checkpoint.root,
            "size": header.checkpoint.size,
        },
        "device": header.device,
        "first": header.first,
        "head": header.head,
        "last": header.last,
        "owner": header.owner,
        "previous": header.previous,
        "type": BATCH_TYPE,
    }
    return seal(payload, [signer])


def join_batch(header: bytes, entries: Sequence[bytes]) -> bytes:
    """Return the wire form of a batch."""
    return b"\n".join([header, *entries])


def read_batch_header(data: bytes) -> tuple[BatchHeader, Envelope]:
    """Parse a header without checking its signature. Raises `Malformed`."""
    envelope = read_envelope(data, max_bytes=MAX_HEADER_BYTES)
    fields = Fields(
        envelope.payload,
        "the batch header",
        {
            "boot",
            "checkpoint",
            "device",
            "first",
            "head",
            "last",
            "owner",
            "previous",
            "type",
        },
    )
    seen = Fields(fields.map("checkpoint"), "the checkpoint", {"generation", "root", "size"})
    header = BatchHeader(
        device=fields.key_id("device"),
        owner=fields.digest("owner"),
        boot=fields.text("boot", most=64),
        first=fields.integer("first", low=1),
        last=fields.integer("last", low=1),
        previous=fields.digest("previous"),
        head=fields.digest("head"),
        checkpoint=SeenCheckpoint(
            generation=seen.integer("generation"),
            size=seen.integer("size"),
            root=seen.digest("root"),
        ),
        hash=envelope.hash,
        raw=data,
    )
    if not header.first <= header.last < header.first + MAX_BATCH_ENTRIES:
        raise Malformed(
            f"Expected 1 to {MAX_BATCH_ENTRIES} entries in a batch.", reason="bad_batch_range"
        )
    if header.checkpoint.generation == 0 and header.checkpoint != NO_CHECKPOINT:
        raise Malformed("Expected no checkpoint, or a whole one.", reason="bad_field")
    return header, envelope


def verify_batch_header(data: bytes, key: PublicKey, owner: str) -> BatchHeader:
    """Return the header that `key` signed for `owner`. Raises `Malformed` or `Untrusted`."""
    header, envelope = read_batch_header(data)
    verify_single(envelope, BATCH_TYPE, key)
    if header.device != key.key_id:
        raise Untrusted("The batch names another machine than its key.", reason="bad_device")
    if header.owner != owner:
        raise Untrusted("The batch is for another owner.", reason="another_owner")
    if header.first == 1 and header.previous != start_of_chain(owner, key.key_id).hex():
        raise Untrusted("The journal begins with another head than its own.", reason="bad_chain")
    return header


def verify_batch(data: bytes, key: PublicKey, owner: str) -> Batch:
    """Return the batch whose every byte `key` vouches for.

    Raises `Malformed` or `Untrusted`. That the batch follows the one before it is the caller's
    duty: only the caller knows what it stored.
    """
    # 1. Bounded, and at least one entry behind the header.
    if len(data) > MAX_BATCH_BYTES:
        raise Malformed(f"Expected at most {MAX_BATCH_BYTES} bytes of batch.", reason="too_large")
    lines = data.split(b"\n", MAX_BATCH_ENTRIES + 1)
    # 2. The header is signed by the machine, for this owner.
    header = verify_batch_header(lines[0], key, owner)
    if len(lines) - 1 != header.last - header.first + 1:
        raise Malformed(
            f"Expected {header.last - header.first + 1} entries, got {len(lines) - 1}.",
            reason="bad_batch_range",
        )
    # 3. The chain over the entries leads from the head before to the head after.
    chain = bytes.fromhex(header.previous)
    for line in lines[1:]:
        chain = next_head(chain, line)
    if chain.hex() != header.head:
        raise Untrusted("The entries are not those that were signed.", reason="bad_chain")
    # 4. Only now is an entry parsed; its sequence is its place.
    entries = tuple(read_entry(line) for line in lines[1:])
    for offset, entry in enumerate(entries):
        if entry.sequence != header.first + offset:
            raise Untrusted("An entry is out of its place.", reason="bad_sequence")
    return Batch(header=header, entries=entries)
