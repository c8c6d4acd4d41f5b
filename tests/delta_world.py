"""Files that are alike, and deltas made by hand: what tests of deltas have in common."""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

from fleetward.device.updates.delta import apply_delta
from fleetward.keyholder.maker.delta import make_delta
from fleetward.wire.delta import HEAD_BYTES, Head, Segment, read_head, read_table
from fleetward.wire.delta import write_head as write_head
from fleetward.wire.delta import write_table as write_table

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

WORDS = [word.encode() for word in ("pump", "valve", "level", "tank", "alarm", "trend", "relay")]


def noise(length: int, seed: int = 1) -> bytes:
    """Return bytes that nothing packs."""
    return random.Random(seed).randbytes(length)


def prose(length: int, seed: int = 1) -> bytes:
    """Return bytes that pack well."""
    chosen = random.Random(seed).choices(WORDS, k=length // 5 + 1)
    return b" ".join(chosen)[:length].ljust(length, b".")


def make(source: bytes, target: bytes, folder: Path) -> bytes:
    """Return the delta that a maker's tool makes."""
    for name, data in (("source", source), ("target", target)):
        (folder / name).write_bytes(data)
    out = folder / "made.delta"
    length = make_delta(folder / "source", folder / "target", out)
    data = out.read_bytes()
    assert length == len(data)
    assert {path.name for path in folder.iterdir()} == {"source", "target", "made.delta"}
    return data


def apply(source: bytes, delta: bytes, *, limit_bytes: int = 2**40) -> bytes:
    """Return what a machine makes."""
    target = io.BytesIO()
    apply_delta(io.BytesIO(source), io.BytesIO(delta), target, limit_bytes=limit_bytes)
    return target.getvalue()


def table(delta: bytes) -> tuple[Segment, ...]:
    """Return how the segments of a delta are told."""
    head = read_head(delta[:HEAD_BYTES])
    return read_table(head, delta[HEAD_BYTES : HEAD_BYTES + head.table_bytes])


def build(head: Head, segments: list[Segment], packed: bytes) -> bytes:
    """Return a delta with whatever numbers."""
    return write_head(head) + write_table(segments) + packed
