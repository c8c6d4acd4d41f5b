"""What the owner's console says and takes about permissions given ahead."""

from __future__ import annotations

from typing import Annotated

import msgspec

from fleetward.keyholder.console.access_model import (
    Hash,
    PasskeyChoice,
    PasskeyYes,
    Scope,
    ScopeView,
)
from fleetward.keyholder.console.model import Answer, DeviceId, Question
from fleetward.trust.access import MAX_SCOPES, MAX_SECONDS
from fleetward.trust.grants.standing import MAX_DEVICES, MAX_STANDING_REQUESTERS, MAX_WINDOWS


class SpanView(Answer, frozen=True, kw_only=True):
    """One window, in the time zone of its document and in UTC."""

    words: str
    not_before: str
    not_after: str


class WindowMachine(Answer, frozen=True, kw_only=True):
    """A machine of a permission: what it has signed, and how each window stands there."""

    device_id: str
    name: str
    state: str
    words: str
    windows: list[str]


class WindowView(Answer, frozen=True, kw_only=True):
    """A permission given ahead. With `trouble` nothing of it is believed."""

    id: str
    trouble: str = ""
    six_words: str = ""
    allowed_by: list[str] = msgspec.field(default_factory=list)
    people: list[str] = msgspec.field(default_factory=list)
    scopes: list[ScopeView] = msgspec.field(default_factory=list)
    seconds: int = 0
    watched: bool = False
    reason: str = ""
    time_zone: str = ""
    windows: list[SpanView] = msgspec.field(default_factory=list)
    next_window: int | None = None
    open_now: bool = False
    doubt: str = ""
    revoked_by: str = ""
    waiting_for: list[str] = msgspec.field(default_factory=list)
    machines: list[WindowMachine] = msgspec.field(default_factory=list)


class Choice(Answer, frozen=True, kw_only=True):
    """One thing that can be chosen."""

    id: str
    words: str


class WindowList(Answer, frozen=True, kw_only=True):
    """Permissions given ahead, the newest first, and what one more can be made of."""

    items: list[WindowView]
    machines: list[Choice]
    people: list[str]
    scopes: list[Choice]


class PrepareWindow(Question, frozen=True, kw_only=True):
    """What an approver would allow ahead. `every` as 'Tue 02:00-04:00', `at` as
    '2026-12-01T02:00-04:00', both in the time zone."""

    machines: Annotated[list[DeviceId], msgspec.Meta(min_length=1, max_length=MAX_DEVICES)]
    people: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=80)]],
        msgspec.Meta(min_length=1, max_length=MAX_STANDING_REQUESTERS),
    ]
    scopes: Annotated[list[Scope], msgspec.Meta(min_length=1, max_length=MAX_SCOPES)]
    every: Annotated[str, msgspec.Meta(max_length=80)] = ""
    weeks: Annotated[int, msgspec.Meta(ge=1, le=57)] = 12
    at: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=40)]], msgspec.Meta(max_length=MAX_WINDOWS)
    ] = msgspec.field(default_factory=list)
    skip: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=10)]], msgspec.Meta(max_length=MAX_WINDOWS)
    ] = msgspec.field(default_factory=list)
    time_zone: Annotated[str, msgspec.Meta(min_length=1, max_length=64)] = "UTC"
    seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SECONDS)] = 0
    watched: bool = False
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class PreparedWindow(Answer, frozen=True, kw_only=True):
    """A permission that is ready to be signed."""

    standing: str
    six_words: str
    machines: list[str]
    people: list[str]
    scopes: list[ScopeView]
    seconds: int
    watched: bool
    reason: str
    windows: list[SpanView]
    people_needed: int
    passkey: PasskeyChoice | None = None
    own_key: bool = True


class AllowWindow(Question, frozen=True, kw_only=True):
    """Sign the permission with this hash, which was prepared and shown."""

    standing: Hash
    passkey: PasskeyYes | None = None


class RevokeWindow(Question, frozen=True, kw_only=True):
    """Take a permission back."""

    standing: Hash
    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class WindowSaid(Answer, frozen=True, kw_only=True):
    """What was signed and handed over."""

    id: str
    words: str
