"""What the slice keeps: people, and the four kinds of credential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from fleetward.server.web.caller import Role, Scope

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 60 * MINUTE_MS

LINK_LIFE_MS: Final = 15 * MINUTE_MS
SESSION_LIFE_MS: Final = 12 * HOUR_MS
CHALLENGE_LIFE_MS: Final = 5 * MINUTE_MS
TOKEN_LIFE_MAX_SECONDS: Final = 365 * 24 * 3600
TOKEN_LIFE_MIN_SECONDS: Final = 60
LAST_USED_STEP_MS: Final = MINUTE_MS
"""`last used` is written at most once a minute: it is no reason to write at every request."""
MAX_CHALLENGES: Final = 1_000
"""Anybody may ask for a login challenge, so the table of open ones has an end."""
MAX_PASSKEYS: Final = 20
NAME_LENGTH: Final = 80

SignIn = Literal["link", "passkey"]


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who may sign in."""

    id: str
    name: str
    role: Role
    created_at: int
    last_seen_at: int | None = None
    removed_at: int | None = None


@dataclass(frozen=True, slots=True)
class LoginLink:
    """A one-time code, of which only the hash is known."""

    code_hash: str
    person_id: str
    expires_at: int
    used_at: int | None = None


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser."""

    id: str
    person_id: str
    made_by: SignIn
    passkey_only: bool
    created_at: int
    expires_at: int
    last_used_at: int
    ended_at: int | None = None


@dataclass(frozen=True, slots=True)
class Passkey:
    """A credential that a person's authenticator holds; the public key is COSE, base64url."""

    id: str
    person_id: str
    public_key: str
    sign_count: int
    created_at: int
    last_used_at: int | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """What an authenticator must sign, once. `person_id` is empty before a login."""

    id: str
    person_id: str
    purpose: Literal["register", "login"]
    value: str
    expires_at: int


@dataclass(frozen=True, slots=True)
class Token:
    """A credential for a program."""

    id: str
    name: str
    role: Role
    scope: Scope
    made_by: str
    created_at: int
    expires_at: int
    last_used_at: int | None = None
    revoked_at: int | None = None
