"""Finding a rollout or a recall by its id, or the beginning of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy.engine import Connection

from fleetward.runtime.database import Database
from fleetward.server.updates.store import Row
from fleetward.trust.errors import Malformed, Refused

_PREFIX: Final = re.compile(r"[0-9a-f]{8,32}")


def find_named(
    database: Database, noun: str, select: Callable[[Connection, str], Sequence[Row]], place: str
) -> Row:
    """Return the one whose id begins so. `noun` is what it is, and the command that lists them.

    Raises `Malformed` (`bad_NOUN_id`), `Refused` (`ambiguous`, `NOUN_not_found`).
    """
    if not _PREFIX.fullmatch(place):
        raise Malformed(
            f"Expected 8 to 32 digits of a {noun}'s id, which `fleetward {noun} list` shows.",
            reason=f"bad_{noun}_id",
        )
    with database.read() as conn:
        found = select(conn, place)
    if len(found) > 1:
        raise Refused(f"Several {noun}s begin so. Give more digits.", reason="ambiguous")
    if not found:
        raise Refused(
            f"No {noun} of this id is known here. `fleetward {noun} list` shows them.",
            reason=f"{noun}_not_found",
        )
    return found[0]
