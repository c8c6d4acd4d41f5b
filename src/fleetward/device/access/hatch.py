"""What the two halves of a session's process say to each other.

The outer half, the **attendant**, is trusted: it reads no byte of the requester, starts what the
grant's scopes name, and ends everything. The inner half, the **session**, has the channel's keys
and parses what the requester sends; it can open, start and reach nothing by itself. This is its
hatch: it asks for a stream on a scope of the grant, and gets a descriptor, or words.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Final, TypeAlias

import msgspec

from fleetward.device.access.words import MAX_WORD_BYTES, Ending, Pulse
from fleetward.trust.errors import Malformed
from fleetward.wire.access import OpenStream


class _Word(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="word"):
    """Common settings."""


class Ask(_Word, frozen=True, tag="ask"):
    """Open a stream on a scope, by its place in the grant."""

    stream: int
    scope: int
    wanted: OpenStream


class Drop(_Word, frozen=True, tag="drop"):
    """The stream is over: end what was started for it."""

    stream: int


class Given(_Word, frozen=True, tag="given"):
    """The answer to `Ask`; a descriptor comes along when it is good."""

    stream: int
    good: bool
    words: str = ""


class Exited(_Word, frozen=True, tag="exited"):
    """What was started for a stream has ended. A signal is a negative code."""

    stream: int
    code: int


class Leave(_Word, frozen=True, tag="leave"):
    """The session is over; these are the last words to the requester."""

    words: str


FromSession: TypeAlias = Ask | Drop | Pulse | Ending
ToSession: TypeAlias = Given | Exited | Leave

_from_session: Final[msgspec.json.Decoder[FromSession]] = msgspec.json.Decoder(FromSession)
_to_session: Final[msgspec.json.Decoder[ToSession]] = msgspec.json.Decoder(ToSession)


def read_from_session(data: bytes) -> FromSession:
    """Return what the session said. Raises `Malformed`: whoever broke into it may say anything."""
    try:
        return _from_session.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a word of the list: {e}", reason="unknown_word") from e


def read_to_session(data: bytes) -> ToSession:
    """Return what the attendant said. Raises `Malformed`."""
    try:
        return _to_session.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected a word of the list: {e}", reason="unknown_word") from e


def say(sock: socket.socket, word: FromSession | ToSession, descriptor: int | None = None) -> bool:
    """Say one word without waiting; return whether the other side had room for it."""
    data = msgspec.json.encode(word)
    if len(data) > MAX_WORD_BYTES:
        return False
    with contextlib.suppress(OSError):
        if descriptor is None:
            return sock.send(data, socket.MSG_DONTWAIT) == len(data)
        socket.send_fds(sock, [data], [descriptor], socket.MSG_DONTWAIT)
        return True
    return False
