"""HTTP: permissions given ahead, taking them back, and coming by them."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath, FromQuery, JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.server.access.model import Signed, Taken
from fleetward.server.access.standing import Standings
from fleetward.server.access.standing_model import StandingList, StandingRow
from fleetward.server.access.standing_store import Wanted
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import from_base64url


def make_standing_handlers(standings: Standings) -> list[ControllerRouterHandler]:
    """Return the handlers of /access/standing."""

    @get("/access/standing", opt={ACTION: "standing.read"}, sync_to_thread=True)
    def list_standing(
        request: ApiRequest,
        device_id: FromQuery[str] = "",
        requester: FromQuery[str] = "",
        current: FromQuery[bool] = False,
    ) -> StandingList:
        """Return permissions given ahead, newest first. `current` leaves out what is over."""
        after = standings.now() if current else 0
        wanted = Wanted(device_id[:64], requester[:64], after)
        return StandingList(items=standings.some(wanted, request.user))

    @get("/access/standing/{standing_id:str}", opt={ACTION: "standing.read"}, sync_to_thread=True)
    def show_standing(request: ApiRequest, standing_id: FromPath[str]) -> StandingRow:
        """Return a permission given ahead. Verify its envelopes; do not trust this server."""
        return standings.show(standings.find(standing_id, request.user))

    @post("/access/standing", opt={ACTION: "standing.add"}, sync_to_thread=True, status_code=201)
    def allow_ahead(request: ApiRequest, data: JSONBody[Signed]) -> StandingRow:
        """Store what the owner's people allowed ahead, and hand it to its machines."""
        return standings.add(from_base64url(data.envelope), request.user)

    @post(
        "/access/standing/{standing_id:str}/stop",
        opt={ACTION: "standing.revoke"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def take_back(
        request: ApiRequest, standing_id: FromPath[str], data: JSONBody[Signed]
    ) -> StandingRow:
        """Store a signed stop of it. It is done when each machine has signed that it is."""
        return standings.revoke(standing_id, from_base64url(data.envelope), request.user)

    @post(
        "/access/requests/{request_id:str}/entry",
        opt={ACTION: "access.enter"}, sync_to_thread=True, status_code=202,
    )  # fmt: skip
    def enter_access(
        request: ApiRequest, request_id: FromPath[str], data: JSONBody[Signed]
    ) -> Taken:
        """Store the requester's signed entry by a window, and hand it to the machine."""
        row = standings.enter(request_id, from_base64url(data.envelope), request.user)
        return Taken(id=row.request_id, state=row.state)

    return [list_standing, show_standing, allow_ahead, take_back, enter_access]
