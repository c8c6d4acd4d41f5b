"""Handing recordings over piece by piece, while sessions run and until the server has all."""

from __future__ import annotations

import contextlib
import os
from typing import Final

from fleetward.device.access.kept import KeptSession, KeptSessions
from fleetward.device.access.tail import Tail
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Unreachable, Untrusted
from fleetward.wire.access import RECORDING_CHUNK_BYTES, RecordingChunk, RecordingReply

KEEP_STORED_MS: Final = 7 * 86_400_000
"""Powered-on time for which a recording stays here after the server has it."""


class Recordings:
    """What of each recording the server has. Part of guard's single thread."""

    def __init__(self, kept: KeptSessions) -> None:
        self._kept = kept
        self._tails: dict[str, Tail] = {}
        self._taken: dict[str, int] = {}
        self._sent: tuple[str, int, bool] | None = None
        self._turn = 0

    def tail(self, kept: KeptSession) -> Tail:
        """Return the tail of a session's recording, followed as far as it was looked at."""
        return self._tails.setdefault(kept.session, Tail(self._kept.recording(kept)))

    @property
    def waiting(self) -> bool:
        """Whether there is anything to hand over."""
        return any(self._has_more(kept) for kept in self._unstored())

    def next_chunk(self) -> RecordingChunk | None:
        """Return the next piece, or None. Sessions take turns."""
        waiting = [kept for kept in self._unstored() if self._has_more(kept)]
        while waiting:
            self._turn += 1
            kept = waiting.pop(self._turn % len(waiting))
            with contextlib.suppress(OSError):
                return self._make_chunk(kept)
        return None

    def take_reply(self, reply: RecordingReply, powered_ms: int) -> bool:
        """Go on where the server is; return whether it got further.

        Raises `Untrusted` when it speaks of something else, `Unreachable`.
        """
        sent, self._sent = self._sent, None
        kept = self._kept.sessions.get(reply.session)
        if sent is None or kept is None or sent[0] != reply.session:
            raise Untrusted("The answer is about another recording.", reason="unknown_recording")
        size = self.tail(kept).size
        if reply.size > size:
            raise Untrusted("The server has more than was recorded.", reason="unknown_recording")
        further = reply.size > self._taken.get(reply.session, 0)
        self._taken[reply.session] = reply.size
        if sent[2] and reply.size == size:
            kept.stored_powered_ms = powered_ms
            self._kept.write(kept)
            self._tails.pop(kept.session, None)
            return True
        return further

    def take_refusal(self) -> None:
        """The server did not take a piece."""
        self._sent = None

    def remove_old(self, powered_ms: int) -> None:
        """Remove recordings that the server has had for a week. Raises `Unreachable`."""
        for kept in list(self._kept.sessions.values()):
            stored = kept.stored_powered_ms
            if stored >= 0 and not kept.recording_removed and powered_ms - stored >= KEEP_STORED_MS:
                self._kept.recording(kept).unlink(missing_ok=True)
                kept.recording_removed = True
                self._kept.write(kept)
        self._kept.forget_old()

    def _unstored(self) -> list[KeptSession]:
        return [k for k in self._kept.sessions.values() if k.stored_powered_ms < 0]

    def _has_more(self, kept: KeptSession) -> bool:
        more = self.tail(kept).size > self._taken.get(kept.session, 0)
        return more or bool(kept.ended_at_ms)

    def _make_chunk(self, kept: KeptSession) -> RecordingChunk:
        tail, offset = self.tail(kept), self._taken.get(kept.session, 0)
        length = min(RECORDING_CHUNK_BYTES, tail.size - offset)
        data = b""
        if length:
            descriptor = os.open(tail.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                data = os.pread(descriptor, length, offset)
            finally:
                os.close(descriptor)
            if len(data) != length:
                raise OSError("a recording is shorter than it was")
        done = bool(kept.ended_at_ms) and offset + length == tail.size
        self._sent = (kept.session, offset, done)
        return RecordingChunk(
            session=kept.session, offset=offset, data=to_base64url(data), done=done
        )


def follow_to_end(tail: Tail) -> None:
    """Seal a recording that nobody writes any more. Raises `Unreachable` when the disk says no."""
    try:
        tail.seal()
    except FileNotFoundError:
        return  # The session was cut off before it recorded anything.
    except OSError as e:
        raise Unreachable(
            f"A recording cannot be sealed: {e.strerror}.", reason="recording_disk"
        ) from e
