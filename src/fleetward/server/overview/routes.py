"""HTTP: today, the fleet, one machine, the timeline, the record."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from litestar import get
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import from_rfc3339
from fleetward.server.overview.act import Overview
from fleetward.server.overview.model import (
    Device,
    DevicePage,
    Record,
    Sites,
    Timeline,
    Today,
)
from fleetward.server.overview.store import Filter, Timespan
from fleetward.server.web.caller import Caller
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest

StateFilter: TypeAlias = Annotated[str, QueryParameter(name="state")]
"""`state` is a word that the framework keeps for itself as an argument."""


def make_overview_handlers(overview: Overview) -> list[ControllerRouterHandler]:
    """Return the handlers of the pages that look at the whole fleet."""

    @get("/today", opt={ACTION: "today.read"}, sync_to_thread=True)
    def show_today(request: ApiRequest) -> Today:
        """Return what needs somebody now, and what changed in the last day."""
        return overview.today(scope_of(request.user))

    @get("/sites", opt={ACTION: "sites.read"}, sync_to_thread=True)
    def list_sites(request: ApiRequest) -> Sites:
        """Return all sites with their machines counted."""
        return overview.sites(scope_of(request.user))

    @get("/devices", opt={ACTION: "devices.read"}, sync_to_thread=True)
    def list_devices(
        request: ApiRequest,
        site: FromQuery[str] = "",
        device_state: StateFilter = "",
        connection: FromQuery[str] = "",
        need: FromQuery[str] = "",
        q: FromQuery[str] = "",
        sort: FromQuery[str] = "name",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> DevicePage:
        """Return machines, filtered, sorted (`-name` is downwards) and paged.

        Retired machines are listed only where `state=retired` asks for them.
        """
        scope = scope_of(request.user)
        wanted = Filter(site, device_state, connection, need, q, scope.sites, scope.devices)
        items, total = overview.devices(wanted, sort, offset_of(page, per_page), per_page)
        return DevicePage(items=items, total=total, page=page, per_page=per_page)

    @get("/devices/{device_id:str}", opt={ACTION: "devices.read"}, sync_to_thread=True)
    def show_device(request: ApiRequest, device_id: FromPath[str]) -> Device:
        """Return everything about one machine."""
        return overview.device(device_id, scope_of(request.user))

    @get("/devices/{device_id:str}/history", opt={ACTION: "devices.read"}, sync_to_thread=True)
    def show_history(
        request: ApiRequest,
        device_id: FromPath[str],
        kind: FromQuery[str] = "",
        since: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> Timeline:
        """Return what changed on a machine and what was done to it, newest first."""
        scope = scope_of(request.user)
        overview.find(device_id, scope)
        about = Timespan(device_id, kind, from_rfc3339(since) if since else 0)
        return overview.timeline(about, (page, per_page), scope)

    @get("/timeline", opt={ACTION: "timeline.read"}, sync_to_thread=True)
    def show_timeline(
        request: ApiRequest,
        device: FromQuery[str] = "",
        kind: FromQuery[str] = "",
        since: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> Timeline:
        """Return changes and deeds of the fleet, newest first; heartbeats are no entries.

        Who may see a part of the fleet gets what is about its machines, and no other deed.
        """
        about = Timespan(device, kind, from_rfc3339(since) if since else 0)
        return overview.timeline(about, (page, per_page), scope_of(request.user))

    @get("/record", opt={ACTION: "record.read"}, sync_to_thread=True)
    def show_record() -> Record:
        """Return the state of the record, and how old each machine's newest signed head is."""
        return overview.record()

    return [
        show_today,
        list_sites,
        list_devices,
        show_device,
        show_history,
        show_timeline,
        show_record,
    ]


def scope_of(caller: Caller) -> Filter:
    """Return the filter that a caller's scope is."""
    if caller.scope.whole_fleet:
        return Filter()
    return Filter(
        sites=caller.scope.sites or frozenset(), devices=caller.scope.devices or frozenset()
    )
