"""The machine's journal on its disk: append-only, chained, signed in batches, never rewritten.

Rules:

1. An entry is in the file before what it speaks of takes effect; `durable` ones are on the disk.
2. A header is signed only over entries that are on the disk, so no crash makes the machine sign
   two histories. Once signed, entries and header never change.
3. A damaged end is cut off; the chain goes on from the newest point that was ever signed, and
   what was lost is reported to the caller, who journals it.
4. A segment is dropped only as a whole, when every batch in it was proven long ago.
5. Space is reserved. When the disk is full, entries about stopping and reducing still find room;
   every other append raises `Unreachable` with the reason `journal_full`.

Not for use by two programs at once: the caller holds the lock of the folder.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.audit.reserve import Reserve
from fleetward.device.audit.segments import (
    MAX_SEGMENT_BYTES,
    SEGMENT_BYTES,
    Chain,
    CutBatch,
    Proof,
    Scan,
    Tip,
    list_segments,
    make_proof_line,
    proofs_path,
    read_proofs,
    scan_segment,
    segment_path,
    signed_tip,
)
from fleetward.runtime.files import make_private_directory, read_bounded, sync_directory
from fleetward.trust.canonical import JsonLike
from fleetward.trust.errors import FleetwardError, Malformed, Misuse, Unreachable
from fleetward.trust.journal import (
    MAX_BATCH_ENTRIES,
    MAX_ENTRY_BYTES,
    make_entry,
    next_head,
    read_batch_header,
    start_of_chain,
)

MAX_JOURNAL_BYTES: Final = 256 * 1024 * 1024
"""A machine that is offline for a year stays below; past it the disk counts as full."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True, slots=True)
class LastCut:
    """What the caller remembers of the newest batch, in case the end of the journal is lost."""

    sequence: int
    head: bytes
    header: bytes


@dataclass(frozen=True, slots=True)
class Damage:
    """What opening found: bytes cut off, and the sequences that were signed but are gone."""

    cut_bytes: int
    lost_first: int = 0
    lost_last: int = 0


