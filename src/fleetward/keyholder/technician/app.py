"""Our page and the terminal's frame as applications: a list of names, without logic."""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request, Response, Router, get, post
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.exceptions import NotFoundException
from litestar.handlers.base import BaseRouteHandler
from litestar.params import FromPath
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from fleetward.keyholder.technician.hosts import HOME, Hosts, read_host
from fleetward.keyholder.technician.routes import Rooms, make_download, make_handlers
from fleetward.runtime.http.bundle import NONCE_PLACE, Bundle
from fleetward.runtime.http.decoding import StrictRequest, check_query
from fleetward.runtime.http.headers import REPORT_PATH, add_security_headers, make_nonce
from fleetward.runtime.http.hosts import HostCheck, HostPolicy
from fleetward.runtime.http.problems import answer_problem
from fleetward.trust.errors import Untrusted

MAX_BODY_BYTES: Final = 16 * 1024
STATIC: Final = Path(__file__).parent / "static"
"""Where Vite puts the technician's pages."""
FRAME_PAGE: Final = "terminal.html"
_NO_PAGES: Final = ("api", "csp-report", "download")
_POLICY: Final = "Content-Security-Policy"


def create_app(rooms: Rooms, hosts: Hosts, static: Path = STATIC) -> ASGIApp:
    """Return what answers at our two hosts. Everything below /api needs the secret."""
    bundle = Bundle.load(static)
    home = _create_home(rooms, hosts, bundle)
    frame = _create_frame(hosts, bundle)

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application of its host; to our page's, which refuses, if none."""
        named = [value for name, value in scope["headers"] if name == b"host"]
        is_frame = [read_host(value.decode("latin-1")) for value in named] == [hosts.frame_host]
        await (frame if is_frame else home)(scope, receive, send)

    return choose


def _create_home(rooms: Rooms, hosts: Hosts, bundle: Bundle) -> Litestar:
    wanted = b"Bearer " + hosts.secret

    def require_secret(
        connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler
    ) -> None:
        """Refuse who has not the secret of this start."""
        given = connection.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, wanted):
            raise Untrusted(
                "Expected the secret of this start. Open the address that "
                "`fleetward connect … --browser` printed.",
                reason="not_signed_in",
            )

    api = Router(
        "/api/v1", route_handlers=make_handlers(rooms), guards=[require_secret, check_query]
    )
    return Litestar(
        [api, make_download(rooms), _take_report, *_make_pages(bundle, hosts)],
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        middleware=[HostCheck(HostPolicy(frozenset({HOME})))],
        exception_handlers={Exception: answer_problem},
        before_send=[add_security_headers],
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _create_frame(hosts: Hosts, bundle: Bundle) -> Litestar:
    """Return the application of the frame: a page and its files, which hold no secret.

    The page is sandboxed by its own policy too, so that it has no origin wherever it is opened; it
    may connect to nothing. Its files are read from that no-origin, so they are open to any.
    """

    @get("/", sync_to_thread=False)
    def show_frame() -> Response[bytes]:
        """Serve the frame's page."""
        page, nonce = bundle.answer(FRAME_PAGE), make_nonce()
        return Response(
            page.content.replace(NONCE_PLACE, nonce.encode("ascii")),
            media_type="text/html; charset=utf-8",
            headers={_POLICY: frame_policy(hosts, nonce)},
        )

    @get("/assets/{name:str}", sync_to_thread=False)
    def show_file(name: FromPath[str]) -> Response[bytes]:
        """Serve a file of the page. Raises NotFoundException."""
        return bundle.answer(f"assets/{name}")

    return Litestar(
        [show_frame, show_file],
        middleware=[HostCheck(HostPolicy(frozenset({hosts.frame_host})))],
        exception_handlers={Exception: answer_problem},
        before_send=[_add_frame_headers],
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def frame_policy(hosts: Hosts, nonce: str) -> str:
    """Return the policy of the terminal's frame."""
    own = hosts.frame
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {own}",
            f"style-src {own} 'nonce-{nonce}'",
            "require-trusted-types-for 'script'",
            "trusted-types default",
            f"frame-ancestors {hosts.home}",
            "base-uri 'none'",
            "form-action 'none'",
            "sandbox allow-scripts",
        ]
    )


async def _add_frame_headers(message: Message, _scope: Scope) -> None:
    """`before_send` hook: what the frame's answers carry."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in (
        (_POLICY, "default-src 'none'; sandbox"),
        ("Access-Control-Allow-Origin", "*"),
        ("Cross-Origin-Resource-Policy", "cross-origin"),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Permissions-Policy", "clipboard-write=(), clipboard-read=()"),
        ("Cache-Control", "no-store"),
    ):
        headers.setdefault(name, value)


@post(REPORT_PATH, status_code=204, request_max_body_size=MAX_BODY_BYTES)
async def _take_report(request: Request[Any, Any, Any]) -> Response[None]:
    """Take a browser's report of a broken content policy. It answers nothing."""
    await request.body()
    return Response(None, status_code=204)


def _make_pages(bundle: Bundle, hosts: Hosts) -> list[Any]:
    def answer_page(path: str) -> Response[bytes]:
        answer = bundle.answer(path)
        if _POLICY in answer.headers:
            answer.headers[_POLICY] += f"; frame-src {hosts.frame}"
        return answer

    @get("/", sync_to_thread=False)
    def show_first_page() -> Response[bytes]:
        """Serve the page."""
        return answer_page("")

    @get("/{path:path}", sync_to_thread=False)
    def show_page(path: FromPath[str]) -> Response[bytes]:
        """Serve a file of the page, or the page. Raises NotFoundException below /api."""
        name = path.strip("/")
        if name.partition("/")[0] in _NO_PAGES or name == FRAME_PAGE:
            raise NotFoundException
        return answer_page(path)

    return [show_first_page, show_page]
