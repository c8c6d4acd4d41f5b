"""HTTP: the parts of a device's page that its inventory fills. They translate, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, Protocol, TypeAlias, TypeVar

from litestar import get
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, slice_page
from fleetward.runtime.http.times import to_rfc3339_or_none
from fleetward.server.posture import act
from fleetward.server.posture.act import Posture
from fleetward.server.posture.model import (
    FactList,
    PackageList,
    ProgramList,
    ServiceList,
    SocketList,
    UserList,
)
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.errors import Refused
from fleetward.wire.posture import Inventory, SectionName

MAX_FILTER_CHARACTERS: Final = 200
Filter: TypeAlias = Annotated[str, QueryParameter(max_length=MAX_FILTER_CHARACTERS)]
_READ: Final = {ACTION: "devices.read"}

R = TypeVar("R")


class Sites(Protocol):
    """Knows where machines stand; the program wires the directory to it."""

    def site_of(self, device_id: str) -> str | None:
        """Return the site of a machine, or None when there is no such machine."""
        ...


def make_posture_handlers(posture: Posture, sites: Sites) -> list[HTTPRouteHandler]:
    """Return the handlers of /devices/{device_id}/packages and its neighbours."""

    def answer(
        request: ApiRequest,
        device_id: str,
        asked: tuple[int, int, str],
        make: Callable[[Inventory], list[R]],
        section: SectionName | None,
    ) -> dict[str, Any]:
        site = sites.site_of(device_id)
        if site is None or not request.user.scope.covers(device_id, site):
            raise Refused(
                "expected the id of a machine that you may see, got another one: "
                "take it from the list of machines",
                reason="device_not_found",
            )
        known, inventory = posture.look(device_id)
        number, per_page, text = asked
        page = slice_page(act.filter_rows(inventory, make, text), number, per_page)
        return {
            "items": page.items,
            "total": page.total,
            "page": page.page,
            "per_page": page.per_page,
            "as_of": to_rfc3339_or_none(act.held_at(known)),
            "sight": act.sight_of(inventory, section),
        }

    @get("/devices/{device_id:str}/packages", opt=_READ, sync_to_thread=True)
    def list_packages(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> PackageList:
        """List installed packages; those with a waiting security update first."""
        asked = (page, per_page, q)
        return PackageList(**answer(request, device_id, asked, act.list_packages, "packages"))

    @get("/devices/{device_id:str}/sockets", opt=_READ, sync_to_thread=True)
    def list_sockets(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> SocketList:
        """List listening sockets, the widest open first."""
        asked = (page, per_page, q)
        return SocketList(**answer(request, device_id, asked, act.list_sockets, "sockets"))

    @get("/devices/{device_id:str}/users", opt=_READ, sync_to_thread=True)
    def list_users(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> UserList:
        """List accounts with a login shell, those that can log in first."""
        asked = (page, per_page, q)
        return UserList(**answer(request, device_id, asked, act.list_users, "users"))

    @get("/devices/{device_id:str}/services", opt=_READ, sync_to_thread=True)
    def list_services(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> ServiceList:
        """List services with the layers of defence around each."""
        asked = (page, per_page, q)
        return ServiceList(**answer(request, device_id, asked, act.list_services, "services"))

    @get(
        ["/devices/{device_id:str}/hardening", "/devices/{device_id:str}/processes"],
        opt=_READ,
        sync_to_thread=True,
    )
    def list_programs(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> ProgramList:
        """List running programs and how each was built; network-facing ones first."""
        asked = (page, per_page, q)
        return ProgramList(**answer(request, device_id, asked, act.list_programs, "programs"))

    @get("/devices/{device_id:str}/facts", opt=_READ, sync_to_thread=True)
    def list_facts(
        request: ApiRequest,
        device_id: FromPath[str],
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
        q: Filter = "",
    ) -> FactList:
        """List facts of kernel, boot, disk, clock and firmware."""
        asked = (page, per_page, q)
        return FactList(**answer(request, device_id, asked, act.list_facts, None))

    return [list_packages, list_sockets, list_users, list_services, list_programs, list_facts]
