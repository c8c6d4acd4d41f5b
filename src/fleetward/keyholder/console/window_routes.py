"""HTTP of permissions given ahead: it only translates between the page and the keeper."""

from __future__ import annotations

from litestar import get, post
from litestar.params import JSONBody
from litestar.types import ControllerRouterHandler

from fleetward.keyholder.console.phone_routes import read_yes
from fleetward.keyholder.console.window_keeper import WindowKeeper
from fleetward.keyholder.console.window_model import (
    AllowWindow,
    PreparedWindow,
    PrepareWindow,
    RevokeWindow,
    WindowList,
    WindowSaid,
)
from fleetward.keyholder.console.window_views import show_prepared_window


def make_window_handlers(windows: WindowKeeper) -> list[ControllerRouterHandler]:
    """Return the handlers below /api/v1/windows."""

    @get("/windows", sync_to_thread=True)
    def list_windows() -> WindowList:
        """Return what was allowed ahead, checked here."""
        return windows.views()

    @post("/windows/prepare", sync_to_thread=True, status_code=200)
    def prepare(data: JSONBody[PrepareWindow]) -> PreparedWindow:
        """Prepare a permission and show its windows and six words. Nothing is signed yet."""
        prepared = windows.prepare(data)
        keys = windows.passkeys_for(prepared)
        names = windows.passkeys.names(list(keys))
        return show_prepared_window(prepared, keys, names, own_key=windows.own_key_may(prepared))

    @post("/windows/allow", sync_to_thread=True, status_code=200)
    def allow(data: JSONBody[AllowWindow]) -> WindowSaid:
        """Sign the permission that was shown, and hand it over."""
        return windows.allow(data.standing, read_yes(data.passkey) if data.passkey else None)

    @post("/windows/revoke", sync_to_thread=True, status_code=200)
    def revoke(data: JSONBody[RevokeWindow]) -> WindowSaid:
        """Take a permission back."""
        return windows.revoke(data.standing, data.reason)

    return [list_windows, prepare, allow, revoke]
