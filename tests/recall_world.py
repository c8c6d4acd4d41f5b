"""Recalls over a server with real releases, a real roster and signed reports.

recall = open_recall(there)
again(there, recall)
proof, record = prove(there, recall), export(there, folder)
check_recall(read_proof(proof), record, owner, auditor)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from tests.trust_world import Machine
from tests.updates_world import OPERATOR, PRODUCT, UpdatesWorld

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.audit.export import export_files, from_documents
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


def tell(
    there: UpdatesWorld, machine: Machine, manifest: Manifest, *outcomes: str, **said: Any
) -> None:
    """Let a machine report of a release by the approval that the owner gave of it."""
    known = there.slice.book.known.approvals
    approval = next(each.approval for each in known if each.release == manifest.hash)
    there.world.clock.now += 1
    there.say(machine, manifest, *outcomes, approval=approval, **said)


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


def prove(there: UpdatesWorld, row: Row) -> bytes:
    """Return the proof of a recall, as the API serves it."""
    proof = there.slice.recalls_shown.proof(there.slice.recalls.find(row.recall_id))
    return msgspec.json.encode(proof)


def export(there: UpdatesWorld, folder: Path) -> Path:
    """Write the record into a folder that does not exist yet, as the API streams it."""
    house = there.world.house
    house.ledger.checkpoint()
    head: dict[str, str | int] = {
        "owner_root": house.ledger.owner_id,
        "generation": house.ledger.generation,
        "exported_at": to_rfc3339(there.world.clock.now),
    }
    held = from_documents(msgspec.structs.asdict(house.directory.show()))
    for name, data in export_files(house.database, held, head, house.events.newest_journals()):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
