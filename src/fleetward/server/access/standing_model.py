"""What the API says about permissions given ahead."""

from __future__ import annotations

import msgspec

from fleetward.runtime.http.times import Instant


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class StandingWindow(_Answer, frozen=True):
    """One window."""

    not_before: Instant
    not_after: Instant


class StandingMachine(_Answer, frozen=True):
    """A machine of a permission, and what it has signed about it last.

    `state` is empty before it has said anything, then `held`, `dropped` (its owner's policy does
    not permit it) or `revoked`. `next_window` is the lowest window that it may still open, from 0.
    `signed` is its signed word, base64url; verify it.
    """

    device_id: str
    device_name: str
    site: str
    state: str
    next_window: int
    words: str
    said_at: Instant | None
    signed: str


class StandingEntry(_Answer, frozen=True):
    """Somebody came by a window of it. `window` counts from 0."""

    request: str
    device_id: str
    window: int
    session: str
    state: str


class StandingRow(_Answer, frozen=True):
    """A permission given ahead, as its signed document says; this server judges none of it.

    `id` is its hash, `words` the six words of it. `people` are those whose keys signed it, and
    `requesters` who may come by it, by the stored policy. `envelope` and `stop` (base64url; empty
    while nobody has taken it back) are the signed documents: verify them.
    """

    id: str
    words: str
    people: list[str]
    requesters: list[str]
    scopes: list[str]
    seconds: int
    watched: bool
    reason: str
    time_zone: str
    windows: list[StandingWindow]
    issued_at: Instant
    stored_at: Instant
    revoked_at: Instant | None
    machines: list[StandingMachine]
    entries: list[StandingEntry]
    envelope: str
    stop: str


class StandingList(_Answer, frozen=True):
    """Permissions given ahead, the newest first; at most 200."""

    items: list[StandingRow]
