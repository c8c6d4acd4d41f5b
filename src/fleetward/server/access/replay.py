"""Handing out stored recordings. Who fetched one is written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.server.access import store
from fleetward.server.access.act import Access
from fleetward.server.access.book import Book
from fleetward.server.web.caller import Caller
from fleetward.wire.access import RECORDING_CHUNK_BYTES

MAX_READ_BYTES: Final = 1024 * 1024
"""Bytes of one answer."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a recording, how many are stored in all, and whether that is the whole."""

    data: bytes
    size: int
    done: bool


@dataclass(frozen=True)
class Replays:
    """Reads recordings, sealed as they are."""

    book: Book
    access: Access

    def read(self, session: str, offset: int, caller: Caller) -> Piece:
        """Return what is stored from `offset` on, `MAX_READ_BYTES` at most. Raises `Refused`."""
        row = self.access.find_session(session, caller)
        words = f"{caller.name} fetched the recording of {row.person} at {row.device_name}."
        self.access.note_hourly("access.replayed", words, row, caller)
        with self.book.near.database.read() as conn:
            held = store.select_recording(conn, session)
            if held is None:
                return Piece(b"", 0, done=False)
            found = store.select_pieces(
                conn, session, offset - RECORDING_CHUNK_BYTES, offset + MAX_READ_BYTES
            )
        first = found[0].start if found else offset
        data = b"".join(bytes(piece.data) for piece in found)[max(0, offset - first) :]
        return Piece(data[:MAX_READ_BYTES], int(held.size), done=bool(held.done))
