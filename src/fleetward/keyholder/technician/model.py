"""What the technician's page is told and says."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

from fleetward.keyholder.console.model import Answer, Question
from fleetward.trust.access import MAX_SCOPES

MAX_CELLS: Final = 1000
"""Columns or rows; no screen has more, and a machine takes no more."""
MAX_LINES: Final = 10_000
"""Last lines of a log that are asked for at once."""
MAX_PATH: Final = 4096
"""Characters of a path (PATH_MAX of Linux)."""
Place: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=MAX_SCOPES)]
Cells: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=MAX_CELLS)]
Path: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_PATH)]


class GivenView(Answer, frozen=True, kw_only=True):
    """One scope of the grant, by its place in it, and where it is to be had."""

    place: int
    kind: str
    words: str
    name: str = ""
    """The user, port, unit or folder."""
    mode: str = ""
    most_bytes: int = 0
    address: str = ""
    """A web page's origin, or host and port of a plain port."""


class VisitView(Answer, frozen=True, kw_only=True):
    """Where the visit stands. Texts of others are on one line and without bidi controls."""

    phase: str
    request: str
    device_id: str
    machine: str
    site: str
    person: str
    org: str
    reason: str
    case: str
    asked_at: str
    asked: list[str]
    seconds: int
    machine_ready: bool
    unreachable: str
    approvers: list[str]
    approvers_needed: int
    people: list[str]
    six_words: str
    watched: bool
    given: list[GivenView]
    left_seconds: int
    frame: str
    over_words: str
    over_by: str
    over_who: str
    over_at: str | None
    failed: bool


class OpenTerminal(Question, frozen=True, kw_only=True):
    """Begin a terminal on a scope, of this size."""

    place: Place
    columns: Cells
    rows: Cells


class TerminalView(Answer, frozen=True, kw_only=True):
    """A terminal. `words` say why it is over, empty when it ended by itself."""

    id: str
    open: bool
    words: str


class Resize(Question, frozen=True, kw_only=True):
    """Another size."""

    columns: Cells
    rows: Cells


class FileView(Answer, frozen=True, kw_only=True):
    """A name in a folder: as it is there, and as it may be shown."""

    name: str
    shown: str
    kind: str
    size: int
    modified: int


class FolderView(Answer, frozen=True, kw_only=True):
    """A folder. `odd` names are left out: no file can be asked for by them."""

    path: str
    items: list[FileView]
    odd: int


class WantFile(Question, frozen=True, kw_only=True):
    """Fetch this file."""

    place: Place
    path: Path


class Ticket(Answer, frozen=True, kw_only=True):
    """Where the browser may fetch the file, once, within half a minute."""

    address: str
    name: str
    size: int


class TransferView(Answer, frozen=True, kw_only=True):
    """A file on its way, or moved. `trouble` says why it did not get there."""

    id: str
    name: str
    up: bool
    moved: int
    size: int
    state: str
    trouble: str
    sha256: str


class TransferList(Answer, frozen=True, kw_only=True):
    """The transfers of this visit, newest first, and how many bytes were moved by scope."""

    items: list[TransferView]
    moved: dict[str, int]
