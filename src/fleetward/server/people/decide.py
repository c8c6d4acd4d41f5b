"""What the slice decides. Pure: state and time in, a decision or a refusal out."""

from __future__ import annotations

from fleetward.server.people.model import (
    LAST_USED_STEP_MS,
    NAME_LENGTH,
    SESSION_LIFE_MS,
    TOKEN_LIFE_MAX_SECONDS,
    TOKEN_LIFE_MIN_SECONDS,
    Challenge,
    LoginLink,
    Passkey,
    Person,
    Session,
    SignIn,
    Token,
)
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.trust.errors import Malformed, Refused, Untrusted


def decide_redeem(link: LoginLink | None, person: Person | None, now_ms: int) -> Person:
    """Return whom a link signs in.

    Raises Untrusted (`link_not_valid`). The message is the same for every cause: who guesses codes
    learns nothing.
    """
    if (
        link is None
        or link.used_at is not None
        or now_ms >= link.expires_at
        or person is None
        or person.removed_at is not None
    ):
        raise Untrusted(
            "expected a fresh sign-in link, got one that is used, older than 15 minutes or "
            "unknown: make another with `fleetward login-link`",
            reason="link_not_valid",
        )
    return person


def decide_session(
    session_id: str, person: Person, made_by: SignIn, now_ms: int, *, may_defer_passkey: bool
) -> Session:
    """Return the session that a sign-in opens.

    Where a passkey may not be deferred, a session from a link can only register one.
    """
    return Session(
        id=session_id,
        person_id=person.id,
        made_by=made_by,
        passkey_only=made_by == "link" and not may_defer_passkey,
        created_at=now_ms,
        expires_at=now_ms + SESSION_LIFE_MS,
        last_used_at=now_ms,
    )


def decide_session_caller(session: Session | None, person: Person | None, now_ms: int) -> Caller:
    """Return who calls with a session. Raises Untrusted (`not_signed_in`, `session_ended`)."""
    if session is None or person is None:
        raise _unknown_credential()
    if (
        session.ended_at is not None
        or now_ms >= session.expires_at
        or person.removed_at is not None
    ):
        raise Untrusted(
            "expected a session that lasts, got one that has ended: sign in again",
            reason="session_ended",
        )
    return Caller(
        "person",
        person.id,
        person.name,
        person.role,
        session_id=session.id,
        passkey_only=session.passkey_only,
    )


def decide_token_caller(token: Token | None, now_ms: int) -> Caller:
    """Return who calls with a token. Raises Untrusted (`not_signed_in`, `session_ended`)."""
    if token is None:
        raise _unknown_credential()
    if token.revoked_at is not None or now_ms >= token.expires_at:
        raise Untrusted(
            "expected a token that is valid, got one that is expired or revoked: "
            "ask an admin for another",
            reason="session_ended",
        )
    return Caller("token", token.id, token.name, token.role, token.scope)


def decide_token_life(
    author: Caller, role: Role, scope: Scope, ttl_seconds: int, now_ms: int
) -> int:
    """Return when a new token expires.

    Raises Refused when the author may not give that much, Malformed for an unbounded life or an
    empty scope.
    """
    if role > author.role:
        raise Refused(
            f"{author.name} is {author.role.name.lower()} and cannot make a token that is "
            f"{role.name.lower()}: ask an admin",
            reason="forbidden",
        )
    if not TOKEN_LIFE_MIN_SECONDS <= ttl_seconds <= TOKEN_LIFE_MAX_SECONDS:
        raise Malformed(
            f"expected a life of {TOKEN_LIFE_MIN_SECONDS} to {TOKEN_LIFE_MAX_SECONDS} seconds, "
            f"got {ttl_seconds}",
            reason="token_life",
        )
    if not scope.whole_fleet and not scope.sites and not scope.devices:
        raise Malformed(
            "expected a scope that names a site or a device, got an empty one: "
            "leave the scope out for the whole fleet",
            reason="token_scope",
        )
    return now_ms + ttl_seconds * 1000


def decide_name(name: str) -> str:
    """Return a name that can be shown in one line. Raises Malformed (`name`)."""
    if not name.strip() or len(name) > NAME_LENGTH or not name.isprintable():
        raise Malformed(
            f"expected a name of 1 to {NAME_LENGTH} printable characters, got {name[:40]!a}",
            reason="name",
        )
    return name


def decide_person_found(person: Person | None) -> Person:
    """Return a person who is still there. Raises Refused (`person_not_found`)."""
    if person is None or person.removed_at is not None:
        raise Refused(
            "there is no such person, or no longer: GET /api/v1/persons lists them",
            reason="person_not_found",
        )
    return person


def decide_admin_stays(person: Person, admins: int, new_role: Role | None) -> None:
    """Raise Refused (`last_admin`) when nobody would be left who can let others in."""
    if person.role is Role.ADMIN and new_role is not Role.ADMIN and admins <= 1:
        raise Refused(
            f"{person.name} is the last admin: make somebody else an admin first",
            reason="last_admin",
        )


def decide_challenge(
    challenge: Challenge | None, purpose: str, person_id: str, now_ms: int
) -> Challenge:
    """Return a challenge that is open, for this purpose and this person.

    Raises Untrusted (`passkey_not_valid`).
    """
    if (
        challenge is None
        or challenge.purpose != purpose
        or challenge.person_id != person_id
        or now_ms >= challenge.expires_at
    ):
        raise passkey_not_valid("its challenge is used, older than 5 minutes or unknown")
    return challenge


def decide_passkey_login(
    passkey: Passkey | None, person: Person | None, user_handle: bytes | None
) -> tuple[Passkey, Person]:
    """Return whose passkey it is. Raises Untrusted (`passkey_not_valid`)."""
    if passkey is None or person is None or person.removed_at is not None:
        raise passkey_not_valid("nobody here has registered it")
    if user_handle is not None and user_handle != person.id.encode("ascii"):
        raise passkey_not_valid("it belongs to another person")
    return passkey, person


def passkey_not_valid(why: str) -> Untrusted:
    """Return the refusal of a passkey."""
    return Untrusted(
        f"expected a passkey that this server knows, got one it cannot accept: {why}; "
        "begin again, or open a sign-in link",
        reason="passkey_not_valid",
    )


def is_due(last_ms: int | None, now_ms: int) -> bool:
    """Say whether `last used` should be written again."""
    return last_ms is None or abs(now_ms - last_ms) >= LAST_USED_STEP_MS


def _unknown_credential() -> Untrusted:
    return Untrusted(
        "expected a session or token of this server, got another: sign in again",
        reason="not_signed_in",
    )
