"""Tells approvers that somebody asks, step by step, until somebody answers.

1. Who is told stands in a file beside the data, read anew for every round.
2. A try is written down as a note of its request, so that who asked sees who was told, when, and
   who next. An address stands in no note, log or answer.
3. What is told is text on one line each, whatever the requester wrote.
4. Of many requests at once a recipient is told of `MOST_AN_HOUR` in an hour; then he is told that
   there are more.

A server that tells nobody delays; it could as well hold the request back.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.server.access import store
from fleetward.server.access.book import Book
from fleetward.server.access.decide import PUSH_FOR_MS, UNANSWERED, Fact
from fleetward.server.access.notice_plan import (
    Due,
    Next,
    Plan,
    Tried,
    find_next,
    list_due,
    read_plan,
)
from fleetward.server.access.notice_send import Sender
from fleetward.server.access.store import Row
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.sayings import say_length

NOTICE: Final = "notice"
"""The kind of a note that says who was told. Nobody signed it: it is this server's word."""
MAX_FILE_BYTES: Final = 64 * 1024
MOST_AN_HOUR: Final = 30
HOUR_MS: Final = 3_600_000
_log: Final = logging.getLogger(__name__)


class Told(msgspec.Struct, frozen=True):
    """What a note of a notice holds."""

    step: int
    name: str
    channel: str
    good: bool
    more: bool = False

    @property
    def words(self) -> str:
        """Say it to a person."""
        if not self.good:
            return f"{self.name} could not be told by {self.channel}."
        return f"{self.name} was told by {self.channel}."


@dataclass
class Notifier:
    """One round after the other, in one worker thread."""

    book: Book
    path: Path
    send: Sender
    _sent: dict[str, deque[int]] = field(default_factory=dict)
    _complained: str = ""

    def run_round(self) -> int:
        """Send what is due; return how many were told. Raises `Unreachable` for the store alone."""
        plan = self._read()
        if not plan.steps:
            return 0
        now, told = self.book.now(), 0
        with self.book.near.database.read() as conn:
            rows = store.select_in_states(conn, UNANSWERED, now - PUSH_FOR_MS)
        for row in rows:
            for due in list_due(plan, row.asked_at, now, self.tried(row.request_id)):
                told += self._tell(plan, row, due)
        return told

    def tried(self, request: str) -> list[Tried]:
        """Return what was tried for a request."""
        return [Tried(t.step, t.name, at, t.good) for t, at in self.list_told(request)]

    def list_told(self, request: str) -> list[tuple[Told, int]]:
        """Return who was told of a request, and when."""
        with self.book.near.database.read() as conn:
            notes = store.select_notes(conn, request)
        return [(read_told(bytes(n.envelope)), n.at) for n in notes if n.kind == NOTICE]

    def next_of(self, row: Row) -> Next | None:
        """Return the next escalation of a request that waits."""
        if row.state not in UNANSWERED:
            return None
        return find_next(self._read(), row.asked_at, self.book.now())

    def check(self) -> tuple[Plan, str]:
        """Return the plan and what is wrong with it, in words; for `doctor`."""
        try:
            return load_plan(self.path), ""
        except FleetwardError as e:
            return Plan(), e.message

    def _read(self) -> Plan:
        plan, problem = self.check()
        if problem and problem != self._complained:
            _log.warning("nobody is told of requests: %s", problem)
        self._complained = problem
        return plan

    def _tell(self, plan: Plan, row: Row, due: Due) -> bool:
        """Tell one recipient, and write it down first as a try that may have failed half-way."""
        now = self.book.now()
        sent = self._sent.setdefault(due.recipient.name, deque())
        while sent and now - sent[0] > HOUR_MS:
            sent.popleft()
        if len(sent) > MOST_AN_HOUR:
            return False
        last = len(sent) == MOST_AN_HOUR
        title, body = write_message(plan, row) if not last else write_too_many()
        sent.append(now)
        try:
            good = self.send(due.recipient, title, body)
        except Exception:  # noqa: BLE001 - a library of many senders: a try that failed, said
            _log.warning("a notice to %s failed", due.recipient.name, exc_info=True)
            good = False
        told = Told(due.step, due.recipient.name, due.recipient.channel, good, last)
        self._keep(row, told)
        return good

    def _keep(self, row: Row, told: Told) -> None:
        now = self.book.now()
        raw = msgspec.json.encode(told)
        name = hashlib.sha256(f"{NOTICE} {row.request_id} {now} ".encode() + raw).hexdigest()
        fact = Fact(NOTICE, row.request_id, now, detail="good" if told.good else "failed")
        with self.book.lock:
            self.book.add([store.Note(name, row.request_id, row.device_id, fact, raw)])


def load_plan(path: Path) -> Plan:
    """Return the plan in a file; none where there is no file. Raises `Malformed`, `Refused`."""
    if not path.exists():
        return Plan()
    if path.stat().st_mode & 0o077:
        raise Refused(
            f"Expected {path.name} to be closed to other users: it may hold passwords. "
            f"chmod 600 {path}",
            reason="notices_open",
        )
    try:
        text = read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
    except UnicodeDecodeError as e:
        raise Malformed(f"Expected UTF-8 text in {path.name}.", reason="bad_notices") from e
    return read_plan(text)


def read_told(raw: bytes) -> Told:
    """Return what a note of a notice says. Raises `Malformed`."""
    try:
        return msgspec.json.decode(raw, type=Told)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected a note of a notice; {e}.", reason="bad_notice") from e


def write_message(plan: Plan, row: Row) -> tuple[str, str]:
    """Return title and text for a request. What others wrote is on one line, and short."""
    who = _line(row.person, 80) + (f" of {_line(row.org, 80)}" if row.org else "")
    scopes = msgspec.json.decode(row.scopes, type=list[str])
    lines = [
        f"{who} asks to enter {_line(row.device_name, 80)}.",
        "",
        *(f"- {_line(scope, 200)}" for scope in scopes),
        f"For {say_length(row.seconds)}.",
        f"Reason: {_line(row.reason, 500)}",
    ]
    if row.case_name:
        lines.append(f"Case: {_line(row.case_name, 100)}")
    lines.append("")
    if plan.link:
        lines.append(f"Your own console: {plan.link}/requests/{row.request_id}")
    lines.append(f"Or in a terminal: fleetward owner approve {row.request_id[:16]}")
    lines.append("Nothing opens without your key; this message allows nothing.")
    return f"{_line(row.person, 80)} asks to enter {_line(row.device_name, 80)}", "\n".join(lines)


def write_too_many() -> tuple[str, str]:
    """Return what is said in the place of the many that would follow."""
    return (
        "More requests wait",
        f"More than {MOST_AN_HOUR} requests came within an hour; of the others in this hour you "
        "are not told one by one. Look at your own console, or: fleetward owner session list",
    )


def _line(text: str, most: int) -> str:
    """Return foreign text as one short printable line."""
    return "".join(c if c.isprintable() else " " for c in text)[:most]
