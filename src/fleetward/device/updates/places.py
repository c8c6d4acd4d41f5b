"""The maker's file that says what the places of this machine are, by the names in releases.

    # /etc/fleetward/places.toml, part of the machine's software
    in_use = "/run/acme/in-use"        # while this file exists, nothing begins; it says why
    may_restart = true                 # the agent may start the machine again for a release

    [places.app]
    product = "kiosk"                  # whose releases may touch it: no other maker's
    installer = "directory"
    path = "/opt/acme"
    restart = ["acme.service"]
    user = "acme"                      # whom hooks and health commands run as

    [places.os]
    product = "kiosk-os"
    installer = "file-slot"
    slots = ["/dev/disk/by-partlabel/root-a", "/dev/disk/by-partlabel/root-b"]
    active = "/boot/active"            # holds root-a or root-b; or else, where GRUB chooses,
    # grub = "/boot/env/grubenv"

A release names places, never a path: what a name means, and for which product, the machine's image
says. So a maker who is named for one product does not reach the places of another. Without the file
there are places of the installer `directory` alone, below the agent's own data. A file that cannot
be read lets nothing be installed: what the machine consists of is not known then.
"""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final, TypeAlias

import msgspec

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

PLACES_FILE: Final = Path("/etc/fleetward/places.toml")
MAX_FILE_BYTES: Final = 64 * 1024
MAX_IN_USE_BYTES: Final = 4096
MAX_RESTARTS: Final = 16

_Path = Annotated[str, msgspec.Meta(pattern=r"^/[^\x00-\x1f]{1,255}$")]
_PathOrNone = Annotated[str, msgspec.Meta(pattern=r"^(/[^\x00-\x1f]{0,255})?$")]
_Unit = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9:_.@-]{0,120}\.[a-z]{4,9}$")]
_User = Annotated[str, msgspec.Meta(pattern=r"^([a-z_][a-z0-9_-]{0,31})?$")]
_Slots = Annotated[tuple[_Path, ...], msgspec.Meta(min_length=2, max_length=2)]
_Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
_Product = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,47}$")]


class _Place(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="installer", kw_only=True
):
    """What every place has."""

    product: _Product
    restart: Annotated[tuple[_Unit, ...], msgspec.Meta(max_length=MAX_RESTARTS)] = ()
    user: _User = ""


class DirectoryPlace(_Place, frozen=True, tag="directory", kw_only=True):
    """A folder with releases in it, and a link `current` to one of them."""

    path: _Path


class FileSlotPlace(_Place, frozen=True, tag="file-slot", kw_only=True):
    """Two partitions or files of one size, and what names the active one: the file `active`, or
    GRUB's memory at `grub`."""

    slots: _Slots
    active: _PathOrNone = ""
    grub: _PathOrNone = ""


class DpkgPlace(_Place, frozen=True, tag="dpkg", kw_only=True):
    """Packages of the system. `path` keeps those of this release and of the one before; empty:
    below the agent's data."""

    path: _PathOrNone = ""
    root: _PathOrNone = "/"


class RaucPlace(_Place, frozen=True, tag="rauc", kw_only=True):
    """What RAUC's own configuration says, at `config`. `bus` is where its service is, when not at
    the system's usual bus."""

    config: _Path = "/etc/rauc/system.conf"
    bus: Annotated[str, msgspec.Meta(pattern=r"^(unix:[A-Za-z0-9=/._,-]{1,200})?$")] = ""


class AgentPlace(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="installer", tag="agent"
):
    """The agent itself. It has no path and restarts nothing: both are the launcher's."""

    product: _Product
    restart: ClassVar[tuple[str, ...]] = ()
    user: ClassVar[str] = ""


Place: TypeAlias = DirectoryPlace | FileSlotPlace | DpkgPlace | RaucPlace | AgentPlace


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    in_use: _PathOrNone = ""
    may_restart: bool = False
    places: dict[_Name, Place] = {}


@dataclass(frozen=True, slots=True)
class Places:
    """The places of this machine. `named` is None without the maker's file."""

    data: Path
    named: dict[str, Place] | None = None
    in_use: Path | None = None
    file: Path = field(default=PLACES_FILE)
    may_restart: bool = False

    def find(self, name: str, installer: str, product: str) -> Place:
        """Return what this name means.

        Raises `Refused` (`unknown_place`, `another_product`, `wrong_installer`).
        """
        if self.named is None and installer == "agent":
            return AgentPlace(product=product)
        if self.named is None:
            if installer != "directory":
                raise Refused(
                    f"This machine has no {self.file}, so it has places for the installer "
                    f"directory alone, and none for {installer}. Its maker has to add the file.",
                    reason="wrong_installer",
                )
            return DirectoryPlace(
                product=product, path=str(self.data / "software" / product / name)
            )
        place = self.named.get(name)
        if place is None:
            raise Refused(
                f"This machine has no place {name}: its maker's {self.file} names "
                f"{', '.join(sorted(self.named)) or 'none'}. The release is for other machines.",
                reason="unknown_place",
            )
        if place.product != product:
            raise Refused(
                f"The place {name} of this machine is for releases of {place.product}, and this "
                f"is one of {product}. The release is for other machines.",
                reason="another_product",
            )
        found = str(place.__struct_config__.tag)
        if found != installer:
            raise Refused(
                f"The release wants to install {name} by {installer}; on this machine it is a "
                f"place of {found}. The release is for other machines.",
                reason="wrong_installer",
            )
        return place

    def read_in_use(self) -> str:
        """Return why the machine must not be disturbed; nothing when it may be.

        What cannot be told counts as in use.
        """
        if self.in_use is None:
            return ""
        try:
            if not stat.S_ISREG(self.in_use.lstat().st_mode):
                return "The machine says that it is in use."
            said = read_bounded(self.in_use, MAX_IN_USE_BYTES).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except (FleetwardError, OSError) as e:
            if isinstance(e, Unreachable) and e.reason == "file_missing":
                return ""
            return "The machine is in use, or cannot say whether it is."
        lines = said.strip().splitlines()
        return lines[0].strip() if lines else "The machine says that it is in use."


def read_places(data: Path, path: Path = PLACES_FILE) -> Places:
    """Return the places of this machine. Raises `Refused` for a file that cannot be understood."""
    try:
        text = read_bounded(path, MAX_FILE_BYTES).decode("utf-8")
        file = msgspec.convert(tomllib.loads(text), type=_File)
    except Unreachable as e:
        if e.reason == "file_missing":
            return Places(data, file=path)
        raise _unreadable(path, e.message) from e
    except (FleetwardError, msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeError) as e:
        raise _unreadable(path, str(e)) from e
    for name, place in file.places.items():
        if isinstance(place, FileSlotPlace) and len({Path(s).name for s in place.slots}) != 2:
            raise _unreadable(path, f"the slots of {name} need two different last names")
        if isinstance(place, FileSlotPlace) and bool(place.active) == bool(place.grub):
            raise _unreadable(path, f"{name} needs either active or grub")
    in_use = Path(file.in_use) if file.in_use else None
    return Places(data, dict(file.places), in_use, path, file.may_restart)


def _unreadable(path: Path, why: str) -> Refused:
    shown = "".join(c for c in why if c.isprintable())[:200]
    return Refused(
        f"What this machine consists of is not known: {path} cannot be read ({shown}). Its maker "
        "has to mend the file; until then nothing is installed.",
        reason="places_damaged",
    )
