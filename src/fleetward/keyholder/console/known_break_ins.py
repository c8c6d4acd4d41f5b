"""Which BREAK-GLASS somebody on this computer has said that he knows of.

Kept in the owner's folder, so that the banner stays over every start of the program until a person
has seen it. It proves nothing and hides nothing: the record has all of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from fleetward.keyholder.console.access_model import AccessView
from fleetward.keyholder.folder import OwnerFolder
from fleetward.trust.errors import FleetwardError

FILE: Final = "break-glass-known.json"
MOST_KNOWN: Final = 1000


class KnownBreakIns:
    """The file. Its folder's owner alone writes it."""

    def __init__(self, folder: OwnerFolder) -> None:
        self._folder = folder

    def mark(self, view: AccessView) -> AccessView:
        """Return a view that says whether somebody knows of it."""
        if not view.break_glass or view.id not in self._read():
            return view
        return msgspec.structs.replace(view, acknowledged=True)

    def add(self, request: str) -> None:
        """Somebody knows of the request with this hash."""
        known = [each for each in self._read() if each != request]
        self._folder.replace(FILE, msgspec.json.encode([*known, request][-MOST_KNOWN:]))

    def _read(self) -> list[str]:
        if not self._folder.has(FILE):
            return []
        try:
            return msgspec.json.decode(self._folder.read(FILE), type=list[str])
        except (msgspec.MsgspecError, FleetwardError):
            return []  # It is told once more.
