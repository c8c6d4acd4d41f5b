"""What the API says and takes about recalls.

Titles, reasons and notes are what people wrote; how a machine stands is what it signed, or what the
owner signed of it. When it was heard last, and who was told, is the server's word.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from fleetward.runtime.http.times import Instant
from fleetward.server.updates.rollout_model import MachineSelector, RolloutDeed

MAX_TITLE: Final = 120
MAX_WHY: Final = 2000
MAX_REASON: Final = 500
Line = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_TITLE)]
VersionWord = Annotated[str, msgspec.Meta(min_length=1, max_length=130)]
Advisory = Annotated[
    str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9:._/-]*$")
]
Remedy = Literal["patch", "disable", "stop"]
RecallState = Literal["open", "closed", "cancelled"]
Standing = Literal["affected", "unknown", "updated", "retired"]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Common settings of every answer."""


class _Taken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Common settings of everything taken."""


class NewRecall(_Taken, frozen=True):
    """A recall: which versions of which product, why, and what is to be done until when."""

    title: Line
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WHY)]
    remedy: Remedy
    product: Annotated[str, msgspec.Meta(max_length=48)] = ""
    """Empty: machines as they are, by `machines`."""
    versions: Annotated[list[VersionWord], msgspec.Meta(max_length=64)] = []
    """Each as `1.1`, `1.0:1.2`, `:1.2`, `1.0:`, or a counter as `#7`. None: every version."""
    machines: MachineSelector | None = None
    """Which machines can have it. None: those of the models that the releases are for."""
    fix_version: Annotated[str, msgspec.Meta(max_length=64)] = ""
    """The version that mends it, for the remedy `patch`."""
    advisories: Annotated[list[Advisory], msgspec.Meta(max_length=32)] = []
    until: Instant | None = None


class RecallBecause(_Taken, frozen=True):
    """Why somebody does something of a recall."""

    reason: Annotated[str, msgspec.Meta(max_length=MAX_REASON)] = ""


class RecallNote(_Taken, frozen=True):
    """What somebody says of machines of a recall. It proves nothing."""

    devices: Annotated[
        list[Annotated[str, msgspec.Meta(max_length=64)]],
        msgspec.Meta(min_length=1, max_length=500),
    ]
    words: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_REASON)]


class RecallTally(_Answer, frozen=True):
    """How many machines a recall found, and how they stand."""

    found: int
    affected: int
    """They signed that they run a recalled version; without a product, they are in service."""
    unknown: int
    """They have named no version."""
    updated: int
    """They signed that they run another version, for good."""
    retired: int
    """The owner's signed roster has them retired."""
    silent: int
    """Of those that are not done, how many are not connected."""


class RecallForecast(_Answer, frozen=True):
    """What a recall would find. Nothing is stored."""

    tally: RecallTally
    headline: str
    versions: list[str]
    """Published versions that it is about."""
    machines: str
    """Which machines can have it."""


class NextStep(_Answer, frozen=True):
    """What is to be done next, and by whom. This server does none of it by itself."""

    who: Literal["maker", "owner", "operator", "technician"]
    words: str
    command: str
    href: str


class NoticeRow(_Answer, frozen=True):
    """Somebody who was told, or could not be."""

    name: str
    channel: str
    good: bool
    at: Instant


class RecallRow(_Answer, frozen=True):
    """A recall and how it stands."""

    id: str
    title: str
    product: str
    versions: str
    """As they were named; empty: every version."""
    about: str
    """What is recalled, in words."""
    machines: str
    why: str
    advisories: list[str]
    remedy: Remedy
    remedy_words: str
    fix_version: str
    until: Instant | None
    overdue: bool
    state: RecallState
    words: str
    """Why it was closed or cancelled."""
    headline: str
    tally: RecallTally
    acknowledged_by: str
    acknowledged_words: str
    acknowledged_at: Instant | None
    created_by: str
    created_at: Instant
    opened_at: Instant
    changed_at: Instant


class RecalledMachine(_Answer, frozen=True):
    """A machine of a recall."""

    device_id: str
    name: str
    site: str
    model: str
    simulated: bool
    standing: Standing
    version: str
    """What it signed that it runs; empty: it has named none."""
    found_version: str
    said_at: Instant | None
    """When it signed its newest word of it, by its own clock."""
    connected: bool
    last_heard_at: Instant | None
    quarantined: bool
    proof: str
    """What proves it, in words; empty where nothing does."""
    report: str
    """The hash of the report that says so."""
    note: str
    note_by: str
    note_at: Instant | None
    found_at: Instant
    done_at: Instant | None


class RecallDay(_Answer, frozen=True):
    """One day of the history."""

    day: Instant
    found: int
    affected: int
    unknown: int
    done: int


class RecallDetail(_Answer, frozen=True):
    """A recall with a page of its machines, what is next, who was told, and what people did."""

    as_of: Instant
    recall: RecallRow
    steps: list[NextStep]
    notices: list[NoticeRow]
    deeds: list[RolloutDeed]
    history: list[RecallDay]
    items: list[RecalledMachine]
    total: int
    page: int
    per_page: int


class RecallList(_Answer, frozen=True):
    """All recalls, newest first."""

    items: list[RecallRow]


class ProofReport(_Answer, frozen=True):
    """A machine's report in the owner's record: `sha256` is of its bytes as they stand there."""

    hash: str
    sha256: str
    generation: int
    entry: int


class ProofLine(_Answer, frozen=True):
    """A machine in a proof, and where in the record that stands which shows it."""

    device: str
    name: str
    site: str
    model: str
    simulated: bool
    standing: Standing
    version: str
    counter: int
    report: ProofReport | None
    roster: int
    """The version of the roster that retired it; 0: none did."""
    last_heard_at: Instant | None
    note: str


class RecallRange(_Answer, frozen=True):
    """Releases by their counters, both among them; `last` 0: all from `first` on."""

    first: int
    last: int


class RecallMachines(_Answer, frozen=True):
    """Which machines can have it, by what the owner signed of them."""

    devices: list[str]
    groups: list[str]
    models: list[str]
    sites: list[str]


class RecallAbout(_Answer, frozen=True):
    """What a recall is about, by what decides. No product: machines as they are; no ranges: every
    version; `all` machines, or those named."""

    product: str
    ranges: list[RecallRange]
    machines: RecallMachines | Literal["all"]


class RecallProof(_Answer, frozen=True):
    """A recall as it stands, for `fleetward recall verify` and the owner's own copy of the record.

    Nothing in it is to be believed by itself.
    """

    format: Literal["fleetward-recall/1"]
    as_of: Instant
    owner_root: str
    generation: int
    entries: int
    roster: int
    recall: str
    title: str
    state: RecallState
    scope: RecallAbout
    tally: RecallTally
    lines: list[ProofLine]
