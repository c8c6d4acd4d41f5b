"""What the API takes and gives about people: the structs, and their translation."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec

from fleetward.runtime.http.times import Instant, to_rfc3339, to_rfc3339_or_none
from fleetward.server.people.model import (
    NAME_LENGTH,
    TOKEN_LIFE_MAX_SECONDS,
    TOKEN_LIFE_MIN_SECONDS,
    Person,
    Token,
)
from fleetward.server.people.passkeys import Ceremony
from fleetward.server.people.secret import MAX_LENGTH
from fleetward.server.web.caller import WHOLE_FLEET, Role, RoleName, Scope

MAX_SCOPE = 100

Name: TypeAlias = Annotated[
    str, msgspec.Meta(min_length=1, max_length=NAME_LENGTH, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
]
ShortId: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what the API takes: fields that it does not name are refused."""


class LinkCode(Given, frozen=True):
    """The code of a sign-in link."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_LENGTH)]


class FinishedCeremony(Given, frozen=True):
    """What the browser's authenticator answered: a PublicKeyCredential as JSON."""

    challenge_id: ShortId
    credential: dict[str, Any]


class PersonWish(Given, frozen=True):
    """Somebody to add."""

    name: Name
    role: RoleName


class RoleWish(Given, frozen=True):
    """Another role for somebody."""

    role: RoleName


class LinkWish(Given, frozen=True):
    """For whom to make a sign-in link; for oneself where it is left out."""

    person_id: ShortId | None = None


class ScopeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The part of the fleet that a token may see: devices at these sites, and these devices."""

    sites: Annotated[list[Name], msgspec.Meta(max_length=MAX_SCOPE)] = []
    devices: Annotated[list[ShortId], msgspec.Meta(max_length=MAX_SCOPE)] = []


class TokenWish(Given, frozen=True):
    """A token to make."""

    name: Name
    role: RoleName
    ttl_seconds: Annotated[int, msgspec.Meta(ge=TOKEN_LIFE_MIN_SECONDS, le=TOKEN_LIFE_MAX_SECONDS)]
    scope: ScopeBody | None = None


class PersonShort(msgspec.Struct, frozen=True):
    """Who is signed in."""

    id: str
    name: str
    role: RoleName


class PersonRow(msgspec.Struct, frozen=True):
    """Somebody who may sign in."""

    id: str
    name: str
    role: RoleName
    created_at: Instant
    last_seen_at: Instant | None


class PasskeyState(msgspec.Struct, frozen=True):
    """Whether the person has a passkey, and whether this address demands one."""

    registered: bool
    required: bool


class SessionShown(msgspec.Struct, frozen=True):
    """The session or token behind the request."""

    kind: str
    expires_at: Instant | None
    person: PersonShort
    passkey: PasskeyState
    passkey_only: bool


class SessionOpened(msgspec.Struct, frozen=True):
    """A session with its secret, which is shown this once."""

    token: str
    expires_at: Instant
    person: PersonShort
    passkey: PasskeyState
    passkey_only: bool


class CeremonyShown(msgspec.Struct, frozen=True):
    """Options for navigator.credentials, in WebAuthn's JSON form."""

    challenge_id: str
    options: dict[str, Any]


class PasskeyRegistered(msgspec.Struct, frozen=True):
    """The passkey that was kept."""

    id: str
    created_at: Instant


class LinkMade(msgspec.Struct, frozen=True):
    """A sign-in link, which is shown this once."""

    url: str
    expires_at: Instant


class TokenMade(msgspec.Struct, frozen=True):
    """A token with its secret, which is shown this once."""

    id: str
    token: str
    expires_at: Instant


class TokenRow(msgspec.Struct, frozen=True):
    """A token, without its secret."""

    id: str
    name: str
    role: RoleName
    scope: ScopeBody | None
    created_at: Instant
    expires_at: Instant
    last_used_at: Instant | None


def role_name(role: Role) -> RoleName:
    """Return a role's name."""
    names: dict[Role, RoleName] = {
        Role.VIEWER: "viewer",
        Role.OPERATOR: "operator",
        Role.ADMIN: "admin",
    }
    return names[role]


def show_person(person: Person) -> PersonRow:
    """Translate a person."""
    return PersonRow(
        person.id,
        person.name,
        role_name(person.role),
        to_rfc3339(person.created_at),
        to_rfc3339_or_none(person.last_seen_at),
    )


def show_token(token: Token) -> TokenRow:
    """Translate a token."""
    return TokenRow(
        token.id,
        token.name,
        role_name(token.role),
        show_scope(token.scope),
        to_rfc3339(token.created_at),
        to_rfc3339(token.expires_at),
        to_rfc3339_or_none(token.last_used_at),
    )


def show_scope(scope: Scope) -> ScopeBody | None:
    """Translate a scope; the whole fleet is null."""
    if scope.whole_fleet:
        return None
    return ScopeBody(sorted(scope.sites or ()), sorted(scope.devices or ()))


def read_scope(body: ScopeBody | None) -> Scope:
    """Translate a wished scope."""
    if body is None:
        return WHOLE_FLEET
    return Scope(frozenset(body.sites), frozenset(body.devices))


def show_ceremony(ceremony: Ceremony) -> CeremonyShown:
    """Translate what a browser needs for its authenticator."""
    return CeremonyShown(ceremony.challenge_id, dict(ceremony.options))
