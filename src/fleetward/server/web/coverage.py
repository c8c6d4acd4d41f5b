"""What is wrong with the routes of an application, as findings. A test demands that there are none.

It looks at the routes themselves, so that no list has to be kept beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec
from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from fleetward.runtime.http.openapi import PUBLIC
from fleetward.runtime.http.routes import handlers_of, operation_name
from fleetward.server.web.permissions import ACTION, PERMISSIONS

_SAFE = frozenset({"GET", "HEAD"})


def find_gaps(app: Litestar) -> list[str]:
    """Return a sentence for everything about a route that the floor's promises do not cover."""
    found = list(handlers_of(app))
    names = Counter(
        operation_name(path, handler)
        for path, _, handler in found
        if handler.resolve_include_in_schema()
    )
    gaps = [f"{name} names {count} operations" for name, count in names.items() if count > 1]
    for path, method, handler in found:
        gaps.extend(f"{method} {path} {gap}" for gap in _gaps_of(method, handler))
    return sorted(gaps)


def _gaps_of(method: str, handler: HTTPRouteHandler) -> Iterator[str]:
    rule = PERMISSIONS.get(handler.opt.get(ACTION, ""))
    if rule is None:
        yield f"has the action {handler.opt.get(ACTION)!r}, which has no row"
        return
    parameters = handler.parsed_fn_signature.parameters
    if handler.resolve_include_in_schema() and bool(handler.opt.get(PUBLIC)) != (rule.role is None):
        yield "does not say in its description what its row says: whether it is public"
    if rule.scoped and "request" not in parameters:
        yield "is open to narrowed callers, and does not look at who calls"
    if rule.deed and method in _SAFE:
        yield "leaves a deed, and is a read"
    if "data" in parameters and not _is_strict(parameters["data"].annotation):
        yield f"takes {parameters['data'].annotation}, which would ignore unknown fields"


def _is_strict(kind: object) -> bool:
    kinds = getattr(kind, "__args__", ()) or (kind,)
    return all(
        each is type(None)
        or (
            isinstance(each, type)
            and issubclass(each, msgspec.Struct)
            and each.__struct_config__.forbid_unknown_fields
        )
        for each in kinds
    )
