"""Cards of the first page about updates: a rollout that is held, machines that went back by
themselves, support that ends.

They say what people and machines handed in. What a machine installs, it judges by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.overview.decide import CardFacts
from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide_recall import OPEN as OPEN_RECALL
from fleetward.server.updates.decide_recall import say_about, say_headline
from fleetward.server.updates.decide_rollout import ENDED, HELD, OPEN, RUNNING
from fleetward.server.updates.decide_support import find_newest
from fleetward.server.updates.recalls import Recalls
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import FAILURES

DAY_MS: Final = 86_400_000
SUPPORT_MS: Final = 183 * DAY_MS
"""Half a year: so long it takes to find what comes after a product."""
WAITING_MS: Final = 3 * DAY_MS
"""So long a rollout may wait for machines that say nothing before somebody is told."""
MAX_CARDS: Final = 3
"""Of one kind: the page of updates has the others."""


def held_cards(book: UpdateBook) -> list[CardFacts]:
    """Return a card for each rollout that is held: it goes on by somebody's word alone."""
    with book.near.database.read() as conn:
        rows = [row for row in rollout_store.select_rollouts(conn) if row.state == HELD]
    return [
        CardFacts(
            f"rollout-{row.rollout_id[:12]}",
            "updates-held",
            f"The rollout of {row.product} {row.version} is held",
            f"{row.product} {row.version}",
            f"{row.words or 'Somebody held it.'} No other machine gets it before somebody decides.",
            row.changed_at,
            "Look and decide",
            f"/updates/rollouts/{row.rollout_id}",
        )
        for row in rows[:MAX_CARDS]
    ]


def recall_cards(recalls: Recalls) -> list[CardFacts]:
    """Return a card for each recall that is open, or that found machines after it was closed."""
    cards: list[CardFacts] = []
    for row in recalls.all(("open", "closed")):
        tally = recalls.tally(row)
        late, since_ms = recalls.count_late(row)
        is_open = row.state == OPEN_RECALL
        if not is_open and not late:
            continue
        why = say_headline(OPEN_RECALL, tally, row.product)
        if not is_open:
            why = f"It found {say_count(late, 'machine')} more after it was closed. {why}"
        cards.append(
            CardFacts(
                f"recall-{row.recall_id[:12]}",
                "recall",
                f"Recall: {row.title}",
                say_about(row.product, row.versions),
                why,
                row.opened_at if is_open else since_ms,
                "See what to do next" if tally.undone else "Keep the proof, and close it",
                f"/updates/recalls/{row.recall_id}",
            )
        )
    return cards[:MAX_CARDS]


def update_cards(book: UpdateBook) -> list[CardFacts]:
    """Return what else there is to know: machines that went back, and support that ends."""
    now_ms = book.near.clock.wall_ms()
    return [*_went_back(book), *_waiting(book, now_ms), *_support(book, now_ms)]


def _waiting(book: UpdateBook, now_ms: int) -> list[CardFacts]:
    """Return a card for each rollout that silent machines keep from its next wave: nobody is told
    by anything else, and it does not go on by itself."""
    cards: list[CardFacts] = []
    with book.near.database.read() as conn:
        for row in rollout_store.select_rollouts(conn):
            if row.state != RUNNING:
                continue
            count, since_ms = rollout_store.select_oldest(conn, row.rollout_id, sorted(ENDED))
            if count and now_ms - since_ms >= WAITING_MS:
                cards.append(_say_waiting(row, count, since_ms))
    return cards[:MAX_CARDS]


def _say_waiting(row: store.Row, count: int, since_ms: int) -> CardFacts:
    who = say_count(count, "machine")
    return CardFacts(
        f"rollout-{row.rollout_id[:12]}",
        "updates",
        f"The rollout of {row.product} {row.version} waits",
        f"{row.product} {row.version}",
        f"{who} may have it, and did not say how it ended there. Nobody else gets it before that, "
        "unless somebody goes on without waiting.",
        since_ms,
        "Look and decide",
        f"/updates/rollouts/{row.rollout_id}",
    )


def _went_back(book: UpdateBook) -> list[CardFacts]:
    """Return a card for each release that failed, but for those whose rollout says so already."""
    with book.near.database.read() as conn:
        rows = store.select_failed(conn, sorted(FAILURES))
        rollouts = rollout_store.select_rollouts(conn)
    told = {row.release_id for row in rollouts if row.state in OPEN}
    by_release: dict[str, list[store.Row]] = {}
    for row in rows:
        if row.target_id not in told:
            by_release.setdefault(row.target_id, []).append(row)
    cards = [_failed(release, failed) for release, failed in by_release.items()]
    return sorted(cards, key=lambda card: -card.since_ms)[:MAX_CARDS]


def _failed(release: str, failed: Sequence[store.Row]) -> CardFacts:
    first = failed[0]
    subject = f"{first.product} {first.target_version}"
    one = len(failed) == 1
    who = first.name if one else say_count(len(failed), "machine")
    if all(row.outcome == "rolled_back" for row in failed):
        title = f"{who} went back from {subject} by {'itself' if one else 'themselves'}"
    else:
        title = f"{subject} could not be installed on {who}"
    said = f"“{first.words}” " if first.words else ""
    again = "It tries" if one else "They try"
    return CardFacts(
        f"failed-{release[:12]}",
        "updates",
        title,
        first.site or "No site",
        f"{said}{again} again by a new approval of the owner, or by the maker's next release.",
        max(int(row.said_at) for row in failed),
        "See what failed",
        f"/devices/{first.device_id}" if one else
        f"/updates/releases/{first.product}/{first.target_version}",
    )  # fmt: skip


def _support(book: UpdateBook, now_ms: int) -> list[CardFacts]:
    ends = book.known.support_ends
    cards: list[CardFacts] = []
    for release in find_newest(book.offerable()):
        end = ends.get(release.id, 0)
        if not end or end - now_ms > SUPPORT_MS:
            continue
        day = to_rfc3339(end - 1)[:10]  # the last day on which it holds
        is_over = end <= now_ms
        cards.append(
            CardFacts(
                f"support-{release.product}",
                "updates",
                f"Support of {release.product} {'ended' if is_over else 'ends'} on {day}",
                f"{release.product} {release.version}",
                "So its maker says in its newest release. Weaknesses found later stay open on "
                "every machine that runs it. Ask the maker what comes next.",
                # The card begins to be true half a year before.
                end if is_over else end - SUPPORT_MS,
                "See the release",
                f"/updates/releases/{release.product}/{release.version}",
            )
        )
    return cards[:MAX_CARDS]
