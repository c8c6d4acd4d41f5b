"""Who may speak to the panel: root, whoever guard runs as, and one user that the install names.

That user is kept in a file in guard's own folder, which nobody else can write. His group may enter
the folder of the panel's socket, and nobody else's. He may look, stop, refuse and press, and
nothing more: he gives nobody a right that the owner has not signed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleetward.device.access.panel_desk import PanelDesk
from fleetward.device.access.panel_door import PanelDoor, open_folder
from fleetward.device.access.panel_words import socket_folder
from fleetward.device.privileges import uplink_ids
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import decode, encode
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.fields import Fields

if TYPE_CHECKING:
    from fleetward.device.guard_core import GuardCore

FILE: Final = "panel-user.json"
MAX_FILE_BYTES: Final = 512
MAX_UID: Final = 2**32 - 2


def name_panel_user(data: Path, name: str) -> str:
    """Let this user speak to the panel of the machine in `data`; return what was done, in words.

    Raises `Refused` without root, or for a user who must not.
    """
    if os.geteuid() != 0:
        raise Refused(
            "Only root can say who uses this machine's panel. Without root, whoever runs the "
            "agent uses it.",
            reason="needs_root",
        )
    try:
        found = pwd.getpwnam(name)
    except KeyError as e:
        raise Refused(
            f"There is no user {name[:80]!r} on this machine. Make one for the panel first.",
            reason="no_such_user",
        ) from e
    if found.pw_uid == 0:
        return "Root uses the panel anyway; nothing was changed."
    if found.pw_uid == uplink_ids().uid:
        raise Refused(
            "That user has the machine's network connection. Make another one for the panel.",
            reason="user_with_network",
        )
    said = encode({"name": found.pw_name, "uid": found.pw_uid})
    atomic_write(data / "guard" / FILE, said)
    folder = socket_folder(data)
    os.close(open_folder(folder))
    os.chown(folder, 0, found.pw_gid, follow_symlinks=False)
    folder.chmod(0o750)
    data.chmod(0o711)
    return f"The panel is open to {found.pw_name}, in {folder}."


def read_users(folder: Path) -> dict[int, str]:
    """Return who may speak to the panel, by number; `folder` is guard's.

    Raises `Malformed`, or `Untrusted` when somebody else could have written the file.
    """
    users = {0: "root", os.geteuid(): "root" if os.geteuid() == 0 else _own_name()}
    path = folder / FILE
    if not path.exists():
        return users
    found = path.lstat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Untrusted(
            f"Somebody else could have written {path}. Name the panel's user again.",
            reason="panel_user_unsafe",
        )
    value = decode(read_bounded(path, MAX_FILE_BYTES), max_bytes=MAX_FILE_BYTES)
    fields = Fields(value, "the panel's user", {"name", "uid"})
    uid = fields.integer("uid", low=1, high=MAX_UID)
    users.setdefault(uid, fields.text("name", most=80, least=1))
    return users


def open_panel(data: Path, core: GuardCore) -> PanelDoor | None:
    """Return the panel of this guard, or None, having said why on stderr, where there is none.

    Guard runs without it: a panel that is not there takes nothing from the machine.
    """
    try:
        users = read_users(data / "guard")
        desk = PanelDesk(core)
        door = PanelDoor(
            socket_folder(data), users, desk.answer, core.refusals, core.seat.clock.boottime_ms
        )
    except (OSError, FleetwardError) as e:
        sys.stderr.write(f"This machine's panel could not be opened: {e}\n")
        return None
    core.panel_words = f"open to {', '.join(sorted(set(users.values())))}"
    return door


def _own_name() -> str:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_name
    return f"user {os.geteuid()}"
