"""The highest counters ever committed, in a file of their own, bound to the TPM where there is one.

Without a TPM the file is `floors.json` and **weak**: who puts back an older copy of the disk has an
older file, and nothing here can know. With one it is `floors.bound`, in these rules:

1. It names a number of the TPM that only rises, and is sealed (HMAC-SHA256) by a key that is in the
   TPM and not on the disk.
2. A new file names the number that comes next; then the TPM's number is raised. So after a cut at
   any point the file on the disk names the TPM's number or the one after it, and an older copy
   names a lower one. Limit: a copy from between the two names the number to come, and whoever puts
   an older disk back at that moment has another commit make a second file for it (record 0046).
3. A file that names another number, is missing, or has another seal, and a TPM that forgot or is
   silent, put the counters **in doubt**. What the file says still counts, where its seal is right.
   Since when is remembered for the number that the TPM had then, sealed as the counters are; with
   a TPM that is silent or forgot, it is since this start.
4. In doubt nothing is installed but what the owner approves by name after that
   (`gate_updates`, rule 8). When such a release is committed the counters are whole again.
5. Binding a weak file ends with the key in the TPM, and only then is the weak file removed. A cut
   before that leaves the weak file in force.

What can be written to the disk and, as root, to the TPM, this does not stop; see record 0046.
"""

from __future__ import annotations

import contextlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, Protocol, TypeAlias, TypeVar

import msgspec

from fleetward.device.hardware.tpm_counter import KEY_BYTES, Reading
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable

T = TypeVar("T")

MAX_BYTES: Final = 256 * 1024
SEAL_DOMAIN: Final = b"fleetward.floors.v1\0"
DOUBT_DOMAIN: Final = b"fleetward.floors-in-doubt.v1\0"

Keeping: TypeAlias = Literal["file", "tpm", "doubted"]
"""How counters are kept; a report says it, unless it is `file`."""


class Counter(Protocol):
    """A number that only rises, and a key beside it: `hardware.tpm_counter`. Raises the families of
    `trust.errors` when the TPM does not do its part."""

    def read(self) -> Reading | None:
        """Return number and key, or None where no key was kept yet."""

    def prepare(self) -> int:
        """Have a number, and return it."""

    def keep_key(self, key: bytes) -> None:
        """Keep the key."""

    def increment(self) -> int:
        """Raise the number by one, and return it."""


