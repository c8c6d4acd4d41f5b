"""What is shown of a machine's posture, in the words of the API.

The posture capability fills these groups, and the machine's page carries them; neither slice
imports the other, so they meet here.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from fleetward.runtime.http.times import Instant


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class Reachability(_Answer, frozen=True):
    """How many ports answer, and to whom. Numbers are null when they are not visible."""

    as_of: Instant | None
    state: Literal["shown", "not_visible"]
    sockets_total: int | None
    lan: int | None
    loopback: int | None
    words: str


class Software(_Answer, frozen=True):
    """What runs here and what waits. Numbers are null when they are not visible."""

    as_of: Instant | None
    os: str
    kernel: str
    packages: int | None
    pending: int | None
    security: int | None
    inventory_digest: str | None
    words: str


class EvidenceView(_Answer, frozen=True):
    """One piece of evidence. `holds` is null when it could not be seen."""

    words: str
    as_of: Instant
    holds: bool | None


class PropertyView(_Answer, frozen=True):
    """One of the seven properties, with its evidence and one next step."""

    id: str
    name: str
    state: Literal["shown", "partly", "not_shown", "not_visible"]
    evidence: list[EvidenceView]
    next: str
