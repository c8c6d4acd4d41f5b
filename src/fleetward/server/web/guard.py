"""The guard before every handler, and the check after it.

Before: the action has a row, the server has a name where a browser needs one, the query is one that
the route knows, the caller is known, and the row lets the caller. After: an action that must leave
a deed has left one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from anyio import to_thread
from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler
from litestar.handlers.base import BaseRouteHandler

from fleetward.runtime.http.decoding import check_query
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.web.caller import Authenticator, Caller, Role
from fleetward.server.web.permissions import ACTION, PERMISSIONS, Rule
from fleetward.trust.errors import Misuse, Refused, Untrusted

PAGES: Final = "console.read"
"""A page's query belongs to the page itself: its filters, which it reads in the browser."""

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], Awaitable[None]]

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Course:
    """What happens in one request. Shared with the handler's thread, which copies the context."""

    rule: Rule
    deeds: list[Deed] = field(default_factory=list)


_course: Final[ContextVar[_Course | None]] = ContextVar("course", default=None)


class WatchedRecorder:
    """A `DeedRecorder` that tells the request in whose course it records.

    The program wraps its recorder in one before it gives it to the slices.
    """

    def __init__(self, recorder: DeedRecorder) -> None:
        self._recorder = recorder

    def record(self, deed: Deed) -> int:
        """Record, and note that this request did. Raises what the recorder raises."""
        index = self._recorder.record(deed)
        course = _course.get()
        if course is not None:
            course.deeds.append(deed)
        return index


def make_guard(authenticator: Authenticator, *, api_only: bool = False) -> Guard:
    """Return the guard for the application; `api_only` where the server has an address, no name."""

    async def guard(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        if isinstance(handler, HTTPRouteHandler) and handler.http_methods == {"OPTIONS"}:
            _course.set(None)
            return
        rule = rule_of(handler)
        if api_only and rule.browser and not _is_unknown_api(rule, connection):
            raise Refused(
                "This server is known by a bare address and serves the API alone, below /api/v1, "
                "to programs with a token. Pages, sign-in links and passkeys need a DNS name: "
                "start the server by `fleetward up --host NAME`.",
                reason="api_only",
            )
        if rule.action != PAGES:
            check_query(connection, handler)
        _course.set(_Course(rule))
        if rule.role is None:
            return
        caller = await identify(connection, authenticator)
        check_rule(rule, rule.role, caller)
        connection.scope["user"] = caller

    return guard


def _is_unknown_api(rule: Rule, connection: ASGIConnection[Any, Any, Any, Any]) -> bool:
    """Say whether the page's handler is about to answer that there is no such API route."""
    return rule.action == PAGES and str(connection.scope["path"]).startswith("/api/")


async def identify(
    connection: ASGIConnection[Any, Any, Any, Any], authenticator: Authenticator
) -> Caller:
    """Return who calls. Raises Untrusted (`not_signed_in`) and what the authenticator raises."""
    scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise Untrusted(
            "expected an Authorization header with a session or token, got none: "
            "open a sign-in link, made by `fleetward login-link`",
            reason="not_signed_in",
        )
    address = connection.client.host if connection.client else ""
    return await to_thread.run_sync(authenticator.authenticate, secret.strip(), address)


def rule_of(handler: BaseRouteHandler) -> Rule:
    """Return the row of a handler. Raises Misuse when it has none."""
    action = handler.opt.get(ACTION)
    rule = PERMISSIONS.get(action) if isinstance(action, str) else None
    if rule is None:
        raise Misuse(
            f"the route {handler} has the action {action!r}, which has no row in the permissions",
            reason="no_permission_row",
        )
    return rule


def check_rule(rule: Rule, role: Role, caller: Caller) -> None:
    """Raise Refused when the row does not let this caller."""
    if caller.passkey_only and not rule.without_passkey:
        raise Refused(
            "this session came from a link: register a passkey first, then it may do the rest",
            reason="passkey_required",
        )
    if rule.person and caller.kind == "token":
        raise Refused(
            f"{rule.action} is for people, and this is a token: sign in and do it there",
            reason="person_required",
        )
    if caller.role < role:
        raise Refused(
            f"{rule.action} needs the role {role.name.lower()}, and {caller.name} is "
            f"{caller.role.name.lower()}: ask an admin",
            reason="forbidden",
        )
    if not rule.scoped and not caller.scope.whole_fleet:
        raise Refused(
            f"{rule.action} is about the whole fleet, and this token is for a part of it: "
            "use a token without scope",
            reason="out_of_scope",
        )


async def check_deed_left(response: _Answer) -> _Answer:
    """Raise Misuse when an action that succeeded should have left a deed and has left none."""
    course = _course.get()
    if course is not None and course.rule.deed and not course.deeds:
        raise Misuse(
            f"{course.rule.action} left no entry in the ledger: record the deed before the act",
            reason="no_deed",
        )
    return response
