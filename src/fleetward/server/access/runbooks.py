"""Runbooks that came with a request: kept with it, shown by name, and handed to its machine first.

Pure, and nothing is judged. A document is read just far enough to tell which of the request's
scopes means it, and what it calls itself; whether it runs, the machine says.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import read_envelope, require_type
from fleetward.trust.errors import FleetwardError, Refused

RUNBOOK_TYPE: Final = "fleetward.runbook.v1"
MAX_RUNBOOK_BYTES: Final = 64 * 1024
"""A machine refuses a larger one."""
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Sent:
    """A document as it was sent."""

    digest: str
    name: str
    version: int
    raw: bytes


def read_sent(texts: Sequence[str], named: Sequence[str]) -> list[Sent]:
    """Return the documents that were sent with a request which names these digests.

    Raises `Malformed`, or `Refused` for one that the request does not name.
    """
    sent = {each.digest: each for each in (_read(from_base64url(text)) for text in texts)}
    if strange := sorted(set(sent) - set(named)):
        raise Refused(
            f"The request names no runbook {strange[0][:16]}. Send those that its scopes name.",
            reason="runbook_not_named",
        )
    return list(sent.values())


def read_kept(raws: Sequence[bytes]) -> list[Sent]:
    """Return what is stored. A row that this release cannot read is left out."""
    found: list[Sent] = []
    for raw in raws:
        try:
            found.append(_read(raw))
        except FleetwardError:
            continue
    return found


def _read(raw: bytes) -> Sent:
    envelope = read_envelope(raw, max_bytes=MAX_RUNBOOK_BYTES)
    require_type(envelope, RUNBOOK_TYPE)
    name, version = envelope.payload.get("name"), envelope.payload.get("version")
    return Sent(
        envelope.hash,
        name if isinstance(name, str) and _NAME.fullmatch(name) else "",
        version if isinstance(version, int) and not isinstance(version, bool) else 0,
        raw,
    )
