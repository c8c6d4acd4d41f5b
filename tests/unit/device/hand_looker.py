"""Looks before and after sessions, with the test as the looker.

looker = HandLooker()
guard = SessionGuard.make(tmp_path, looker=looker)
opened = guard.enter_looked()
looker.users.add("eve")
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.unit.device.session_guard import SessionGuard

from fleetward.device.collector import compare_looks
from fleetward.device.comparing import Looked, LookOrder
from fleetward.device.posture.compare.snapshot import Row, Snapshot, pack_snapshot
from fleetward.trust.canonical import from_base64url
from fleetward.trust.grants.report import Receipt, verify_receipt
from fleetward.wire.comparison import Comparison, verify_comparison


@dataclass
class HandLooker:
    """Looks when the test says so, at the users that the test says there are."""

    users: set[str] = field(default_factory=lambda: {"root"})
    orders: list[LookOrder] = field(default_factory=list)
    waiting: LookOrder | None = None
    done: Looked | None = None
    at_once: bool = True
    broken: bool = False

    def start(self, order: LookOrder) -> None:
        assert self.waiting is None, "one look at a time"
        self.orders.append(order)
        self.waiting = order
        if self.at_once:
            self.finish()

    def finish(self) -> None:
        """End the look that runs."""
        assert self.waiting is not None
        row: Row = ("1000", "1000", "/bin/sh", "/", "locked", "")
        packed = pack_snapshot(Snapshot(True, {"user": dict.fromkeys(self.users, row)}, {}))
        self.done = Looked(problem="no") if self.broken else compare_looks(self.waiting, packed)

    def poll(self) -> Looked | None:
        done, self.done = self.done, None
        if done is not None:
            self.waiting = None
        return done


def receipt_of(guard: SessionGuard) -> Receipt:
    """Return the one receipt that waits, verified."""
    (note,) = [n for n in guard.notes() if n.kind == "receipt"]
    owner = guard.access.trust.owner
    return verify_receipt(from_base64url(note.envelope), guard.access.machine.key, owner)


def comparison_of(guard: SessionGuard, receipt: Receipt) -> Comparison:
    """Return the document that a receipt names."""
    document = guard.core.blobs.read(receipt.changes)
    return verify_comparison(document, receipt.changes, receipt.session)
