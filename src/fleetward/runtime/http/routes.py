"""Looking at the routes of an application: which there are, and which methods a path takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from litestar import Litestar
from litestar.datastructures import MutableScopeHeaders
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute
from litestar.types import Message, Method, Scope


def handlers_of(app: Litestar) -> Iterator[tuple[str, Method, HTTPRouteHandler]]:
    """Yield path, method and handler of every route, without the framework's own OPTIONS."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, _) in route.route_handler_map.items():
            if method != "OPTIONS":
                yield route.path_format, method, handler


def function_of(handler: HTTPRouteHandler) -> Any:
    """Return the function that was written; the framework wraps it, for each path once more."""
    function: Any = handler.fn
    while hasattr(function, "func"):
        function = function.func
    return function


def operation_name(path: str, handler: HTTPRouteHandler) -> str:
    """Return the name of an operation: its function's, and its path's end where it has several."""
    name = str(function_of(handler).__name__)
    if len(handler.paths) == 1:
        return name
    words = [word for word in path.split("/") if word and not word.startswith("{")]
    return f"{name}_{words[-1]}" if words else name


def methods_at(app: Litestar, path: str) -> set[str]:
    """Return the methods that a path takes; empty where there is no route."""
    words = [word for word in path.split("/") if word]
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    exact = [route for route in routes if _matches(route.path_components, words)]
    found = exact or [route for route in routes if _is_catch_all(route.path_components)]
    return {method for route in found for method in route.route_handler_map}


async def correct_allow(message: Message, scope: Scope) -> None:
    """`before_send` hook: let the answer to OPTIONS name every method of its path.

    The framework answers for the first handler of a path alone.
    """
    if message["type"] == "http.response.start" and scope.get("method") == "OPTIONS":
        methods = methods_at(scope["litestar_app"], scope["path"])
        if methods:
            MutableScopeHeaders.from_message(message)["Allow"] = ", ".join(sorted(methods))


def _matches(components: list[Any], words: list[str]) -> bool:
    return (
        len(words) == len(components)
        and not _is_catch_all(components)
        and all(
            not isinstance(component, str) or component == word
            for component, word in zip(components, words, strict=True)
        )
    )


def _is_catch_all(components: list[Any]) -> bool:
    last = components[-1] if components else ""
    return not isinstance(last, str) and last.full.endswith(":path")
