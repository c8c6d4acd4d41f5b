"""Walking a machine's whole journal, changing nothing: `fleetward-agent journal verify`.

Every entry is well formed and in its place, every header is signed by the identity key for this
owner, and the chain leads from each header to the next. The walk stops at the first thing that
is not so, and names it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from fleetward.device.audit.segments import (
    HEADER_MARK,
    MAX_SEGMENT_BYTES,
    Chain,
    Tip,
    list_segments,
    segment_path,
)
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.trust.journal import next_head, read_entry, start_of_chain, verify_batch_header


class BadEntry(msgspec.Struct, frozen=True):
    """The first thing that is not as this machine wrote it."""

    sequence: int
    last: int
    """The same as `sequence`, or the end of the batch in which the altered entry is."""
    segment: str
    reason: str
    words: str


class Verdict(msgspec.Struct, frozen=True):
    """What the walk found."""

    ok: bool
    entries: int
    batches: int
    first: int
    last: int
    head: str
    unsigned: int
    """Entries at the end that the next batch will sign."""
    first_bad: BadEntry | None = None


class _Walk:
    """The position of the walk."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.tip: Tip | None = None
        self.signed: Tip | None = None
        self.first = self.entries = self.batches = 0
        self.group_first = 0

    def start(self, first: int, lines: list[bytes]) -> None:
        """Begin at the oldest segment that is kept."""
        self.first = first
        if first == 1:
            head = start_of_chain(self.chain.owner, self.chain.key.key_id)
        else:
            header = next((line for line in lines if line.startswith(HEADER_MARK)), b"")
            verified = verify_batch_header(header, self.chain.key, self.chain.owner)
            head = bytes.fromhex(verified.previous)
        self.tip = self.signed = Tip(first - 1, head)
        self.group_first = first

    def step(self, line: bytes) -> None:
        """Take one line. Raises `Malformed` or `Untrusted`."""
        if self.tip is None:
            raise Untrusted("The journal has no beginning.", reason="no_start")
        if line.startswith(HEADER_MARK):
            self._check_header(line, self.tip)
            return
        entry = read_entry(line)
        if entry.sequence != self.tip.sequence + 1:
            raise Untrusted(
                f"Expected entry {self.tip.sequence + 1}, found {entry.sequence}.",
                reason="bad_sequence",
            )
        self.tip = Tip(entry.sequence, next_head(self.tip.head, line))
        self.entries += 1

    def _check_header(self, line: bytes, tip: Tip) -> None:
        header = verify_batch_header(line, self.chain.key, self.chain.owner)
        before = self.signed
        fits = before is not None and header.previous == before.head.hex()
        if not fits or (header.first, header.last) != (self.group_first, tip.sequence):
            raise Untrusted(
                "A batch does not continue the one before it: entries are missing or moved.",
                reason="bad_batch_range",
            )
        if header.head != tip.head.hex():
            raise Untrusted(
                f"An entry from {header.first} to {header.last} is not the one that was signed.",
                reason="bad_chain",
            )
        self.signed = tip
        self.batches += 1
        self.group_first = tip.sequence + 1


def verify_journal(folder: Path, chain: Chain, newest_cut: Tip | None) -> Verdict:
    """Return what is true of the journal in `folder`.

    `newest_cut` is the end of the newest batch that guard remembers: a journal that ends before it
    has lost its end. Raises `Unreachable` when the files cannot be read.
    """
    walk = _Walk(chain)
    for first in list_segments(folder):
        data = read_bounded(segment_path(folder, first), MAX_SEGMENT_BYTES)
        lines = data.split(b"\n")
        try:
            if walk.tip is None:
                walk.start(first, lines)
            for line in lines[:-1]:
                walk.step(line)
            if lines[-1]:
                raise Untrusted("The last line is cut off.", reason="truncated")
        except FleetwardError as e:
            return _judge(walk, _name_bad(walk, first, e))
    signed = walk.signed.sequence if walk.signed else 0
    if newest_cut is not None and newest_cut.sequence > signed:
        words = f"The journal was signed up to {newest_cut.sequence}, and ends at {signed}."
        bad = BadEntry(signed + 1, newest_cut.sequence, "", "missing_end", words)
        return _judge(walk, bad)
    return _judge(walk, None)


def _name_bad(walk: _Walk, segment: int, error: FleetwardError) -> BadEntry:
    last = walk.tip.sequence if walk.tip else 0
    altered = error.reason == "bad_chain"
    return BadEntry(
        sequence=walk.group_first if altered else last + 1,
        last=last if altered else last + 1,
        segment=segment_path(Path(), segment).name,
        reason=error.reason,
        words=error.message,
    )


def _judge(walk: _Walk, bad: BadEntry | None) -> Verdict:
    tip, signed = walk.tip, walk.signed
    return Verdict(
        ok=bad is None,
        entries=walk.entries,
        batches=walk.batches,
        first=walk.first,
        last=tip.sequence if tip else 0,
        head=tip.head.hex() if tip else "",
        unsigned=tip.sequence - signed.sequence if tip and signed else 0,
        first_bad=bad,
    )
