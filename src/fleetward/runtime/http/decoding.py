"""What a request must be before a handler sees it.

Litestar alone would take duplicate keys, answer invalid UTF-8 and deep nesting with a bare 500, and
read `"5"` as a number. Here a body is, in this order:

1. not larger than the route's limit (the framework counts the bytes; 413);
2. declared as application/json (415);
3. UTF-8, without a byte order mark (400);
4. not nested deeper than `MAX_DEPTH` (400);
5. JSON without duplicate keys, NaN or Infinity (400);
6. exactly the handler's type, with no field that it does not name (422).

And a query has no parameter twice, and none that the route does not name (400).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TypeVar

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.handlers.base import BaseRouteHandler
from litestar.routes import HTTPRoute

from fleetward.runtime.http.problems import BadShape, split_shape_error
from fleetward.trust.errors import Malformed

MAX_BODY_BYTES: Final = 1024 * 1024
"""As large as the largest message on the bus; nothing that a person sends comes near it."""
MAX_DEPTH: Final = 16
"""No struct of the API is nested deeper than half of this."""

_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)

T = TypeVar("T")


class StrictRequest(Request[Any, Any, State]):
    """The request class of our applications: `json()` decodes by the rules above."""

    async def json(self) -> Any:
        """Decode the body to the type of the handler's `data`.

        Raises Malformed as the module's docstring says.
        """
        media_type, options = self.content_type
        charset = options.get("charset", "utf-8").lower()
        if media_type != "application/json" or charset not in ("utf-8", "utf8"):
            raise Malformed(
                f"expected a body of type application/json, got {media_type or 'no type'!r}: "
                "set the Content-Type header",
                reason="media_type",
            )
        target = self.route_handler.parsed_fn_signature.parameters["data"].annotation
        return decode_body(await self.body(), target)


def decode_body(body: bytes, target: type[T]) -> T:
    """Decode JSON strictly to a type.

    Raises Malformed with the reason `encoding`, `nesting`, `json`, `duplicate_key` or `body_shape`.
    """
    check_json(body)
    try:
        return msgspec.json.decode(body, type=target)
    except msgspec.ValidationError as error:
        said = split_shape_error(str(error))
        raise BadShape(
            f"{error}: see /api/openapi.json for what this address takes",
            reason="body_shape",
            expected=said.expected,
            came=said.came,
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise _not_json(str(error)) from error


def check_json(body: bytes) -> None:
    """Refuse bytes that two parsers could read in two ways.

    Raises Malformed with the reason `encoding`, `nesting`, `json` or `duplicate_key`.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(
            f"expected UTF-8, got the byte 0x{body[error.start]:02x} at {error.start}",
            reason="encoding",
        ) from error
    if text.startswith("\ufeff"):
        raise Malformed("expected UTF-8 without a byte order mark, got one", reason="encoding")
    depth = measure_depth(body)
    if depth > MAX_DEPTH:
        raise Malformed(
            f"expected at most {MAX_DEPTH} levels of nesting, got {depth}", reason="nesting"
        )
    try:
        json.loads(
            text,
            object_pairs_hook=_refuse_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_ignore_number,
            parse_float=_ignore_number,
        )
    except ValueError as error:
        raise _not_json(str(error)) from error


def measure_depth(body: bytes) -> int:
    """Return how deep brackets are nested outside of strings; exact for JSON, bounded for noise."""
    depth = deepest = 0
    for byte in _STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def check_query(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guard: refuse a parameter that comes twice, or that the route does not name.

    A misspelt filter that is ignored would show more than was asked for. Raises Malformed with the
    reason `parameter`.
    """
    given = [name for name, _ in connection.query_params.multi_items()]
    twice = sorted({name for name in given if given.count(name) > 1})
    if twice:
        raise Malformed(
            f"expected each parameter once, got {_shown(twice)} more than once", reason="parameter"
        )
    known = _query_names(connection)
    unknown = sorted(set(given) - known)
    if unknown:
        raise Malformed(
            f"expected {_shown(sorted(known)) or 'no parameters'}, got {_shown(unknown)}",
            reason="parameter",
        )


def _query_names(connection: ASGIConnection[Any, Any, Any, Any]) -> set[str]:
    for route in connection.app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for handler, model in route.route_handler_map.values():
            if handler is connection.route_handler:
                return {parameter.field_alias for parameter in model.expected_query_params}
    return set()


def _shown(names: Sequence[str]) -> str:
    return ", ".join(ascii(name[:40]) for name in names[:8])


def _refuse_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Malformed(
            f"expected each key once in an object, got {_shown(twice)} more than once",
            reason="duplicate_key",
        )
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _ignore_number(_digits: str) -> int:
    return 0


def _not_json(said: str) -> Malformed:
    return Malformed(f"expected one JSON value, got something else: {said}", reason="json")
