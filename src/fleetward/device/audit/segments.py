"""One file of the journal: entries, and behind each run of entries the header that signs it.

A segment `0000000000000001.entries` holds lines. A line is an entry or a batch header; a header
covers every entry since the header before it. One file, so one `fsync` makes both durable, and
whatever is cut off at the end takes header and entries with it in the order they were written.

Beside it lies `0000000000000001.proofs`: one line for each batch that the ledger was proven to
hold. Losing such a line costs nothing: the proof is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from fleetward.runtime.files import read_bounded
from fleetward.trust import canonical
from fleetward.trust.errors import FleetwardError
from fleetward.trust.fields import Fields
from fleetward.trust.journal import (
    BatchHeader,
    next_head,
    read_entry,
    verify_batch_header,
)
from fleetward.trust.keys import PublicKey

SEGMENT_BYTES: Final = 1024 * 1024
"""A segment that is larger is closed at the next batch; the oldest is dropped whole."""
MAX_SEGMENT_BYTES: Final = 16 * 1024 * 1024
HEADER_MARK: Final = b'{"payload":'
_NAME_DIGITS: Final = 16


@dataclass(frozen=True, slots=True)
class Tip:
    """The end of the chain: the newest sequence, and the head after it."""

    sequence: int
    head: bytes


@dataclass(frozen=True, slots=True)
class Proof:
    """Where in the ledger a batch was proven to be, and when, in powered-on milliseconds."""

    generation: int
    index: int
    at_powered_ms: int


@dataclass(slots=True)
class CutBatch:
    """A batch whose header is signed. `whole` is false when its entries are damaged on disk."""

    first: int
    last: int
    head: str
    hash: str
    segment: int
    offset: int
    entries_bytes: int
    header_bytes: int
    whole: bool = True
    proof: Proof | None = None


@dataclass(slots=True)
class Scan:
    """What a segment holds. Bytes behind `good_bytes` are not part of the journal."""

    first: int
    start: Tip | None
    batches: list[CutBatch] = field(default_factory=list)
    tip: Tip | None = None
    good_bytes: int = 0
    total_bytes: int = 0
    tail_start: int = 0
    tail_count: int = 0


@dataclass(frozen=True, slots=True)
class Chain:
    """Whose journal it is: needed to believe a header when entries before it are damaged."""

    key: PublicKey
    owner: str


def segment_path(folder: Path, first: int) -> Path:
    """Return the file of the segment that starts with sequence `first`."""
    return folder / f"{first:0{_NAME_DIGITS}d}.entries"


def proofs_path(folder: Path, first: int) -> Path:
    """Return the file of the proofs of that segment."""
    return folder / f"{first:0{_NAME_DIGITS}d}.proofs"


def list_segments(folder: Path) -> list[int]:
    """Return the first sequences of all segments, in order."""
    names = (p.name.removesuffix(".entries") for p in folder.glob("*.entries"))
    return sorted(int(n) for n in names if len(n) == _NAME_DIGITS and n.isdecimal())


def scan_segment(data: bytes, first: int, start: Tip | None, chain: Chain) -> Scan:
    """Walk a segment from `start`, or from its first good header when the start is not known.

    Damage never raises: a batch whose entries do not lead to its own signed header is marked, and
    the walk goes on behind it. Lines at the end that no header covers count as far as they are
    whole, well formed and in sequence.
    """
    scan = Scan(first=first, start=start, tip=start, total_bytes=len(data))
    group: list[bytes] = []
    group_start = offset = 0
    while (end := data.find(b"\n", offset)) >= 0:
        line = data[offset:end]
        offset = end + 1
        batch = None
        if line.startswith(HEADER_MARK):
            batch = _judge_group(scan, group, line, group_start, chain)
        if batch is None:
            group.append(line)
            continue
        scan.batches.append(batch)
        scan.tip = Tip(batch.last, bytes.fromhex(batch.head))
        scan.good_bytes = group_start = offset
        group = []
    scan.tail_start = group_start
    _take_tail(scan, group)
    return scan


def _judge_group(
    scan: Scan, group: list[bytes], line: bytes, start: int, chain: Chain
) -> CutBatch | None:
    """Return the batch that a header makes of the lines before it; None when it is no header."""
    try:
        header = verify_batch_header(line, chain.key, chain.owner)
    except FleetwardError:
        return None
    if scan.tip is not None and header.first <= scan.tip.sequence:
        return None
    whole = _leads_to(scan.tip, group, header)
    if not whole:
        # Something before is damaged. What this header signs may still be whole right before it.
        mine = group[-(header.last - header.first + 1) :]
        start += sum(len(e) + 1 for e in group[: len(group) - len(mine)])
        group = mine
        whole = _leads_to(Tip(header.first - 1, bytes.fromhex(header.previous)), group, header)
    return CutBatch(
        first=header.first,
        last=header.last,
        head=header.head,
        hash=header.hash,
        segment=scan.first,
        offset=start,
        entries_bytes=sum(len(e) + 1 for e in group),
        header_bytes=len(line),
        whole=whole,
    )


def _leads_to(before: Tip | None, group: list[bytes], header: BatchHeader) -> bool:
    if before is None or header.first != before.sequence + 1:
        return False
    if header.previous != before.head.hex() or len(group) != header.last - header.first + 1:
        return False
    head = before.head
    for entry in group:
        head = next_head(head, entry)
    return head.hex() == header.head


def _take_tail(scan: Scan, group: list[bytes]) -> None:
    if scan.tip is None:
        return
    for line in group:
        try:
            in_place = read_entry(line).sequence == scan.tip.sequence + 1
        except FleetwardError:
            return
        if not in_place:
            return
        scan.tip = Tip(scan.tip.sequence + 1, next_head(scan.tip.head, line))
        scan.good_bytes += len(line) + 1
        scan.tail_count += 1


def signed_tip(scan: Scan) -> Tip | None:
    """Return the newest point of a segment that a header vouches for."""
    if not scan.batches:
        return scan.start
    return Tip(scan.batches[-1].last, bytes.fromhex(scan.batches[-1].head))


def make_proof_line(batch: str, proof: Proof) -> bytes:
    """Return the line that remembers a proof."""
    return canonical.encode(
        {
            "at": proof.at_powered_ms,
            "batch": batch,
            "generation": proof.generation,
            "index": proof.index,
        }
    )


def read_proofs(path: Path) -> dict[str, Proof]:
    """Return the remembered proofs of a segment by batch hash; what is damaged is left out."""
    proofs: dict[str, Proof] = {}
    try:
        data = read_bounded(path, MAX_SEGMENT_BYTES)
    except FleetwardError:
        return proofs
    for line in data.split(b"\n"):
        try:
            fields = Fields(
                canonical.decode(line), "a proof", {"at", "batch", "generation", "index"}
            )
            proofs[fields.digest("batch")] = Proof(
                generation=fields.integer("generation"),
                index=fields.integer("index"),
                at_powered_ms=fields.integer("at"),
            )
        except FleetwardError:
            continue
    return proofs
