"""Where in an old file is what is most like a piece of the new one?

Bytes move: a file that grew pushes all that lies behind it. So places are found by what stands
there and not by their number. **Anchors** are the places where the parities of a few bytes in a row
show a fixed pattern; each is known by the 24 bytes from there on. All anchors of the old file are
put into a table once. For a piece of the new file, the anchors that both have are laid out along
the old one, and the stretch with most of them is the answer.

It is a guess that costs a few seconds for hundreds of megabytes, and it is the same guess each
time. That the files are alike is not promised: whoever uses it compares or packs.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from mmap import mmap
from typing import Final, TypeAlias

Bytes: TypeAlias = mmap | bytes

_PARITY: Final = bytes(value.bit_count() & 1 for value in range(256))
_PATTERN: Final = bytes((1, 0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 1, 0, 0))
_LEAST_BITS: Final = 8
"""An anchor every few hundred bytes at the closest."""
_ANCHORS: Final = 2**20
"""About so many anchors are kept of an old file, of any length: some 200 MB of memory."""
_KEY_BYTES: Final = 24
_READ_BYTES: Final = 4 * 1024 * 1024
_MOST_PLACES: Final = 16
"""A text that stands in more places than that says nothing about where."""
_NEAR_BYTES: Final = 64 * 1024
"""What is left over beside the outermost anchors of a stretch."""


@dataclass(frozen=True, slots=True)
class Likeness:
    """A stretch of the old file, and how far the piece has moved from where it was in it."""

    offset: int
    length: int
    moved: int


class Anchors:
    """All anchors of an old file. It keeps the file open as long as it lives."""

    def __init__(self, old: Bytes) -> None:
        self._old = old
        bits = max(_LEAST_BITS, (len(old) // _ANCHORS).bit_length())
        self._pattern = re.compile(re.escape(_PATTERN[:bits]))
        self._first: dict[bytes, int] = {}
        self._further: dict[bytes, list[int]] = {}
        for begin in range(0, len(old), _READ_BYTES):
            for at, key in self._find(old, begin, begin + _READ_BYTES):
                if key not in self._first:
                    self._first[key] = at
                elif len(further := self._further.setdefault(key, [])) < _MOST_PLACES:
                    further.append(at)

    def find(self, new: Bytes, begin: int, end: int, *, longest: int) -> Likeness:
        """Return the stretch of at most `longest` bytes that is most like `new[begin:end]`.

        Where nothing is alike it is the one around the same place.
        """
        weights: list[tuple[int, float]] = []
        moves: Counter[int] = Counter()
        seen: set[bytes] = set()
        for at, key in self._find(new, begin, end):
            first = self._first.get(key)
            further = self._further.get(key, [])
            if first is None or key in seen or len(further) >= _MOST_PLACES:
                continue
            seen.add(key)
            weight = 1 / (1 + len(further))
            weights += [(place, weight) for place in (first, *further)]
            moves[first - at] += 1
        middle = _densest(sorted(weights), longest) if weights else (begin + end) // 2
        offset = max(0, min(middle - longest // 2, len(self._old) - longest))
        moved = min(moves, key=lambda move: (-moves[move], abs(move), move)) if moves else 0
        return Likeness(offset, min(longest, len(self._old)), moved)

    def _find(self, file: Bytes, begin: int, end: int) -> list[tuple[int, bytes]]:
        """Return the anchors that begin in this piece, with what each is known by."""
        piece = file[begin : end + _KEY_BYTES]
        length = min(end, len(file)) - begin
        return [
            (begin + at, piece[at : at + _KEY_BYTES])
            for found in self._pattern.finditer(piece.translate(_PARITY))
            if (at := found.start()) < length
        ]


def _densest(weights: list[tuple[int, float]], longest: int) -> int:
    """Return the middle of the stretch that weighs most; the first of several."""
    reach = max(1, longest - _NEAR_BYTES)
    best, best_middle = 0.0, 0
    weight, low = 0.0, 0
    for place, more in weights:
        weight += more
        while place - weights[low][0] > reach:
            weight -= weights[low][1]
            low += 1
        if weight > best:
            best, best_middle = weight, (weights[low][0] + place) // 2
    return best_middle
