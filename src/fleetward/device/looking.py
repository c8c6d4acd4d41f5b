"""Looking at the machine, and writing down what was found and what changed.

A collector is a short-lived child behind walls, or a fixture in a simulator. What it returns is
untrusted bytes: a strict document, or a look that failed and is tried again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import msgspec

from fleetward.device.audit.diary import Diary
from fleetward.device.blobs import Blobs
from fleetward.device.posture.changes import describe_changes, describe_tools
from fleetward.device.schedule import FILES_EVERY_MS, SIGNS_EVERY_MS, Budget, Look, Schedule
from fleetward.device.state import GuardState
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.wire.posture import (
    Change,
    Crowd,
    Inventory,
    InventoryNotice,
    SectionName,
    decode_inventory,
    encode_inventory,
    summarize,
)

WATCHED_FILES: Final = (
    "/var/lib/dpkg/status",
    "/var/lib/apt/lists",
    "/var/lib/rpm/rpmdb.sqlite",
    "/lib/apk/db/installed",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/group",
)
CROWD_EVERY_MS: Final = 600_000
"""How often it is worth an entry that others came or went, after the first few."""
QUICK: Final[tuple[SectionName, ...]] = ("sockets",)


class Collected(msgspec.Struct, frozen=True):
    """How a look ended: a document, or why there is none."""

    document: bytes
    problem: str = ""
    missing_walls: tuple[str, ...] = ()


class Collector(Protocol):
    """Something that looks. `start` returns at once; `poll` gives the result when it is there."""

    def start(self, sections: tuple[SectionName, ...]) -> None:
        """Begin to look at these sections; an empty tuple means all."""

    def poll(self) -> Collected | None:
        """Return the result once, or None while there is none."""


class Watch(Protocol):
    """Something that notices cheaply that listening sockets changed."""

    def fingerprint(self) -> bytes:
        """Return bytes that differ when the listening sockets differ. Raises OSError."""


@dataclass(frozen=True, slots=True)
class Eyes:
    """What a machine looks with. A simulator gives a fixture, and no watch.

    `crowd` gives bytes that differ when others are connected; it raises OSError.
    """

    collector: Collector
    watch: Watch | None = None
    files: tuple[str, ...] = WATCHED_FILES
    crowd: Callable[[], bytes] | None = None


class Looking:
    """Starts looks when they are due, and turns results into entries."""

    def __init__(
        self,
        eyes: Eyes,
        clock: Clock,
        schedule: Schedule,
        diary: Diary,
        blobs: Blobs,
        kept: tuple[GuardState, Timekeeper],
    ) -> None:
        self._eyes = eyes
        self._clock = clock
        self._schedule = schedule
        self._diary = diary
        self._blobs = blobs
        self._state, self._time = kept
        self._running: Look | None = None
        self._next_signs_ms = self._next_files_ms = 0
        self._changes = Budget(most=300, every_ms=10_000)
        self._publishing = Budget(most=10, every_ms=60_000)
        self._connecting = Budget(most=6, every_ms=CROWD_EVERY_MS)
        self._crowd_seen = b""
        self._crowd: Crowd | None = None
        self._dropped = 0
        self._unpublished = False
        self.problem = ""
        self.missing_walls: tuple[str, ...] = ()
        self.done_full = False

    @property
    def busy(self) -> bool:
        """Whether a look is running."""
        return self._running is not None

    def ask(self) -> bool:
        """Look at everything at once, unless that was asked for a moment ago."""
        return self._schedule.ask(self._clock.boottime_ms())

    def tick(self) -> None:
        """Take a result, or start what is due."""
        if self._running is not None:
            collected = self._eyes.collector.poll()
            if collected is not None:
                running, self._running = self._running, None
                self._take(running, collected)
            return
        now = self._clock.boottime_ms()
        if now < self._next_signs_ms and now < self._schedule.next_full_ms:
            return
        self._next_signs_ms = now + SIGNS_EVERY_MS
        if now >= self._next_files_ms:
            self._next_files_ms = now + FILES_EVERY_MS
            self._schedule.note_files(now, stat_files(self._eyes.files))
        look = self._schedule.decide(now, self._fingerprint())
        if look is None and self._crowd_changed(now):
            look = "quick"
        if look == "quick" and not self._state.inventory:
            look = None
        if look is not None:
            self._eyes.collector.start(() if look == "full" else QUICK)
            self._running = look

    def next_ms(self) -> int:
        """Return the boot time at which `tick` has something to do."""
        if self._running is not None:
            return self._clock.boottime_ms() + 100
        watching = self._next_signs_ms if self._eyes.watch or self._eyes.files else 2**62
        return min(watching, self._schedule.next_full_ms)

    def _fingerprint(self) -> bytes:
        if self._eyes.watch is None:
            return b""
        try:
            return self._eyes.watch.fingerprint()
        except OSError as e:
            self.problem = f"The socket tables cannot be read: {e.strerror}."
            return self._schedule.sockets_seen

    def _crowd_changed(self, now: int) -> bool:
        """Say whether others are connected now, and it is worth a look. Not more often than the
        budget: on a busy port somebody comes and goes all the time."""
        if self._eyes.crowd is None:
            return False
        try:
            seen = self._eyes.crowd()
        except OSError:
            return False
        if seen == self._crowd_seen or not self._connecting.take(now):
            return False
        self._crowd_seen = seen
        return True

    def _note_crowd(self, crowd: Crowd | None) -> None:
        """Write down who is connected, when that is not who was."""
        if crowd is None or crowd == self._crowd:
            return
        if self._crowd is None and not crowd.peers:
            self._crowd = crowd
            return
        number = len(crowd.peers) + crowd.more
        words = f"{number} others are connected to this machine's ports."
        body = {**msgspec.to_builtins(crowd), "words": words if number else "Nobody is connected."}
        if self._diary.evidence("posture.connected", body):
            self._crowd = crowd

    def _take(self, look: Look, collected: Collected) -> None:
        now = self._clock.boottime_ms()
        self.missing_walls = collected.missing_walls
        try:
            if collected.problem:
                raise Malformed(collected.problem, reason="look_failed")
            found = decode_inventory(collected.document)
            self._note_crowd(found.crowd)
            if found.crowd is not None:
                # Who is connected changes by itself, and one image has one document.
                found = msgspec.structs.replace(found, crowd=None)
            document = self._merge(look, found, encode_inventory(found))
        except FleetwardError as e:
            self.problem = e.message
            if look == "full":
                self._schedule.note_full(now, done=False)
            return
        self.problem = ""
        if look == "full":
            self._schedule.note_full(now, done=True)
        self._publish(look, document)
        if look == "full":
            self.done_full = True

    def _merge(self, look: Look, found: Inventory, document: bytes) -> bytes:
        """Write down what changed; return the whole document as it is now."""
        before = self._last()
        if before is None:
            # What lets others in is told whenever it is first seen, and not as a change alone.
            for change in describe_tools(None, found.tools):
                self._write_change(change)
            return document
        for change in describe_changes(before, found):
            self._write_change(change)
        if look == "full":
            return document
        return encode_inventory(msgspec.structs.replace(before, sockets=found.sockets))

    def _last(self) -> Inventory | None:
        if not self._state.inventory:
            return None
        try:
            return decode_inventory(self._blobs.read(self._state.inventory))
        except FleetwardError:
            return None

    def _write_change(self, change: Change) -> None:
        if not self._changes.take(self._clock.boottime_ms()):
            self._dropped += 1
            return
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._diary.evidence(
                "posture.changed",
                {
                    "after": str(dropped),
                    "before": "",
                    "key": "*",
                    "severity": "warning",
                    "what": "changes.many",
                    "words": f"{dropped} more changes came too fast to write each of them down",
                },
            )
        self._diary.evidence("posture.changed", msgspec.to_builtins(change))

    def _publish(self, look: Look, document: bytes) -> None:
        """Name the inventory in the journal; after quick looks only if that is not too often."""
        digest = self._blobs.keep(document)
        same = digest == self._state.inventory
        self._state.inventory = digest
        if look == "quick" and same and not self._unpublished:
            return
        if look == "quick" and not self._publishing.take(self._clock.boottime_ms()):
            self._unpublished = True
            return
        self._unpublished = False
        summary = summarize(decode_inventory(document))
        notice = InventoryNotice(digest=digest, size=len(document), summary=summary)
        self._diary.evidence("posture.inventory", msgspec.to_builtins(notice))
        self._state.inventory_powered_ms = self._time.powered_ms()
        self._state.inventory_at_ms = self._time.wall_ms()


def stat_files(paths: tuple[str, ...]) -> bytes:
    """Return bytes that differ when one of these files was written."""
    stamps = []
    for path in paths:
        try:
            found = os.stat(path)  # noqa: PTH116 - seven of them every half minute
            stamps.append((path, found.st_mtime_ns, found.st_ino))
        except OSError:
            continue
    return repr(stamps).encode()


class FixtureCollector:
    """Returns one document whenever it is asked: for simulated machines."""

    def __init__(self, document: Callable[[], bytes]) -> None:
        self._document = document
        self._ready = False

    def start(self, sections: tuple[SectionName, ...]) -> None:
        """Have the document ready."""
        del sections
        self._ready = True

    def poll(self) -> Collected | None:
        """Return the document once."""
        ready, self._ready = self._ready, False
        return Collected(self._document()) if ready else None
