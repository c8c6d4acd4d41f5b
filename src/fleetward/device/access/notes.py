"""What the machine has to say of sessions: offers, denials, receipts; said until the server has it.

What it says of permissions given ahead is said again whenever the server hands them over again.
Offers and denials live in memory: after a restart they mean nothing. Receipts are kept on the disk
by whoever puts them here, and put here again at the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.trust.canonical import to_base64url
from fleetward.wire.access import AccessNote

MOST_WAITING: Final = 64
MOST_TRIES: Final = 5
"""Refusals of the server after which an offer or a denial is dropped."""

Kind = Literal["offer", "denial", "receipt", "standing"]


@dataclass(slots=True)
class _Waiting:
    """One note, and how often the server refused it."""

    note: AccessNote
    tries: int = 0


class Notes:
    """The queue. Part of guard's single thread."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []
        self._sent: _Waiting | None = None
        self._on_news: Callable[[], None] = lambda: None

    def call_on_news(self, on_news: Callable[[], None]) -> None:
        """Have `on_news` called when there is something to say."""
        self._on_news = on_news

    def put(self, kind: Kind, subject: str, envelope: bytes) -> None:
        """Have this said, in the place of an older note about the same."""
        note = AccessNote(kind=kind, subject=subject, envelope=to_base64url(envelope))
        self._waiting = [
            w for w in self._waiting if (w.note.kind, w.note.subject) != (kind, subject)
        ]
        self._waiting.append(_Waiting(note))
        if len(self._waiting) > MOST_WAITING:
            self._drop_one()
        self._on_news()

    def withdraw(self, kind: Kind, subject: str) -> None:
        """Say this no more."""
        self._waiting = [
            w for w in self._waiting if (w.note.kind, w.note.subject) != (kind, subject)
        ]

    @property
    def waiting(self) -> int:
        """How many notes wait."""
        return len(self._waiting)

    def next(self) -> AccessNote | None:
        """Return what to say next, or None."""
        self._sent = self._waiting[0] if self._waiting else None
        return self._sent.note if self._sent else None

    def take_reply(self, subject: str) -> AccessNote | None:
        """The server has stored the note about this; return it, or None when it was not said."""
        sent, self._sent = self._sent, None
        if sent is None or sent.note.subject != subject:
            return None
        if sent in self._waiting:
            self._waiting.remove(sent)
        return sent.note

    def take_refusal(self) -> None:
        """The server did not take it: the next one first, and a receipt for ever again."""
        sent, self._sent = self._sent, None
        if sent is None or sent not in self._waiting:
            return
        self._waiting.remove(sent)
        sent.tries += 1
        if sent.note.kind in ("receipt", "standing") or sent.tries < MOST_TRIES:
            self._waiting.append(sent)

    def _drop_one(self) -> None:
        """Make room: the oldest denial goes first, a receipt last."""
        for kind in ("denial", "offer", "standing", "receipt"):
            for waiting in self._waiting:
                if waiting.note.kind == kind:
                    self._waiting.remove(waiting)
                    return
