"""HTTP of requests and sessions: it only translates between the page and the keeper."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from litestar import Request, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.access.answering import Answer
from fleetward.keyholder.access.scope_words import parse_scope
from fleetward.keyholder.console.access_keeper import AccessKeeper
from fleetward.keyholder.console.access_model import (
    AccessList,
    AccessView,
    Acknowledge,
    Answered,
    Approve,
    ChangesView,
    EndWish,
    Prepare,
    PreparedView,
    Screening,
)
from fleetward.keyholder.console.access_views import show_prepared
from fleetward.keyholder.console.callers import caller_of
from fleetward.trust.fields import require_digest

Begin: TypeAlias = Annotated[int, QueryParameter(ge=0, le=2**31)]
Live: TypeAlias = Annotated[int, QueryParameter(ge=0, le=1)]
_Asked = Request[Any, Any, Any]


def make_access_handlers(access: AccessKeeper) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1/access."""
    return [*_make_readers(access), *_make_signers(access)]


def _make_readers(access: AccessKeeper) -> list[ControllerRouterHandler]:
    @get("/access", sync_to_thread=True)
    def list_access(request: _Asked) -> AccessList:
        """Return requests and sessions, their papers checked here."""
        items, more = access.views(caller_of(request))
        return AccessList(items=items, more=more)

    @get("/access/{request_id:str}", sync_to_thread=True)
    def show_access(request: _Asked, request_id: FromPath[str]) -> AccessView:
        """Return one request or session."""
        return access.view(require_digest(request_id, "the request"), caller_of(request))

    @get("/access/{request_id:str}/recording", sync_to_thread=True)
    def read_recording(request_id: FromPath[str], begin: Begin = 0, live: Live = 0) -> Screening:
        """Return a recording's events from a place on. With `live` 1 somebody looks now."""
        return access.screen(require_digest(request_id, "the request")).read(begin, live=live == 1)

    @get("/access/{request_id:str}/changes", sync_to_thread=True)
    def read_changes(request_id: FromPath[str]) -> ChangesView:
        """Return what changed on the machine during a session, checked against its receipt."""
        return access.changes(require_digest(request_id, "the request"))

    return [list_access, show_access, read_recording, read_changes]


def _make_signers(access: AccessKeeper) -> list[ControllerRouterHandler]:
    @post("/access/prepare", sync_to_thread=True, status_code=200)
    def prepare(request: _Asked, data: JSONBody[Prepare]) -> PreparedView:
        """Prepare a grant and show its six words. Nothing is signed yet."""
        caller = caller_of(request)
        answer = Answer(tuple(parse_scope(s) for s in data.scopes), data.seconds, data.watched)
        prepared = access.prepare(data.id, answer, caller)
        keys = access.passkeys_for(prepared.question, caller)
        return show_prepared(
            prepared,
            keys,
            access.passkeys.names(list(keys)),
            access.said_yes(prepared.hash),
            own_key=access.own_key_may(prepared.question, caller),
        )

    @post("/access/approve", sync_to_thread=True, status_code=200)
    def approve(request: _Asked, data: JSONBody[Approve]) -> Answered:
        """Sign the grant that was shown by the folder's key, and hand it over."""
        return access.approve(data.grant, caller_of(request))

    @post("/access/deny", sync_to_thread=True, status_code=200)
    def deny(data: JSONBody[EndWish]) -> Answered:
        """Say no to a request."""
        return access.ending.end(data.id, data.reason, denying=True)

    @post("/access/stop", sync_to_thread=True, status_code=200)
    def stop(data: JSONBody[EndWish]) -> Answered:
        """End a session."""
        return access.ending.end(data.id, data.reason, denying=False)

    @post("/access/acknowledge", sync_to_thread=True, status_code=200)
    def acknowledge(data: JSONBody[Acknowledge]) -> Answered:
        """Say that one knows of a BREAK-GLASS."""
        return access.acknowledge(data.id)

    return [prepare, approve, deny, stop, acknowledge]
