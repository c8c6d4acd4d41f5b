"""What guard does for the verbs that carry sessions: notes, recordings, and the channel itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from fleetward.device.port import Reply
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.wire.access import AccessReply, RecordingReply
from fleetward.wire.identity import Refusal

if TYPE_CHECKING:
    from fleetward.device.guard_core import GuardCore


class AccessVerbs:
    """Answers uplink, one verb a method. `parse` and `note_refusal` are those of `Verbs`."""

    def __init__(
        self,
        core: GuardCore,
        parse: Callable[[bytes, str], object],
        note_refusal: Callable[[Refusal], None],
    ) -> None:
        self._core = core
        self._parse = parse
        self._note_refusal = note_refusal

    def get_access(self, body: bytes) -> Reply:
        """Answer the next note, or nothing."""
        del body
        note = self._core.sessions.notes.next()
        return Reply(msgspec.json.encode(note) if note else b"")

    def take_access_reply(self, body: bytes) -> Reply:
        """Tick a note off. Raises `Malformed` for an answer that is none."""
        sessions = self._core.sessions
        answer = self._parse(body, "access")
        if isinstance(answer, AccessReply):
            note = sessions.notes.take_reply(answer.subject)
            if note is None:
                raise self._strange("access")
            if note.kind == "receipt":
                sessions.take_receipt_stored(note.subject)
            return Reply(hint="again")
        sessions.notes.take_refusal()
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            return Reply(hint="pause")
        raise self._strange("access")

    def get_recording(self, body: bytes) -> Reply:
        """Answer the next piece of a recording, or nothing."""
        del body
        chunk = self._core.sessions.recordings.next_chunk()
        return Reply(msgspec.json.encode(chunk) if chunk else b"")

    def take_recording_reply(self, body: bytes) -> Reply:
        """Go on where the server is. Raises `Malformed`, `Untrusted`."""
        recordings = self._core.sessions.recordings
        answer = self._parse(body, "recording")
        if isinstance(answer, RecordingReply):
            try:
                further = recordings.take_reply(answer, self._core.time.powered_ms())
            except Untrusted as e:
                self._core.refusals.refuse("recording", e.reason, e.message)
                raise
            return Reply(hint="again" if further else "pause")
        recordings.take_refusal()
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            return Reply(hint="pause")
        raise self._strange("recording")

    def take_channel(self, body: bytes) -> Reply:
        """Hand over the socket of a session that was opened, or nothing."""
        del body
        found = self._core.sessions.take_channel()
        if found is None:
            return Reply()
        name, descriptor = found
        return Reply(name.encode("ascii"), descriptor=descriptor)

    def _strange(self, what: str) -> Malformed:
        words = f"An answer of the server that does not fit the question ({what})."
        self._core.refusals.refuse(what, "unexpected_answer", words)
        return Malformed(words, reason="unexpected_answer")
