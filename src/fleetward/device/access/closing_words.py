"""What guard and the closer say to each other: numbers, and names of a closed list.

Guard asks first what there is (`Survey`), writes down what it will have to put back, and then has
it closed (`Shut`). No word holds a text that becomes an argument, a path or a line of a rule: a
port is a number, a unit is one of a list that stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from fleetward.device.spoken import decode_word

PROGRAMS_PATH: Final = "/usr/sbin:/sbin:/usr/bin:/bin"
"""Where the tools of the system are, and nowhere else."""
MAX_WORD_BYTES: Final = 64 * 1024
MAX_PORTS: Final = 512
"""Those of a closing, and those on which programs of local access wait."""
MAX_TEXTS: Final = 64
MAX_TEXT_CHARACTERS: Final = 100

Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Ports = Annotated[tuple[Port, ...], msgspec.Meta(max_length=MAX_PORTS)]
Access = Literal["ssh", "telnet"]
Unit = Literal[
    "ssh.socket",
    "ssh.service",
    "sshd.socket",
    "sshd.service",
    "dropbear.socket",
    "dropbear.service",
    "telnet.socket",
    "telnetd.service",
]
"""What of systemd gives local access; the sockets first, so that they start nothing again."""
UNITS: Final[Mapping[Access, tuple[Unit, ...]]] = {
    "ssh": tuple(u for u in get_args(Unit) if not u.startswith("telnet")),
    "telnet": tuple(u for u in get_args(Unit) if u.startswith("telnet")),
}
Units = Annotated[tuple[Unit, ...], msgspec.Meta(max_length=8)]
Texts = Annotated[
    tuple[Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARACTERS)], ...],
    msgspec.Meta(max_length=MAX_TEXTS),
]


class _Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="word"):
    """Common settings."""


class Survey(_Word, frozen=True, tag="survey"):
    """Say whether anything can be closed here, and what there is of these ways of access."""

    local_access: tuple[Access, ...]


class Surveyed(_Word, frozen=True, tag="surveyed"):
    """`problem` says why nothing can be closed; `rule` is its stable word.

    `units` are on now; `tcp` are ports on which programs of these ways of access wait.
    """

    problem: str
    units: Units
    tcp: Ports


class Shut(_Word, frozen=True, tag="shut"):
    """Have exactly these ports closed, these units off, and these on again."""

    tcp: Ports
    udp: Ports
    stop: Units
    start: Units
    local_access: tuple[Access, ...]


class Done(_Word, frozen=True, tag="done"):
    """It is so, unless `problem` says why not. `remark` says what went less well.

    `mark` names the state of the filter, to compare with later. `cut` are the peers of connections
    that were cut, `cut_count` how many; `listening` what waits for others now; `still_runs` the
    ways of access of which a program still waits, behind the filter.
    """

    problem: str
    remark: str
    mark: str
    cut: Texts
    cut_count: int
    listening: Texts
    still_runs: tuple[Access, ...]


class Check(_Word, frozen=True, tag="check"):
    """Say in which state the filter is."""


class Checked(_Word, frozen=True, tag="checked"):
    """The filter's mark now; empty when there is no filter of ours."""

    mark: str


Downward: TypeAlias = Survey | Shut | Check
Upward: TypeAlias = Surveyed | Done | Checked

_downward: Final[msgspec.json.Decoder[Downward]] = msgspec.json.Decoder(Downward)
_upward: Final[msgspec.json.Decoder[Upward]] = msgspec.json.Decoder(Upward)


def encode(word: Downward | Upward) -> bytes:
    """Return a word as it travels."""
    return msgspec.json.encode(word)


def read_downward(data: bytes) -> Downward:
    """Return what guard said. Raises `Malformed`."""
    return decode_word(_downward, data)


def read_upward(data: bytes) -> Upward:
    """Return what the closer said. Raises `Malformed`."""
    return decode_word(_upward, data)


def clean(text: str) -> str:
    """Return a text that is only shown: short, and printable."""
    return "".join(c for c in text if c.isprintable())[:MAX_TEXT_CHARACTERS]
