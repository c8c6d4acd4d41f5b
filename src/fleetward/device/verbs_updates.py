"""What guard does for the verbs that carry questions about releases."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from fleetward.device.port import Reply
from fleetward.trust.errors import Malformed
from fleetward.wire.identity import Refusal
from fleetward.wire.updates import UpdateAnswer

if TYPE_CHECKING:
    from fleetward.device.guard_core import GuardCore


class UpdateVerbs:
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

    def get_update(self, body: bytes) -> Reply:
        """Answer the next question, or nothing."""
        del body
        question = self._core.updates.next_question()
        return Reply(msgspec.json.encode(question) if question else b"")

    def take_update_answer(self, body: bytes) -> Reply:
        """Judge what came. Raises `Malformed` for an answer that is none."""
        updates = self._core.updates
        try:
            answer = self._parse(body, "update")
        except Malformed as e:
            updates.take_silence(e.message)
            raise
        if isinstance(answer, UpdateAnswer):
            return Reply(hint="again" if updates.take_answer(answer) else "pause")
        if isinstance(answer, Refusal):
            self._note_refusal(answer)
            updates.take_silence("The server refused to answer.")
            return Reply(hint="pause")
        words = "An answer of the server that does not fit the question (update)."
        self._core.refusals.refuse("update", "unexpected_answer", words)
        updates.take_silence(words)
        raise Malformed(words, reason="unexpected_answer")
