"""HTTP: the events of machines."""

from __future__ import annotations

from typing import Any, Protocol

import sqlalchemy as sa
from litestar import get
from litestar.params import FromQuery
from litestar.types import ControllerRouterHandler

from fleetward.runtime.database import Database
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import from_rfc3339, to_rfc3339
from fleetward.server.events import store
from fleetward.server.events.model import EventPage, EventRow, SignedPage, SignedRow
from fleetward.server.web.caller import Scope
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import to_base64url
from fleetward.trust.journal import join_batch, read_entry


class Machines(Protocol):
    """Knows which machines are in a scope; the program wires the identities to it."""

    def covered(self, scope: Scope) -> sa.Select[Any] | None:
        """Return the selection of their ids, or None when the scope is the whole fleet."""
        ...


def make_event_handlers(database: Database, machines: Machines) -> list[ControllerRouterHandler]:
    """Return the handlers of /events."""

    @get("/events", opt={ACTION: "events.read"}, sync_to_thread=True)
    def list_events(
        request: ApiRequest,
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
                span=(offset_of(page, per_page), per_page),
                within=machines.covered(request.user.scope),
            )
        return EventPage(
            items=[show_event(row) for row in rows], total=total, page=page, per_page=per_page
        )

    @get("/events/signed", opt={ACTION: "events.read"}, sync_to_thread=True)
    def list_signed(
        request: ApiRequest,
        kind: FromQuery[str],
        since: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> SignedPage:
        """Return of each machine the newest signed batch in which an entry of `kind` stands.

        This is how an owner's tool learns by the machine's own signature what it has taken.
        `since` is a time of arrival (RFC 3339).
        """
        with database.read() as conn:
            rows, total = store.select_signed(
                conn,
                kind,
                from_rfc3339(since) if since else 0,
                (offset_of(page, per_page), per_page),
                machines.covered(request.user.scope),
            )
        items = [
            SignedRow(
                device_id=device,
                sequence=sequence,
                batch=to_base64url(join_batch(header, entries)),
            )
            for device, sequence, header, entries in rows
        ]
        return SignedPage(items=items, total=total, page=page, per_page=per_page)

    return [list_events, list_signed]


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
