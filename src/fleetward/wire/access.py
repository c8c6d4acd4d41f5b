"""Sessions: what a machine says of them, what travels inside them, and what the API hands out.

Orders reach a machine as signed envelopes in `wire.orders.Order`. Everything here that a machine
accepts is either inside the sealed channel, from the requester himself, or a bare count.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from fleetward.trust.errors import Malformed
from fleetward.wire.identity import Count, Struct

MAX_DATA_BYTES: Final = 64 * 1024
"""Bytes of data in one frame."""
WINDOW_BYTES: Final = 1024 * 1024
"""Bytes that may be on their way in one direction of one stream before a credit comes back."""
MAX_STREAMS: Final = 64
"""Streams open at once in one session; a browser opens six for a host."""
RECORDING_CHUNK_BYTES: Final = 512 * 1024
MAX_LABEL_BYTES: Final = 4096
_HEAD: Final = struct.Struct(">BBI")


class Frame(IntEnum):
    """What a frame inside the channel is. The side that may send it stands behind it."""

    OPEN = 1
    """Requester: begin a stream on a scope. Data: JSON of `OpenStream`."""
    DATA = 2
    """Both: bytes of a stream."""
    CREDIT = 3
    """Both: four bytes, how much more may be sent on a stream."""
    END = 4
    """Both: no more data in this direction of a stream."""
    CLOSE = 5
    """Both: the stream is over. Data: words to show, at most `MAX_LABEL_BYTES`."""
    RESIZE = 6
    """Requester: two bytes of columns, two of rows."""
    LEAVE = 7
    """Both: the session is over. Data: words to show."""
    READY = 8
    """Machine: the stream is open, or the session (stream 0). Data: JSON for the handler."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One frame: its kind, the place of its scope in the grant, its stream, its data."""

    kind: Frame
    scope: int
    stream: int
    data: bytes = b""

    def to_bytes(self) -> bytes:
        """Return the plain text of a record."""
        return _HEAD.pack(self.kind, self.scope, self.stream) + self.data


def read_piece(plain: bytes) -> Piece:
    """Return the frame in the plain text of a record. Raises `Malformed`."""
    if not _HEAD.size <= len(plain) <= _HEAD.size + MAX_DATA_BYTES:
        raise Malformed("Expected a frame of at most 64 KiB of data.", reason="bad_frame")
    kind, scope, stream = _HEAD.unpack(plain[: _HEAD.size])
    try:
        return Piece(Frame(kind), scope, stream, plain[_HEAD.size :])
    except ValueError as e:
        raise Malformed("Expected a kind of frame of the list.", reason="bad_frame") from e


class OpenStream(Struct, frozen=True):
    """What a stream is opened with. Only the fields of its scope's handler mean anything.

    terminal: `columns`, `rows`, `term`. logs: `follow`, `lines`. files: `verb`, `path` (relative
    to the scope's root), `size`. tcp, serial, runbook: nothing.
    """

    columns: Count = 80
    rows: Count = 24
    term: str = "xterm-256color"
    follow: bool = False
    lines: Count = 200
    verb: Literal["list", "get", "put"] = "list"
    path: str = ""
    size: Count = 0


class AccessNote(Struct, frozen=True):
    """What a machine says of a session: a signed envelope, base64url. `subject` is what it
    answers: the hash of a request (offer, denial), of a grant or entry (receipt, denial), or of a
    permission given ahead (standing)."""

    kind: Literal["offer", "denial", "receipt", "standing"]
    subject: str
    envelope: str


class AccessReply(Struct, frozen=True, tag="access"):
    """The server has stored the note for this subject."""

    subject: str


class RecordingChunk(Struct, frozen=True):
    """A piece of a sealed recording, base64url. `done`: it ends here."""

    session: str
    offset: Count
    data: str
    done: bool


class RecordingReply(Struct, frozen=True, tag="recording"):
    """The server holds `size` bytes of this recording."""

    session: str
    size: Count
