"""The request type of the handlers."""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import Request
from litestar.datastructures import State

from fleetward.server.web.caller import Caller

ApiRequest: TypeAlias = Request[Caller, Any, State]
"""`request.user` is the `Caller` that the guard let in."""
