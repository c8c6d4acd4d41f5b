"""The application: a list of names, without logic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from litestar import Litestar, Router
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.bundle import Bundle
from fleetward.runtime.http.decoding import MAX_BODY_BYTES, StrictRequest
from fleetward.runtime.http.headers import add_security_headers
from fleetward.runtime.http.hosts import HostCheck, HostPolicy
from fleetward.runtime.http.problems import answer_problem
from fleetward.runtime.http.routes import correct_allow
from fleetward.server.web.caller import Authenticator
from fleetward.server.web.console import make_console_handler, make_document_handler
from fleetward.server.web.guard import check_deed_left, make_guard
from fleetward.server.web.reports import ReportCounter, make_report_handler
from fleetward.server.web.stream import EventHub, make_stream_handler

STATIC = Path(__file__).parent / "static"
"""Where Vite puts the console."""


@dataclass(frozen=True, slots=True)
class Services:
    """What the application is made of. `handlers` are those of the slices, below /api/v1."""

    handlers: Sequence[ControllerRouterHandler]
    authenticator: Authenticator
    hosts: HostPolicy
    hub: EventHub = field(default_factory=EventHub)
    reports: ReportCounter = field(default_factory=ReportCounter)
    static: Path = STATIC
    api_only: bool = False
    """Whether this server has a bare address and no name: no page is served then."""


def create_app(services: Services) -> Litestar:
    """Put the slices' handlers on the floor. It opens nothing and starts nothing."""
    api = Router(
        "/api/v1",
        route_handlers=[
            *services.handlers,
            make_stream_handler(services.hub, services.authenticator),
        ],
    )
    handlers: list[Any] = [
        api,
        make_document_handler("Fleetward", version("fleetward")),
        make_report_handler(services.reports),
        *make_console_handler(Bundle.load(services.static)),
    ]
    return Litestar(
        handlers,
        request_class=StrictRequest,
        request_max_body_size=MAX_BODY_BYTES,
        middleware=[HostCheck(services.hosts)],
        guards=[make_guard(services.authenticator, api_only=services.api_only)],
        after_request=check_deed_left,
        exception_handlers={Exception: answer_problem},
        before_send=[add_security_headers, correct_allow],
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )
