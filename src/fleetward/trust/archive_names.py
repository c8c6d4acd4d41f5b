"""Names of files in an archive of a part: what a maker's tool packs, and a machine unpacks.

A name is relative, and each piece of it is made of letters, digits and `. _ + = @ , ~ : % -`. So it
leads nowhere else, means nothing to a shell, cannot be taken for an option, and looks the same to
everybody who reads of it. Both sides ask here, so that a maker hears of a name before he signs it.

    >>> check_archive_name("lib/app.so.1")
    'lib/app.so.1'
"""

from __future__ import annotations

import re
from typing import Final

from fleetward.trust.errors import Malformed

MAX_PATH_CHARACTERS: Final = 1024
MAX_DEPTH: Final = 64
_PIECE: Final = re.compile(r"[A-Za-z0-9._+=@,][A-Za-z0-9._+=@,~:%-]{0,254}")


def check_archive_name(name: str) -> str:
    """Return the name of a file or folder unchanged. Raises `Malformed` (`bad_archive_name`)."""
    pieces = name.split("/")
    plain = all(_PIECE.fullmatch(piece) and piece not in (".", "..") for piece in pieces)
    if not plain or len(pieces) > MAX_DEPTH or len(name) > MAX_PATH_CHARACTERS:
        raise Malformed(
            f"Expected a relative name of letters, digits and . _ + = @ , ~ : % -, got "
            f"{name[:80]!r}. Rename the file, and build the part again.",
            reason="bad_archive_name",
        )
    return name
