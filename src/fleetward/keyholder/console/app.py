"""The owner's console as one application: a list of names, without logic."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath

from fleetward.keyholder.console.keeper import Keeper
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


def create_app(keeper: Keeper, secret: str, clock: Clock, static: Path = STATIC) -> Litestar:
    """Return the application. Everything below /api needs `secret`; it opens nothing itself."""
    wanted = f"Bearer {secret}".encode("ascii")

    def require_secret(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        """Refuse who has not the secret of this start."""
        given = connection.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, wanted):
            raise Untrusted(
                "Expected the secret of this start. Open the address that "
                "`fleetward owner console` printed.",
                reason="not_signed_in",
            )

    api = Router(
        "/api/v1",
        route_handlers=make_handlers(keeper, clock),
        guards=[require_secret, check_query],
    )
    return Litestar(
        [api, _take_report, *_make_pages(Bundle.load(static))],
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        middleware=[HostCheck(HostPolicy(frozenset({HOST})))],
        exception_handlers={Exception: answer_problem},
        before_send=[add_security_headers],
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


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
