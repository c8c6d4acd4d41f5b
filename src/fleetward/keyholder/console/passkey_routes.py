"""HTTP of passkeys: it only translates between the page and the keeper."""

from __future__ import annotations

import secrets
from typing import Annotated, TypeAlias

import msgspec
from litestar import post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.access_model import Base64
from fleetward.keyholder.console.model import Answer, Question
from fleetward.keyholder.console.passkey_keeper import RP_ID, PasskeyKeeper
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.passkey import Assertion

Passphrase: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
PersonName: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
_USER_ID_BYTES = 32


class BeginPasskey(Question, frozen=True, kw_only=True):
    """Make a passkey for this person."""

    person: PersonName
    passphrase: Passphrase


class Begun(Answer, frozen=True, kw_only=True):
    """What a browser needs to make one."""

    challenge: str
    rp_id: str
    user_id: str
    person: str
    others: list[str]


class MadePasskey(Question, frozen=True, kw_only=True):
    """A passkey that was made, as a browser gives it."""

    challenge: Base64
    authenticator_data: Base64
    client_data: Base64
    passphrase: Passphrase


class RemovePasskey(Question, frozen=True, kw_only=True):
    """This passkey shall approve nothing any more."""

    key_id: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    passphrase: Passphrase


class PolicySigned(Answer, frozen=True, kw_only=True):
    """A policy was signed. `handed_over` is false while the server is not in reach."""

    version: int
    handed_over: bool
    words: str


def make_passkey_handlers(keeper: PasskeyKeeper) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1/passkeys."""

    @post("/passkeys/begin", sync_to_thread=True, status_code=200)
    def begin(data: JSONBody[BeginPasskey]) -> Begun:
        """Say what a browser needs to make a passkey. Nothing is signed yet."""
        begun = keeper.begin(data.person, data.passphrase)
        return Begun(
            challenge=to_base64url(begun.challenge),
            rp_id=RP_ID,
            user_id=to_base64url(secrets.token_bytes(_USER_ID_BYTES)),
            person=begun.person,
            others=list(begun.others),
        )

    @post("/passkeys/add", sync_to_thread=True, status_code=200)
    def add(data: JSONBody[MadePasskey]) -> PolicySigned:
        """Name the passkey in the next policy, and hand that over."""
        made = Assertion(from_base64url(data.authenticator_data), from_base64url(data.client_data))
        return show_signed(*keeper.add(data.challenge, made, data.passphrase))

    @post("/passkeys/remove", sync_to_thread=True, status_code=200)
    def remove(data: JSONBody[RemovePasskey]) -> PolicySigned:
        """Take a passkey out of the policy."""
        return show_signed(*keeper.remove(data.key_id, data.passphrase))

    return [begin, add, remove]


def show_signed(documents: OwnerDocuments, trouble: str) -> PolicySigned:
    """Say that a policy was signed, and whether it was handed over."""
    version = documents.policy.version
    return PolicySigned(
        version=version,
        handed_over=not trouble,
        words=f"Policy {version} is signed. {trouble or 'Machines have it as soon as they hear.'}",
    )
