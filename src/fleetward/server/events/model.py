"""What the API says about events."""

from __future__ import annotations

from typing import Any

import msgspec


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """One journal entry of a machine, as it arrived. `at` is the machine's own clock."""

    device_id: str
    sequence: int
    kind: str
    at: str
    received_at: str
    words: str
    body: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, newest arrival first."""

    items: list[EventRow]
    total: int
    page: int
    per_page: int
