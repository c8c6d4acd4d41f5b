"""The console's files and the API's own description, both open to everybody."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath

from fleetward.runtime.http.bundle import Bundle
from fleetward.runtime.http.openapi import describe
from fleetward.server.web.permissions import ACTION

_NO_PAGES: Final = ("api", "csp-report")


def make_console_handler(bundle: Bundle) -> list[HTTPRouteHandler]:
    """Return the handlers that serve the console at every address which nothing else has."""

    @get("/", opt={ACTION: "console.read"}, include_in_schema=False, sync_to_thread=False)
    def show_first_page() -> Response[bytes]:
        """Serve the console's page."""
        return bundle.answer("")

    @get(
        "/{path:path}", opt={ACTION: "console.read"}, include_in_schema=False, sync_to_thread=False
    )
    def show_page(path: FromPath[str]) -> Response[bytes]:
        """Serve a file of the console, or its page. Raises NotFoundException below /api."""
        if path.strip("/").partition("/")[0] in _NO_PAGES:
            raise NotFoundException
        return bundle.answer(path)

    return [show_first_page, show_page]


def make_document_handler(title: str, version: str) -> HTTPRouteHandler:
    """Return the handler of /api/openapi.json."""

    @get(
        "/api/openapi.json",
        opt={ACTION: "api.describe"},
        include_in_schema=False,
        sync_to_thread=False,
    )
    def describe_api(request: Request[Any, Any, Any]) -> Response[bytes]:
        """Serve the OpenAPI document."""
        document = describe(request.app, title=title, version=version)
        return Response(msgspec.json.encode(document), media_type="application/json")

    return describe_api