class Journal:
    """An open journal. Make it by `open_journal`."""

    def __init__(self, folder: Path, chain: Chain, reserve: Reserve, segment_bytes: int) -> None:
        self._segment_bytes = segment_bytes
        self._folder = folder
        self._chain = chain
        self._reserve = reserve
        self._tip = Tip(0, start_of_chain(chain.owner, chain.key.key_id))
        self._segment = 0
        self._file = -1
        self._size = 0
        self._total = 0
        self._unsynced = False
        self._group_start = 0
        self._group_count = 0
        self._group_previous = self._tip.head
        self.batches: list[CutBatch] = []

    @property
    def tip(self) -> Tip:
        """The newest sequence and the head after it."""
        return self._tip

    @property
    def uncut_count(self) -> int:
        """Entries that no header covers yet."""
        return self._group_count

    @property
    def uncut_bytes(self) -> int:
        """Bytes of those entries."""
        return self._size - self._group_start

    @property
    def full(self) -> bool:
        """Whether only stopping and reducing is still recorded."""
        return not self._reserve.held or self._total > MAX_JOURNAL_BYTES

    def append(
        self, stamp: tuple[int, str], kind: str, body: Mapping[str, JsonLike], *, durable: bool
    ) -> int:
        """Append an entry with the stamp (wall milliseconds, boot id); return its sequence.

        With `durable` it is on the disk when this returns, and may use the reserved space.
        Raises `Unreachable` (reason `journal_full`) when there is no room, `Misuse` for a body
        that is too large or cannot be encoded.
        """
        entry = make_entry(self._tip.sequence + 1, stamp[0], stamp[1], kind, body)
        if len(entry) > MAX_ENTRY_BYTES:
            raise Misuse("A journal entry was too large.", reason="entry_too_large")
        if (self.full and not durable) or self._group_count >= MAX_BATCH_ENTRIES:
            raise _no_room()
        self._open_segment()
        self._write(entry + b"\n", urgent=durable)
        if self._group_count == 0:
            self._group_previous = self._tip.head
        self._tip = Tip(self._tip.sequence + 1, next_head(self._tip.head, entry))
        self._group_count += 1
        if durable:
            self.sync()
        return self._tip.sequence

    def sync(self) -> None:
        """Return when everything appended is on the disk. Raises `Unreachable`."""
        if self._unsynced:
            try:
                os.fdatasync(self._file)
            except OSError as e:
                raise _disk_failed(e) from e
            self._unsynced = False

    def cut(self, sign: Callable[[int, int, str, str], bytes]) -> LastCut | None:
        """Close the entries that no header covers into a batch; None when there are none.

        `sign(first, last, previous, head)` returns the header's bytes. Raises `Unreachable`.
        """
        if self._group_count == 0:
            return None
        self.sync()
        first = self._tip.sequence - self._group_count + 1
        line = sign(first, self._tip.sequence, self._group_previous.hex(), self._tip.head.hex())
        self._add_header(line)
        return LastCut(self._tip.sequence, self._tip.head, line)

    def _add_header(self, line: bytes) -> None:
        header, _ = read_batch_header(line)
        start, entries = self._group_start, self._size - self._group_start
        self._write(line + b"\n", urgent=True)
        self.sync()
        self.batches.append(
            CutBatch(
                first=header.first,
                last=header.last,
                head=header.head,
                hash=header.hash,
                segment=self._segment,
                offset=start,
                entries_bytes=entries,
                header_bytes=len(line),
            )
        )
        self._group_start, self._group_count = self._size, 0
        if self._size >= self._segment_bytes:
            self._close_file()

    def find_after(self, sequence: int) -> CutBatch | None:
        """Return the first batch that reaches behind `sequence`."""
        place = bisect_left(self.batches, sequence + 1, key=lambda b: b.last)
        return self.batches[place] if place < len(self.batches) else None

    def find_ending(self, sequence: int) -> CutBatch | None:
        """Return the batch whose last entry is `sequence`."""
        batch = self.find_after(sequence - 1)
        return batch if batch is not None and batch.last == sequence else None

    def read_batch(self, batch: CutBatch) -> bytes:
        """Return the bytes of a batch as they go on the wire, every time the same.

        Raises `Malformed` when its entries are damaged on the disk, `Unreachable`.
        """
        data = self._read_lines(batch)
        header = data[batch.entries_bytes : batch.entries_bytes + batch.header_bytes]
        if not batch.whole or len(header) != batch.header_bytes:
            raise Malformed("The entries of a batch are damaged.", reason="batch_damaged")
        return header + b"\n" + data[: batch.entries_bytes - 1]

    def read_header(self, batch: CutBatch) -> bytes:
        """Return the header of a batch: the leaf that the ledger holds. Raises as above."""
        data = self._read_lines(batch)
        return data[batch.entries_bytes : batch.entries_bytes + batch.header_bytes]

    def _read_lines(self, batch: CutBatch) -> bytes:
        path = segment_path(self._folder, batch.segment)
        try:
            with path.open("rb") as file:
                file.seek(batch.offset)
                return file.read(batch.entries_bytes + batch.header_bytes)
        except OSError as e:
            raise _disk_failed(e) from e

    def note_proofs(self, proven: list[tuple[CutBatch, Proof]]) -> None:
        """Remember where batches were proven to be. Losing this costs a second question."""
        lines: dict[int, bytearray] = {}
        for batch, proof in proven:
            batch.proof = proof
            lines.setdefault(batch.segment, bytearray()).extend(
                make_proof_line(batch.hash, proof) + b"\n"
            )
        for segment, content in lines.items():
            try:
                with proofs_path(self._folder, segment).open("ab") as file:
                    file.write(content)
            except OSError as e:
                raise _disk_failed(e) from e

    def drop_proven_before(self, powered_ms: int) -> int:
        """Drop the oldest segments whose every batch was proven before then; return how many.

        The newest segment stays, so that the chain always has its end on the disk.
        """
        dropped = 0
        while self.batches and self.batches[0].segment != self.batches[-1].segment:
            oldest = self.batches[0].segment
            inside = [b for b in self.batches if b.segment == oldest]
            if any(b.proof is None or b.proof.at_powered_ms >= powered_ms for b in inside):
                break
            path = segment_path(self._folder, oldest)
            self._total -= path.stat().st_size
            path.unlink()
            proofs_path(self._folder, oldest).unlink(missing_ok=True)
            del self.batches[: len(inside)]
            dropped += 1
        return dropped

    def regain_reserve(self) -> bool:
        """Try to reserve space again; return whether the journal takes everything again."""
        self._reserve.take()
        return not self.full

    def close(self) -> None:
        """Make everything durable and close. Raises `Unreachable`."""
        self.sync()
        self._close_file()

    def _open_segment(self) -> None:
        if self._file >= 0:
            return
        self._segment = self._tip.sequence + 1
        path = segment_path(self._folder, self._segment)
        try:
            self._file = os.open(
                path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            os.ftruncate(self._file, 0)
            sync_directory(self._folder)
        except OSError as e:
            self._close_file()
            raise _disk_failed(e) from e
        self._size = self._group_start = self._group_count = 0

    def _write(self, data: bytes, *, urgent: bool) -> None:
        try:
            self._write_whole(data)
        except Unreachable:
            if not urgent or not self._reserve.release():
                raise
            self._write_whole(data)
        self._size += len(data)
        self._total += len(data)
        self._unsynced = True

    def _write_whole(self, data: bytes) -> None:
        """Write all of it or nothing."""
        try:
            if os.write(self._file, data) == len(data):
                return
            problem: OSError = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as e:
            problem = e
        os.ftruncate(self._file, self._size)
        raise _disk_failed(problem) from problem

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def recover(self, last_cut: LastCut | None) -> Damage | None:
        """Read the folder; called once, by `open_journal`."""
        make_private_directory(self._folder)
        known = Tip(last_cut.sequence, last_cut.head) if last_cut else None
        firsts = list_segments(self._folder)
        cut_bytes = 0
        for first in firsts:
            scan = self._scan(first, known)
            if first != firsts[-1]:
                # Only the newest segment may end with entries that no header covers.
                tip = signed_tip(scan)
                scan.good_bytes = scan.tail_start
                self._tip = tip or self._tip
            self._total += scan.good_bytes
            cut_bytes += self._cut_off(scan)
            if first == firsts[-1]:
                self._adopt(scan)
        lost = self._mend_end(last_cut)
        if cut_bytes or lost:
            return Damage(cut_bytes, *(lost or (0, 0)))
        return None

    def _scan(self, first: int, known: Tip | None) -> Scan:
        data = read_bounded(segment_path(self._folder, first), MAX_SEGMENT_BYTES)
        start = None
        if first == self._tip.sequence + 1:
            start = self._tip
        elif known is not None and first == known.sequence + 1:
            start = known
        scan = scan_segment(data, first, start, self._chain)
        proofs = read_proofs(proofs_path(self._folder, first))
        for batch in scan.batches:
            batch.proof = proofs.get(batch.hash)
        self.batches.extend(scan.batches)
        if scan.tip is not None:
            self._tip = scan.tip
        return scan

    def _cut_off(self, scan: Scan) -> int:
        """Remove what is not part of the journal; a file without any part of it is set aside."""
        path = segment_path(self._folder, scan.first)
        try:
            if scan.total_bytes == 0:
                path.unlink()
            elif scan.good_bytes == 0:
                path.replace(path.with_suffix(".damaged"))
            elif scan.good_bytes < scan.total_bytes:
                os.truncate(path, scan.good_bytes)
            sync_directory(self._folder)
        except OSError as e:
            raise _disk_failed(e) from e
        return scan.total_bytes - scan.good_bytes

    def _adopt(self, scan: Scan) -> None:
        """Go on writing in the newest segment."""
        if scan.good_bytes == 0:
            return
        self._segment = scan.first
        path = segment_path(self._folder, scan.first)
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
            os.fsync(self._file)
        except OSError as e:
            raise _disk_failed(e) from e
        before = signed_tip(scan)
        self._size = scan.good_bytes
        self._group_start, self._group_count = scan.tail_start, scan.tail_count
        self._group_previous = before.head if before else self._tip.head
        if self._group_count == 0 and self._size >= self._segment_bytes:
            self._close_file()

    def _mend_end(self, last_cut: LastCut | None) -> tuple[int, int] | None:
        """Go on from the newest signed point when the file does not reach it any more."""
        signed = self.batches[-1].last if self.batches else 0
        if last_cut is None or signed >= last_cut.sequence:
            return None
        if self._tip == Tip(last_cut.sequence, last_cut.head) and self._header_fits(last_cut):
            self._add_header(last_cut.header)
            return None
        self._drop_tail()
        self._tip = Tip(last_cut.sequence, last_cut.head)
        self._close_file()
        return signed + 1, last_cut.sequence

    def _header_fits(self, last_cut: LastCut) -> bool:
        try:
            header, _ = read_batch_header(last_cut.header)
        except FleetwardError:
            return False
        return header.first == self._tip.sequence - self._group_count + 1

    def _drop_tail(self) -> None:
        if self._file >= 0 and self._group_count:
            os.ftruncate(self._file, self._group_start)
            self._size, self._group_count = self._group_start, 0


def open_journal(
    folder: Path, chain: Chain, last_cut: LastCut | None, segment_bytes: int = SEGMENT_BYTES
) -> tuple[Journal, Damage | None]:
    """Open the journal in `folder`, making it when it is new, and mend a damaged end.

    The caller journals the damage. Raises `Unreachable` when the disk says no.
    """
    journal = Journal(folder, chain, Reserve(folder / "reserve"), segment_bytes)
    damage = journal.recover(last_cut)
    journal.regain_reserve()
    return journal, damage


def _no_room() -> Unreachable:
    return Unreachable(
        "The disk is full: only stopping and reducing is recorded until there is room. "
        "Free space on the disk of this machine.",
        reason="journal_full",
    )


def _disk_failed(error: OSError) -> Unreachable:
    if error.errno in _FULL:
        return _no_room()
    return Unreachable(
        f"The journal cannot be written: {error.strerror}. Check the disk of this machine.",
        reason="journal_disk",
    )
