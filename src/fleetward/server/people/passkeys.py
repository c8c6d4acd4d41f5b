"""Passkeys: registering one, and signing in with it. WebAuthn's checks are the library's.

The relying party is the configured host and the origin is compared whole. A challenge is answered
once. The authenticator must have verified its user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec
from webauthn import (
    base64url_to_bytes,
    generate_authentication_options,
    generate_registration_options,
    options_to_json,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import bytes_to_base64url
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from fleetward.server.people.act import Writer
from fleetward.server.people.decide import (
    decide_challenge,
    decide_passkey_login,
    decide_session,
    passkey_not_valid,
)
from fleetward.server.people.model import (
    CHALLENGE_LIFE_MS,
    MAX_PASSKEYS,
    Challenge,
    Passkey,
)
from fleetward.server.people.secret import SESSION_PREFIX, hash_secret, make_id, make_secret
from fleetward.server.people.sessions import OpenedSession, Sessions
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import FleetwardError, Refused, Untrusted

MAX_CREDENTIAL_BYTES: Final = 1023
"""WebAuthn's bound for a credential id."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The name under which browsers know this console: a host, and one whole origin."""

    id: str
    origin: str
    name: str = "Fleetward"


@dataclass(frozen=True, slots=True)
class Ceremony:
    """What the browser needs to ask the authenticator."""

    challenge_id: str
    options: Mapping[str, Any]


class Passkeys:
    """Registers passkeys and opens sessions with them."""

    def __init__(self, writer: Writer, sessions: Sessions, party: RelyingParty) -> None:
        self._writer: Final = writer
        self._store: Final = writer.store
        self._sessions: Final = sessions
        self._party: Final = party

    def begin_registration(self, caller: Caller) -> Ceremony:
        """Return the options for a new passkey of the caller.

        Raises Refused for a token, and for a person who has too many.
        """
        person_id = self._sessions.get(caller).person_id
        known = self._store.passkeys_of(person_id)
        if len(known) >= MAX_PASSKEYS:
            raise Refused(
                f"{caller.name} has {MAX_PASSKEYS} passkeys: remove the person and add him again",
                reason="too_many_passkeys",
            )
        options = generate_registration_options(
            rp_id=self._party.id,
            rp_name=self._party.name,
            user_name=caller.name,
            user_id=person_id.encode("ascii"),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=base64url_to_bytes(each.id)) for each in known
            ],
        )
        shown = msgspec.json.decode(options_to_json(options), type=dict[str, Any])
        return self._begin("register", person_id, options.challenge, shown)

    def finish_registration(
        self, caller: Caller, challenge_id: str, credential: Mapping[str, Any]
    ) -> Passkey:
        """Keep the passkey that the browser made. The session may do everything from then on.

        Raises Untrusted (`passkey_not_valid`) or Refused (`conflict`).
        """
        session = self._sessions.get(caller)
        now_ms = self._writer.clock.wall_ms()
        challenge = decide_challenge(
            self._store.take_challenge(challenge_id), "register", session.person_id, now_ms
        )
        try:
            verified = verify_registration_response(
                credential=dict(credential),
                expected_challenge=base64url_to_bytes(challenge.value),
                expected_rp_id=self._party.id,
                expected_origin=self._party.origin,
                require_user_verification=True,
            )
        except Exception as error:  # Hostile bytes, and a library of many errors.
            raise passkey_not_valid(_said(error)) from error
        if len(verified.credential_id) > MAX_CREDENTIAL_BYTES:
            raise passkey_not_valid(f"its id is longer than {MAX_CREDENTIAL_BYTES} bytes")
        passkey = Passkey(
            bytes_to_base64url(verified.credential_id),
            session.person_id,
            bytes_to_base64url(verified.credential_public_key),
            verified.sign_count,
            now_ms,
        )
        self._writer.record(
            "passkey.registered",
            caller.actor,
            f"person:{session.person_id}",
            {"passkey": passkey.id[:64], "backed_up": verified.credential_backed_up},
        )
        self._store.add_passkey(passkey, session.id, self._writer.owner_id())
        return passkey

    def begin_login(self) -> Ceremony:
        """Return the options for a sign-in with any passkey of this host."""
        options = generate_authentication_options(
            rp_id=self._party.id, user_verification=UserVerificationRequirement.REQUIRED
        )
        shown = msgspec.json.decode(options_to_json(options), type=dict[str, Any])
        return self._begin("login", "", options.challenge, shown)

    def finish_login(
        self, challenge_id: str, credential: Mapping[str, Any], address: str
    ) -> OpenedSession:
        """Open a session with a passkey.

        Raises Untrusted (`passkey_not_valid`) or Refused (`rate_limited`).
        """
        try:
            return self._login(challenge_id, credential)
        except Untrusted as error:
            raise self._sessions.failed(error, address) from error

    def registered(self, person_id: str) -> bool:
        """Say whether a person has a passkey."""
        return bool(self._store.passkeys_of(person_id))

    def _login(self, challenge_id: str, credential: Mapping[str, Any]) -> OpenedSession:
        now_ms = self._writer.clock.wall_ms()
        challenge = decide_challenge(self._store.take_challenge(challenge_id), "login", "", now_ms)
        passkey, person = decide_passkey_login(
            *self._store.find_passkey(_credential_id(credential)), _user_handle(credential)
        )
        try:
            verified = verify_authentication_response(
                credential=dict(credential),
                expected_challenge=base64url_to_bytes(challenge.value),
                expected_rp_id=self._party.id,
                expected_origin=self._party.origin,
                credential_public_key=base64url_to_bytes(passkey.public_key),
                credential_current_sign_count=passkey.sign_count,
                require_user_verification=True,
            )
        except Exception as error:  # Hostile bytes, and a library of many errors.
            raise passkey_not_valid(_said(error)) from error
        session = decide_session(make_id(), person, "passkey", now_ms, may_defer_passkey=True)
        secret = make_secret(SESSION_PREFIX)
        self._sessions.record_opened(session)
        used = self._store.use_passkey(
            passkey, verified.new_sign_count, session, hash_secret(secret), self._writer.owner_id()
        )
        if not used:
            raise passkey_not_valid("it was used this moment")
        return OpenedSession(session, person, secret)

    def _begin(
        self,
        purpose: Literal["register", "login"],
        person_id: str,
        challenge: bytes,
        options: Mapping[str, Any],
    ) -> Ceremony:
        now_ms = self._writer.clock.wall_ms()
        opened = Challenge(
            make_id(), person_id, purpose, bytes_to_base64url(challenge), now_ms + CHALLENGE_LIFE_MS
        )
        self._store.add_challenge(opened, self._writer.owner_id(), now_ms)
        return Ceremony(opened.id, options)


def _credential_id(credential: Mapping[str, Any]) -> str:
    found = credential.get("id")
    return found if isinstance(found, str) else ""


def _user_handle(credential: Mapping[str, Any]) -> bytes | None:
    response = credential.get("response")
    handle = response.get("userHandle") if isinstance(response, dict) else None
    if not isinstance(handle, str) or not handle:
        return None
    try:
        return base64url_to_bytes(handle)
    except ValueError as error:
        raise passkey_not_valid("its user handle is not base64url") from error


def _said(error: Exception) -> str:
    if isinstance(error, FleetwardError):
        return error.message
    return ascii(str(error)[:200]) if str(error) else type(error).__name__
