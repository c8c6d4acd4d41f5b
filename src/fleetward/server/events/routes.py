"""HTTP: the events of machines."""

from __future__ import annotations

from typing import Any

from litestar import get
from litestar.params import FromQuery
from litestar.types import ControllerRouterHandler

from fleetward.runtime.database import Database
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import from_rfc3339, to_rfc3339
from fleetward.server.events import store
from fleetward.server.events.model import EventPage, EventRow
from fleetward.server.web.permissions import ACTION
from fleetward.trust.journal import read_entry


def make_event_handlers(database: Database) -> list[ControllerRouterHandler]:
    """Return the handlers of /events."""

    @get("/events", opt={ACTION: "events.read"}, sync_to_thread=True)
    def list_events(
        device: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        since: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> EventPage:
        """Return journal entries of machines, newest arrival first.

        `kind` may name several, with commas. `since` is a time of arrival (RFC 3339).
        """
        with database.read() as conn:
            rows, total = store.select_events(
                conn,
                device=device,
                kinds=tuple(k for k in kind.split(",") if k),
                since_ms=from_rfc3339(since) if since else 0,
                offset=offset_of(page, per_page),
                limit=per_page,
            )
        return EventPage(
            items=[show_event(row) for row in rows], total=total, page=page, per_page=per_page
        )

    return [list_events]


def show_event(row: Any) -> EventRow:
    """Return the API's view of a stored event."""
    body = dict(read_entry(row.body).body)
    words = body.get("words")
    return EventRow(
        device_id=row.device_id,
        sequence=row.sequence,
        kind=row.kind,
        at=to_rfc3339(row.at),
        received_at=to_rfc3339(row.received_at),
        words=words if isinstance(words, str) else row.kind.replace(".", " "),
        body=body,
    )
