"""HTTP: machines that wait, quarantine and readmission."""

from __future__ import annotations

from litestar import get, post
from litestar.params import FromPath, JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.identity import store
from fleetward.server.identity.act import Devices
from fleetward.server.identity.model import DeviceState, PendingDevice, PendingDevices, Reason
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused
from fleetward.trust.words import device_words


def make_identity_handlers(devices: Devices) -> list[ControllerRouterHandler]:
    """Return the handlers of what people may do to machines without the owner's signature."""

    @post(
        "/devices/{device_id:str}/quarantine",
        opt={ACTION: "devices.quarantine"},
        sync_to_thread=True,
        status_code=200,
    )
    def quarantine_device(
        request: ApiRequest, device_id: FromPath[str], data: JSONBody[Reason]
    ) -> DeviceState:
        """Cut a machine off but for its evidence and its owner's documents."""
        _check_scope(request, devices, device_id)
        state = devices.quarantine(device_id, request.user.actor, data.reason)
        return DeviceState(id=device_id, state=state)

    @post(
        "/devices/{device_id:str}/readmit",
        opt={ACTION: "devices.readmit"},
        sync_to_thread=True,
        status_code=200,
    )
    def readmit_device(
        request: ApiRequest, device_id: FromPath[str], data: JSONBody[Reason]
    ) -> DeviceState:
        """Let a quarantined machine back."""
        _check_scope(request, devices, device_id)
        state = devices.readmit(device_id, request.user.actor, data.reason)
        return DeviceState(id=device_id, state=state)

    @get("/owner/pending", opt={ACTION: "owner.pending"}, sync_to_thread=True)
    def list_pending() -> PendingDevices:
        """Return machines that the owner has not confirmed; his tools compute the words anew."""
        return PendingDevices(items=[_show_pending(row) for row in devices.pending()])

    return [quarantine_device, readmit_device, list_pending]


def _check_scope(request: ApiRequest, devices: Devices, device_id: str) -> None:
    site = devices.site_of(device_id)
    if not request.user.scope.covers(device_id, site):
        raise Refused("No machine of this id is known here.", reason="not_found")


def _show_pending(row: store.Row) -> PendingDevice:
    return PendingDevice(
        id=row.device_id,
        suite=row.suite,
        public=to_base64url(row.public),
        name_suggested=row.name,
        site=row.site,
        model=row.model,
        maker=row.maker_id,
        words=device_words(row.owner_id, row.device_id),
        joined_at=to_rfc3339(row.joined_at),
        invitation=row.invitation,
        preapproved=row.preapproved,
        simulated=row.simulated,
    )
