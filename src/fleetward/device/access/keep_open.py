"""The maker's file that says which ports and ways this machine needs: a closing never closes them.

    # /etc/fleetward/keep-open.toml, part of the machine's software
    local_access = ["ssh"]

    [[port]]
    port = 104
    protocol = "tcp"
    why = "takes images from the scanner"

Without the file nothing is kept open but loopback and what this machine itself begins. A file that
cannot be read lets nothing be closed: what the machine needs is not known then.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.trust.closing import LOCAL_ACCESS, ClosedPort
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

KEEP_OPEN_FILE: Final = Path("/etc/fleetward/keep-open.toml")
MAX_FILE_BYTES: Final = 64 * 1024
MAX_PORTS: Final = 256
_USUAL: Final = {"ssh": ClosedPort("tcp", 22), "telnet": ClosedPort("tcp", 23)}


class _Port(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    why: Annotated[str, msgspec.Meta(max_length=200)]
    protocol: Literal["tcp", "udp"] = "tcp"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    port: Annotated[tuple[_Port, ...], msgspec.Meta(max_length=MAX_PORTS)] = ()
    local_access: tuple[Literal["ssh", "telnet"], ...] = ()


@dataclass(frozen=True, slots=True)
class KeepOpen:
    """What this machine needs, and why."""

    ports: dict[ClosedPort, str]
    local_access: tuple[str, ...] = ()

    def check(self, ports: Sequence[ClosedPort], local_access: Sequence[str]) -> None:
        """Return when none of these is needed. Raises `Refused` naming the first that is."""
        for way in local_access:
            usual = _USUAL[way]
            if way in self.local_access:
                raise _kept(LOCAL_NAMES[way], "its maker says so")
            if usual in self.ports:
                raise _kept(f"{LOCAL_NAMES[way]} ({usual.words()})", self.ports[usual])
        for port in ports:
            if port in self.ports:
                raise _kept(port.words(), self.ports[port])
            if any(port == _USUAL[way] for way in self.local_access):
                raise _kept(port.words(), "its maker needs that way of local access")


LOCAL_NAMES: Final = dict(zip(LOCAL_ACCESS, ("SSH", "Telnet"), strict=True))


def read_keep_open(path: Path = KEEP_OPEN_FILE) -> KeepOpen:
    """Return what the machine needs. Raises `Refused` for a file that cannot be understood."""
    try:
        text = read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
        file = msgspec.convert(tomllib.loads(text), type=_File)
    except Unreachable as e:
        if e.reason == "file_missing":
            return KeepOpen({})
        raise _unreadable(path, e.message) from e
    except (FleetwardError, msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeError) as e:
        raise _unreadable(path, str(e)) from e
    return KeepOpen({ClosedPort(p.protocol, p.port): p.why for p in file.port}, file.local_access)


def _kept(what: str, why: str) -> Refused:
    shown = "".join(c for c in why if c.isprintable())
    return Refused(
        f"{what} stays open: this machine needs it ({shown}). Its maker says so in "
        f"{KEEP_OPEN_FILE}. Close the others without it.",
        reason="kept_open",
    )


def _unreadable(path: Path, why: str) -> Refused:
    shown = "".join(c for c in why if c.isprintable())[:200]
    return Refused(
        f"What this machine needs open is not known: {path} cannot be read ({shown}). Its maker "
        "has to mend the file; until then nothing is closed.",
        reason="keep_open_damaged",
    )
