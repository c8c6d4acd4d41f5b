"""The OpenAPI 3.1 document, made from the handlers themselves.

The framework's own generator documents errors with another media type and shape than they have, and
leaves out that unknown fields are refused. So the schemas here are those that msgspec decodes and
encodes by, and every operation lists the problem details that it can answer with.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from litestar import Litestar, Response
from litestar._kwargs import KwargsModel
from litestar.handlers import HTTPRouteHandler
from litestar.response import Stream
from litestar.routes import HTTPRoute

from fleetward.runtime.http.problems import MEDIA_TYPE, TITLES, Problem
from fleetward.runtime.http.routes import function_of, operation_name

PUBLIC: Final = "public"
"""`opt` key that is True for an operation which takes no credential."""
MEDIA: Final = "documented_media_type"
"""`opt` key for the media type of an answer that is not JSON."""
BODY_MEDIA: Final = "documented_body_media_type"
"""`opt` key for the media type of a body that is not JSON and comes as it is."""

_ALWAYS: Final = (400, 403, 404, 429, 500, 503)
_WITH_BODY: Final = (413, 415, 422)
_WITH_DEED: Final = (409,)
_PATH_PARAMETER: Final = re.compile(r"{(\w+)(?::\w+)?}")


@dataclass(frozen=True, slots=True)
class _Parameter:
    name: str
    place: str
    kind: Any
    required: bool = True
    default: Any = None


@dataclass(slots=True)
class _Operation:
    path: str
    method: str
    handler: HTTPRouteHandler
    parameters: list[_Parameter] = field(default_factory=list)
    body: Any = None
    body_required: bool = True
    answer: Any = None


def describe(app: Litestar, *, title: str, version: str) -> dict[str, Any]:
    """Return the document of all handlers that are in the schema.

    Raises TypeError, at the start of a program, when a handler has a type without a JSON schema.
    """
    operations = sorted(_operations(app), key=lambda each: (each.path, each.method))
    types: list[Any] = [Problem]
    for operation in operations:
        types.extend(parameter.kind for parameter in operation.parameters)
        types.extend(kind for kind in (operation.body, operation.answer) if kind is not None)
    schemas, components = msgspec.json.schema_components(
        types, ref_template="#/components/schemas/{name}"
    )
    taken = iter(schemas)
    problem = next(taken)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _describe(
            operation, taken, problem
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "license": {"name": "Apache-2.0"}},
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"bearer": []}],
    }


def _operations(app: Litestar) -> Iterator[_Operation]:
    for route in app.routes:
        if not isinstance(route, HTTPRoute):
            continue
        for method, (handler, model) in route.route_handler_map.items():
            if method == "OPTIONS" or not handler.resolve_include_in_schema():
                continue
            operation = _Operation(_PATH_PARAMETER.sub(r"{\1}", route.path_format), method, handler)
            operation.parameters = list(_parameters(handler, model))
            if "data" in handler.parsed_fn_signature.parameters:
                data = handler.parsed_fn_signature.parameters["data"]
                operation.body = data.annotation
                operation.body_required = not data.has_default
            operation.answer = _answer_type(handler)
            yield operation


def _parameters(handler: HTTPRouteHandler, model: KwargsModel) -> Iterator[_Parameter]:
    fields = {each.name: each for each in msgspec.structs.fields(handler.signature_model)}
    for parameter in sorted(model.expected_path_params, key=lambda each: each.field_alias):
        yield _Parameter(parameter.field_alias, "path", fields[parameter.field_name].type)
    for parameter in sorted(model.expected_query_params, key=lambda each: each.field_alias):
        info = fields[parameter.field_name]
        default = None if info.default is msgspec.NODEFAULT else info.default
        kind = _without_none(info.type)
        yield _Parameter(parameter.field_alias, "query", kind, info.required, default)


def _without_none(kind: Any) -> Any:
    """A query cannot carry null: leaving the parameter out is how to say it."""
    arguments = getattr(kind, "__args__", ())
    if type(None) not in arguments:
        return kind
    rest = [argument for argument in arguments if argument is not type(None)]
    joined = rest[0]
    for argument in rest[1:]:
        joined = joined | argument
    return joined


def _answer_type(handler: HTTPRouteHandler) -> Any:
    returned = handler.parsed_fn_signature.return_type
    if returned.annotation is None or returned.is_subclass_of((Response, Stream, type(None))):
        inner = returned.inner_types[0].annotation if returned.inner_types else None
        return inner if inner not in (bytes, str, type(None)) else None
    return returned.annotation


def _describe(
    operation: _Operation, taken: Iterator[Mapping[str, Any]], problem: Mapping[str, Any]
) -> dict[str, Any]:
    handler = operation.handler
    summary, _, description = (inspect.getdoc(function_of(handler)) or "").partition("\n\n")
    name = operation_name(operation.path, handler)
    tag = operation.path.removeprefix("/api/v1/").partition("/")[0]
    described: dict[str, Any] = {"operationId": name, "summary": summary, "tags": [tag]}
    if description:
        described["description"] = description
    parameters = [_parameter(each, next(taken)) for each in operation.parameters]
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": next(taken)}},
        }
    elif BODY_MEDIA in handler.opt:
        described["requestBody"] = {
            "required": True,
            "content": {
                handler.opt[BODY_MEDIA]: {"schema": {"type": "string", "format": "binary"}}
            },
        }
    answered = next(taken) if operation.answer is not None else None
    described["responses"] = _responses(operation, answered, problem)
    if handler.opt.get(PUBLIC):
        described["security"] = []
    return described


def _parameter(parameter: _Parameter, schema: Mapping[str, Any]) -> dict[str, Any]:
    default = {} if parameter.default is None else {"default": parameter.default}
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.required,
        "schema": {**schema, **default},
    }


def _responses(
    operation: _Operation, answered: Mapping[str, Any] | None, problem: Mapping[str, Any]
) -> dict[str, Any]:
    handler = operation.handler
    success: dict[str, Any] = {"description": "Done"}
    if answered is not None:
        success["content"] = {"application/json": {"schema": answered}}
    elif MEDIA in handler.opt:
        success["content"] = {handler.opt[MEDIA]: {"schema": {"type": "string"}}}
    responses: dict[str, Any] = {str(handler.status_code): success}
    statuses: Sequence[int] = sorted(
        {
            *_ALWAYS,
            401,
            *(_WITH_BODY if operation.body is not None or BODY_MEDIA in handler.opt else ()),
            *(_WITH_DEED if operation.method != "GET" else ()),
        }
    )
    for status in statuses:
        responses[str(status)] = {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": problem}},
        }
    return responses
