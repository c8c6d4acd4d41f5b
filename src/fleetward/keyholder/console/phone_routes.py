"""HTTP of phones: it only translates between a page and the keepers.

What a phone may call stands in `rights`; who calls, in `callers`.
"""

from __future__ import annotations

import secrets
from typing import Any, Final

from litestar import Request, get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.access.passkeys import Yes
from fleetward.keyholder.console.access_model import Answered, PasskeyYes
from fleetward.keyholder.console.access_views import show_choice
from fleetward.keyholder.console.callers import caller_of
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.passkey_routes import Begun, PolicySigned, show_signed
from fleetward.keyholder.console.phone_model import (
    ApproveByPasskey,
    BeginOnPhone,
    CodeShown,
    EndByPasskey,
    EndingView,
    EndingWish,
    Enrol,
    Enrolled,
    NamePasskey,
    Offer,
    OfferPasskey,
    PhoneList,
    PhoneView,
    RemovePhone,
)
from fleetward.keyholder.console.phone_views import show_code, show_phone, show_row
from fleetward.keyholder.console.phones import MAX_PHONES
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.passkey import Assertion

_USER_ID_BYTES: Final = 32
_Asked = Request[Any, Any, Any]


def read_yes(said: PasskeyYes) -> Yes:
    """Return a passkey's signature. Raises `Malformed`."""
    return Yes(
        from_base64url(said.signature),
        Assertion(from_base64url(said.authenticator_data), from_base64url(said.client_data)),
    )


def make_passkey_signers(keeper: Keeper) -> list[ControllerRouterHandler]:
    """Return the handlers that take what a passkey has signed, at either door."""
    access, ending = keeper.access, keeper.access.ending

    @post("/access/passkey/approve", sync_to_thread=True, status_code=200)
    def approve_by_passkey(request: _Asked, data: JSONBody[ApproveByPasskey]) -> Answered:
        """Put a passkey's yes to the grant that was shown, and hand it over."""
        return access.approve(data.grant, caller_of(request), read_yes(data.passkey))

    @post("/access/passkey/ending", sync_to_thread=True, status_code=200)
    def prepare_ending(request: _Asked, data: JSONBody[EndingWish]) -> EndingView:
        """Prepare a no or a stop for a passkey. Nothing is signed yet."""
        caller = caller_of(request)
        ready, keys = ending.prepare(data.id, data.reason, caller, denying=data.what == "deny")
        stop = ready.prepared
        choice = show_choice(stop.payload, keys, access.passkeys.names(list(keys)))
        return EndingView(stop=stop.hash, passkey=choice)

    @post("/access/passkey/end", sync_to_thread=True, status_code=200)
    def end_by_passkey(request: _Asked, data: JSONBody[EndByPasskey]) -> Answered:
        """Hand over the no or the stop that was prepared, as a passkey has signed it."""
        return ending.sign(data.stop, read_yes(data.passkey), caller_of(request))

    return [approve_by_passkey, prepare_ending, end_by_passkey]


def make_phone_list_handlers(keeper: Keeper, clock: Clock) -> list[ControllerRouterHandler]:
    """Return the handlers by which the owner's computer keeps its phones."""
    phones = keeper.phones

    def show_all() -> PhoneList:
        rows = [show_row(phones, each, clock.wall_ms()) for each in phones.phones.read()]
        until = to_rfc3339(phones.until_ms) if phones.until_ms else ""
        return PhoneList(
            items=rows, address=phones.origin, certificate_ends_at=until, most=MAX_PHONES
        )

    @get("/phones", sync_to_thread=True)
    def list_phones() -> PhoneList:
        """Return the phones."""
        return show_all()

    @post("/phones/code", sync_to_thread=True, status_code=200)
    def make_code() -> CodeShown:
        """Make a one-use code for a phone; the one before serves no more."""
        address = phones.place.origins[0]
        return show_code(address, phones.code.make())

    @post("/phones/remove", sync_to_thread=True, status_code=200)
    def remove_phone(data: JSONBody[RemovePhone]) -> PhoneList:
        """Remove a phone: it is out at once."""
        phones.remove(data.id)
        return show_all()

    @post("/phones/passkey", sync_to_thread=True, status_code=200)
    def name_passkey(data: JSONBody[NamePasskey]) -> PolicySigned:
        """Name the passkey that a phone offers in the next policy, and hand that over."""
        return show_signed(*phones.name(data.id, data.words, data.person, data.passphrase))

    return [list_phones, make_code, remove_phone, name_passkey]


def make_phone_handlers(keeper: Keeper) -> list[ControllerRouterHandler]:
    """Return the handlers that only the door for phones has."""
    phones = keeper.phones

    @post("/phone/enrol", sync_to_thread=True, status_code=200)
    def enrol(request: _Asked, data: JSONBody[Enrol]) -> Enrolled:
        """Add the phone that has the code."""
        address = request.client.host if request.client else ""
        phone, secret = phones.enrol(data.code, data.name, address)
        return Enrolled(secret=secret, name=phone.name, ends_at=to_rfc3339(phone.ends_at))

    @get("/phone", sync_to_thread=True)
    def show_me(request: _Asked) -> PhoneView:
        """Return what this phone may know of itself."""
        return show_phone(phones, caller_of(request), keeper.desk.documents(), keeper.server)

    @post("/phone/passkey/begin", sync_to_thread=True, status_code=200)
    def begin(request: _Asked, data: JSONBody[BeginOnPhone]) -> Begun:
        """Say what the phone's browser needs to make a passkey. Nothing is named yet."""
        challenge, place = phones.begin(caller_of(request), data.person)
        return Begun(
            challenge=to_base64url(challenge),
            rp_id=place.rp_id,
            user_id=to_base64url(secrets.token_bytes(_USER_ID_BYTES)),
            person=data.person,
            others=[],
        )

    @post("/phone/passkey/offer", sync_to_thread=True, status_code=200)
    def offer(request: _Asked, data: JSONBody[OfferPasskey]) -> Offer:
        """Keep a passkey that this phone made, for the owner to name."""
        made = Assertion(from_base64url(data.authenticator_data), from_base64url(data.client_data))
        return Offer(words=phones.offer(caller_of(request), data.challenge, made))

    return [enrol, show_me, begin, offer]
