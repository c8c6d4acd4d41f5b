"""Rollouts of the demo: made, followed line by line, and taken on where machines are silent.

All of it is asked of the server's API, as `fleetward rollout` asks it. How machines stand is what
they signed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fleetward.demo.places import DemoPlaces
from fleetward.demo.tour import run_line
from fleetward.keyholder.api import ApiClient
from fleetward.trust.errors import Unreachable

BASE: Final = "/updates/rollouts"
WAVES: Final = ("25%", "100%")
LOOK_SECONDS: Final = 0.5
MOST_SECONDS: Final = 75.0
"""So long one rollout may take; ten seconds lie between two looks of a machine."""
ALL_ROWS: Final = "per_page=500"
ENDED: Final = frozenset({"committed", "refused", "rolled_back", "failed", "passed"})
HELD: Final = "held"
BAD: Final = ("rolled_back", "failed", "refused")
SILENT_SECONDS: Final = 12.0
"""A machine that comes back within this was not silent; a busy computer drops one now and then."""
SILENCE: Final = "who is silent is not waited for"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a rollout stood when it was followed no more."""

    id: str
    state: str
    words: str
    exposure: int
    machines: int
    committed: int
    silent: int
    seconds: float


class Rolling:
    """Makes and follows rollouts."""

    def __init__(self, places: DemoPlaces, client: ApiClient, tell: Callable[[str], None]) -> None:
        self._places = places
        self._client = client
        self._tell = tell
        self._absent_since: dict[str, float] = {}

    def cancel_held(self, product: str, reason: str) -> None:
        """End what is held of a product: nobody goes on with it once there is a better one."""
        for row in self._client.get(BASE, dict[str, Any])["items"]:
            if row["product"] == product and row["state"] == HELD:
                self._tell(self._line("cancel", row["id"][:12], "--reason", reason))
                self._change(row["id"], "cancel", reason)

    def make(self, product: str, version: str, canary: str) -> str:
        """Make a rollout to every machine, this one first, and return its id."""
        self._tell(
            self._line(
                "create", f"{product}/{version}", "--all", "--canary", canary[:12],
                "--waves", ",".join(WAVES), "--soak", "0",
            )
        )  # fmt: skip
        wish = {
            "product": product,
            "version": version,
            "selector": {},
            "canaries": {"devices": [canary]},
            "waves": list(WAVES),
            "soak_seconds": 0,
        }
        return str(self._client.post(BASE, wish, dict[str, Any])["id"])

    def follow(self, rollout: str, say: Callable[[str], None]) -> Ended:
        """Follow a rollout until it is held, or everybody who is connected has ended.

        Raises `Unreachable` when that does not come.
        """
        began, said = time.monotonic(), ""
        while time.monotonic() - began < MOST_SECONDS:
            shown = self._client.get(f"{BASE}/{rollout}?{ALL_ROWS}", dict[str, Any])
            row, parts = shown["rollout"], shown["items"]
            silent = self._find_silent(row, parts)
            words = _say(row)
            if words != said:
                said = words
                say(f"{time.monotonic() - began:5.1f} s  {words}")
            if row["state"] != "running" or self._is_over(row, parts, silent):
                return _end(row, silent, time.monotonic() - began)
            if silent and self._waits_for(row, parts, silent):
                names = ", ".join(sorted(silent.values()))
                reason = f"{names}: {SILENCE}"
                self._tell(self._line("continue", rollout[:12], "--reason", reason))
                self._change(rollout, "continue", reason)
            time.sleep(LOOK_SECONDS)
        raise Unreachable(
            f"Expected the rollout {rollout[:12]} to come to its end in {MOST_SECONDS:.0f} s. "
            f"It says: {said}. See: {self._line('show', rollout[:12])}",
            reason="rollout_slow",
        )

    def _find_silent(self, row: dict[str, Any], parts: list[dict[str, Any]]) -> dict[str, str]:
        """Return the machines that were let in, have not ended, and were not connected at any look
        for a while: names by ids."""
        left = {p["device_id"]: p["name"] for p in parts if p["state"] not in ENDED}
        if not left:
            return {}
        rows = self._client.get(f"/devices?{ALL_ROWS}", dict[str, Any])["items"]
        connected = {
            each["id"]
            for each in rows
            if each["connection"] == "connected" and each["state"] == "active"
        }
        now = time.monotonic()
        absent = left.keys() - connected
        self._absent_since = {each: self._absent_since.get(each, now) for each in absent}
        return {
            each: left[each]
            for each, since in self._absent_since.items()
            if now - since >= SILENT_SECONDS
        }

    @staticmethod
    def _waits_for(
        row: dict[str, Any], parts: list[dict[str, Any]], silent: dict[str, str]
    ) -> bool:
        """Whether the next wave waits for silent machines alone."""
        busy = {p["device_id"] for p in parts if p["state"] not in ENDED}
        is_last = all(stage["open"] for stage in row["stages"])
        return not is_last and busy <= silent.keys()

    @staticmethod
    def _is_over(row: dict[str, Any], parts: list[dict[str, Any]], silent: dict[str, str]) -> bool:
        if not all(stage["open"] for stage in row["stages"]):
            return False
        ended = sum(p["state"] in ENDED for p in parts)
        return len(parts) == row["machines"] and ended + len(silent) >= len(parts)

    def _change(self, rollout: str, verb: str, reason: str) -> None:
        self._client.post(f"{BASE}/{rollout}/{verb}", {"reason": reason[:200]}, dict[str, Any])

    def _line(self, *words: str | Path) -> str:
        return run_line("fleetward", "rollout", *words, "--data", self._places.data)


def _say(row: dict[str, Any]) -> str:
    """Return the open stage, and how the machines stand that are in."""
    stage = next(s for s in reversed(row["stages"]) if s["open"])["words"]
    named = {"100%": "all", "canaries": "canary"}.get(stage, f"wave of {stage}")
    counts = row["counts"]
    if row["exposure"] == 1:
        stands = [state.replace("_", " ") for state in counts]
    else:
        stands = [f"{counts.get('committed', 0)} run it"]
        stands += [f"{counts[bad]} {bad.replace('_', ' ')}" for bad in BAD if bad in counts]
    held = f"; {row['state']}" if row["state"] != "running" else ""
    return f"{named}: {row['exposure']} of {row['machines']} were told; {', '.join(stands)}{held}"


def _end(row: dict[str, Any], silent: dict[str, str], seconds: float) -> Ended:
    return Ended(
        id=row["id"],
        state=row["state"],
        words=row["words"],
        exposure=row["exposure"],
        machines=row["machines"],
        committed=row["counts"].get("committed", 0),
        silent=len(silent),
        seconds=round(seconds, 1),
    )
