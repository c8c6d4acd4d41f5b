"""The collectors of a real machine: confined children, each waited for by a thread of its own."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Final

from fleetward.device.comparing import Looked, LookOrder
from fleetward.device.confine import run_confined
from fleetward.device.looking import Collected
from fleetward.device.posture.compare.making import make_comparison
from fleetward.device.posture.compare.snapshot import MAX_PACKED_BYTES, unpack_snapshot
from fleetward.trust.errors import FleetwardError
from fleetward.wire.posture import MAX_INVENTORY_BYTES, SectionName

MODULE: Final = "fleetward.device.posture.collect"
FULL_SECONDS: Final = 120.0
MEMORY_BYTES: Final = 768 * 1024 * 1024
LOOK_MODULE: Final = "fleetward.device.posture.compare.look"
LOOK_SECONDS: Final = 20.0
"""A look takes half a second; a machine under a heavy load gets so long."""
LOOK_MEMORY_BYTES: Final = 384 * 1024 * 1024


class ConfinedCollector:
    """Looks at this machine. `hidden` are folders that the child must not see."""

    def __init__(self, hidden: tuple[Path, ...]) -> None:
        self._hidden = hidden
        self._results: queue.SimpleQueue[Collected] = queue.SimpleQueue()

    def start(self, sections: tuple[SectionName, ...]) -> None:
        """Begin to look; returns at once."""
        argv = [MODULE, *(["--sections", ",".join(sections)] if sections else [])]
        threading.Thread(target=self._look, args=(argv,), name="look", daemon=True).start()

    def poll(self) -> Collected | None:
        """Return the result once, or None while there is none."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def _look(self, argv: list[str]) -> None:
        try:
            result = run_confined(
                argv,
                hidden=self._hidden,
                timeout_seconds=FULL_SECONDS,
                memory_bytes=MEMORY_BYTES,
                output_bytes=MAX_INVENTORY_BYTES,
            )
        except FleetwardError as e:
            self._results.put(Collected(b"", problem=e.message))
            return
        except Exception as e:  # noqa: BLE001 - the boundary of the thread: a look without result
            self._results.put(Collected(b"", problem=f"The collector failed: {e!r}"[:300]))
            return
        problem = "" if result.state == "done" else f"The look ended {result.state}: "
        self._results.put(
            Collected(
                result.output,
                problem=problem and problem + result.errors[-300:],
                missing_walls=tuple(f"{w.name}: {w.words}" for w in result.missing),
            )
        )


class ConfinedLooker:
    """Looks before and after sessions, and compares the two looks in its thread.

    `key` is what marks of passwords are made with: kept by guard, so that two looks agree.
    """

    def __init__(self, hidden: tuple[Path, ...], key: bytes) -> None:
        self._hidden = hidden
        self._key = key
        self._results: queue.SimpleQueue[Looked] = queue.SimpleQueue()

    def start(self, order: LookOrder) -> None:
        """Begin to look; returns at once."""
        threading.Thread(target=self._run, args=(order,), name="compare", daemon=True).start()

    def poll(self) -> Looked | None:
        """Return the result once, or None while there is none."""
        try:
            return self._results.get_nowait()
        except queue.Empty:
            return None

    def _run(self, order: LookOrder) -> None:
        try:
            looked = self._look(order)
        except FleetwardError as e:
            looked = Looked(problem=e.message)
        except Exception as e:  # noqa: BLE001 - the boundary of the thread: a look without result
            looked = Looked(problem=f"The look failed: {e!r}"[:300])
        self._results.put(looked)

    def _look(self, order: LookOrder) -> Looked:
        argv = [LOOK_MODULE]
        for folder in order.folders:
            argv += ["--files", folder]
        result = run_confined(
            argv,
            hidden=self._hidden,
            timeout_seconds=LOOK_SECONDS,
            memory_bytes=LOOK_MEMORY_BYTES,
            output_bytes=MAX_PACKED_BYTES,
            secret=self._key,
        )
        if result.state != "done":
            return Looked(problem=f"The look ended {result.state}: {result.errors[-300:]}")
        return compare_looks(order, result.output)


def compare_looks(order: LookOrder, packed: bytes) -> Looked:
    """Return a look, and the comparison where one was asked for. Raises `Malformed`."""
    after = unpack_snapshot(packed)
    if order.frame is None:
        return Looked(packed)
    try:
        document = make_comparison(order.frame, unpack_snapshot(order.before), after)
    except FleetwardError as e:
        return Looked(packed, problem=e.message)
    return Looked(packed, document)
