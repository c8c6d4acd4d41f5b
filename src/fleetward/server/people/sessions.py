"""Signing in by a link, and knowing who calls afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.server.people.act import Writer
from fleetward.server.people.decide import (
    decide_redeem,
    decide_session,
    decide_session_caller,
    decide_token_caller,
    is_due,
)
from fleetward.server.people.limits import FailureLimit
from fleetward.server.people.model import Person, Session
from fleetward.server.people.secret import (
    SESSION_PREFIX,
    TOKEN_PREFIX,
    hash_secret,
    make_id,
    make_secret,
)
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import FleetwardError, Refused, Untrusted


@dataclass(frozen=True, slots=True)
class OpenedSession:
    """A session with its secret, the only time that it is seen."""

    session: Session
    person: Person
    secret: str


class Sessions:
    """Opens, recognises and ends sessions; recognises tokens. It is the `Authenticator`."""

    def __init__(self, writer: Writer, *, may_defer_passkey: bool) -> None:
        self._writer: Final = writer
        self._store: Final = writer.store
        self._failures: Final = FailureLimit()
        self.may_defer_passkey: Final = may_defer_passkey

    def redeem(self, code: str, address: str) -> OpenedSession:
        """Open a session with the code of a link.

        Raises Untrusted (`link_not_valid`) or Refused (`rate_limited`).
        """
        code_hash = hash_secret(code)
        now_ms = self._writer.clock.wall_ms()
        try:
            person = decide_redeem(*self._store.find_link(code_hash), now_ms)
        except Untrusted as error:
            raise self.failed(error, address) from error
        secret = make_secret(SESSION_PREFIX)
        session = decide_session(
            make_id(), person, "link", now_ms, may_defer_passkey=self.may_defer_passkey
        )
        self.record_opened(session)
        if not self._store.use_link(
            code_hash, session, hash_secret(secret), self._writer.owner_id()
        ):
            raise self.failed(
                Untrusted(
                    "expected a fresh sign-in link, got one that was used this moment: "
                    "make another with `fleetward login-link`",
                    reason="link_not_valid",
                ),
                address,
            )
        return OpenedSession(session, person, secret)

    def authenticate(self, bearer: str, address: str) -> Caller:
        """Return who calls.

        Raises Untrusted (`not_signed_in`, `session_ended`) or Refused (`rate_limited`).
        """
        try:
            if bearer.startswith(TOKEN_PREFIX):
                return self._token_caller(hash_secret(bearer))
            return self._session_caller(hash_secret(bearer))
        except Untrusted as error:
            if error.reason == "session_ended":
                raise  # A credential that was good once is nobody's attempt to guess.
            raise self.failed(error, address) from error

    def end(self, caller: Caller) -> None:
        """End the session of a caller. Raises Refused (`session_not_found`) for a token."""
        session = self.get(caller)
        now_ms = self._writer.record("session.ended", caller.actor, f"session:{session.id}")
        self._store.end_session(session.id, now_ms)

    def get(self, caller: Caller) -> Session:
        """Return the session of a caller. Raises Refused (`session_not_found`) for a token."""
        session = self._store.get_session(caller.session_id) if caller.session_id else None
        if session is None:
            raise Refused(
                "this is a token, and a token has no session: revoke it instead",
                reason="session_not_found",
            )
        return session

    def record_opened(self, session: Session) -> None:
        """Record that a session opens."""
        self._writer.record(
            "session.opened",
            f"person:{session.person_id}",
            f"session:{session.id}",
            {"by": session.made_by, "passkey_only": session.passkey_only},
        )

    def failed(self, error: FleetwardError, address: str) -> FleetwardError:
        """Count and record a failure to sign in; return what to raise."""
        if self._failures.note(address, self._writer.clock.wall_ms()):
            return Refused(
                "too many failures to sign in from this address: wait a minute",
                reason="rate_limited",
            )
        body = {"address": address[:64], "reason": error.reason}
        self._writer.record("session.refused", "unknown", "server", body)
        return error

    def _session_caller(self, secret_hash: str) -> Caller:
        now_ms = self._writer.clock.wall_ms()
        session, person = self._store.find_session(secret_hash)
        caller = decide_session_caller(session, person, now_ms)
        if session is not None and is_due(session.last_used_at, now_ms):
            self._store.touch_session(session, now_ms)
        return caller

    def _token_caller(self, secret_hash: str) -> Caller:
        now_ms = self._writer.clock.wall_ms()
        token = self._store.find_token(secret_hash)
        caller = decide_token_caller(token, now_ms)
        if token is not None and is_due(token.last_used_at, now_ms):
            self._store.touch_token(token.id, now_ms)
        return caller
