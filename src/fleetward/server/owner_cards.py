"""Cards of the first page about whom the machines obey: a recovery that waits, a handover."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.directory.act import Directory
from fleetward.server.directory.announced import Announced
from fleetward.server.identity.act import Devices
from fleetward.server.overview.decide import CardFacts
from fleetward.trust.policy import Policy

NAMED: Final = 5
"""Machines that a card names; the owner's tool names all of them."""


def owner_cards(directory: Directory, devices: Devices) -> list[CardFacts]:
    """Return what the first page says before everything else; mostly nothing."""
    documents = directory.documents
    if documents is None:
        return []
    cards = [_recovery(each, documents.name) for each in directory.announcements.waiting()]
    turn = _last_turn(documents.chain)
    late = devices.late(turn.version) if turn else []
    if turn and late:
        cards.append(_late(turn, documents.name, late))
    return cards


def _last_turn(chain: Sequence[Policy]) -> Policy | None:
    """Return the newest policy that put other people in the place of those before."""
    turns = [p for before, p in pairwise(chain) if p.recovered or p.epoch > before.epoch]
    return turns[-1] if turns else None


def _recovery(announced: Announced, name: str) -> CardFacts:
    return CardFacts(
        f"recovery-{announced.hash[:12]}",
        "broken",
        f"RECOVERY ANNOUNCED: {' and '.join(announced.people)} would decide over every machine",
        name,
        "Recovery keys signed a new policy. Machines that are on all the time take it from "
        f"{to_rfc3339(announced.earliest_ms)[:16].replace('T', ' ')} UTC on. If the owner's "
        "people did not ask for it, they refuse it now: fleetward owner recover veto.",
        announced.announced_at_ms,
        "See the record",
        "/proof",
    )


def _late(turn: Policy, name: str, late: Sequence[str]) -> CardFacts:
    how = "recovered by its keys" if turn.recovered else f"handed over to {name}"
    named = ", ".join(sorted(late)[:NAMED])
    more = f" and {len(late) - NAMED:,} more" if len(late) > NAMED else ""
    title = (
        f"{named} has not said yet that it was {how}"
        if len(late) == 1
        else f"{len(late):,} devices have not said yet that they were {how}"
    )
    return CardFacts(
        "handover",
        "containment",
        title,
        name,
        f"Still under the people before: {named}{more}. A machine changes when it connects.",
        turn.issued_at_ms,
        "See the devices",
        "/fleet",
    )
