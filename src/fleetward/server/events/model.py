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


class SignedRow(msgspec.Struct, frozen=True, kw_only=True):
    """The newest batch of a machine in which an entry of a kind stands; `batch` is base64url.

    Verify it by the machine's key; do not trust the server.
    """

    device_id: str
    sequence: int
    batch: str


class SignedPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of signed batches, by machine."""

    items: list[SignedRow]
    total: int
    page: int
    per_page: int


class EventPage(msgspec.Struct, frozen=True, kw_only=True):
    """A page of events, newest arrival first."""

    items: list[EventRow]
    total: int
    page: int
    per_page: int
