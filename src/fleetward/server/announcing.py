"""Tells people what they did not ask for: that a recall is open, that support ends.

Who is told stands in `notices.toml`, as for requests. A try is written down; no address is. Such a
message allows nothing and changes no machine. A server that tells nobody delays, no more: the
recall stands in the owner's record, and on its first page. While the store refuses tries, they are
counted in memory: nobody is told the same again with each round.
"""

from __future__ import annotations

import logging
import secrets
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from fleetward.server.access.notice_plan import Due, Plan, Tried, list_due
from fleetward.server.access.notice_send import Sender
from fleetward.server.access.notifying import HOUR_MS, load_plan
from fleetward.server.updates import recall_store
from fleetward.server.updates.announcement import Announcement
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.recalls import Recalls
from fleetward.server.updates.support import Support
from fleetward.trust.errors import FleetwardError

MOST_AN_HOUR: Final = 30
"""Messages to one recipient: whoever opens recalls without end fills nobody's mailbox."""
ID_BYTES: Final = 16
_log: Final = logging.getLogger(__name__)


class UpdateRooms(Protocol):
    """What this needs of the slice of updates."""

    @property
    def book(self) -> UpdateBook: ...

    @property
    def recalls(self) -> Recalls: ...

    @property
    def support(self) -> Support: ...


@dataclass
class Announcer:
    """One round after the other, in one worker thread."""

    updates: UpdateRooms
    path: Path
    send: Sender
    _sent: dict[str, deque[int]] = field(default_factory=dict)
    _unwritten: dict[str, list[Tried]] = field(default_factory=dict)
    """Tries that the store did not take, by subject, while there is something to tell of it."""

    def run_round(self) -> int:
        """Send what is due; return how many were told. Raises `Unreachable` for the store alone."""
        try:
            plan = load_plan(self.path)
        except FleetwardError:  # `doctor` says what is wrong, and the log does for requests
            return 0
        if not plan.steps or self.updates.book.near.owner.documents is None:
            return 0
        found = (*self.updates.recalls.announcements(), *self.updates.support.announcements())
        current = {each.subject for each in found}
        self._unwritten = {s: tries for s, tries in self._unwritten.items() if s in current}
        return sum(self._tell_all(plan, each) for each in found)

    def _tell_all(self, plan: Plan, what: Announcement) -> int:
        near = self.updates.book.near
        with near.database.read() as conn:
            rows = recall_store.select_notices(conn, what.subject)
        tried = [Tried(row.step, row.name, row.at, bool(row.good)) for row in rows]
        tried += self._unwritten.get(what.subject, [])
        tried.sort(key=lambda each: each.at_ms)
        steps = plan if what.escalates else Plan(plan.steps[:1], plan.link)
        due = list_due(steps, what.since_ms, near.clock.wall_ms(), tried)
        return sum(self._tell(what, each) for each in due)

    def _tell(self, what: Announcement, due: Due) -> bool:
        near, to = self.updates.book.near, due.recipient
        now = near.clock.wall_ms()
        sent = self._sent.setdefault(to.name, deque())
        while sent and now - sent[0] > HOUR_MS:
            sent.popleft()
        if len(sent) >= MOST_AN_HOUR:
            return False
        sent.append(now)
        try:
            good = self.send(to, what.title, what.text)
        except Exception:  # noqa: BLE001 - a library of many senders: a try that failed, said
            _log.warning("a notice to %s failed", to.name, exc_info=True)
            good = False
        values = {
            "notice_id": secrets.token_hex(ID_BYTES),
            "owner_id": near.owner.owner_id,
            "subject": what.subject,
            "step": due.step,
            "name": to.name,
            "channel": to.channel[:60],
            "good": good,
            "at": now,
        }
        try:
            with near.database.write() as conn:
                recall_store.insert_notice(conn, values)
        except Exception:
            made = Tried(due.step, to.name, now, good)
            self._unwritten.setdefault(what.subject, []).append(made)
            raise
        return good
