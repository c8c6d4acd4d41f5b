"""Recalls over a server with real releases, a real roster and signed reports.

recall = open_recall(there)
again(there, recall)
"""

from __future__ import annotations

from typing import Any

from tests.updates_world import OPERATOR, PRODUCT, UpdatesWorld

from fleetward.server.updates.decide_recall import Tally
from fleetward.server.updates.recalls import RecallWish
from fleetward.server.updates.store import Row
from fleetward.trust.release_manifest import Manifest
from fleetward.trust.update_report import Installed

WEEK_MS = 7 * 86_400_000


def wish(**changes: Any) -> RecallWish:
    """Return a recall of 1.0, mended by 1.1."""
    values: dict[str, Any] = {
        "product": PRODUCT, "versions": ("1.0",), "machines": None, "title": "Open debug port",
        "why": "Anybody on the network can log in.", "advisories": ("CVE-2026-1234",),
        "remedy": "patch", "fix_version": "1.1", "until_ms": 0,
    }  # fmt: skip
    return RecallWish(**(values | changes))


def open_recall(there: UpdatesWorld, **changes: Any) -> Row:
    """Open a recall as the operator."""
    row: Row = there.slice.recalls.open(wish(**changes), OPERATOR)
    return row


def again(there: UpdatesWorld, row: Row) -> Tally:
    """Let the clock's round pass, and count."""
    there.world.clock.now += 60_000
    there.slice.recalls.advance()
    tally: Tally = there.slice.recalls.tally(row)
    return tally


def runs(manifest: Manifest) -> dict[str, Any]:
    """Return what a report says besides, of a machine that still runs this release."""
    installed = Installed(PRODUCT, manifest.version, manifest.counter, manifest.hash, 0)
    return {"installed": (installed,)}


def two_releases(there: UpdatesWorld) -> tuple[Manifest, Manifest]:
    """Publish 1.0 and 1.1, and approve both."""
    old, new = there.release("1.0", 10), there.release("1.1", 11)
    there.approve(old)
    there.approve(new)
    return old, new


def standings(there: UpdatesWorld, row: Row) -> list[str]:
    """Return how the machines of a recall stand, in the order of the world's; - is not found."""
    members = there.slice.recalls.members(row.recall_id)
    return [
        members[each.device].standing if each.device in members else "-" for each in there.pumps
    ]
