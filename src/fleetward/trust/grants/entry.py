"""The entry: a requester uses one window of a standing document. It takes the grant's place.

The requester signs it, and it says nothing that he decides but when: which document, which window,
which request, which offer. Everything else is in the document that the approvers signed.

1. The requester who signed the request signed the entry too, and it is for this machine.
2. It names the standing document; that names this machine and this requester.
3. It answers this request and this offer, made in this boot under the policy in force.
4. It can only narrow: scopes among those that were allowed, not longer, not beyond the window.
5. Its window is above the last one that this machine has let anybody use of that series.
6. The time is within the window by a clock that can be relied on, or somebody at the machine has
   said so by a press. A window that lies before the newest signature of the owner is over.
7. Past the lease of the owner's head nothing opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject
from fleetward.trust.envelope import read_envelope, require_type, verify_holder
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.grant import Ahead, Grant, Situation
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.grants.standing import MAX_WINDOWS, Standing, Window, verify_standing
from fleetward.trust.policy import Policy

ENTRY_TYPE: Final = "fleetward.entry.v1"
MAX_ENTRY_BYTES: Final = 4096
NOTHING_USED: Final = -1


@dataclass(frozen=True, slots=True)
class Moment:
    """What the machine knows when somebody wants to use a window.

    `last_used` is the highest place that was used of the series, `NOTHING_USED` for none;
    `signed_ms` the newest time that the owner has signed; `doubt` why the clock cannot be relied
    on, empty when it can; `pressed` that somebody at the machine stands for the time.
    """

    here: Situation
    last_used: int
    signed_ms: int
    doubt: str = ""
    pressed: bool = False


def make_entry_payload(
    standing: Standing, window: int, request: Request, offer: Offer
) -> JsonObject:
    """Return the payload of an entry."""
    return {
        "device": request.device,
        "epoch": standing.epoch,
        "offer": offer.hash,
        "owner": standing.owner,
        "request": request.hash,
        "standing": standing.hash,
        "type": ENTRY_TYPE,
        "window": window,
    }


def verify_entry(
    data: bytes, moment: Moment, standing: Standing, request: Request, offer: Offer
) -> Grant:
    """Return what a session may open under, now, on the machine that made `offer`.

    `standing` and `request` were verified under `moment`'s policy, and the document was not taken
    back. The caller has made the offer itself and not used it, and persists that the window is
    used before it opens anything. Raises `Malformed`, `Untrusted`, or `Refused`.
    """
    here = moment.here
    # 1. and 3.
    envelope = read_envelope(data, max_bytes=MAX_ENTRY_BYTES)
    require_type(envelope, ENTRY_TYPE)
    names = {"device", "epoch", "offer", "owner", "request", "standing", "type", "window"}
    fields = Fields(envelope.payload, "the entry", names)
    verify_holder(envelope, ENTRY_TYPE, request.holder)
    if request.break_glass:
        raise Untrusted("Nobody breaks in by a window.", reason="another_kind_of_grant")
    _check_subject(fields, here.policy, request)
    _check_answers(fields, here, request, offer)
    # 2.
    if fields.digest("standing") != standing.hash:
        raise Untrusted("The entry is by another document.", reason="another_standing")
    if request.device not in standing.devices:
        raise Untrusted("That was allowed for other machines.", reason="device_not_allowed")
    if request.requester not in standing.requesters:
        raise Untrusted("That was allowed to others.", reason="requester_not_allowed")
    # 4.
    if not set(request.scopes) <= set(standing.scopes):
        raise Untrusted("More is asked for than was allowed ahead.", reason="wider_than_standing")
    # 5.
    place = fields.integer("window", high=MAX_WINDOWS - 1)
    if place >= len(standing.windows):
        raise Untrusted("There is no such window.", reason="no_such_window")
    if place <= moment.last_used:
        raise Refused(
            "That window was used, or a later one was. Each opens once; ask the owner.",
            reason="window_used",
        )
    if here.policy.access.walls == "sandbox" and not here.sandboxed:
        raise Refused(
            "The owner's policy wants sessions in a sandbox, and this machine has none. "
            "Installing bubblewrap gives it one.",
            reason="no_sandbox",
        )
    # 6. and 7.
    window = standing.windows[place]
    left_ms = _check_time(window, moment)
    seconds = min(request.seconds, standing.seconds, max(1, left_ms // 1000))
    return Grant(
        request=request,
        offer=offer,
        scopes=request.scopes,
        seconds=seconds,
        idle_seconds=standing.idle_seconds,
        watched=standing.watched,
        not_before_ms=window.not_before_ms,
        not_after_ms=window.not_after_ms,
        recording_key=standing.recording_key,
        people=standing.people,
        hash=envelope.hash,
        raw=data,
        ahead=Ahead(standing.hash, standing.series, place, standing.raw),
    )


def recheck_entry(grant: Grant, policy: Policy) -> None:
    """Return when what let somebody in ahead would do so under this policy too.

    Times are not looked at again. Raises as `verify_standing`.
    """
    if grant.ahead is None:
        raise Untrusted("This was not allowed ahead.", reason="another_standing")
    verify_standing(grant.ahead.raw, policy)


def permissive(here: Situation, standing: Standing, place: int) -> Moment:
    """Return the moment at which this window begins, for who judges papers afterwards."""
    begin = standing.windows[min(max(place, 0), len(standing.windows) - 1)].not_before_ms
    known = Situation(here.policy, here.boot, begin, here.lease_seconds_left, here.sandboxed)
    return Moment(known, NOTHING_USED, 0)


def _check_subject(fields: Fields, policy: Policy, request: Request) -> None:
    if fields.digest("owner") != policy.owner:
        raise Untrusted("The entry is to another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted("The entry is of an epoch that has passed.", reason="old_epoch")
    if fields.key_id("device") != request.device:
        raise Untrusted("The entry is for another machine.", reason="another_device")


def _check_answers(fields: Fields, here: Situation, request: Request, offer: Offer) -> None:
    if fields.digest("request") != request.hash:
        raise Untrusted("The entry is for another request.", reason="another_request")
    if fields.digest("offer") != offer.hash or offer.request != request.hash:
        raise Untrusted("The entry answers another offer.", reason="another_offer")
    if offer.boot != here.boot:
        raise Untrusted("The offer was made before this machine started.", reason="old_boot")
    if (offer.policy_version, offer.policy_hash) != (here.policy.version, here.policy.hash):
        raise Untrusted(
            "The offer was made under another policy than this machine's. Ask again.",
            reason="another_policy",
        )


def _check_time(window: Window, moment: Moment) -> int:
    """Return for how many milliseconds the window is still open. Raises `Refused`."""
    here, length_ms = moment.here, window.not_after_ms - window.not_before_ms
    if window.not_after_ms <= moment.signed_ms:
        raise Refused("That window is over: the owner has signed since.", reason="expired")
    left_ms = length_ms
    if not moment.pressed:
        doubt = moment.doubt
        if not doubt and here.now_ms < moment.signed_ms:
            doubt = "its clock is behind the newest signature of its owner"
        if doubt:
            raise Refused(
                f"This machine cannot tell the time for sure: {doubt}. Somebody at the machine "
                "can allow it by a press at its panel, or the owner is asked.",
                reason="clock_untrusted",
            )
        if here.now_ms < window.not_before_ms:
            raise Refused("That window is not open yet by this machine's clock.", reason="not_yet")
        if here.now_ms >= window.not_after_ms:
            raise Refused("That window is over by this machine's clock.", reason="expired")
        left_ms = min(length_ms, window.not_after_ms - here.now_ms)
    if here.lease_seconds_left <= 0:
        raise Refused(
            "The owner's documents have not been renewed for too long; this machine opens no "
            "session. The owner renews them with `fleetward owner refresh`.",
            reason="lease_expired",
        )
    return left_ms
