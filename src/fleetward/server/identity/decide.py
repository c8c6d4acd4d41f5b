"""What a machine may become: pure.

States: pending -> active <-> quarantined -> retired. A machine is **pending** from its join until
the owner confirms it; one whose invitation preapproved it is **active** at once and shown as
unconfirmed. Confirmed and retired come from the owner's roster alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.invitation import Invitation
from fleetward.trust.roster import RETIRED, RosterEntry
from fleetward.trust.statements import Join, Renewal

PENDING: Final = "pending"
ACTIVE: Final = "active"
QUARANTINED: Final = "quarantined"
RETIRED_STATE: Final = "retired"

HOUR_MS: Final = 3_600_000
CERTIFICATE_MS: Final = 24 * HOUR_MS
"""Life of a certificate over a transport key that a software identity vouches for."""
BACKDATE_MS: Final = HOUR_MS
"""A machine's clock may be an hour slow and still accept its own certificate."""
MAX_AHEAD_MS: Final = 86_400_000
"""Clocks of owners and servers differ, but by no more than a day."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the server knows of a machine that joins again, renews or connects."""

    device: str
    state: str
    lineage: int
    serial: str
    invitation: str


def _count(machines: int) -> str:
    return "1 machine" if machines == 1 else f"{machines:,} machines"


def decide_join(
    join: Join, owner: str, invitation: Invitation, used: int, known: Known | None
) -> str:
    """Return the state of a machine that joins, or raise `Refused` or `Untrusted`."""
    if join.owner != owner:
        raise Untrusted(
            "The machine joins another owner than this server's. Ask the owner for a new join "
            "string.",
            reason="another_owner",
        )
    if join.invitation != invitation.hash:
        raise Untrusted(
            "The machine names another invitation than it showed.", reason="wrong_invitation"
        )
    if known is not None:
        if known.state == RETIRED_STATE:
            raise Refused(
                "This machine was retired. The owner invites it again with a new identity.",
                reason="retired",
            )
        check_lineage(join.lineage, known.lineage)
        if known.invitation == invitation.hash:
            return known.state
    if used >= invitation.uses:
        raise Refused(
            f"The invitation was for {_count(invitation.uses)} and is used up. "
            "Ask the owner for a new one.",
            reason="invitation_used_up",
        )
    if known is not None:
        return known.state
    return ACTIVE if invitation.preapproved else PENDING


def check_invitation_age(invitation: Invitation, restored_at_ms: int, now_ms: int) -> None:
    """Return when an invitation was issued after the last restore and not in times to come.

    Raises `Refused`. An owner's clock that ran ten years ahead makes invitations that would live
    ten years too long.
    """
    if invitation.issued_at_ms > now_ms + MAX_AHEAD_MS:
        raise Refused(
            "The invitation was signed by a clock that is more than a day ahead of this server's. "
            "Set the clock of the owner's computer, and make a new one.",
            reason="invitation_from_the_future",
        )
    if invitation.issued_at_ms <= restored_at_ms:
        raise Refused(
            "This server was restored from a backup after the invitation was made, which ended "
            "it. Ask the owner for a new one.",
            reason="invitation_ended",
        )


def decide_renewal(renewal: Renewal, owner: str, known: Known) -> None:
    """Return when a machine may have a new certificate, or raise `Refused` or `Untrusted`."""
    if renewal.owner != owner:
        raise Untrusted("The machine renews under another owner.", reason="another_owner")
    if known.state == RETIRED_STATE:
        raise Refused("This machine was retired by its owner.", reason="retired")
    check_lineage(renewal.lineage, known.lineage)


def check_lineage(came: int, known: int) -> None:
    """Return when the lineage counter rises, or raise `Untrusted`: two machines share one id."""
    if came <= known:
        raise Untrusted(
            f"Expected a lineage counter above {known}, got {came}. Two machines may be using "
            "one identity, or one was put back to an older state.",
            reason="lineage",
        )


def decide_connection(known: Known | None, owner: str, peer_owner: str, serial: str) -> str:
    """Return `devices`, `quarantine`, or raise `Refused` with the reason."""
    if peer_owner != owner:
        raise Refused("The certificate names another owner.", reason="another_owner")
    if known is None:
        raise Refused("No machine of this id has joined.", reason="unknown_device")
    if known.state == RETIRED_STATE:
        raise Refused("This machine was retired by its owner.", reason="retired")
    if known.serial != serial:
        raise Refused(
            "A newer certificate was issued to this machine.", reason="superseded_certificate"
        )
    return "quarantine" if known.state == QUARANTINED else "devices"


def decide_roster_change(state: str, entry: RosterEntry | None) -> tuple[str, bool]:
    """Return the state and whether the machine is confirmed, after a new roster."""
    if entry is None:
        return state, False
    if entry.state == RETIRED:
        return RETIRED_STATE, True
    return (ACTIVE if state == PENDING else state), True


def changes_of_roster(
    states: Mapping[str, tuple[str, bool]], entries: Mapping[str, RosterEntry]
) -> dict[str, tuple[str, bool]]:
    """Return the machines whose state or confirmation a new roster changes."""
    changes: dict[str, tuple[str, bool]] = {}
    for device, (state, confirmed) in states.items():
        after = decide_roster_change(state, entries.get(device))
        if after != (state, confirmed):
            changes[device] = after
    return changes
