"""Which shared library may be loaded: loading one runs its code with all the owner's rights.

The path is absolute. Every step of it, every link on the way and the file at its end belong to
root or to the user who runs this program, and nobody else can write there; a directory in which
others may write but not rename (the sticky bit, as /tmp has) is passed through. What is loaded is
the path that was walked, with no link left in it.

Not checked: what the library itself loads and reads, such as the settings of p11-kit, and whether
it is honest. A library of the system's package manager is as good as that is.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from fleetward.trust.errors import Malformed, Refused

MAX_LINKS: Final = 40
"""As many as Linux follows (path_resolution(7))."""


def check_module(path: Path) -> Path:
    """Return the path of a library that may be loaded, without links.

    Raises `Malformed` for a relative path, `Refused` for a missing library, for one that others
    could have written, and for what is not a plain file.
    """
    if not path.is_absolute() or ".." in path.parts:
        raise Malformed(
            f"Expected an absolute path of a library in module-path, without '..', got {path}. "
            "It is never looked for along a search path.",
            reason="bad_module_path",
        )
    found = _walk(path)
    if not stat.S_ISREG(found.lstat().st_mode):
        raise Refused(f"Expected a library at {found}; it is no file.", reason="no_module")
    return found


def _walk(path: Path) -> Path:
    at, left, links = Path("/"), list(path.parts[1:]), 0
    _check_step(at, at.lstat())
    while left:
        part = left.pop(0)
        if part == "..":
            at = at.parent
            continue
        step = at / part
        try:
            found = step.lstat()
        except OSError as e:
            raise Refused(
                f"Expected the library of the token's maker at {path}; {step}: {e.strerror}. "
                "Install it, or name the right place by module-path.",
                reason="no_module",
            ) from e
        _check_step(step, found)
        if not stat.S_ISLNK(found.st_mode):
            at = step
            continue
        links += 1
        if links > MAX_LINKS:
            raise Refused(f"Expected fewer links on the way to {path}.", reason="no_module")
        target = Path(step.readlink())
        if target.is_absolute():
            at, left = Path("/"), [*target.parts[1:], *left]
        else:
            left = [*target.parts, *left]
    return at


def _check_step(step: Path, found: os.stat_result) -> None:
    mode = found.st_mode
    if found.st_uid not in (0, os.geteuid()):
        raise _not_ours(step, f"belongs to the user {found.st_uid}")
    if stat.S_ISLNK(mode) or not mode & 0o022:
        return
    if not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX):
        raise _not_ours(step, "can be written by others")


def _not_ours(step: Path, why: str) -> Refused:
    return Refused(
        f"Expected a library that only root or you could have written; {step} {why}. Loading it "
        "would run its code with your keys. Use the library of the system's own package.",
        reason="module_not_ours",
    )
