"""What the folder remembers of the server: addresses to join at, and its certificate authority."""

from __future__ import annotations

from typing import Final

import msgspec

from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.pinned import PinnedServer
from fleetward.trust.errors import Malformed, Unreachable

_FILE: Final = "introduction.json"
_AUTHORITY_FILE: Final = "server-ca.pem"


class Pinned(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The pinned addresses. They open no door by themselves: the join string pins the CA too."""

    enrol: tuple[str, ...]
    bus: tuple[str, ...]
    api: str


def write_pinned(folder: OwnerFolder, server: PinnedServer, api: str) -> None:
    """Remember a server in the folder."""
    pinned = Pinned(tuple(server.introduction.enrol), tuple(server.introduction.bus), api)
    keep_pinned(folder, pinned, server.server_ca_pem)


def keep_pinned(folder: OwnerFolder, pinned: Pinned, server_ca_pem: str) -> None:
    """Remember a server whose certificate authority the caller has checked."""
    folder.replace(_FILE, msgspec.json.encode(pinned))
    folder.replace(_AUTHORITY_FILE, server_ca_pem.encode("ascii"))


def read_pinned(folder: OwnerFolder) -> Pinned:
    """Return the addresses. Raises `Malformed`, or `Unreachable` when there are none."""
    data = folder.read(_FILE)
    try:
        return msgspec.json.decode(data, type=Pinned)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(
            f"Expected {_FILE} in the owner's folder as `owner init` wrote it; {e}.",
            reason="bad_introduction",
        ) from e


def read_authority(folder: OwnerFolder) -> str:
    """Return the pinned CA in PEM, or nothing when the folder knows none."""
    try:
        return folder.read(_AUTHORITY_FILE).decode("ascii", errors="replace")
    except Unreachable:
        return ""
