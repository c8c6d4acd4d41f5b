"""The slice's addresses below /api/v1. They translate, and nothing else."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, delete, get, patch, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, JSONBody

from fleetward.runtime.http.openapi import PUBLIC
from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, Page, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.people.act import People
from fleetward.server.people.api import (
    CeremonyShown,
    FinishedCeremony,
    LinkCode,
    LinkMade,
    LinkWish,
    PasskeyRegistered,
    PasskeyState,
    PersonRow,
    PersonShort,
    PersonWish,
    RoleWish,
    SessionOpened,
    SessionShown,
    TokenMade,
    TokenRow,
    TokenWish,
    read_scope,
    role_name,
    show_ceremony,
    show_person,
    show_token,
)
from fleetward.server.people.passkeys import Passkeys
from fleetward.server.people.sessions import OpenedSession, Sessions
from fleetward.server.people.store import PeopleStore
from fleetward.server.web.caller import Role
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest

_ANYBODY: Final = {PUBLIC: True}


def make_session_handlers(sessions: Sessions, passkeys: Passkeys) -> list[HTTPRouteHandler]:
    """Return the handlers of /session."""

    def show_opened(opened: OpenedSession) -> SessionOpened:
        person = opened.person
        return SessionOpened(
            opened.secret,
            to_rfc3339(opened.session.expires_at),
            PersonShort(person.id, person.name, role_name(person.role)),
            PasskeyState(passkeys.registered(person.id), not sessions.may_defer_passkey),
            opened.session.passkey_only,
        )

    @post("/session/redeem", opt={ACTION: "session.redeem", **_ANYBODY}, sync_to_thread=True)
    def redeem_login_link(
        request: Request[Any, Any, Any], data: JSONBody[LinkCode]
    ) -> SessionOpened:
        """Open a session with the code of a sign-in link.

        A link works once, within 15 minutes.
        """
        return show_opened(sessions.redeem(data.code, _address(request)))

    @get("/session", opt={ACTION: "session.read"}, sync_to_thread=True)
    def show_session(request: ApiRequest) -> SessionShown:
        """Show who is signed in, by session or token."""
        caller = request.user
        session = sessions.get(caller) if caller.session_id else None
        return SessionShown(
            caller.kind,
            to_rfc3339(session.expires_at) if session else None,
            PersonShort(caller.id, caller.name, role_name(caller.role)),
            PasskeyState(passkeys.registered(caller.id), not sessions.may_defer_passkey),
            caller.passkey_only,
        )

    @delete("/session", opt={ACTION: "session.end"}, sync_to_thread=True)
    def end_session(request: ApiRequest) -> None:
        """Sign out."""
        sessions.end(request.user)

    @post(
        "/session/passkey/register/begin",
        opt={ACTION: "passkey.register_begin"},
        status_code=200,
        sync_to_thread=True,
    )
    def begin_passkey_registration(request: ApiRequest) -> CeremonyShown:
        """Begin to register a passkey for who is signed in."""
        return show_ceremony(passkeys.begin_registration(request.user))

    @post("/session/passkey/register/finish", opt={ACTION: "passkey.register"}, sync_to_thread=True)
    def finish_passkey_registration(
        request: ApiRequest, data: JSONBody[FinishedCeremony]
    ) -> PasskeyRegistered:
        """Keep the passkey that the browser made."""
        kept = passkeys.finish_registration(request.user, data.challenge_id, data.credential)
        return PasskeyRegistered(kept.id, to_rfc3339(kept.created_at))

    @post(
        "/session/passkey/login/begin",
        opt={ACTION: "passkey.login_begin", **_ANYBODY},
        status_code=200,
        sync_to_thread=True,
    )
    def begin_passkey_login() -> CeremonyShown:
        """Begin to sign in with a passkey."""
        return show_ceremony(passkeys.begin_login())

    @post(
        "/session/passkey/login/finish",
        opt={ACTION: "passkey.login", **_ANYBODY},
        sync_to_thread=True,
    )
    def finish_passkey_login(
        request: Request[Any, Any, Any], data: JSONBody[FinishedCeremony]
    ) -> SessionOpened:
        """Open a session with a passkey."""
        return show_opened(
            passkeys.finish_login(data.challenge_id, data.credential, _address(request))
        )

    return [
        redeem_login_link,
        show_session,
        end_session,
        begin_passkey_registration,
        finish_passkey_registration,
        begin_passkey_login,
        finish_passkey_login,
    ]


def make_people_handlers(
    people: People, store: PeopleStore, base_url: str
) -> list[HTTPRouteHandler]:
    """Return the handlers of /persons, /login-links and /tokens."""

    @get("/persons", opt={ACTION: "persons.read"}, sync_to_thread=True)
    def list_persons(page: PageNumber = 1, per_page: PerPage = DEFAULT_PER_PAGE) -> Page[PersonRow]:
        """List who may sign in."""
        found, total = store.list_persons(per_page, offset_of(page, per_page))
        return Page([show_person(each) for each in found], total, page, per_page)

    @post("/persons", opt={ACTION: "persons.add"}, sync_to_thread=True)
    def add_person(request: ApiRequest, data: JSONBody[PersonWish]) -> PersonRow:
        """Add somebody. A sign-in link lets him in."""
        return show_person(people.add_person(request.user, data.name, Role.named(data.role)))

    @patch("/persons/{person_id:str}", opt={ACTION: "persons.change"}, sync_to_thread=True)
    def change_person(
        request: ApiRequest, person_id: FromPath[str], data: JSONBody[RoleWish]
    ) -> PersonRow:
        """Give somebody another role. The last admin stays one."""
        return show_person(people.change_role(request.user, person_id, Role.named(data.role)))

    @delete("/persons/{person_id:str}", opt={ACTION: "persons.remove"}, sync_to_thread=True)
    def remove_person(request: ApiRequest, person_id: FromPath[str]) -> None:
        """Remove somebody, with all sessions, passkeys and tokens. The last admin stays."""
        people.remove_person(request.user, person_id)

    @post("/login-links", opt={ACTION: "login_links.create"}, sync_to_thread=True)
    def create_login_link(request: ApiRequest, data: JSONBody[LinkWish | None] = None) -> LinkMade:
        """Make a sign-in link for somebody, or for oneself."""
        person_id = data.person_id if data is not None else None
        made = people.create_login_link(request.user, person_id or request.user.id, base_url)
        return LinkMade(made.url, to_rfc3339(made.expires_at))

    @get("/tokens", opt={ACTION: "tokens.read"}, sync_to_thread=True)
    def list_tokens(page: PageNumber = 1, per_page: PerPage = DEFAULT_PER_PAGE) -> Page[TokenRow]:
        """List the tokens of programs."""
        found, total = store.list_tokens(per_page, offset_of(page, per_page))
        return Page([show_token(each) for each in found], total, page, per_page)

    @post("/tokens", opt={ACTION: "tokens.create"}, sync_to_thread=True)
    def create_token(request: ApiRequest, data: JSONBody[TokenWish]) -> TokenMade:
        """Make a token for a program. Its secret is shown this once."""
        made = people.make_token(
            request.user, data.name, Role.named(data.role), data.ttl_seconds, read_scope(data.scope)
        )
        return TokenMade(made.token.id, made.secret, to_rfc3339(made.token.expires_at))

    @delete("/tokens/{token_id:str}", opt={ACTION: "tokens.revoke"}, sync_to_thread=True)
    def revoke_token(request: ApiRequest, token_id: FromPath[str]) -> None:
        """Revoke a token."""
        people.revoke_token(request.user, token_id)

    return [
        list_persons,
        add_person,
        change_person,
        remove_person,
        create_login_link,
        list_tokens,
        create_token,
        revoke_token,
    ]


def _address(request: Request[Any, Any, Any]) -> str:
    return request.client.host if request.client else ""
