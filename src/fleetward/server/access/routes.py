"""HTTP: requests, what answers them, connections and recordings of sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.openapi import MEDIA
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.server.access.act import Access
from fleetward.server.access.changes import Changes
from fleetward.server.access.connect import Connections
from fleetward.server.access.model import (
    AccessDetail,
    AccessPage,
    AccessRow,
    Asking,
    Connection,
    ConnectionWish,
    Signed,
    Taken,
)
from fleetward.server.access.replay import Replays
from fleetward.server.access.show import Shown
from fleetward.server.access.standing import Standings
from fleetward.server.access.standing_routes import make_standing_handlers
from fleetward.server.access.store import Row
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url

StateFilter: TypeAlias = Annotated[str, QueryParameter(name="state")]
"""`state` is a word that the framework keeps for itself as an argument."""
Offset: TypeAlias = Annotated[int, QueryParameter(ge=0, le=2**53 - 1)]
BYTES: Final = "application/octet-stream"


@dataclass(frozen=True)
class AccessRooms:
    """What the routes hand on to. `bus` are the addresses of the broker."""

    access: Access
    shown: Shown
    connections: Connections
    replays: Replays
    standings: Standings
    changes: Changes
    bus: Callable[[], list[str]]


def make_access_handlers(rooms: AccessRooms) -> list[ControllerRouterHandler]:
    """Return the handlers of /access."""
    return [
        *_make_showing(rooms),
        *_make_taking(rooms),
        *_make_session(rooms),
        *make_standing_handlers(rooms.standings),
    ]


def _make_showing(rooms: AccessRooms) -> list[ControllerRouterHandler]:
    @get("/access/requests", opt={ACTION: "access.read"}, sync_to_thread=True)
    def list_requests(
        request: ApiRequest,
        access_state: StateFilter = "",
        device_id: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> AccessPage:
        """Return requests for sessions, newest first. `state` may name several, with commas."""
        span = (offset_of(page, per_page), per_page)
        rows, total = rooms.shown.page(access_state, device_id, span, request.user)
        return AccessPage(items=rows, total=total, page=page, per_page=per_page)

    @get("/access/requests/{request_id:str}", opt={ACTION: "access.read"}, sync_to_thread=True)
    def show_request(request: ApiRequest, request_id: FromPath[str]) -> AccessDetail:
        """Return a request with its signed envelopes. Verify them; do not trust this server.

        The id is the request's hash, or the first 8 or more of its digits.
        """
        return rooms.shown.detail(rooms.access.find(request_id, request.user))

    return [list_requests, show_request]


def _make_taking(rooms: AccessRooms) -> list[ControllerRouterHandler]:
    @post("/access/requests", opt={ACTION: "access.request"}, sync_to_thread=True, status_code=201)
    def ask_access(request: ApiRequest, data: JSONBody[Asking]) -> AccessRow:
        """Store a signed request for a session, and hand it to its machine, which judges it.

        Runbooks that its scopes name go to the machine first; without them it refuses the request.
        """
        raw = from_base64url(data.envelope)
        return rooms.shown.row(rooms.access.ask(raw, request.user, data.runbooks))

    @post(
        "/access/requests/{request_id:str}/grant",
        opt={ACTION: "access.grant"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def grant_access(
        request: ApiRequest, request_id: FromPath[str], data: JSONBody[Signed]
    ) -> Taken:
        """Store a grant that the owner's people signed, and hand it to the machine."""
        raw = from_base64url(data.envelope)
        return _taken(rooms.access.grant(request_id, raw, request.user))

    @post(
        "/access/requests/{request_id:str}/stop",
        opt={ACTION: "access.stop"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def stop_access(
        request: ApiRequest, request_id: FromPath[str], data: JSONBody[Signed]
    ) -> Taken:
        """Store a signed stop of a request or of its session, and hand it to the machine."""
        raw = from_base64url(data.envelope)
        return _taken(rooms.access.stop(request_id, raw, request.user))

    @post(
        "/access/requests/{request_id:str}/beat",
        opt={ACTION: "access.watch"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def beat_access(
        request: ApiRequest, request_id: FromPath[str], data: JSONBody[Signed]
    ) -> Taken:
        """Carry the signed beat of somebody who watches a session to its machine."""
        raw = from_base64url(data.envelope)
        return _taken(rooms.access.beat(request_id, raw, request.user))

    return [ask_access, grant_access, stop_access, beat_access]


def _make_session(rooms: AccessRooms) -> list[ControllerRouterHandler]:
    @post(
        "/access/requests/{request_id:str}/connection",
        opt={ACTION: "access.connect"}, sync_to_thread=True, status_code=200,
    )  # fmt: skip
    def connect_access(
        request: ApiRequest, request_id: FromPath[str], data: JSONBody[ConnectionWish]
    ) -> Connection:
        """Issue the certificate with which the requester of a live session comes to the bus."""
        sent = (data.public_key, data.proof)
        return rooms.connections.connect(request_id, sent, rooms.bus(), request.user)

    @get(
        "/access/sessions/{session:str}/recording",
        opt={ACTION: "access.replay", MEDIA: BYTES}, sync_to_thread=True,
    )  # fmt: skip
    def read_recording(
        request: ApiRequest, session: FromPath[str], offset: Offset = 0
    ) -> Response[bytes]:
        """Return up to 1 MiB of a sealed recording, from `offset`; also while it grows.

        `Fleetward-Recording-Size` says how much is stored, `Fleetward-Recording-Done` whether that
        is all. Only the owner's recording key opens it.
        """
        piece = rooms.replays.read(session, offset, request.user)
        return Response(
            piece.data,
            media_type=BYTES,
            headers={
                "Fleetward-Recording-Size": str(piece.size),
                "Fleetward-Recording-Done": "true" if piece.done else "false",
            },
        )

    @get(
        "/access/sessions/{session:str}/changes",
        opt={ACTION: "access.read", MEDIA: BYTES}, sync_to_thread=True,
    )  # fmt: skip
    def read_changes(request: ApiRequest, session: FromPath[str]) -> Response[bytes]:
        """Return what changed on the machine during a session, byte for byte as it was made.

        The machine's receipt names its SHA-256: compare, and do not trust this server.
        """
        return Response(rooms.changes.read(session, request.user), media_type=BYTES)

    return [connect_access, read_recording, read_changes]


def _taken(row: Row) -> Taken:
    return Taken(id=row.request_id, state=row.state)
