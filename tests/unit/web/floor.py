"""A small real application for the tests of the floor: handlers, callers and a recorder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Litestar, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from fleetward.runtime.http.hosts import HostPolicy
from fleetward.runtime.http.paging import Page, PageNumber, PerPage, slice_page
from fleetward.runtime.http.times import Instant, to_rfc3339
from fleetward.server.deeds import Deed
from fleetward.server.web.app import Services, create_app
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.server.web.guard import WatchedRecorder
from fleetward.server.web.request import ApiRequest
from fleetward.trust.errors import Misuse, Refused, Unreachable, Untrusted

HOST = "console.localhost:8080"


class MemoryRecorder:
    """Keeps deeds in a list."""

    def __init__(self) -> None:
        self.deeds: list[Deed] = []

    def record(self, deed: Deed) -> int:
        self.deeds.append(deed)
        return len(self.deeds) - 1


class Names:
    """Knows callers by name: the credential `admin` is an admin."""

    def __init__(self) -> None:
        self.callers = {
            "viewer": Caller("person", "p1", "Vera", Role.VIEWER),
            "operator": Caller("person", "p2", "Otto", Role.OPERATOR),
            "admin": Caller("person", "p3", "Ada", Role.ADMIN),
            "machine": Caller("token", "t1", "nightly", Role.ADMIN),
            "part": Caller("token", "t2", "site", Role.ADMIN, Scope(sites=frozenset({"Ward 3"}))),
            "fresh": Caller("person", "p4", "Flo", Role.ADMIN, passkey_only=True),
        }

    def authenticate(self, bearer: str, address: str) -> Caller:
        if bearer not in self.callers:
            raise Untrusted("expected a session, got none: sign in", reason="not_signed_in")
        return self.callers[bearer]


class Row(msgspec.Struct, frozen=True):
    id: str
    at: Instant


class Wish(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    count: Annotated[int, msgspec.Meta(ge=0, le=9)] = 0


def make_handlers(recorder: WatchedRecorder) -> Sequence[Any]:
    @get("/devices", opt={"action": "devices.read"}, sync_to_thread=True)
    def list_devices(
        request: ApiRequest,
        page: PageNumber = 1,
        per_page: PerPage = 50,
        state_is: Annotated[str | None, QueryParameter(name="state")] = None,
    ) -> Page[Row]:
        """List devices."""
        ids = [state_is or f"d{n}" for n in range(7) if request.user.scope.covers(f"d{n}", "")]
        rows = [Row(each, to_rfc3339(0)) for each in ids]
        return slice_page(rows, page, per_page)

    @post(
        "/devices/{device_id:str}/quarantine",
        opt={"action": "devices.quarantine"},
        sync_to_thread=True,
    )
    def quarantine_device(
        request: ApiRequest, device_id: FromPath[str], data: JSONBody[Wish]
    ) -> Row:
        """Quarantine a device."""
        recorder.record(
            Deed("device.quarantined", request.user.actor, device_id, "", {"why": data.reason}, 1)
        )
        return Row(device_id, to_rfc3339(data.count))

    @post(
        "/devices/{device_id:str}/readmit", opt={"action": "devices.readmit"}, sync_to_thread=True
    )
    def readmit_device(request: ApiRequest, device_id: FromPath[str]) -> Row:
        """Readmit a device, and forget to record it."""
        return Row(device_id, to_rfc3339(0))

    @get("/today", opt={"action": "devices.read"}, sync_to_thread=True)
    def show_today(request: ApiRequest, fail: FromQuery[str] = "") -> Row:
        """Fail as told."""
        match fail:
            case "refused":
                raise Refused("no, because", reason="because")
            case "untrusted":
                raise Untrusted("not signed", reason="signature")
            case "unreachable":
                raise Unreachable("the database is busy", reason="database_unreachable")
            case "misuse":
                raise Misuse("secret detail", reason="ours")
            case "missing":
                raise Refused("no such device", reason="device_not_found")
            case "bug":
                raise ValueError("secret detail")
            case _:
                return Row("today", to_rfc3339(0))

    return [list_devices, quarantine_device, readmit_device, show_today]


def make_app(static: Path, recorder: MemoryRecorder | None = None) -> Litestar:
    """Build the application on `static` as its console."""
    watched = WatchedRecorder(recorder or MemoryRecorder())
    return create_app(
        Services(
            handlers=make_handlers(watched),
            authenticator=Names(),
            hosts=HostPolicy(frozenset({"console.localhost", "127.0.0.1"})),
            static=static,
        )
    )
