"""The part of the door that takes runbooks, and says what a scope of one would do.

1. A document is taken when the policy in force lets its signer's runbooks be run, and this one.
   Nothing starts by it: a run needs a session whose grant names the document's hash.
2. At most `MOST_RUNBOOKS` are kept, by their hash; the one that was taken longest ago goes first,
   and never one that a request waits on or a session runs.
3. What is new is in the journal before it is on the disk. The same again is neither.
4. What is read from the disk is judged again, by the policy of that moment.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, Literal

from fleetward.device.audit.diary import Diary
from fleetward.device.refusals import Refusals
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.access import Scope
from fleetward.trust.access_runbook import Plan, RunbookScope
from fleetward.trust.canonical import JsonObject
from fleetward.trust.documents import OwnerView
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.runbook import (
    MAX_RUNBOOK_BYTES,
    RUNBOOK_TYPE,
    Runbook,
    judge_runbook,
    plan_run,
)

RUNBOOK_TYPES: Final = (RUNBOOK_TYPE,)
MOST_RUNBOOKS: Final = 64
"""Four megabytes at most; who has more service procedures than that sends them when needed."""
STORED: Final = "runbook.stored"
_FILE: Final = re.compile(r"[0-9a-f]{64}")


class RunbookGate:
    """Keeps runbooks that the owner's policy allows. Part of guard's single thread."""

    def __init__(
        self, folder: Path, view: Callable[[], OwnerView], diary: Diary, refusals: Refusals
    ) -> None:
        self._folder = make_private_directory(folder)
        self._view = view
        self._diary = diary
        self._refusals = refusals
        self._in_use: Callable[[], Iterable[str]] = tuple

    def call_for_used(self, in_use: Callable[[], Iterable[str]]) -> None:
        """Have `in_use` say which runbooks must not go."""
        self._in_use = in_use

    def take(self, data: bytes, kind: str) -> Literal["none"]:
        """Take an order of `RUNBOOK_TYPES`. Raises as `admit`."""
        del kind
        self.admit(data)
        return "none"

    def admit(self, data: bytes) -> None:
        """Take a document. Raises what it was refused with, recorded, or `Unreachable`."""
        try:
            runbook = judge_runbook(data, self._view().policy)
            path = self._path(runbook.digest)
            if path.is_file():
                with contextlib.suppress(OSError):
                    path.touch()
                return
            self._record(runbook)
        except (Malformed, Untrusted, Refused) as e:
            self._refusals.refuse("runbook", e.reason, e.message)
            raise
        self._make_room()
        atomic_write(path, data)

    def plan(self, scopes: Sequence[Scope]) -> dict[int, Plan]:
        """Return what the runbooks among these scopes do, by their place.

        Raises `Refused`, `Untrusted` or `Malformed` for the first that this machine would not run.
        """
        return {
            place: plan_run(self._read(scope.digest), scope)
            for place, scope in enumerate(scopes)
            if isinstance(scope, RunbookScope)
        }

    def _read(self, digest: str) -> Runbook:
        try:
            data = read_bounded(self._path(digest), MAX_RUNBOOK_BYTES)
        except FleetwardError as e:
            raise _unknown(digest) from e
        runbook = judge_runbook(data, self._view().policy)
        if runbook.digest != digest:
            raise _unknown(digest)
        return runbook

    def _record(self, runbook: Runbook) -> None:
        words = (
            f"The runbook {runbook.name} {runbook.version} was taken over; it runs as "
            f"{runbook.run_as} when a session names it."
        )
        # Its signer may have signed thousands: who hands them all over fills no journal.
        if not self._refusals.has_room(STORED, "runbook", "new", words):
            raise Refused(
                "This machine has taken as many runbooks in this hour as it records.",
                reason="too_many_runbooks",
            )
        body: JsonObject = {
            "digest": runbook.digest,
            "name": runbook.name,
            "run_as": runbook.run_as,
            "signer": runbook.signer,
            "version": runbook.version,
            "words": words,
        }
        self._diary.order(STORED, body)

    def _make_room(self) -> None:
        kept = [path for path in self._folder.iterdir() if _FILE.fullmatch(path.name)]
        used = set(self._in_use())
        idle = sorted((p for p in kept if p.name not in used), key=lambda p: p.stat().st_mtime_ns)
        for path in idle[: max(0, len(kept) - MOST_RUNBOOKS + 1)]:
            with contextlib.suppress(OSError):
                path.unlink()

    def _path(self, digest: str) -> Path:
        return self._folder / digest


def _unknown(digest: str) -> Refused:
    return Refused(
        f"This machine does not have the runbook {digest[:16]}. Ask again with `--runbook FILE`: "
        "the server then hands it over first.",
        reason="runbook_unknown",
    )
