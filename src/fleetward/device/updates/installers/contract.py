"""What every installer does, and what it is given.

An installer knows one place of this machine. It is made anew for each plan and remembers nothing:
what was done before a power cut it reads from the disk. So each of its words may come again at any
state, and ends where it ends the first time:

1. Until `switch` has done its one atomic step, what is active is what was.
2. What lies there is believed only when its mark says so, and the mark is written last.
3. Nothing of what `survey` calls active, and nothing of what is kept for going back, is ever
   written to.
4. `before` of the part says what to go back to. It comes from guard's file and not from the disk.

Failures are errors of `trust.errors`, whose `reason` becomes the `rule` that guard is told.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.trust.errors import Malformed, Refused

BLOCK_BYTES: Final = 1024 * 1024
SYNC_BYTES: Final = 8 * BLOCK_BYTES
"""So much is written before the disk has to have it: a slow disk is heard of in time."""
DIGEST_CHARACTERS: Final = frozenset("0123456789abcdef")

Tell: TypeAlias = Callable[[int], None]
"""Called with the bytes done so far, at least every few seconds while something goes on: who does
not call it for long is ended."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is in a place. `disk` is a folder on the disk that has to hold `needed_bytes` more."""

    active: str
    written: bool
    needed_bytes: int
    disk: Path
    is_source: bool = False
    """Whether a delta can start from what is active."""


@dataclass(frozen=True, slots=True)
class Source:
    """A part as it came: some bytes of a file that guard owns. Nothing of it is believed."""

    descriptor: int
    offset: int
    length: int

    def check(self) -> None:
        """Return when the bytes are there. Raises `Malformed`."""
        found = os.fstat(self.descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise Malformed("Expected the part in a plain file.", reason="wrong_source")
        if found.st_size < self.offset + self.length:
            raise Malformed(
                f"Expected {self.length} bytes from {self.offset} on; the file ends at "
                f"{found.st_size}. Have the part fetched again.",
                reason="wrong_length",
            )

    def read_at(self, at: int, length: int) -> bytes:
        """Return up to so many bytes, from a place of the part on; none at its end."""
        left = max(0, self.length - at)
        return os.pread(self.descriptor, min(length, left), self.offset + at)

    def blocks(self) -> Iterator[bytes]:
        """Yield the bytes, a block at a time. Raises `Malformed` when they end early."""
        at = self.offset
        end = self.offset + self.length
        while at < end:
            block = os.pread(self.descriptor, min(BLOCK_BYTES, end - at), at)
            if not block:
                raise Malformed(
                    "The file of the part became shorter while it was read. Have it fetched again.",
                    reason="wrong_length",
                )
            at += len(block)
            yield block


class Installer(Protocol):
    """One place of this machine. Every method raises `FleetwardError` or `OSError`."""

    def survey(self, part: PartWord) -> Found:
        """Say what is there. It changes nothing. Raises when the place cannot take the part."""

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Have the part lie there whole, verified, inactive and on the disk."""

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """The same, out of the active part and a delta."""

    def switch(self, part: PartWord, tell: Tell) -> None:
        """Make it active."""

    def commit(self, part: PartWord, tell: Tell) -> None:
        """Forget all but what is active and what was before."""

    def back(self, part: PartWord, tell: Tell) -> None:
        """Make active what was before."""

    def clear(self, part: PartWord, tell: Tell) -> None:
        """Drop what was written, unless it is active or kept."""

    def waits_restart(self) -> bool:
        """Say whether what is active runs only when the machine has started again."""

    def tree(self) -> Path | None:
        """Return the folder with the files of what is active now; None for images."""


def verify_source(source: Source, sha256: str, tell: Tell, *, share: int) -> None:
    """Return when these bytes have this SHA-256. Raises `Malformed` (`wrong_hash`, `wrong_length`).

    `share` is the number of passes over the bytes that the caller's progress has in all.
    """
    source.check()
    digest = hashlib.sha256()
    done = 0
    for block in source.blocks():
        digest.update(block)
        done += len(block)
        tell(done // share)
    if digest.hexdigest() != sha256:
        raise wrong_hash(sha256, digest.hexdigest())


def wrong_hash(wanted: str, found: str) -> Malformed:
    """Return the error for bytes that are not the signed ones."""
    return Malformed(
        f"Expected a part with SHA-256 {wanted[:16]}…, got {found[:16]}…. Have it fetched again.",
        reason="wrong_hash",
    )


def not_written(part: PartWord) -> Refused:
    """Return the error for a part that has to lie there and does not."""
    return Refused(
        f"Part {part.name} does not lie whole in its place. Have it written first.",
        reason="not_written",
    )


def not_active(part: PartWord) -> Refused:
    """Return the error for a part that has to be active and is not."""
    return Refused(
        f"Part {part.name} is not what is active in its place, so it cannot be kept. Switch first, "
        "or go back.",
        reason="not_active",
    )


def nothing_before(part: PartWord) -> Refused:
    """Return the error for what was before and is gone."""
    return Refused(
        f"What was active before part {part.name} is not there any more. Install a release again.",
        reason="no_way_back",
    )


def is_digest(text: str) -> bool:
    """Say whether this is the hexadecimal SHA-256 of something."""
    return len(text) == 64 and DIGEST_CHARACTERS.issuperset(text)
