"""HTTP: closings, their confirmations, and the three tiers of machines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.server.closing.act import Closings
from fleetward.server.closing.model import (
    ClosingDetail,
    ClosingPage,
    ClosingRow,
    MachineClosing,
    MachineClosings,
    SignedClosing,
)
from fleetward.server.closing.show import Shown
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed
from fleetward.trust.fields import require_key_id

MAX_NAMED: Final = 100


@dataclass(frozen=True)
class ClosingRooms:
    """What the routes hand on to."""

    closings: Closings
    shown: Shown


def make_closing_handlers(rooms: ClosingRooms) -> list[ControllerRouterHandler]:
    """Return the handlers of /closings."""
    return [*_make_showing(rooms), *_make_taking(rooms)]


def _make_showing(rooms: ClosingRooms) -> list[ControllerRouterHandler]:
    @get("/closings", opt={ACTION: "closing.read"}, sync_to_thread=True)
    def list_closings(
        request: ApiRequest, page: PageNumber = 1, per_page: PerPage = DEFAULT_PER_PAGE
    ) -> ClosingPage:
        """Return closings, newest first, with how many machines stand how."""
        del request
        rows, total = rooms.shown.page(offset_of(page, per_page), per_page)
        return ClosingPage(items=rows, total=total, page=page, per_page=per_page)

    @get("/closings/{closing_id:str}", opt={ACTION: "closing.read"}, sync_to_thread=True)
    def show_closing(
        request: ApiRequest,
        closing_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> ClosingDetail:
        """Return a closing with its signed documents and what its machines signed. Verify them."""
        del request
        span = (offset_of(page, per_page), per_page)
        return rooms.shown.detail(rooms.closings.find(closing_id), span, page)

    @get("/closing-machines", opt={ACTION: "closing.machines"}, sync_to_thread=True)
    def list_closing_machines(
        request: ApiRequest,
        device_id: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> MachineClosings:
        """Return machines with their three tiers, what waits on their ports and who is connected.

        `device_id` may name up to 100, with commas.
        """
        ids = tuple(require_key_id(each, "a machine") for each in device_id.split(",") if each)
        if len(ids) > MAX_NAMED:
            raise Malformed(f"Expected at most {MAX_NAMED} machines.", reason="too_many")
        span = (offset_of(page, per_page), per_page)
        rows, total = rooms.shown.machines(ids, span, request.user)
        return MachineClosings(items=rows, total=total, page=page, per_page=per_page)

    @get("/closing-machines/{device_id:str}", opt={ACTION: "closing.machines"}, sync_to_thread=True)
    def show_closing_machine(request: ApiRequest, device_id: FromPath[str]) -> MachineClosing:
        """Return the three tiers of one machine, and what they rest on."""
        return rooms.shown.machine(device_id, request.user)

    return [list_closings, show_closing, list_closing_machines, show_closing_machine]


def _make_taking(rooms: ClosingRooms) -> list[ControllerRouterHandler]:
    @post("/closings", opt={ACTION: "closing.submit"}, sync_to_thread=True, status_code=202)
    def submit_closing(request: ApiRequest, data: JSONBody[SignedClosing]) -> ClosingRow:
        """Store a closing that the owner's people signed, and hand it to its machines."""
        raw = from_base64url(data.envelope)
        return rooms.shown.row(rooms.closings.submit(raw, request.user))

    @post(
        "/closings/{closing_id:str}/kept",
        opt={ACTION: "closing.keep"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def keep_closing(
        request: ApiRequest, closing_id: FromPath[str], data: JSONBody[SignedClosing]
    ) -> ClosingRow:
        """Store the signed confirmation of a closing, and hand it to its machines."""
        raw = from_base64url(data.envelope)
        return rooms.shown.row(rooms.closings.keep(closing_id, raw, request.user))

    return [submit_closing, keep_closing]
