"""Times at the border of the API: RFC 3339 in UTC outside, Unix milliseconds inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

import msgspec

from fleetward.trust.errors import Malformed

PATTERN: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$"
LATEST_MS: Final = 253_402_300_799_999
"""The last millisecond of the year 9999; RFC 3339 has four digits for the year."""

Instant: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=PATTERN, examples=["2026-11-23T14:02:05.123Z"])
]
"""A time in a struct of the API."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def to_rfc3339(unix_ms: int) -> str:
    """Write a time as `2026-11-23T14:02:05.123Z`. A time outside of RFC 3339 becomes its end."""
    bounded = min(max(unix_ms, 0), LATEST_MS)
    at = _EPOCH + timedelta(milliseconds=bounded)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{bounded % 1000:03d}Z"


def to_rfc3339_or_none(unix_ms: int | None) -> str | None:
    """Write a time that may be missing."""
    return None if unix_ms is None else to_rfc3339(unix_ms)


def from_rfc3339(text: str) -> int:
    """Read what `to_rfc3339` writes. Raises Malformed for every other form."""
    if re.fullmatch(PATTERN, text, re.ASCII):
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return (at - _EPOCH) // timedelta(milliseconds=1)
    raise Malformed(
        f"expected a time such as 2026-11-23T14:02:05.123Z, got {text[:40]!a}", reason="time"
    )
