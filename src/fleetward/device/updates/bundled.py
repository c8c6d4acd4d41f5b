"""A bundle's way through guard: found, read, and what came of it said beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fleetward.device.gate_updates import Candidate, UpdateGate
from fleetward.device.updates.bundle import (
    BUNDLE_FILE,
    INCOMING,
    LOOK_FILE,
    BundleFile,
    BundleOutcome,
    write_outcome,
)
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

MAX_QUESTIONS: Final = 2000
OLDER: Final = frozenset({"old_head", "old_roster", "old_lease"})
"""What the gate says of documents older than those that the machine has."""


class Bundled:
    """Part of guard's single thread. There is one bundle at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / INCOMING
        self._path = self._folder / BUNDLE_FILE
        self._file: BundleFile | None = None
        self._name = ""
        self._said: BundleOutcome | None = None
        self._on_documents: Callable[[bytes], None] = lambda _: None

    def call_on_documents(self, on_documents: Callable[[bytes], None]) -> None:
        """Have the owner's documents in a bundle taken in by this; it raises as the gate does."""
        self._on_documents = on_documents

    @property
    def waits(self) -> bool:
        """Whether a bundle lies there."""
        return self._path.exists()

    def take_wish(self) -> bool:
        """Whether somebody at the machine asked for a look; asked once, it is forgotten."""
        try:
            (self._folder / LOOK_FILE).unlink()
        except OSError:
            return False
        return True

    def look(self, gate: UpdateGate) -> tuple[Candidate, ...] | None:
        """Read a bundle that lies there; None when there is none, or nothing came of it."""
        if self._file is not None or not self._path.exists():
            return None
        self._name = _name_of(self._path)
        try:
            self._file = BundleFile(self._path)
            if self._file.documents:
                self._take_documents(self._file.documents)
            return self._talk(self._file, gate)
        except (Malformed, Untrusted, Refused, Unreachable) as e:
            self._say(BundleOutcome(self._name, "refused", rule=e.reason, words=e.message))
            self._drop()
            return None
        except OSError as e:
            words = f"The bundle cannot be read: {e.strerror}."
            self._say(BundleOutcome(self._name, "refused", rule="disk_refused", words=words))
            self._drop()
            return None

    def answer(self, question: UpdateQuestion) -> UpdateAnswer:
        """Answer a question about a part, also after a start in between."""
        try:
            if self._file is None:
                self._name = _name_of(self._path)
                self._file = BundleFile(self._path)
            return self._file.answer(question)
        except (FleetwardError, OSError):
            return UpdateAnswer(found=False)

    def say_candidates(self, found: tuple[Candidate, ...], *, accepted: bool) -> None:
        """Say what the judgement was; a bundle of which nothing is taken is dropped."""
        if accepted:
            names = [f"{c.manifest.product} {c.manifest.version}" for c in found if c.manifest]
            self._say(BundleOutcome(self._name, "accepted", release=", ".join(names)[:200]))
            return
        first = BundleOutcome(self._name, "refused", rule="empty", words="No release is in it.")
        for each in found:
            if each.refusal is not None:
                rule, words = each.refusal.reason, each.refusal.message
                first = BundleOutcome(self._name, "refused", each.path, rule, words)
                break
        self._say(first)
        self._drop()

    def say_progress(self, phase: str, percent: int) -> None:
        """Say how far an accepted one is."""
        self._say(BundleOutcome(self._name, "accepted", phase=phase, percent=percent))

    def end(self, outcome: str, rule: str, words: str) -> None:
        """Say how it ended, and drop the bundle. Without one this does nothing."""
        if self.waits:
            name = self._name or _name_of(self._path)
            self._say(BundleOutcome(name, outcome, rule=rule, words=words, percent=100))
            self._drop()

    def close(self) -> None:
        """Close the file; it stays where it is."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _take_documents(self, data: bytes) -> None:
        """A stick was long on its way: what the machine knows by now is newer, and decides."""
        try:
            self._on_documents(data)
        except Untrusted as e:
            if e.reason not in OLDER:
                raise

    def _talk(self, file: BundleFile, gate: UpdateGate) -> tuple[Candidate, ...]:
        """Let the gate ask, and the bundle answer, to the end."""
        look = gate.look_at_bundle(file.list_paths())
        try:
            asked = next(look)
            for _ in range(MAX_QUESTIONS):
                asked = look.send(file.answer(asked))
        except StopIteration as e:
            found: tuple[Candidate, ...] = e.value
            return found
        look.close()
        raise Malformed("The bundle has no end.", reason="bad_bundle")

    def _say(self, outcome: BundleOutcome) -> None:
        if outcome != self._said:
            self._said = outcome
            write_outcome(self._folder, outcome)

    def _drop(self) -> None:
        """Remove the bundle, but not another that was put in its place meanwhile."""
        mine = self._file is None or self._file.is_at(self._path)
        self.close()
        if mine:
            with contextlib.suppress(OSError):  # A disk that says no: it is judged again.
                self._path.unlink(missing_ok=True)


def _name_of(path: Path) -> str:
    """Return a name for the bundle: the SHA-256 of its first 64 KiB, which hold its index."""
    try:
        with open(path, "rb", opener=_open_plainly) as file:
            return hashlib.sha256(file.read(64 * 1024) or b"").hexdigest()
    except OSError:
        return ""


def _open_plainly(path: str, flags: int) -> int:
    """Open for a name alone, without following a link or waiting for what a pipe may bring."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
