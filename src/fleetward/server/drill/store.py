"""Reading what a machine answered, from its signed journal as it arrived."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.drill.session_attacks import Papers
from fleetward.server.schema.tables import metadata
from fleetward.trust.canonical import JsonObject
from fleetward.trust.journal import read_entry

REFUSED: Final = "gate.refused"
ANSWERS: Final = (REFUSED, "gate.accepted", "gate.refreshed", "gate.reduced")
DEFEATS: Final = ("session.offered", "session.opened")
"""Answers too, where they name what an attack pushed: technicians go on with their work."""
WAITING: Final = ("offered", "asked")
OF_RELEASES: Final = frozenset({"release", "director"})
"""What a refusal is of, where it is of the thief's word or of a release that he named."""
ACCEPTED: Final = "update.accepted"
BESIDE: Final = OF_RELEASES | {"approval", "part", "look_for_updates"}
"""What a machine does about releases goes on beside a drill, and answers none of its orders."""


@dataclass(frozen=True, slots=True)
class Heard:
    """One answer of a machine."""

    sequence: int
    kind: str
    reason: str
    words: str


def newest_sequence(conn: Connection, device: str) -> int:
    """Return the newest stored sequence of a machine, 0 for none."""
    event = metadata.tables["events_event"]
    newest = conn.execute(
        sa.select(sa.func.max(event.c.sequence)).where(event.c.device_id == device)
    ).scalar()
    return int(newest or 0)


def select_papers(conn: Connection, device: str) -> Papers:
    """Return the newest papers of sessions with a machine."""
    request, note = metadata.tables["access_request"], metadata.tables["access_note"]
    newest = (
        sa.select(request.c.request_id, request.c.envelope)
        .where(request.c.device_id == device)
        .order_by(request.c.asked_at.desc())
        .limit(1)
    )
    waiting = conn.execute(newest.where(request.c.state.in_(WAITING))).first()
    granted = conn.execute(
        sa.select(request.c.envelope, note.c.envelope.label("grant"))
        .join(note, note.c.request_id == request.c.request_id)
        .where(request.c.device_id == device, note.c.kind == "grant")
        .order_by(note.c.at.desc())
        .limit(1)
    ).first()
    offer = None
    if waiting is not None:
        offer = conn.execute(
            sa.select(note.c.envelope)
            .where(note.c.request_id == waiting.request_id, note.c.kind == "offer")
            .order_by(note.c.number.desc())
            .limit(1)
        ).scalar()
    return Papers(
        device=device,
        request=bytes(waiting.envelope) if waiting else b"",
        offer=bytes(offer or b""),
        grant=bytes(granted.grant) if granted else b"",
        granted=bytes(granted.envelope) if granted else b"",
    )


def select_heard(
    conn: Connection, device: str, after: int, subjects: frozenset[str] = frozenset()
) -> Heard | None:
    """Return the first answer of a machine's gate behind a sequence, or None."""
    event = metadata.tables["events_event"]
    kinds = (*ANSWERS, *DEFEATS) if subjects else ANSWERS
    rows = conn.execute(
        sa.select(event.c.sequence, event.c.kind, event.c.body)
        .where(event.c.device_id == device, event.c.sequence > after, event.c.kind.in_(kinds))
        .order_by(event.c.sequence)
    )
    for row in rows:
        body = read_entry(row.body).body
        if body.get("what") in BESIDE:
            continue
        if row.kind in DEFEATS and not subjects & {body.get("request"), body.get("session")}:
            continue
        reason, words = body.get("reason", ""), body.get("words", "")
        return Heard(int(row.sequence), str(row.kind), str(reason), str(words))
    return None


def select_release_answers(
    conn: Connection, device: str, after: int, paths: frozenset[str]
) -> dict[str, Heard]:
    """Return the first answer of a machine to each of these releases, by its path.

    Where it refused the whole word of the director, that is its answer to all of them. One that is
    accepted is a defeat, whatever was refused before.
    """
    event = metadata.tables["events_event"]
    rows = conn.execute(
        sa.select(event.c.sequence, event.c.kind, event.c.body)
        .where(
            event.c.device_id == device,
            event.c.sequence > after,
            event.c.kind.in_((REFUSED, ACCEPTED)),
        )
        .order_by(event.c.sequence)
    )
    answers: dict[str, Heard] = {}
    for row in rows:
        body = read_entry(row.body).body
        heard = Heard(
            int(row.sequence),
            str(row.kind),
            str(body.get("reason", "")),
            str(body.get("words", "")),
        )
        for path in _find_meant(heard, body, paths):
            said = replace(heard, words=heard.words.removeprefix(f"{path}: "))
            if row.kind == ACCEPTED:
                answers[path] = said
            answers.setdefault(path, said)
    return answers


def _find_meant(heard: Heard, body: JsonObject, paths: frozenset[str]) -> list[str]:
    """Return the releases that an entry is about."""
    if heard.kind == ACCEPTED:
        path = f"{body.get('product')}/{body.get('version')}/"
        return [each for each in paths if each.startswith(path)]
    if body.get("what") not in OF_RELEASES:
        return []
    named = [each for each in paths if heard.words.startswith(f"{each}: ")]
    return list(paths) if body.get("what") == "director" else named
