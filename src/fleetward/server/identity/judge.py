"""Who may connect to the broker, for the callout: by the certificate and what is known."""

from __future__ import annotations

from fleetward.server.callout import Admission, Decision, PeerCertificate
from fleetward.server.identity.act import Devices, OwnerDocuments
from fleetward.server.identity.decide import decide_connection
from fleetward.trust.errors import FleetwardError


class RosterJudge:
    """A `ConnectionJudge` over the known machines."""

    def __init__(self, devices: Devices, owner: OwnerDocuments) -> None:
        self._devices = devices
        self._owner = owner

    def judge(self, peer: PeerCertificate) -> Admission:
        """Return where the connection goes; a refusal carries its reason."""
        try:
            decision = decide_connection(
                self._devices.known(peer.device_id),
                self._owner.owner_id,
                peer.owner_id,
                f"{peer.serial:x}",
            )
        except FleetwardError as e:
            return Admission(Decision.REFUSED, e.reason)
        return Admission(Decision(decision), "ok")
