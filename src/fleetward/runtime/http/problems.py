"""Every error of a web program as problem details (RFC 9457), with our stable `reason`.

The family of an error gives the status, and `STATUS_BY_REASON` names the exceptions. An error of no
family is a bug: it is logged with an id, and the answer carries the id and nothing else.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException, MethodNotAllowedException, ValidationException

from fleetward.runtime.http.routes import methods_at
from fleetward.trust.errors import (
    FleetwardError,
    Malformed,
    Misuse,
    Refused,
    Unreachable,
    Untrusted,
)

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5

STATUS_BY_FAMILY: Final[Mapping[type[FleetwardError], int]] = {
    Malformed: 400,
    Untrusted: 403,
    Refused: 409,
    Unreachable: 503,
    Misuse: 500,
}

STATUS_BY_REASON: Final[Mapping[str, int]] = {
    "not_signed_in": 401,
    "session_ended": 401,
    "link_not_valid": 401,
    "forbidden": 403,
    "out_of_scope": 403,
    "passkey_required": 403,
    "person_required": 403,
    "not_found": 404,
    "no_owner": 404,
    "method_not_allowed": 405,
    "body_too_large": 413,
    "media_type": 415,
    "body_shape": 422,
    "rate_limited": 429,
}
"""Where a reason needs another status than its family. What ends in `_not_found` is 404."""

TITLES: Final[Mapping[int, str]] = {
    400: "The request is malformed",
    401: "Sign in first",
    403: "Not allowed",
    404: "Not found",
    405: "This address does not take that method",
    409: "Refused",
    413: "The request is too large",
    415: "The request is of another media type",
    422: "The request has another shape than expected",
    429: "Too many failures",
    500: "Something broke here",
    503: "Something that is needed does not answer",
}

_EXPECTED: Final = re.compile(
    r"^Expected (?P<expected>.+?)(?:, got (?P<came>.+?))?(?: - at `(?P<at>.+)`)?$"
)
_log: Final = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Problem details. `reason` never changes its meaning; the other words may."""

    type: str
    title: str
    status: int
    detail: str
    reason: str
    instance: str | None = None
    expected: str | None = None
    came: str | None = None
    next: str | None = None


@dataclass(frozen=True, slots=True)
class ShapeError:
    """What a validator said, taken apart."""

    expected: str | None
    came: str | None
    at: str | None


class BadShape(Malformed):
    """A request that is well formed, with a value that is not what the place expects."""

    def __init__(self, message: str, *, reason: str, expected: str | None, came: str | None):
        super().__init__(message, reason=reason)
        self.expected = expected
        self.came = came


def split_shape_error(text: str) -> ShapeError:
    """Take a msgspec message apart; where it has another form, the parts are None."""
    found = _EXPECTED.match(text)
    if found is None:
        return ShapeError(None, None, None)
    return ShapeError(found["expected"], found["came"], found["at"])


def status_of(error: FleetwardError) -> int:
    """Return the HTTP status that answers this error."""
    if error.reason.endswith("_not_found"):
        return 404
    if error.reason in STATUS_BY_REASON:
        return STATUS_BY_REASON[error.reason]
    for family, status in STATUS_BY_FAMILY.items():
        if isinstance(error, family):
            return status
    return 500


def make_problem(status: int, reason: str, detail: str, **more: str | None) -> Problem:
    """Build problem details with the title of the status."""
    return Problem(
        type=f"urn:fleetward:problem:{reason}",
        title=TITLES.get(status) or HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        reason=reason,
        **more,
    )


def answer_problem(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception. This is the one place of a web program that catches them all."""
    if isinstance(error, FleetwardError) and status_of(error) != 500:
        problem = _problem_of_family(error)
    elif isinstance(error, HTTPException) and error.status_code < 500:
        problem = _problem_of_framework(error)
    else:
        problem = _problem_of_bug(request, error)
    return respond(problem, _headers(request, error, problem.status))


def respond(problem: Problem, headers: Mapping[str, str] | None = None) -> Response[bytes]:
    """Return the response that carries a problem."""
    return Response(
        content=msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=MEDIA_TYPE,
        headers=dict(headers or {}),
    )


def _problem_of_family(error: FleetwardError) -> Problem:
    more: dict[str, str | None] = {}
    if isinstance(error, BadShape):
        more = {"expected": error.expected, "came": error.came}
    return make_problem(status_of(error), error.reason, error.message, **more)


def _problem_of_framework(error: HTTPException) -> Problem:
    status = error.status_code
    if isinstance(error, ValidationException):
        return _problem_of_parameter(error)
    if status == 404:
        return make_problem(404, "route_not_found", "There is nothing at this address.")
    if status == 405:
        return make_problem(405, "method_not_allowed", "See the Allow header for what it takes.")
    if status == 413:
        return make_problem(413, "body_too_large", "The body is larger than this address takes.")
    phrase = HTTPStatus(status).phrase
    return make_problem(status, phrase.lower().replace(" ", "_"), error.detail or phrase)


def _problem_of_parameter(error: ValidationException) -> Problem:
    findings = error.extra if isinstance(error.extra, list) else []
    first: Mapping[str, Any] = next((item for item in findings if isinstance(item, dict)), {})
    name = str(first.get("key", "?"))
    said = split_shape_error(str(first.get("message", "")))
    if name == "data":
        detail = "This address expects a JSON body, and none came."
        return make_problem(400, "body_missing", detail, expected="a JSON body", came="nothing")
    detail = f"The parameter {name!r} is not valid: {first.get('message') or 'it is missing'}."
    return make_problem(400, "parameter", detail, expected=said.expected, came=said.came)


def _problem_of_bug(request: Request[Any, Any, Any], error: Exception) -> Problem:
    incident = secrets.token_hex(8)
    _log.error(
        "incident %s at %s %s",
        incident,
        request.method,
        request.scope["path"].encode("unicode_escape").decode("ascii"),
        exc_info=error,
    )
    return make_problem(
        500,
        "bug",
        f"This is our fault, not yours. The server's log tells what happened under {incident}.",
        instance=f"urn:fleetward:incident:{incident}",
    )


def _headers(request: Request[Any, Any, Any], error: Exception, status: int) -> dict[str, str]:
    headers: dict[str, str] = {"Cache-Control": "no-store"}
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="fleetward"'
    if status in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    if isinstance(error, MethodNotAllowedException):
        headers["Allow"] = ", ".join(sorted(methods_at(request.app, request.scope["path"])))
    return headers
