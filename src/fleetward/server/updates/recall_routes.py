"""HTTP: recalls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, TypeAlias

from litestar import Response, get, post
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.types import ControllerRouterHandler

from fleetward.runtime.http.paging import DEFAULT_PER_PAGE, PageNumber, PerPage, offset_of
from fleetward.runtime.http.times import from_rfc3339
from fleetward.server.updates.recall_model import (
    NewRecall,
    RecallBecause,
    RecallDetail,
    RecallForecast,
    RecallList,
    RecallNote,
    RecallProof,
    RecallRow,
)
from fleetward.server.updates.recall_show import RecallsShown
from fleetward.server.updates.recall_store import MembersWanted
from fleetward.server.updates.recalls import Recalls, RecallWish
from fleetward.server.updates.rollout_routes import MAX_SEARCH, read_machines
from fleetward.server.updates.store import Row
from fleetward.server.web.caller import Caller
from fleetward.server.web.permissions import ACTION
from fleetward.server.web.request import ApiRequest
from fleetward.trust.release_manifest import check_product, check_version

Standings: TypeAlias = Annotated[str, QueryParameter(name="standing", max_length=200)]
CSV: Final = "text/csv"


@dataclass(frozen=True)
class RecallRooms:
    """What the routes hand on to."""

    recalls: Recalls
    shown: RecallsShown


def make_recall_handlers(rooms: RecallRooms) -> list[ControllerRouterHandler]:
    """Return the handlers of /updates/recalls."""
    return [*_make_showing(rooms), *_make_carrying(rooms), *_make_opening(rooms), *_changing(rooms)]


def _make_showing(rooms: RecallRooms) -> list[ControllerRouterHandler]:
    @get("/updates/recalls", opt={ACTION: "recalls.read"}, sync_to_thread=True)
    def list_recalls() -> RecallList:
        """Return all recalls, newest first."""
        return RecallList(items=rooms.shown.all())

    @get("/updates/recalls/{recall_id:str}", opt={ACTION: "recalls.read"}, sync_to_thread=True)
    def show_recall(
        recall_id: FromPath[str],
        of_standing: Standings = "",
        silent: FromQuery[bool] = False,
        q: FromQuery[str] = "",
        page: PageNumber = 1,
        per_page: PerPage = DEFAULT_PER_PAGE,
    ) -> RecallDetail:
        """Return a recall with a page of its machines, those that are open first.

        `standing` narrows them, as `affected,unknown`; `silent` to those that are not connected;
        `q` to those whose name, site, model or id holds these letters.
        """
        standings = frozenset(filter(None, of_standing.split(",")))
        wanted = MembersWanted(standings, q[:MAX_SEARCH], silent)
        row = rooms.recalls.find(recall_id)
        return rooms.shown.detail(row, wanted, (offset_of(page, per_page), per_page), page)

    return [list_recalls, show_recall]


def _make_carrying(rooms: RecallRooms) -> list[ControllerRouterHandler]:
    @get(
        "/updates/recalls/{recall_id:str}/proof",
        opt={ACTION: "recalls.read"},
        sync_to_thread=True,
    )
    def prove_recall(recall_id: FromPath[str]) -> RecallProof:
        """Return all machines of a recall with where in the record their proof stands."""
        return rooms.shown.proof(rooms.recalls.find(recall_id))

    @get(
        "/updates/recalls/{recall_id:str}/machines.csv",
        opt={ACTION: "recalls.read"},
        sync_to_thread=True,
    )
    def list_recalled(recall_id: FromPath[str]) -> Response[bytes]:
        """Return all machines of a recall as CSV."""
        table = rooms.shown.table(rooms.recalls.find(recall_id))
        return Response(table.encode("utf-8"), media_type=CSV)

    return [prove_recall, list_recalled]


def _make_opening(rooms: RecallRooms) -> list[ControllerRouterHandler]:
    @post(
        "/updates/recall-forecasts",
        opt={ACTION: "recalls.read"},
        sync_to_thread=True,
        status_code=200,
    )
    def forecast_recall(data: JSONBody[NewRecall]) -> RecallForecast:
        """Return which machines a recall would find. Nothing is stored, and nobody is told."""
        return rooms.shown.forecast(rooms.recalls.preview(_read_wish(data)))

    @post("/updates/recalls", opt={ACTION: "recalls.open"}, sync_to_thread=True)
    def open_recall(request: ApiRequest, data: JSONBody[NewRecall]) -> RecallRow:
        """Open a recall: find its machines and tell people. No machine is made to do anything."""
        return rooms.shown.recall(rooms.recalls.open(_read_wish(data), request.user))

    @post(
        "/updates/recalls/{recall_id:str}/notes",
        opt={ACTION: "recalls.change"},
        sync_to_thread=True,
        status_code=200,
    )
    def note_recalled(
        request: ApiRequest, recall_id: FromPath[str], data: JSONBody[RecallNote]
    ) -> RecallRow:
        """Write what somebody says of machines of a recall. It proves nothing."""
        return rooms.shown.recall(
            rooms.recalls.note(recall_id, data.devices, data.words, request.user)
        )

    return [forecast_recall, open_recall, note_recalled]


def _changing(rooms: RecallRooms) -> list[ControllerRouterHandler]:
    recalls = rooms.recalls
    verbs: dict[str, tuple[Callable[[str, str, Caller], Row], str]] = {
        "acknowledge": (recalls.acknowledge, "Say that you know of it and answer for it."),
        "close": (recalls.close, "Close a recall; with machines that are not done, say why."),
        "reopen": (recalls.reopen, "Open a recall again, and tell people anew."),
        "cancel": (recalls.cancel, "End a recall that was a mistake."),
    }
    return [_make_change(rooms, verb, *what) for verb, what in verbs.items()]


def _make_change(
    rooms: RecallRooms, verb: str, change: Callable[[str, str, Caller], Row], words: str
) -> ControllerRouterHandler:
    def change_recall(
        request: ApiRequest, recall_id: FromPath[str], data: JSONBody[RecallBecause]
    ) -> RecallRow:
        return rooms.shown.recall(change(recall_id, data.reason, request.user))

    change_recall.__name__ = f"{verb}_recall"
    change_recall.__doc__ = words
    made: ControllerRouterHandler = post(
        f"/updates/recalls/{{recall_id:str}}/{verb}",
        opt={ACTION: "recalls.change"},
        sync_to_thread=True,
        status_code=200,
    )(change_recall)
    return made


def _read_wish(data: NewRecall) -> RecallWish:
    return RecallWish(
        product=check_product(data.product) if data.product else "",
        versions=tuple(data.versions),
        machines=read_machines(data.machines) if data.machines is not None else None,
        title=data.title,
        why=data.why,
        advisories=tuple(data.advisories),
        remedy=data.remedy,
        fix_version=check_version(data.fix_version) if data.fix_version else "",
        until_ms=from_rfc3339(data.until) if data.until is not None else 0,
    )
