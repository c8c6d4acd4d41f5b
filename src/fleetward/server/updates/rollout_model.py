"""What the API says and takes about rollouts, and how fresh the fleet is.

How machines stand is what they signed; who was let in, and what is promised, is the server's word.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.trust.selector import MAX_DEVICES, MAX_WORDS

MAX_SOAK_SECONDS: Final = 90 * 86_400
Word = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
RolloutState = Literal["running", "held", "paused", "cancelled", "done"]
PartState = Literal[
    "placed", "offered", "accepted", "refused", "installed", "committed", "rolled_back", "failed",
    "passed",
]  # fmt: skip


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Common settings of everything taken."""


class MachineSelector(_Taken, frozen=True):
    """Which machines: devices, or words that their roster entries fulfil. Nothing named: all."""

    devices: Annotated[list[Word], msgspec.Meta(max_length=MAX_DEVICES)] = []
    groups: Annotated[list[Word], msgspec.Meta(max_length=MAX_WORDS)] = []
    models: Annotated[list[Word], msgspec.Meta(max_length=MAX_WORDS)] = []
    sites: Annotated[list[Word], msgspec.Meta(max_length=MAX_WORDS)] = []


class NewRollout(_Taken, frozen=True):
    """A rollout: a release to machines, in waves as `1%`, `200`, `100%`, each with those before."""

    product: Annotated[str, msgspec.Meta(max_length=48)]
    version: Annotated[str, msgspec.Meta(max_length=64)]
    selector: MachineSelector
    waves: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=20)]
    canaries: MachineSelector | None = None
    soak_seconds: Annotated[int, msgspec.Meta(ge=0, le=MAX_SOAK_SECONDS)] = 3600
    allowed_failures: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0
    bandwidth: Annotated[int, msgspec.Meta(ge=0, le=2**40)] = 0
    """Bytes a second that each machine is sent at most; 0: as many as it takes."""


class Because(_Taken, frozen=True):
    """Why somebody stops a rollout, or lets it go on."""

    reason: Annotated[str, msgspec.Meta(max_length=200)] = ""


class StageRow(_Answer, frozen=True):
    """Canaries, or a wave."""

    words: str
    limit: int | None
    """Machines that may be in with it open, of all stages so far; None: everybody."""
    open: bool


class RolloutForecast(_Answer, frozen=True):
    """What a rollout would be."""

    machines: int
    approved: int
    """Of these, to how many the owner allows it now."""
    already: int
    """Machines that were told of this release before; they are in from the start."""
    stages: list[StageRow]
    promise: int
    promise_words: str


class FailureCause(_Answer, frozen=True):
    """Machines on which it failed by the same rule and check, as they signed."""

    cause: str
    count: int
    devices: list[str]


class RolloutRow(_Answer, frozen=True):
    """A rollout and how it stands."""

    id: str
    product: str
    version: str
    release: str
    machines: int
    """Machines that it is for, now: who joins the fleet later is among them."""
    selector: str
    canaries: str
    stages: list[StageRow]
    soak_seconds: int
    allowed_failures: int
    forgiven_failures: int
    bandwidth: int
    state: RolloutState
    words: str
    waits: str
    """What the next wave waits for."""
    promise: int
    """Machines that can have it before all of these have said how it went, at most."""
    promise_words: str
    exposure: int
    """Machines that it let in."""
    offered: int
    """Of these, how many the director has told of it."""
    counts: dict[PartState, int]
    """How the machines stand that were let in, by reports that they signed."""
    failures: list[FailureCause]
    created_by: str
    created_at: Instant
    changed_at: Instant


class RolloutPart(_Answer, frozen=True):
    """A machine that was let in."""

    device_id: str
    name: str
    site: str
    wave: int
    """From 1; 0: it was told of the release before there was a rollout."""
    state: PartState
    cause: str
    words: str
    placed_at: Instant
    offered_at: Instant | None
    ended_at: Instant | None


class RolloutDetail(_Answer, frozen=True):
    """A rollout with a page of its machines."""

    rollout: RolloutRow
    items: list[RolloutPart]
    total: int
    page: int
    per_page: int


class RolloutList(_Answer, frozen=True):
    """All rollouts, newest first."""

    items: list[RolloutRow]


class BehindRow(_Answer, frozen=True):
    """A machine that lacks an approved release."""

    device_id: str
    name: str
    site: str
    version: str
    days: int


class FreshDay(_Answer, frozen=True):
    """One day of the history."""

    day: Instant
    machines: int
    fresh: int


class ProductOverview(_Answer, frozen=True):
    """How fresh a product is over the fleet, by reports that machines signed."""

    product: str
    newest: str
    machines: int
    """Machines for which a release of it is approved."""
    silent: int
    """Of these, how many have said nothing of it."""
    fresh: int
    """How many are at most `goal_days` behind."""
    goal_days: int
    versions: dict[str, int]
    behind: list[BehindRow]
    """Those that are furthest behind, up to a hundred."""
    history: list[FreshDay]


class ProductFailure(_Answer, frozen=True):
    """Machines whose newest attempt failed by one cause."""

    product: str
    version: str
    cause: str
    count: int
    devices: list[str]


class UpdatesOverview(_Answer, frozen=True):
    """Updates at a glance."""

    products: list[ProductOverview]
    rollouts: list[RolloutRow]
    """Those that run, are held or paused."""
    failures: list[ProductFailure]
