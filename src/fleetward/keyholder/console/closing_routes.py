"""HTTP of closings: it only translates between the page and the keeper."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.closing_keeper import ClosingKeeper
from fleetward.keyholder.console.closing_model import (
    Closed,
    CloseWish,
    ClosingView,
    KeepWish,
)


def make_closing_handlers(closing: ClosingKeeper) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1/closing."""

    @get("/closing", sync_to_thread=True)
    def show_closing() -> ClosingView:
        """Return machines with their tiers, and closings on trial."""
        return closing.view()

    @post("/closing/close", sync_to_thread=True, status_code=200)
    def close(data: JSONBody[CloseWish]) -> Closed:
        """Sign a closing and hand it over."""
        return closing.close(data)

    @post("/closing/open", sync_to_thread=True, status_code=200)
    def open_again(data: JSONBody[CloseWish]) -> Closed:
        """Sign that all is open again on machines."""
        return closing.open(data)

    @post("/closing/keep", sync_to_thread=True, status_code=200)
    def keep(data: JSONBody[KeepWish]) -> Closed:
        """Confirm a closing."""
        return closing.keep(data.id)

    return [show_closing, close, open_again, keep]
