"""What guard and the installer say to each other, over a socket that keeps messages.

The installer is a process of a moment, started as a closer is. Guard says first which release it is
about (`Plan`), then a word at a time. Everything in a plan comes out of a verified manifest; places
are names, to which the machine's own file gives a path (`places`). Long work is told by `Progress`.

| word   | what it does                                                | answered by |
|--------|-------------------------------------------------------------|-------------|
| Plan   | says what it is about, and asks what is there               | Surveyed    |
| Write  | writes a part to its inactive place and verifies it there   | Written     |
| Patch  | the same, out of the active part and a delta                | Written     |
| Switch | makes every part active, runs the hooks                     | Done        |
| Restart| starts the machine again, if it may                         | Done        |
| Test   | asks every health check once                                | Tested      |
| Commit | forgets what only going back needed, but for one release    | Done        |
| Back   | makes active what was active before, runs the hooks         | Done        |
| Clear  | drops what was written and never became active              | Done        |

Every word may come again after a power cut, at any state, and then ends where it ends the first
time: guard goes on where its own file says that it was.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from fleetward.device.spoken import decode_word

MAX_WORD_BYTES: Final = 160 * 1024
"""A plan of 32 parts and 16 checks with their arguments."""
MAX_TEXT_CHARACTERS: Final = 300

Digest = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
DigestOrNone = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")]
Name = Annotated[str, msgspec.Meta(pattern="^[a-z0-9][a-z0-9-]{0,47}$")]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)]
Size = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class TrialWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the launcher tries a new agent: how long it may take to become healthy, how long it stays
    so, and whether it has to reach the server."""

    within_seconds: Size
    steady_seconds: Size
    connects: bool


class PartWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One part. `before` is what was active when the release was begun; empty: nothing was."""

    name: Name
    installer: Literal["directory", "file-slot", "rauc", "dpkg", "agent"]
    place: Name
    sha256: Digest
    length: Size
    before: DigestOrNone = ""
    unpacked_bytes: Size = 0
    unpacked_files: Size = 0
    hook: str = ""
    replaces_agent: bool = False
    """Whether the release says of itself that it replaces the agent."""
    trial: TrialWord | None = None
    """Of the installer `agent` alone."""


class CheckWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One health check (`trust.release_checks`)."""

    kind: Literal["process", "port", "http", "file", "command"]
    name: str = ""
    port: Size = 0
    path: str = ""
    status: Size = 0
    part: str = ""
    arguments: tuple[str, ...] = ()
    seconds: Size = 0


class SlotWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is where: the SHA-256 of the part that is active in the place of `part`, whether what
    the plan wants lies there whole and inactive, and whether a delta can start from the active."""

    part: Name
    active: DigestOrNone
    written: bool
    is_source: bool = False


class FindingWord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one check ended."""

    check: Text
    good: bool
    words: Text


class _Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="word"):
    """Common settings."""


class Plan(_Word, frozen=True, tag="plan"):
    """Which release this is about. It is the first word, and comes once."""

    product: Name
    parts: Annotated[tuple[PartWord, ...], msgspec.Meta(min_length=1, max_length=32)]
    checks: Annotated[tuple[CheckWord, ...], msgspec.Meta(max_length=16)] = ()


class Surveyed(_Word, frozen=True, tag="surveyed"):
    """`problem` says why this machine cannot take it (`rule`: its stable word); `needed_bytes` and
    `free_bytes` are of the fullest disk among the places; `in_use` is why it must not be disturbed.
    Too little room is no problem here: guard compares. The rules stand in `installing`.
    """

    problem: Text
    rule: str
    slots: tuple[SlotWord, ...]
    free_bytes: Size
    needed_bytes: Size
    in_use: Text = ""


class Write(_Word, frozen=True, tag="write"):
    """Write this part. A descriptor comes along; the part lies in it from `offset` on."""

    part: Name
    offset: Size = 0


class Patch(_Word, frozen=True, tag="patch"):
    """Make this part out of what is active, or of nothing, and the delta in the descriptor, which
    is so long and has this SHA-256. One whose SHA-256 is not said is not applied."""

    part: Name
    source: Digest
    length: Size
    offset: Size = 0
    sha256: DigestOrNone = ""


class Written(_Word, frozen=True, tag="written"):
    """It lies there, verified, on the disk; or `problem` and `rule` say why not."""

    problem: Text = ""
    rule: str = ""


class Progress(_Word, frozen=True, tag="progress"):
    """So far. It comes at least every few seconds while a word is carried out."""

    done_bytes: Size


class Switch(_Word, frozen=True, tag="switch"):
    """Make all parts active. Answered with the rule `in_use`, nothing was touched: guard waits, and
    asks again. Once a part is active the machine's interlock is not asked any more."""


class Restart(_Word, frozen=True, tag="restart"):
    """Start the machine again: what is active runs only then. Answered with the rule `in_use`, or
    `restart_by_hand`, nothing was done. Answered well, the machine is about to end."""


class Test(_Word, frozen=True, tag="test"):
    """Ask every health check once."""


class Tested(_Word, frozen=True, tag="tested"):
    """How each check ended, in their order."""

    findings: tuple[FindingWord, ...]


class Commit(_Word, frozen=True, tag="commit"):
    """It is good: it stays."""


class Back(_Word, frozen=True, tag="back"):
    """Make active what was before. The interlock is not asked: that guard does, where it can wait.
    Every part is gone back with, also after one that failed."""


class Clear(_Word, frozen=True, tag="clear"):
    """Nothing comes of it."""


class Done(_Word, frozen=True, tag="done"):
    """It is so; or `problem` and `rule` say why not, in part or whole. `restart` says that what is
    active now runs only when the machine has started again."""

    problem: Text = ""
    rule: str = ""
    restart: bool = False


Downward: TypeAlias = Plan | Write | Patch | Switch | Restart | Test | Commit | Back | Clear
Upward: TypeAlias = Surveyed | Written | Progress | Tested | Done

_downward: Final[msgspec.json.Decoder[Downward]] = msgspec.json.Decoder(Downward)
_upward: Final[msgspec.json.Decoder[Upward]] = msgspec.json.Decoder(Upward)


def encode(word: Downward | Upward) -> bytes:
    """Return a word as it travels."""
    return msgspec.json.encode(word)


def read_downward(data: bytes) -> Downward:
    """Return what guard said. Raises `Malformed`."""
    return decode_word(_downward, data)


def read_upward(data: bytes) -> Upward:
    """Return what the installer said. Raises `Malformed`."""
    return decode_word(_upward, data)


def clean(text: str) -> str:
    """Return a text that is only shown: short, and printable."""
    return "".join(c for c in text if c.isprintable())[:MAX_TEXT_CHARACTERS]
