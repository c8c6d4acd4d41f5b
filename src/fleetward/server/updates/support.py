"""Announces the end of a product's support, each time once, as a deed in the owner's record."""

from __future__ import annotations

from typing import Final

from fleetward.server.deeds import JsonValue
from fleetward.server.updates import recall_store
from fleetward.server.updates.announcement import Announcement
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide_support import (
    SupportEnd,
    decide_due,
    list_support,
    say_ahead,
    say_last_day,
)

SERVER: Final = "server"
TELL_FOR_MS: Final = 7 * 86_400_000
"""How long a notice that could not be sent is worth another try."""


class Support:
    """Support that ends. Thread-safe under the slice's lock."""

    def __init__(self, book: UpdateBook) -> None:
        self._book = book

    def ends(self) -> list[SupportEnd]:
        """Return until when products are mended, of those whose maker the policy names."""
        return list_support(self._book.offerable(), self._book.known.support_ends)

    def advance(self) -> int:
        """Announce what is due; return how many."""
        book, near = self._book, self._book.near
        if near.owner.documents is None:
            return 0
        now, count = near.clock.wall_ms(), 0
        with book.lock:
            with near.database.read() as conn:
                rows = recall_store.select_support(conn)
            for end in self.ends():
                told = [
                    int(row.months)
                    for row in rows
                    if (row.product, row.ends_at) == (end.product, end.ends_at_ms)
                ]
                months, settled = decide_due(end, told, now)
                if months >= 0:
                    self._announce(end, months)
                    count += 1
                self._settle(end, settled, months, now)
        return count

    def announcements(self) -> list[Announcement]:
        """Return what was announced lately, for people to be told of it."""
        near = self._book.near
        since = near.clock.wall_ms() - TELL_FOR_MS
        with near.database.read() as conn:
            rows = recall_store.select_support(conn)
        known = {(end.product, end.ends_at_ms): end for end in self.ends()}
        return [
            Announcement(
                f"support:{row.product}:{row.ends_at}:{row.months}",
                say_ahead(known[(row.product, row.ends_at)], int(row.months)),
                write_text(known[(row.product, row.ends_at)]),
                int(row.at),
            )
            for row in rows
            if row.at > since and (row.product, row.ends_at) in known
        ]

    def _announce(self, end: SupportEnd, months: int) -> None:
        body: dict[str, JsonValue] = {
            "words": f"{say_ahead(end, months)}.",
            "product": end.product,
            "ends_at": end.ends_at_ms,
            "months": months,
        }
        self._book.record("support.announced", SERVER, body)
        self._book.tell("support", end.product)

    def _settle(self, end: SupportEnd, settled: list[int], months: int, now: int) -> None:
        """Write which are not announced any more: that one, and those that it came too late for.

        Only the one that was announced has a time, so that of the others nobody is told.
        """
        with self._book.near.database.write() as conn:
            for each in settled:
                recall_store.insert_support(
                    conn,
                    {
                        "product": end.product,
                        "ends_at": end.ends_at_ms,
                        "months": each,
                        "owner_id": self._book.near.owner.owner_id,
                        "version": end.version,
                        "at": now if each == months else 0,
                    },
                )


def write_text(end: SupportEnd) -> str:
    """Return the text of a notice."""
    models = "every model" if "*" in end.models else ", ".join(end.models)
    return "\n".join(
        [
            f"So its maker says in {end.product} {end.version}, for {models}; the last day is "
            f"{say_last_day(end.ends_at_ms)}.",
            "Weaknesses found later stay open on every machine that runs it. Ask the maker what "
            "comes next.",
            "This message changes nothing on any machine.",
        ]
    )
