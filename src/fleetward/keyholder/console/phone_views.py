"""Phones as the pages show them. Pure, but for the keeper that is asked."""

from __future__ import annotations

from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.console.enrol_code import CODE_SECONDS
from fleetward.keyholder.console.phone_keeper import PhoneKeeper
from fleetward.keyholder.console.phone_model import CodeShown, PasskeyHere, PhoneRow, PhoneView
from fleetward.keyholder.console.phones import Phone
from fleetward.keyholder.console.quick_response import draw_squares
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.runtime.http.times import to_rfc3339


def show_row(keeper: PhoneKeeper, phone: Phone, now_ms: int) -> PhoneRow:
    """Return a phone for the list on the owner's computer."""
    offered = phone.offered
    return PhoneRow(
        id=phone.id,
        name=phone.name,
        added_at=to_rfc3339(phone.added_at),
        seen_at=to_rfc3339(phone.seen_at),
        ends_at=to_rfc3339(phone.ends_at),
        over=now_ms >= phone.ends_at,
        offered_person=offered.person if offered else "",
        offered_words=keeper.words_of(offered) if offered else "",
    )


def show_phone(
    keeper: PhoneKeeper,
    caller: Caller,
    documents: OwnerDocuments,
    server: tuple[str, bool, str],
) -> PhoneView:
    """Return what a phone is told of itself."""
    phone = next((each for each in keeper.phones.read() if each.id == caller.phone), None)
    offered = phone.offered if phone else None
    return PhoneView(
        owner=documents.root.name,
        name=caller.name,
        ends_at=to_rfc3339(phone.ends_at) if phone else "",
        reachable=server[1],
        words=server[2],
        passkeys=[
            PasskeyHere(person=holder.person, key_id=key_id)
            for key_id, holder in keeper.passkeys_of(documents.policy, caller).items()
        ],
        offered_person=offered.person if offered else "",
        offered_words=keeper.words_of(offered) if offered else "",
    )


def show_code(address: str, code: str) -> CodeShown:
    """Return a code that was just made, with the squares in which a phone reads it."""
    squares = draw_squares(address_with(address, code))
    return CodeShown(address=address, code=code, squares=squares, seconds=CODE_SECONDS)


def address_with(address: str, code: str) -> str:
    """Return the address that a phone opens by scanning: no server sees what is behind `#`."""
    return f"{address}/#code={code}"
