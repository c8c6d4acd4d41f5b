"""What the API says and takes about machines."""

from __future__ import annotations

from typing import Annotated

import msgspec


class PendingDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A machine that the owner has not confirmed. Compute the words yourself from `public`."""

    id: str
    suite: str
    public: str
    name_suggested: str
    site: str
    model: str
    maker: str
    words: str
    joined_at: str
    invitation: str
    preapproved: bool
    simulated: bool


class PendingDevices(msgspec.Struct, frozen=True, kw_only=True):
    """Machines that wait for the owner."""

    items: list[PendingDevice]


class Reason(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Why somebody does this; it stands in the record."""

    reason: Annotated[str, msgspec.Meta(max_length=500)]


class DeviceState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a machine after an action."""

    id: str
    state: str
