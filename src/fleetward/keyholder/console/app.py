"""The owner's console as two applications, one for each door: this computer's, and the phones'."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath
from litestar.types import ControllerRouterHandler, Message, Scope

from fleetward.keyholder.console.callers import put_caller
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.phone_routes import make_phone_handlers
from fleetward.keyholder.console.rights import API, Right, right_of
from fleetward.keyholder.console.routes import make_handlers
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.bundle import Bundle
from fleetward.runtime.http.decoding import StrictRequest, check_query
from fleetward.runtime.http.headers import REPORT_PATH, add_security_headers
from fleetward.runtime.http.hosts import HostCheck, HostPolicy
from fleetward.runtime.http.problems import answer_problem
from fleetward.trust.errors import Untrusted

HOST: Final = "owner.localhost"
MAX_BODY_BYTES: Final = 64 * 1024
"""Eight scopes with all that can stand in them, and a passkey's yes."""
STATIC: Final = Path(__file__).parent / "static"
"""Where Vite puts the owner's pages."""
_NO_PAGES: Final = ("api", "csp-report")
HSTS: Final = "max-age=31536000"
_Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Door:
    """One address at which the pages are served: who may come in, and under which names."""

    hosts: HostPolicy
    check: Callable[[_Connection, BaseRouteHandler], None]
    static: Path
    add_headers: Callable[[Message, Scope], Awaitable[None]] = add_security_headers


def create_app(keeper: Keeper, secret: str, clock: Clock, static: Path = STATIC) -> Litestar:
    """Return the application for this computer's own browser.

    Everything below /api needs `secret`; it opens nothing itself.
    """
    wanted = f"Bearer {secret}".encode("ascii")

    def require_secret(connection: _Connection, handler: BaseRouteHandler) -> None:
        """Refuse who has not the secret of this start."""
        given = connection.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, wanted):
            raise Untrusted(
                "Expected the secret of this start. Open the address that "
                "`fleetward owner console` printed.",
                reason="not_signed_in",
            )
        put_caller(connection, keeper.passkeys.caller())

    door = Door(HostPolicy(frozenset({HOST})), require_secret, static)
    return _make_app(door, make_handlers(keeper, clock))


def create_phone_app(keeper: Keeper, clock: Clock, static: Path = STATIC) -> Litestar:
    """Return the application for phones, under the name at which `keeper.phones` serves.

    The secret of this start opens nothing here. What a phone may do stands in `rights`, and this
    is the one place that asks it.
    """

    def require_phone(connection: _Connection, handler: BaseRouteHandler) -> None:
        """Refuse who is no phone of the owner's, and what a phone may not do."""
        right = right_of(str(connection.scope.get("method", "")), connection.scope["path_template"])
        if right is Right.OPEN:
            return
        given = connection.headers.get("authorization", "")
        caller = keeper.phones.let_in(given.removeprefix("Bearer "))
        if right is Right.NEVER:
            raise Untrusted(
                "No phone does this. Do it at the owner's computer.", reason="not_by_phone"
            )
        put_caller(connection, caller)

    name = keeper.phones.place.rp_id
    door = Door(HostPolicy(frozenset({name}), "https"), require_phone, static, add_phone_headers)
    return _make_app(door, [*make_handlers(keeper, clock), *make_phone_handlers(keeper)])


def _make_app(door: Door, handlers: list[ControllerRouterHandler]) -> Litestar:
    api = Router(API, route_handlers=handlers, guards=[door.check, check_query])
    return Litestar(
        [api, _take_report, *_make_pages(Bundle.load(door.static))],
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        middleware=[HostCheck(door.hosts)],
        exception_handlers={Exception: answer_problem},
        before_send=[door.add_headers],
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


async def add_phone_headers(message: Message, scope: Scope) -> None:
    """`before_send` hook: the security headers, and HTTPS alone for a year (RFC 6797)."""
    await add_security_headers(message, scope)
    if message["type"] == "http.response.start":
        MutableScopeHeaders.from_message(message)["Strict-Transport-Security"] = HSTS


@post(REPORT_PATH, status_code=204, request_max_body_size=MAX_BODY_BYTES)
async def _take_report(request: Request[Any, Any, Any]) -> Response[None]:
    """Take a browser's report of a broken content policy. It answers nothing."""
    await request.body()
    return Response(None, status_code=204)


def _make_pages(bundle: Bundle) -> list[Any]:
    @get("/", sync_to_thread=False)
    def show_first_page() -> Response[bytes]:
        """Serve the page."""
        return bundle.answer("")

    @get("/{path:path}", sync_to_thread=False)
    def show_page(path: FromPath[str]) -> Response[bytes]:
        """Serve a file of the page, or the page. Raises NotFoundException below /api."""
        if path.strip("/").partition("/")[0] in _NO_PAGES:
            raise NotFoundException
        return bundle.answer(path)

    return [show_first_page, show_page]
