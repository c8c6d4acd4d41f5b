"""What the server may push to a machine: carriers of signed bytes, and orders that only reduce."""

from __future__ import annotations

from typing import Final, Literal

from fleetward.wire.identity import Count, Struct

REDUCTIONS: Final = ("report_now", "reconnect", "look_for_updates")
"""All that a machine does because the server says so: report sooner, connect again, ask sooner
whether there is a release for it."""


class DocumentsRequest(Struct, frozen=True):
    """Ask for owner documents newer than these versions."""

    policy_version: Count
    head_version: Count
    roster_version: Count


class Documents(Struct, frozen=True, tag="documents"):
    """A bundle of owner documents, base64url of canonical JSON. Each is signed by the owner."""

    bundle: str


class Order(Struct, frozen=True, tag="order"):
    """A signed envelope of a type that only signatures make valid, base64url."""

    envelope: str


class Reduce(Struct, frozen=True, tag="reduce"):
    """An unsigned order that can only reduce."""

    what: Literal["report_now", "reconnect", "look_for_updates"]
