"""The collector of a real machine: a confined child, waited for by a thread of its own."""

from __future__ import annotations

import queue
import threading
from pathlib import Path
from typing import Final

from fleetward.device.confine import run_confined
from fleetward.device.looking import Collected
from fleetward.trust.errors import FleetwardError
from fleetward.wire.posture import MAX_INVENTORY_BYTES, SectionName

MODULE: Final = "fleetward.device.posture.collect"
FULL_SECONDS: Final = 120.0
MEMORY_BYTES: Final = 768 * 1024 * 1024


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
