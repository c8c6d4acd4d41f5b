"""Making a part out of the active one and a delta: the one place where a delta is applied.

1. The delta's SHA-256 is compared first, with the one that the manifest names: nothing unpacks
   bytes that nobody signed.
2. It has to say the part's length, and the length of the source. So much of the source is read,
   from its first byte on, and has to have the SHA-256 that the manifest names: a slot is longer
   than the image in it, and one that somebody wrote to is none to start from.
3. Only then the target is opened, which forgets what was in it.
4. What was made is hashed while it is written. It is the part, or `wrong_hash`.

The caller believes what lies there as it believes a part that was written whole: a slot is read
back, an archive is hashed again while it is unpacked. For whatever reason a delta fails, guard
takes another one, or the whole part.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, cast

from fleetward.device.updates.delta import apply_delta
from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import (
    BLOCK_BYTES,
    Source,
    Tell,
    verify_source,
    wrong_hash,
)
from fleetward.device.updates.installers.steady import Steady
from fleetward.trust.errors import Malformed, Refused
from fleetward.wire.delta import EMPTY_SOURCE, HEAD_BYTES, read_head


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a delta is applied: opens the active part for reading, at its first byte, and where
    the new one goes, which is forgotten as it opens. The caller verifies what lies there then."""

    open_source: Callable[[], AbstractContextManager[BinaryIO]]
    open_target: Callable[[], AbstractContextManager[Steady]]


def patch_part(part: PartWord, word: Patch, ends: Ends, delta: Source, tell: Tell) -> None:
    """Make a part. Raises `Malformed`, `Refused`, and `OSError` as the disk says.

    What lies in the target is worth nothing when it raises. `tell` is told how much of the part is
    there. From a word without the delta's SHA-256 nothing is made.
    """
    if not word.sha256:
        raise no_delta(part)
    # 1.
    verify_source(delta, word.sha256, lambda _: tell(0), share=1)
    with _open(delta) as file:
        head = read_head(file.read(HEAD_BYTES))
        file.seek(0)
        if head.target_bytes != part.length:
            raise Malformed(
                f"Expected a delta that yields {part.length} bytes, it says {head.target_bytes}. "
                "Take the whole part.",
                reason="wrong_length",
            )
        with _open_source(word, ends) as source:
            # 2.
            _require_source(source, head.source_bytes, word.source, tell)
            # 3.
            with ends.open_target() as target:
                apply_delta(
                    source,
                    file,
                    cast("BinaryIO", target),  # It is written to, in order, and nothing else.
                    limit_bytes=part.length,
                    on_progress=tell,
                )
                # 4.
                if target.hexdigest() != part.sha256:
                    raise wrong_hash(part.sha256, target.hexdigest())


def no_delta(part: PartWord) -> Refused:
    """Return the error for a part that cannot be made out of a delta here."""
    return Refused(
        f"Part {part.name} cannot be made out of a delta here. It is fetched whole instead.",
        reason="no_delta",
    )


def starts_from_nothing(word: Patch) -> bool:
    """Say whether a delta needs nothing that is on the machine."""
    return word.source == EMPTY_SOURCE


def _open_source(word: Patch, ends: Ends) -> AbstractContextManager[BinaryIO]:
    return io.BytesIO() if starts_from_nothing(word) else ends.open_source()


def _require_source(source: BinaryIO, length: int, sha256: str, tell: Tell) -> None:
    """Return when the source begins with these bytes (2). Raises `Refused`."""
    digest, left = hashlib.sha256(), length
    while left and (block := source.read(min(BLOCK_BYTES, left))):
        digest.update(block)
        left -= len(block)
        tell(0)
    if left or digest.hexdigest() != sha256:
        raise Refused(
            "What is active is not, byte by byte, what was installed: somebody wrote to it, or the "
            "disk forgets. No delta starts from it; it comes whole.",
            reason="wrong_source",
        )


def _open(delta: Source) -> BinaryIO:
    """Return the delta as a file of its own, which does not share a place with guard's."""
    return cast("BinaryIO", io.BufferedReader(_Window(delta), BLOCK_BYTES))


class _Window(io.RawIOBase):
    """The bytes of a source, and none before or behind them."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self._at = 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, counted from the first byte or from where it is."""
        self._at = offset if whence == io.SEEK_SET else self._at + offset
        return self._at

    def readinto(self, buffer: object) -> int:
        """Read what there is up to the end."""
        view = memoryview(cast("bytearray", buffer)).cast("B")
        data = self._source.read_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)
