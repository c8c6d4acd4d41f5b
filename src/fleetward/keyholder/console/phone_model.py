"""What the owner's console says and takes about phones."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import msgspec

from fleetward.keyholder.console.access_model import Base64, Hash, PasskeyChoice, PasskeyYes
from fleetward.keyholder.console.model import Answer, Line, Question
from fleetward.keyholder.console.phones import MAX_NAME

PersonName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
PhoneName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class ApproveByPasskey(Question, frozen=True, kw_only=True):
    """Sign the grant with this hash, which was prepared and shown, by this passkey."""

    grant: Hash
    passkey: PasskeyYes


class EndingWish(Question, frozen=True, kw_only=True):
    """Say no to a request, or end its session, by a passkey."""

    id: Hash
    what: Literal["deny", "stop"]
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class EndingView(Answer, frozen=True, kw_only=True):
    """A stop that is ready to be signed by a passkey."""

    stop: str
    passkey: PasskeyChoice


class EndByPasskey(Question, frozen=True, kw_only=True):
    """Sign the stop with this hash, which was prepared, by this passkey."""

    stop: Hash
    passkey: PasskeyYes


class Enrol(Question, frozen=True, kw_only=True):
    """Add this phone. The code is the one that the owner's computer shows."""

    code: Annotated[str, msgspec.Meta(max_length=40)]
    name: PhoneName


class Enrolled(Answer, frozen=True, kw_only=True):
    """The phone was added; the secret is shown once."""

    secret: str
    name: str
    ends_at: str


class PasskeyHere(Answer, frozen=True, kw_only=True):
    """A passkey that the policy names for phones."""

    person: str
    key_id: str


class PhoneView(Answer, frozen=True, kw_only=True):
    """What a phone is told of itself and of the owner."""

    owner: str
    name: str
    ends_at: str
    reachable: bool
    words: str
    passkeys: list[PasskeyHere]
    offered_words: str
    """Six words of the passkey that it has offered and that is not named yet."""
    offered_person: str


class BeginOnPhone(Question, frozen=True, kw_only=True):
    """Make a passkey on this phone, for this person."""

    person: PersonName


class OfferPasskey(Question, frozen=True, kw_only=True):
    """A passkey that this phone has made, as its browser gives it."""

    challenge: Base64
    authenticator_data: Base64
    client_data: Base64


class Offer(Answer, frozen=True, kw_only=True):
    """It waits for the owner, at his computer."""

    words: str


class PhoneRow(Answer, frozen=True, kw_only=True):
    """A phone as the owner's computer lists it."""

    id: str
    name: str
    added_at: str
    seen_at: str
    ends_at: str
    over: bool
    offered_person: str
    offered_words: str


class PhoneList(Answer, frozen=True, kw_only=True):
    """The phones; `address` is empty while none is served."""

    items: list[PhoneRow]
    address: str
    certificate_ends_at: str
    most: int


class CodeShown(Answer, frozen=True, kw_only=True):
    """A one-use code, to be typed or scanned; `squares` is a QR code, row by row."""

    address: str
    code: str
    squares: list[str]
    seconds: int


class RemovePhone(Question, frozen=True, kw_only=True):
    """This phone shall not come in any more."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]


class NamePasskey(Question, frozen=True, kw_only=True):
    """Name the passkey that a phone offers, whose six words were compared."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
    words: Line
    person: PersonName
    passphrase: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
