"""Evidence and its proof: batches, receipts, inclusion proofs, inventories, heartbeats."""

from __future__ import annotations

from typing import Final

from fleetward.wire.identity import Count, Struct

BLOB_CHUNK_BYTES: Final = 512 * 1024
"""Bytes of one chunk of a compressed inventory, below the broker's message limit."""
MAX_BLOB_BYTES: Final = 8 * 1024 * 1024
"""Bytes of one inventory before compression."""
MAX_PROOF_ITEMS: Final = 256
"""Batches that one proof request may ask for."""


class Receipt(Struct, frozen=True, tag="receipt"):
    """The store has committed the batch up to sequence `last`. `want` names missing inventories."""

    last: Count
    head: str
    want: tuple[str, ...] = ()


class ProofRequest(Struct, frozen=True):
    """Ask for proofs of batches (by header hash), and consistency with what was journalled."""

    generation: Count
    size: Count
    batches: list[str]


class ProofItem(Struct, frozen=True):
    """A batch's place in the ledger: the audit path in base64url, one string a hash."""

    batch: str
    index: Count
    path: list[str]


class ProofReply(Struct, frozen=True, tag="proof"):
    """A signed checkpoint, consistency from the asked size, and the inclusion proofs known so far.

    `opening` and `opening_path` are sent when the ledger is of a newer generation than the one
    asked about (base64url); then `consistency` starts from nothing.
    """

    generation: Count
    checkpoint: str
    consistency: list[str]
    items: list[ProofItem]
    opening: str = ""
    opening_path: tuple[str, ...] = ()


class BlobChunk(Struct, frozen=True):
    """A chunk of a zlib-compressed document that the server wanted."""

    digest: str
    offset: Count
    total: Count
    data: str


class BlobReply(Struct, frozen=True, tag="blob"):
    """The server has `offset` bytes; `complete` when the document is stored and its hash right."""

    digest: str
    offset: Count
    complete: bool


class Beat(Struct, frozen=True):
    """A heartbeat: alive, and where the journal stands. Unsigned; it moves nothing but "seen"."""

    sequence: Count
    lease_seconds_left: Count
