"""HTTP of the technician's page: it only translates between the page and the visit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from litestar import Request, get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from litestar.response import Stream
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.model import Nothing
from fleetward.keyholder.technician.logs import open_logs
from fleetward.keyholder.technician.model import (
    MAX_LINES,
    MAX_PATH,
    FolderView,
    OpenTerminal,
    Resize,
    TerminalView,
    Ticket,
    TransferList,
    TransferView,
    VisitView,
    WantFile,
)
from fleetward.keyholder.technician.terminals import Terminals
from fleetward.keyholder.technician.transfers import Transfers, write_disposition
from fleetward.keyholder.technician.visit import Visit
from fleetward.trust.access import MAX_FILE_BYTES, MAX_SCOPES
from fleetward.trust.errors import Untrusted
from fleetward.wire.access import MAX_DATA_BYTES

PlaceQuery: TypeAlias = Annotated[int, QueryParameter(ge=0, lt=MAX_SCOPES)]
PathQuery: TypeAlias = Annotated[str, QueryParameter(max_length=MAX_PATH)]
SizeQuery: TypeAlias = Annotated[int, QueryParameter(ge=0, le=MAX_FILE_BYTES)]
LinesQuery: TypeAlias = Annotated[int, QueryParameter(ge=0, le=MAX_LINES)]
YesQuery: TypeAlias = Annotated[int, QueryParameter(ge=0, le=1)]
BYTES = "application/octet-stream"
AS_IT_COMES = {"X-Accel-Buffering": "no"}


@dataclass(frozen=True, slots=True)
class Rooms:
    """What the handlers speak for."""

    visit: Visit
    terminals: Terminals
    transfers: Transfers
    show: Callable[[], VisitView]


def make_handlers(rooms: Rooms) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1."""
    return [*_make_visit(rooms), *_make_terminals(rooms), *_make_files(rooms)]


def make_download(rooms: Rooms) -> ControllerRouterHandler:
    """Return the handler that fetches a file: the ticket in its address stands for the secret."""

    @get("/download/{ticket:str}")
    async def fetch_file(request: Request[Any, Any, Any], ticket: FromPath[str]) -> Stream:
        """Return a file, once, as an attachment of unknown type."""
        site = request.headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none"):
            raise Untrusted("Another page asked for this.", reason="origin_not_allowed")
        fetched = await rooms.transfers.redeem(ticket)
        return Stream(
            fetched.content,
            media_type=BYTES,
            headers={
                "Content-Disposition": write_disposition(fetched.name),
                "Content-Length": str(fetched.size),
                "Content-Security-Policy": "default-src 'none'; sandbox",
            },
        )

    return fetch_file


def _make_visit(rooms: Rooms) -> list[ControllerRouterHandler]:
    @get("/visit", sync_to_thread=False)
    def show_visit() -> VisitView:
        """Return where the visit stands."""
        return rooms.show()

    @post("/leave", sync_to_thread=False, status_code=202)
    def leave(data: JSONBody[Nothing]) -> VisitView:
        """Leave the session, or wait no longer."""
        del data
        rooms.visit.leave()
        return rooms.show()

    @get("/stream")
    async def stream_changes() -> Stream:
        """Stream what changed."""
        frames = rooms.visit.changes.frames()
        return Stream(frames, media_type="text/event-stream", headers=AS_IT_COMES)

    @get("/logs")
    async def read_logs(place: PlaceQuery, lines: LinesQuery = 200, follow: YesQuery = 0) -> Stream:
        """Stream a unit's last lines; with `follow` 1 the new ones too."""
        text = await open_logs(rooms.visit, place, lines, follow=follow == 1)
        return Stream(text, media_type="text/plain", headers=AS_IT_COMES)

    return [show_visit, leave, stream_changes, read_logs]


def _make_terminals(rooms: Rooms) -> list[ControllerRouterHandler]:
    terminals = rooms.terminals

    @post("/terminals")
    async def open_terminal(data: JSONBody[OpenTerminal]) -> TerminalView:
        """Begin a terminal."""
        return await terminals.open(data)

    @get("/terminals/{terminal:str}", sync_to_thread=False)
    def show_terminal(terminal: FromPath[str]) -> TerminalView:
        """Return how a terminal stands."""
        return terminals.show(terminal)

    @get("/terminals/{terminal:str}/output")
    async def watch_terminal(terminal: FromPath[str]) -> Stream:
        """Stream what a terminal shows, to one window; the terminal ends with it."""
        return Stream(terminals.watch(terminal), media_type=BYTES, headers=AS_IT_COMES)

    @post("/terminals/{terminal:str}/input", status_code=204, request_max_body_size=MAX_DATA_BYTES)
    async def type_input(request: Request[Any, Any, Any], terminal: FromPath[str]) -> None:
        """Hand on what was typed. The next is sent when this was answered."""
        await terminals.type(terminal, await request.body())

    @post("/terminals/{terminal:str}/size", status_code=204)
    async def resize_terminal(terminal: FromPath[str], data: JSONBody[Resize]) -> None:
        """Give a terminal another size."""
        await terminals.resize(terminal, data.columns, data.rows)

    @post("/terminals/{terminal:str}/close", status_code=204)
    async def close_terminal(terminal: FromPath[str], data: JSONBody[Nothing]) -> None:
        """Be done with a terminal."""
        del data
        await terminals.close(terminal)

    return [
        *(open_terminal, show_terminal, watch_terminal),
        *(type_input, resize_terminal, close_terminal),
    ]


def _make_files(rooms: Rooms) -> list[ControllerRouterHandler]:
    transfers = rooms.transfers

    @get("/files")
    async def list_folder(place: PlaceQuery, path: PathQuery = "") -> FolderView:
        """Return what is in a folder below the granted one."""
        return await transfers.list_folder(place, path)

    @post("/files/ticket", status_code=200)
    async def promise_file(data: JSONBody[WantFile]) -> Ticket:
        """Have the machine begin a file, and return the address that fetches it once."""
        return await transfers.promise(data.place, data.path)

    @post("/files", status_code=200, request_max_body_size=None)
    async def put_file(
        request: Request[Any, Any, Any], place: PlaceQuery, path: PathQuery, size: SizeQuery
    ) -> TransferView:
        """Put the body at a path below the granted folder, as the machine takes it."""
        return await transfers.put(place, path, size, request.stream())

    @get("/transfers", sync_to_thread=False)
    def show_transfers() -> TransferList:
        """Return the transfers of this visit."""
        return transfers.show()

    return [list_folder, promise_file, put_file, show_transfers]
