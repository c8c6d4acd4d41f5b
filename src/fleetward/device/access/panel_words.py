"""What the panel and guard say to each other: one JSON object a line, both ways.

Guard parses these lines itself, so they are few and small: canonical JSON (RFC 8785 as in
`trust.canonical`: sorted names, no spaces, no name twice) of at most `MAX_LINE_BYTES`, with the
fields `do` and, for all but `show`, `subject`.

    {"do":"show"}                          -> {"good":true,"panel":{…}}
    {"do":"stop","subject":"<session>"}    -> {"good":true}
    {"do":"refuse","subject":"<request>"}  -> {"good":false,"reason":"…","words":"…"}
    {"do":"press","subject":"<grant>"}

A subject is the hash of a session, request or grant, as the answer to `show` names it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.trust.canonical import decode
from fleetward.trust.errors import FleetwardError
from fleetward.trust.fields import Fields

SHOW: Final = "show"
STOP: Final = "stop"
REFUSE: Final = "refuse"
PRESS: Final = "press"
DEEDS: Final = (STOP, REFUSE, PRESS)
MAX_LINE_BYTES: Final = 256
"""A hash has 64 digits; nothing else is ever said."""
MAX_ANSWER_BYTES: Final = 128 * 1024
FOLDER: Final = "panel"
SOCKET: Final = "panel.sock"


@dataclass(frozen=True, slots=True)
class Said:
    """One line of somebody at the panel."""

    do: str
    subject: str = ""


class Asking(msgspec.Struct, frozen=True):
    """A request that waits for the owner's yes."""

    request: str
    six_words: str
    person: str
    org: str
    scopes: tuple[str, ...]
    seconds: int
    reason: str
    case: str
    asked_at_ms: int
    break_glass: bool


class Inside(msgspec.Struct, frozen=True):
    """Somebody who is inside. `seconds_left` is measured on a clock that nobody sets."""

    session: str
    six_words: str
    person: str
    org: str
    scopes: tuple[str, ...]
    reason: str
    case: str
    people: tuple[str, ...]
    watched: bool
    watchers: tuple[str, ...]
    opened_at_ms: int
    ends_at_ms: int
    seconds_left: int
    break_glass: bool
    ending: bool


class WaitsHere(msgspec.Struct, frozen=True):
    """Something that opens when somebody presses."""

    subject: str
    six_words: str
    words: str
    seconds_left: int
    pressed: bool


class Panel(msgspec.Struct, frozen=True):
    """What the panel shows. `no_press` says why no press is taken here, or nothing."""

    device: str
    name: str
    six_words: str
    owner: str
    state: str
    wall: str
    sandbox: str
    no_press: str
    now_ms: int
    asking: tuple[Asking, ...] = ()
    inside: tuple[Inside, ...] = ()
    waiting: tuple[WaitsHere, ...] = ()


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Guard's answer to a line."""

    good: bool
    reason: str = ""
    words: str = ""
    panel: Panel | None = None


def read_line(line: bytes) -> Said:
    """Return what a line says. Raises `Malformed`."""
    value = decode(line, max_bytes=MAX_LINE_BYTES)
    do = value.get("do") if isinstance(value, dict) else None
    if do == SHOW:
        Fields(value, "the line", {"do"})
        return Said(SHOW)
    fields = Fields(value, "the line", {"do", "subject"})
    return Said(fields.choice("do", DEEDS), fields.digest("subject"))


def encode_answer(answer: Answer) -> bytes:
    """Return an answer as a line."""
    return msgspec.json.encode(answer) + b"\n"


def refusal(error: FleetwardError) -> Answer:
    """Return the answer that something was refused."""
    return Answer(good=False, reason=error.reason, words=error.message)


def socket_folder(data: Path) -> Path:
    """Return the folder of the panel's socket."""
    return data / FOLDER
