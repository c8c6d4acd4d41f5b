"""What guard and the process of a session say to each other, over a socket that keeps messages.

Guard's end says `Probe` or `OpenOrder` once, with descriptors where needed, and `End` at any time.
The other end says how it goes. Nothing here is a secret but the machine's session key in the order,
which therefore travels by this socket and stands in no argument, file or environment.
"""

from __future__ import annotations

import socket
from typing import Final, TypeAlias

import msgspec

from fleetward.device.spoken import decode_word
from fleetward.trust.access import Scope, read_scopes
from fleetward.trust.canonical import decode
from fleetward.trust.errors import Malformed

MAX_WORD_BYTES: Final = 64 * 1024
MAX_SHOWN_CHARACTERS: Final = 300


class _Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="word"):
    """Common settings."""


class Probe(_Word, frozen=True, tag="probe"):
    """Say what keeps sessions apart on this machine, and end."""

    hidden: tuple[str, ...]


class OpenOrder(_Word, frozen=True, tag="open"):
    """Be this session. Two descriptors come along: the channel, and the recording to append to.

    `scopes` are those of the grant, in canonical JSON. `hidden` are folders that nothing inside may
    see.
    """

    owner: str
    device: str
    session: str
    scopes: str
    machine_private: bytes
    requester_key: bytes
    recording_key: str
    started_at_ms: int
    seconds_left: int
    sandbox: str
    hidden: tuple[str, ...]

    def read_scopes(self) -> tuple[Scope, ...]:
        """Return the scopes. Raises `Malformed`."""
        value = decode(self.scopes.encode(), max_bytes=MAX_WORD_BYTES)
        if not isinstance(value, list):
            raise Malformed("Expected a list of scopes.", reason="bad_scope")
        return read_scopes(value)


class End(_Word, frozen=True, tag="end"):
    """Kill everything, now. `words` are the last to the requester."""

    words: str


class Probed(_Word, frozen=True, tag="probed"):
    """What was found. `sandbox` is a word of an offer; `words` say what is missing, or nothing."""

    sandbox: str
    words: str


class Started(_Word, frozen=True, tag="started"):
    """The session runs; the sender is who ends it."""

    pid: int


class Pulse(_Word, frozen=True, tag="pulse"):
    """Something moved. `active`: bytes of a stream did, so that the session is not idle."""

    active: bool
    bytes_in: int
    bytes_out: int


class Ending(_Word, frozen=True, tag="ending"):
    """The session is over from inside: `closed` by who was in it, or `failed`."""

    by: str
    words: str
    bytes_in: int
    bytes_out: int


Downward: TypeAlias = Probe | OpenOrder | End
Upward: TypeAlias = Probed | Started | Pulse | Ending

_downward: Final[msgspec.json.Decoder[Downward]] = msgspec.json.Decoder(Downward)
_upward: Final[msgspec.json.Decoder[Upward]] = msgspec.json.Decoder(Upward)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two ends of a socket that keeps messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def receive(sock: socket.socket, size: int = MAX_WORD_BYTES) -> bytes:
    """Return the next message, or nothing at the end. Raises `OSError`.

    Who closes with messages unread has the other side told of that first, once (ECONNRESET), and
    only then of what he had said before he closed.
    """
    try:
        return sock.recv(size)
    except ConnectionResetError:
        return sock.recv(size)


def encode(word: Downward | Upward) -> bytes:
    """Return a word as it travels."""
    return msgspec.json.encode(word)


def read_downward(data: bytes) -> Downward:
    """Return what guard said. Raises `Malformed`."""
    return decode_word(_downward, data)


def read_upward(data: bytes) -> Upward:
    """Return what a session's process said. Raises `Malformed`."""
    return decode_word(_upward, data)


def clean(text: str) -> str:
    """Return words that are only shown: short, and printable."""
    return "".join(c for c in text if c.isprintable())[:MAX_SHOWN_CHARACTERS]
