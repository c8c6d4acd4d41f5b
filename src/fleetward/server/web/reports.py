"""What browsers report about a broken content policy: counted, and logged without their words."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import msgspec
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler

from fleetward.runtime.http.headers import REPORT_PATH
from fleetward.server.web.permissions import ACTION

MAX_REPORT_BYTES: Final = 16 * 1024
LOGGED_REPORTS: Final = 100
"""Anybody can post a report, so only the first are written to the log; the count goes on."""

_log: Final = logging.getLogger(__name__)


class ReportCounter:
    """How many violations browsers have reported since the start."""

    def __init__(self) -> None:
        self._lock: Final = threading.Lock()
        self.count = 0

    def note(self, report: bytes) -> None:
        """Count a report, and log the first ones."""
        with self._lock:
            self.count += 1
            count = self.count
        if count <= LOGGED_REPORTS:
            _log.warning("content policy report %d: %s", count, _directive_of(report))


def make_report_handler(counter: ReportCounter) -> HTTPRouteHandler:
    """Return the handler of POST /csp-report."""

    @post(
        REPORT_PATH,
        opt={ACTION: "csp.report"},
        status_code=204,
        include_in_schema=False,
        request_max_body_size=MAX_REPORT_BYTES,
    )
    async def report_violation(request: Request[Any, Any, Any]) -> Response[None]:
        """Take a browser's report of a policy violation. It answers nothing."""
        counter.note(await request.body())
        return Response(None, status_code=204)

    return report_violation


def _directive_of(report: bytes) -> str:
    try:
        told = msgspec.json.decode(report)
        body = told["csp-report"]
        return ascii(
            {
                name: str(body.get(name))[:200]
                for name in ("violated-directive", "blocked-uri", "source-file", "line-number")
            }
        )
    except (
        msgspec.DecodeError,
        UnicodeDecodeError,
        RecursionError,
        TypeError,
        KeyError,
        AttributeError,
    ):
        return "not a report"
