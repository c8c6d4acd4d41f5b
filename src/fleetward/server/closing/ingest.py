"""What machines say of closings, and who is connected to them: entries of their journals.

Each was signed in its batch; a report is besides an envelope of its own, so that the owner's tools
can verify it alone. What is not well formed is passed over: it stays in the record of events.

A report that says something new of a closing becomes an entry of the owner's record, so that who
checks it knows what machines did. That somebody took a filter away, and that it was put back, is
no news of the closing and stays in the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from fleetward.server.closing import store
from fleetward.server.closing.act import Closings
from fleetward.server.closing.decide import APPLIED, follow, is_news
from fleetward.server.closing.reading import OUTCOMES, REPORT, Said, read_said, verify_said
from fleetward.trust.canonical import JsonObject, from_base64url
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.journal import Entry
from fleetward.wire.posture import Crowd

REPORTS: Final = frozenset(f"closing.{outcome}" for outcome in OUTCOMES)
CONNECTED: Final = "posture.connected"
MAX_REPORT_CHARACTERS: Final = 24 * 1024
MOST_REPORTS: Final = 4096
"""Of one machine in the record: three for each of a thousand closings, and more. A machine that
never stops talking fills no record; what it says stays in its journal."""


class ClosingDoor:
    """Takes what the door of the server has let in. Called in worker threads."""

    def __init__(self, closings: Closings) -> None:
        self._closings = closings

    def read_entries(self, device: str, entries: Sequence[Entry]) -> None:
        """Take reports and connections out of a machine's new entries."""
        for entry in entries:
            if entry.kind in REPORTS:
                self._take_report(device, entry.body)
            elif entry.kind == CONNECTED:
                self._take_crowd(device, entry)

    def _take_report(self, device: str, body: JsonObject) -> None:
        near, text = self._closings.near, body.get("report")
        try:
            if not isinstance(text, str) or len(text) > MAX_REPORT_CHARACTERS:
                raise Malformed("Expected a signed report.", reason="bad_field")
            raw = from_base64url(text)
            said = verify_said(raw, near.machines.key_of(device), near.owner.owner_id)
        except FleetwardError:
            return
        with self._closings.lock:
            self._record(device, said, raw)
            kept = self._store(device, said, raw)
        if kept:
            # The owner has confirmed already: this machine comes late.
            self._closings.order(device, kept)
        self._closings.tell(said.closing, device)

    def _record(self, device: str, said: Said, raw: bytes) -> None:
        """Make a report that is news an entry of the record. Raises `Unreachable`, `Refused`."""
        near = self._closings.near
        with near.database.read() as conn:
            part = store.select_part(conn, said.closing, device)
            # What no closing is known for here, the owner's check has to see all the more.
            before = store.select_said(conn, device) if part is None else None
            count = store.count_recorded(conn, device, MOST_REPORTS)
        state = part.state if part is not None else ""
        if before is not None and before.report:
            newest = read_said(bytes(before.report), near.owner.owner_id)
            state = newest.outcome if newest.closing == said.closing else ""
        if is_news(state, said.outcome, known=part is not None) and count < MOST_REPORTS:
            by = (f"device:{device}", device)
            near.ledger.append_signed(REPORT, raw, by, near.clock.wall_ms())

    def _store(self, device: str, said: Said, raw: bytes) -> bytes:
        """Store a report; return the confirmation that the machine is to have now, if any."""
        near, now = self._closings.near, self._closings.near.clock.wall_ms()
        with near.database.write() as conn:
            part = store.select_part(conn, said.closing, device)
            order = store.select_order(conn, said.closing)
            if said.outcome != "refused":
                newest = {"report": raw, "reported_at": now}
                store.upsert_machine(conn, device, near.owner.owner_id, newest)
            if part is None:
                return b""
            # A refusal of what was taken before is one of a repetition.
            if said.outcome == "refused" and part.state not in ("handed", "refused"):
                return b""
            store.update_part(
                conn,
                said.closing,
                device,
                {
                    "state": follow(part.state, said.outcome),
                    "rule": said.rule,
                    "words": said.words,
                    "seconds_left": said.seconds_left,
                    "report": raw,
                    "said_at": said.at_ms,
                    "at": now,
                },
            )
        late = said.outcome == APPLIED and order is not None and said.seconds_left
        return bytes(order.kept_envelope) if late and order is not None else b""

    def _take_crowd(self, device: str, entry: Entry) -> None:
        body = {name: entry.body[name] for name in ("peers", "more") if name in entry.body}
        try:
            crowd = msgspec.convert(body, Crowd)
        except msgspec.ValidationError:
            return
        near, now = self._closings.near, self._closings.near.clock.wall_ms()
        said = min(entry.at_ms, now)
        with near.database.write() as conn:
            values = {"crowd": msgspec.json.encode(crowd), "crowd_at": said}
            store.upsert_machine(conn, device, near.owner.owner_id, values)