class Bound(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file that the TPM vouches for."""

    floors: dict[str, int]
    number: int
    seal: str


class KeptDoubt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Since when counters are in doubt, and what the TPM's number was."""

    number: int
    at_ms: int
    seal: str


@dataclass(frozen=True, slots=True)
class Doubt:
    """Since when counters are in doubt."""

    at_ms: int


class Floors:
    """Reads and writes the counters. Part of guard's single thread."""

    def __init__(self, folder: Path, counter: Counter | None, now_ms: Callable[[], int]) -> None:
        """`now_ms` is the time that approvals are judged by."""
        self._weak = folder / "floors.json"
        self._bound = folder / "floors.bound"
        self._doubt_file = folder / "floors.doubt"
        self._counter = counter
        self._now_ms = now_ms
        self._reading: Reading | None = None
        self._named = 0
        """The number that the file names."""
        self._saved: dict[str, int] | None = None
        self.keeping: Keeping = "file"
        self.doubt: Doubt | None = None
        self.words = ""
        """Why they are kept as they are, for people; empty when all is as it should be."""

    @property
    def is_kept(self) -> bool:
        """Whether there is a file of either kind."""
        return self._weak.exists() or self._bound.exists()

    def load(self, remembered: Mapping[str, int] | None) -> dict[str, int] | None:
        """Return the counters: the highest of the files' and of what is remembered elsewhere (None:
        nothing is). None where nothing is known at all. Raises nothing."""
        weak = _read(self._weak, dict[str, int])
        known = _highest(remembered, weak)
        if self._counter is None and not self._bound.exists():
            self.words = "There is no TPM that guard may speak to."
            self._saved = weak
            return known
        return self._load_bound(known, weak)

    def save(self, floors: Mapping[str, int], *, is_commit: bool = False) -> None:
        """Have the counters on the disk when they rose. A commit of what was approved in doubt ends
        it. Raises `Unreachable` when the disk says no; then nothing changed."""
        ends_doubt = is_commit and self.doubt is not None
        if dict(floors) == self._saved and not ends_doubt:
            return
        if ends_doubt:
            self._end_doubt(floors)
        elif self._reading is not None:
            self._write_bound(floors)
        else:
            atomic_write(self._weak, msgspec.json.encode(dict(floors)))
        self._saved = dict(floors)

    # --- reading

    def _load_bound(
        self, known: dict[str, int] | None, weak: dict[str, int] | None
    ) -> dict[str, int] | None:
        bound = _read(self._bound, Bound)
        try:
            if self._counter is None:
                raise Unreachable("The TPM is gone.", reason="tpm_silent")
            reading = self._counter.read()
        except FleetwardError as e:
            if not self._bound.exists():
                self.words, self._saved = e.message, weak
                return known
            self._fall_into_doubt(None, e.message)
            return _highest(known, bound.floors if bound else None)
        if reading is None:
            return self._load_unbound(known, weak)
        sealed = bound if bound is not None and _is_sealed(bound, reading.key) else None
        if sealed is None:
            words = "The file of its counters is missing, or is not this machine's."
            self._fall_into_doubt(reading, words)
            return known
        if sealed.number not in (reading.number, reading.number + 1):
            words = (
                f"The counters on the disk are those of state {sealed.number}; the TPM is at "
                f"{reading.number}. An older copy of the disk was put back."
            )
            self._fall_into_doubt(reading, words)
        else:
            self._settle(sealed, reading)
        return _highest(known, sealed.floors)

    def _load_unbound(
        self, known: dict[str, int] | None, weak: dict[str, int] | None
    ) -> dict[str, int] | None:
        """The TPM has no key of ours: it never had one, or forgot (rules 3 and 5)."""
        if self._bound.exists() and weak is None:
            self._fall_into_doubt(None, "The TPM has forgotten this machine's counters.")
            return known
        try:
            self._bind(known or {})
        except FleetwardError as e:
            self.words, self._saved = e.message, weak
        return known

    def _settle(self, bound: Bound, reading: Reading) -> None:
        """Finish what a cut left half done: raise the number, remove the weak file."""
        self._reading, self._named, self._saved = reading, bound.number, bound.floors
        self.keeping = "tpm"
        self._catch_up()
        _drop(self._weak)
        _drop(self._doubt_file)

    def _fall_into_doubt(self, reading: Reading | None, words: str) -> None:
        """`reading` is what the TPM says, or None where it says nothing."""
        self._reading, self.keeping, self.words = None, "doubted", words
        now_ms = self._now_ms()
        self.doubt = Doubt(now_ms)
        if reading is None:
            return
        kept = _read(self._doubt_file, KeptDoubt)
        if kept is not None and kept == _seal_doubt(kept.at_ms, reading):
            self.doubt = Doubt(min(kept.at_ms, now_ms))
        with contextlib.suppress(Unreachable):  # a full disk: it is in doubt all the same
            sealed = _seal_doubt(self.doubt.at_ms, reading)
            atomic_write(self._doubt_file, msgspec.json.encode(sealed))

    # --- writing

    def _write_bound(self, floors: Mapping[str, int]) -> None:
        """Rule 2. A TPM that falls silent behind the file leaves one that is good at the next
        start; while the file stays, no second one is made for the same number."""
        assert self._reading is not None  # who calls looked
        if not self._catch_up():
            self._fall_into_doubt(None, self.words)
            atomic_write(self._weak, msgspec.json.encode(dict(floors)))
            return
        number = self._reading.number + 1
        atomic_write(self._bound, msgspec.json.encode(_seal(floors, number, self._reading.key)))
        self._named = number
        self._catch_up()

    def _catch_up(self) -> bool:
        """Have the TPM's number be the one that the file names; return whether it is. That is one
        more at most (rule 2), so it is raised once: each time wears the TPM."""
        assert self._reading is not None and self._counter is not None  # it was read
        try:
            if self._reading.number < self._named:
                self._raise(self._counter, self._reading)
        except FleetwardError as e:
            self.words = e.message
            return False
        self.words = ""
        return True

    def _raise(self, counter: Counter, reading: Reading) -> None:
        """Raise the number. Raises `Malformed` when it did not rise, and what the TPM raises."""
        number = counter.increment()
        if number < self._named:
            raise Malformed(
                f"The TPM was to raise its number to {self._named} and says {number}. Have "
                "it looked at: it does not keep this machine's counters.",
                reason="tpm_garbled",
            )
        self._reading = Reading(number, reading.key)

    def _end_doubt(self, floors: Mapping[str, int]) -> None:
        """Rule 4: what was committed now is the newest state there is."""
        try:
            if self._counter is None:
                raise Unreachable("The TPM is gone.", reason="tpm_silent")
            reading = self._counter.read()
            number = self._counter.prepare()
            if reading is None:
                self._bind(floors)
            else:
                self._reading = Reading(number, reading.key)
                self._named = number
                self._write_bound(floors)
        except (Refused, Malformed) as e:
            self.words = e.message
        except Unreachable as e:
            if not e.reason.startswith("tpm_"):
                raise
            self.words = e.message
        if self._reading is None:
            # Still in doubt; what was committed counts all the same.
            atomic_write(self._weak, msgspec.json.encode(dict(floors)))
            return
        _drop(self._weak)
        _drop(self._doubt_file)
        self.doubt, self.keeping = None, "tpm"

    def _bind(self, floors: Mapping[str, int]) -> None:
        """Rule 5. Raises what the TPM raises; then the weak file is in force."""
        assert self._counter is not None  # it was read
        atomic_write(self._weak, msgspec.json.encode(dict(floors)))
        number, key = self._counter.prepare(), os.urandom(KEY_BYTES)
        atomic_write(self._bound, msgspec.json.encode(_seal(floors, number, key)))
        self._counter.keep_key(key)
        _drop(self._weak)
        self._reading, self._named, self._saved = Reading(number, key), number, dict(floors)
        self.keeping, self.words = "tpm", ""


def _drop(path: Path) -> None:
    with contextlib.suppress(OSError):  # it is read again, and says nothing new
        path.unlink(missing_ok=True)


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(read_bounded(path, MAX_BYTES), type=kind)
    except (FleetwardError, msgspec.MsgspecError, UnicodeError):
        return None


def _highest(*known: Mapping[str, int] | None) -> dict[str, int] | None:
    """Return the highest counter of each product, or None where no source is known."""
    found: dict[str, int] | None = None
    for floors in known:
        if floors is not None:
            found = {} if found is None else found
            for product, counter in floors.items():
                found[product] = max(counter, found.get(product, 0))
    return found


def _seal(floors: Mapping[str, int], number: int, key: bytes) -> Bound:
    words: JsonObject = {"floors": dict(floors), "number": number}
    seal = hmac.digest(key, SEAL_DOMAIN + canonical.encode(words), "sha256")
    return Bound(dict(floors), number, seal.hex())


def _seal_doubt(at_ms: int, reading: Reading) -> KeptDoubt:
    words: JsonObject = {"at": at_ms, "number": reading.number}
    seal = hmac.digest(reading.key, DOUBT_DOMAIN + canonical.encode(words), "sha256")
    return KeptDoubt(reading.number, at_ms, seal.hex())


def _is_sealed(bound: Bound, key: bytes) -> bool:
    try:
        expected = _seal(bound.floors, bound.number, key)
    except FleetwardError:
        return False
    return hmac.compare_digest(expected.seal, bound.seal)
