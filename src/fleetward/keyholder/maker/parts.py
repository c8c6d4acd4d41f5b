"""What a maker names on the command line, read: parts, health checks, what a release needs.

| `--part`                              | becomes                                     |
|---------------------------------------|---------------------------------------------|
| `app=build/app`                       | the folder, for the installer `directory`   |
| `app=build/app:directory:kiosk`       | the same, for the machine's place `kiosk`   |
| `firmware=out/mcu.bin`                | the file, for the installer `file-slot`     |
| `system=out/os.raucb`                 | the file, for `rauc`                        |
| `packages=debs` with .deb files alone | the set, for `dpkg`                         |
| `packages=a.deb` and `packages=b.deb` | the same: a part may be named once for each |

A part's place is called as the part, unless it is named. What is read here is a wish: the manifest
that comes of it is read again as a machine reads it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed
from fleetward.trust.release_checks import Check, read_check
from fleetward.trust.release_manifest import INSTALLERS, MAX_NOTES, Conflict, Needed

DEFAULT_STATUS: Final = 200
COMMAND_SECONDS: Final = 60
_NEEDS: Final = re.compile(r"([a-z0-9-]+)>=([0-9]{1,15})")
_CONFLICT: Final = re.compile(r"([a-z0-9-]+):([0-9]{1,15})(?:-([0-9]{1,15}))?")
_HTTP: Final = re.compile(r"([0-9]{1,5})(/[^=]*)(?:=([0-9]{3}))?")


@dataclass(frozen=True, slots=True)
class PartWish:
    """A part as it was named. Several sources are a set of .deb files."""

    name: str
    sources: tuple[Path, ...]
    installer: str
    place: str
    hook: str = ""


def read_parts(texts: Sequence[str], hooks: Sequence[str]) -> tuple[PartWish, ...]:
    """Return the parts of `NAME=PATH[:INSTALLER[:PLACE]]`, with their hooks `NAME=PATH`.

    Raises `Malformed`.
    """
    wishes: dict[str, PartWish] = {}
    for text in texts:
        wish = _read_part(text)
        known = wishes.get(wish.name)
        if known is not None:
            if not all(_is_deb(path) for path in (*known.sources, *wish.sources)):
                raise Malformed(
                    f"Expected one path for the part {wish.name!r}, or .deb files alone.",
                    reason="part_twice",
                )
            wish = PartWish(wish.name, (*known.sources, *wish.sources), "dpkg", known.place)
        wishes[wish.name] = wish
    for text in hooks:
        name, equals, path = text.partition("=")
        if not equals or name not in wishes:
            raise Malformed(
                f"Expected a hook as PART=bin/hook of one of the parts, got {text[:80]!r}.",
                reason="bad_hook",
            )
        old = wishes[name]
        wishes[name] = PartWish(old.name, old.sources, old.installer, old.place, path)
    return tuple(wishes.values())


def _read_part(text: str) -> PartWish:
    name, equals, rest = text.partition("=")
    if not name or not equals or not rest:
        raise Malformed(
            f"Expected a part as NAME=PATH[:INSTALLER[:PLACE]], got {text[:80]!r}.",
            reason="bad_part",
        )
    path, installer, place = _split_part(rest)
    place = place or name
    source = Path(path)
    return PartWish(name, (source,), installer or guess_installer(source), place)


def _split_part(rest: str) -> tuple[str, str, str]:
    """Split path, installer and place. A path may hold colons: the longest that is there counts."""
    pieces = rest.split(":")
    readings = [(rest, "", "")]
    if len(pieces) > 1 and pieces[-1] in INSTALLERS:
        readings.append((":".join(pieces[:-1]), pieces[-1], ""))
    if len(pieces) > 2 and pieces[-2] in INSTALLERS:
        readings.append((":".join(pieces[:-2]), pieces[-2], pieces[-1]))
    return next((each for each in readings if Path(each[0]).exists()), readings[-1])


def guess_installer(source: Path) -> str:
    """Say by which installer a file or folder is probably meant to be installed."""
    if source.is_dir():
        return "dpkg" if list_debs(source) else "directory"
    if _is_deb(source):
        return "dpkg"
    return "rauc" if source.suffix == ".raucb" else "file-slot"


def list_debs(folder: Path) -> list[Path]:
    """Return the .deb files of a folder that holds nothing else; else nothing."""
    inside = sorted(folder.iterdir())
    return inside if inside and all(_is_deb(path) for path in inside) else []


def _is_deb(path: Path) -> bool:
    return path.suffix == ".deb"


def read_health(texts: Sequence[str], seconds: int = COMMAND_SECONDS) -> tuple[Check, ...]:
    """Return health checks of `KIND:…`; a command may take `seconds`. Raises `Malformed`.

    >>> read_health(["http:8080/healthz=200"])[0].words()
    'http port 8080 answers /healthz with 200'
    """
    return tuple(_read_check(text, seconds) for text in texts)


def _read_check(text: str, seconds: int) -> Check:
    kind, _, rest = text.partition(":")
    check = Check(kind=kind)
    if kind == "process":
        check = Check(kind, name=rest)
    elif kind == "port" and rest.isdecimal():
        check = Check(kind, port=int(rest[:6]))
    elif kind == "http" and (found := _HTTP.fullmatch(rest)) is not None:
        status = int(found[3] or DEFAULT_STATUS)
        check = Check(kind, port=int(found[1]), path=found[2], status=status)
    elif kind == "file" and "/" in rest:
        part, _, path = rest.partition("/")
        check = Check(kind, part=part, path=path)
    elif kind == "command" and "/" in rest:
        check = _read_command(rest, seconds)
    else:
        raise Malformed(
            "Expected a check as process:NAME, port:N, http:PORT/PATH=STATUS, file:PART/PATH or "
            f"'command:PART/PATH ARGUMENTS', got {text[:80]!r}.",
            reason="bad_check",
        )
    return read_check(check.to_json())


def _read_command(rest: str, seconds: int) -> Check:
    try:
        words = shlex.split(rest)
    except ValueError as e:
        raise Malformed(
            f"Expected balanced quotes in {rest[:80]!r}; {e}.", reason="bad_check"
        ) from e
    part, _, path = words[0].partition("/")
    return Check("command", part=part, path=path, arguments=tuple(words[1:]), seconds=seconds)


def read_needs(texts: Sequence[str]) -> tuple[Needed, ...]:
    """Return what `PRODUCT>=COUNTER` asks for. Raises `Malformed`."""
    found = [_NEEDS.fullmatch(text) for text in texts]
    if None in found:
        raise Malformed(
            "Expected what is needed as PRODUCT>=COUNTER, such as firmware>=7 (in quotation marks: "
            "the shell takes > for itself).",
            reason="bad_needs",
        )
    return tuple(Needed(each[1], int(each[2])) for each in found if each is not None)


def read_conflicts(texts: Sequence[str]) -> tuple[Conflict, ...]:
    """Return what `PRODUCT:FIRST-LAST` or `PRODUCT:COUNTER` does not bear. Raises `Malformed`."""
    conflicts = []
    for text in texts:
        found = _CONFLICT.fullmatch(text)
        if found is None or int(found[3] or found[2]) < int(found[2]):
            raise Malformed(
                f"Expected a conflict as PRODUCT:FIRST-LAST in counters, got {text[:80]!r}.",
                reason="bad_conflict",
            )
        conflicts.append(Conflict(found[1], int(found[2]), int(found[3] or found[2])))
    return tuple(conflicts)


def read_notes(text: str) -> str:
    """Return notes, or those of `@FILE`, on one line, as a signed text is. Raises `Malformed`."""
    if text.startswith("@"):
        text = read_bounded(Path(text[1:]), 4 * MAX_NOTES).decode("utf-8", "replace")
    return " / ".join(line.strip() for line in text.splitlines() if line.strip())
