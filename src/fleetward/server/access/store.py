"""Tables of requests, of what came for them, and of recordings. All SQL stands here.

Recordings are kept as the pieces in which they came: sealed bytes, which nobody here can read.
The names and sites of machines are read from the identity's table and never written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.access.decide import Course, Fact
from fleetward.server.access.reading import YES
from fleetward.server.schema.tables import identifier, instant, metadata, ownership

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

requests: Final = sa.Table(
    "access_request",
    metadata,
    identifier("request_id", primary_key=True),
    *ownership(),
    identifier("device_id", index=True),
    sa.Column("state", sa.String(16), nullable=False),
    identifier("session_id", server_default="", index=True),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    identifier("requester"),
    sa.Column("person", sa.String(80), nullable=False),
    sa.Column("org", sa.String(80), nullable=False),
    sa.Column("reason", sa.String(500), nullable=False),
    sa.Column("case_name", sa.String(100), nullable=False),
    sa.Column("scopes", sa.Text(), nullable=False),
    sa.Column("seconds", sa.BigInteger(), nullable=False),
    sa.Column("serial", sa.String(64), nullable=False, server_default=""),
    identifier("standing_id", server_default=""),
    instant("asked_at"),
    instant("offered_at", server_default="0"),
    instant("granted_at", server_default="0"),
    instant("opened_at", server_default="0"),
    instant("ended_at", server_default="0"),
    sa.Column("ended_by", sa.String(64), nullable=False, server_default=""),
    sa.Index("ix_access_request_state_asked_at", "state", "asked_at"),
)
"""`scopes` is a JSON list of words to show. `serial` is that of the newest certificate,
`standing_id` what was allowed ahead, where the last yes was an entry by it."""

notes: Final = sa.Table(
    "access_note",
    metadata,
    identifier("note_id", primary_key=True),
    *ownership(),
    identifier("request_id", server_default="", index=True),
    identifier("device_id"),
    sa.Column("number", sa.BigInteger(), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    identifier("subject", index=True),
    instant("said_at", server_default="0"),
    sa.Column("detail", sa.String(64), nullable=False, server_default=""),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    instant("at"),
)
"""Grants, entries, stops, offers, denials, receipts, and openings. `number` counts within a
request."""

recordings: Final = sa.Table(
    "access_recording",
    metadata,
    identifier("session_id", primary_key=True),
    *ownership(),
    identifier("device_id"),
    identifier("request_id"),
    sa.Column("size", sa.BigInteger(), nullable=False),
    sa.Column("done", sa.Boolean(), nullable=False),
    instant("updated_at"),
)

pieces: Final = sa.Table(
    "access_recording_piece",
    metadata,
    identifier("session_id"),
    # The column "start" says where the piece begins; "offset" is a word of SQL.
    sa.Column("start", sa.BigInteger(), nullable=False),
    *ownership(),
    sa.Column("data", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("session_id", "start"),
)

runbooks: Final = sa.Table(
    "access_runbook",
    metadata,
    identifier("request_id"),
    identifier("digest"),
    *ownership(),
    sa.Column("envelope", sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint("request_id", "digest"),
)
"""By request too: the digest is not of the signature, and who sends a document with a wrong one
must not have his stand for another's."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which requests to list. Empty parts filter nothing; None means every site and machine."""

    states: tuple[str, ...] = ()
    device: str = ""
    sites: frozenset[str] | None = None
    devices: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Note:
    """A row of `access_note` to write. `request` is empty for what answers nothing known here."""

    id: str
    request: str
    device: str
    fact: Fact
    envelope: bytes = b""


def insert_request(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a request."""
    conn.execute(requests.insert().values(**values))


def insert_runbook(conn: Connection, place: tuple[str, str], owner: str, raw: bytes) -> None:
    """Write a runbook at its place: the request that it came with, and its digest."""
    request, digest = place
    conn.execute(
        runbooks.insert().values(request_id=request, digest=digest, owner_id=owner, envelope=raw)
    )


def select_runbooks(conn: Connection, request: str) -> list[bytes]:
    """Return the runbooks that came with a request, in order of their digests."""
    clause = runbooks.c.request_id == request
    rows = conn.execute(sa.select(runbooks.c.envelope).where(clause).order_by(runbooks.c.digest))
    return [bytes(row.envelope) for row in rows]


def select_request(conn: Connection, request: str) -> Row | None:
    """Return a request as it is listed, or None."""
    return conn.execute(_listed().where(requests.c.request_id == request)).first()


def select_by_prefix(conn: Connection, prefix: str) -> list[Row]:
    """Return at most two requests whose id begins so. The prefix is of hexadecimal digits."""
    clause = requests.c.request_id.between(prefix, prefix + "g")
    return list(conn.execute(_listed().where(clause).limit(2)))


def select_by_session(conn: Connection, session: str) -> Row | None:
    """Return the request that a grant (its hash, or the first 32 digits) was given for, or None."""
    granted = sa.select(notes.c.request_id).where(
        notes.c.kind.in_(YES),
        notes.c.subject.between(session, session + "g"),
        notes.c.request_id != "",
    )
    return conn.execute(_listed().where(requests.c.request_id.in_(granted)).limit(1)).first()


def select_grant_hash(conn: Connection, session: str) -> str:
    """Return the whole hash of a grant that begins so, or an empty string."""
    found = conn.execute(
        sa.select(notes.c.subject)
        .where(notes.c.kind.in_(YES), notes.c.subject.between(session, session + "g"))
        .limit(1)
    ).scalar()
    return str(found or "")


def select_page(conn: Connection, wanted: Filter, offset: int, limit: int) -> tuple[list[Row], int]:
    """Return a page of requests, newest first, and how many there are."""
    clause = _where(wanted)
    rows = conn.execute(
        _listed()
        .where(clause)
        .order_by(requests.c.asked_at.desc(), requests.c.request_id)
        .offset(offset)
        .limit(limit)
    ).all()
    total = conn.execute(
        sa.select(sa.func.count()).select_from(_with_devices()).where(clause)
    ).scalar()
    return list(rows), int(total or 0)


def count_in_states(conn: Connection, device: str, states: Sequence[str]) -> int:
    """Return how many requests for a machine are in these states."""
    found = conn.execute(
        sa.select(sa.func.count())
        .select_from(requests)
        .where(requests.c.device_id == device, requests.c.state.in_(list(states)))
    ).scalar()
    return int(found or 0)


def select_in_states(conn: Connection, states: Sequence[str], since: int) -> list[Row]:
    """Return the requests in these states that were asked since then, oldest first."""
    clause = requests.c.state.in_(list(states))
    query = _listed().where(clause, requests.c.asked_at > since).order_by(requests.c.asked_at)
    return list(conn.execute(query))


def select_of_device(conn: Connection, device: str, states: Sequence[str]) -> list[Row]:
    """Return a machine's requests in these states, oldest first."""
    return list(
        conn.execute(
            sa.select(requests)
            .where(requests.c.device_id == device, requests.c.state.in_(list(states)))
            .order_by(requests.c.asked_at)
        )
    )


def update_course(conn: Connection, request: str, course: Course) -> None:
    """Write where a request stands."""
    conn.execute(
        requests.update()
        .where(requests.c.request_id == request)
        .values(
            state=course.state,
            session_id=course.session,
            offered_at=course.offered_at_ms,
            granted_at=course.granted_at_ms,
            opened_at=course.opened_at_ms,
            ended_at=course.ended_at_ms,
            ended_by=course.ended_by,
        )
    )


def update_standing(conn: Connection, request: str, standing: str) -> None:
    """Write by what was allowed ahead the last yes to a request came; empty for a grant."""
    conn.execute(
        requests.update().where(requests.c.request_id == request).values(standing_id=standing)
    )


def select_of_standing(conn: Connection, standing: str) -> list[Row]:
    """Return the requests whose last yes was an entry by this, newest first."""
    clause = requests.c.standing_id == standing
    return list(conn.execute(_listed().where(clause).order_by(requests.c.asked_at.desc())))


def update_serial(conn: Connection, request: str, serial: str) -> None:
    """Write which certificate of a session's requester is the newest."""
    conn.execute(requests.update().where(requests.c.request_id == request).values(serial=serial))


def insert_note(conn: Connection, note: Note, owner: str) -> None:
    """Write what came, behind what is there for the same request."""
    last = conn.execute(
        sa.select(sa.func.max(notes.c.number)).where(notes.c.request_id == note.request)
    ).scalar()
    conn.execute(
        notes.insert().values(
            note_id=note.id,
            owner_id=owner,
            request_id=note.request,
            device_id=note.device,
            number=int(last or 0) + 1,
            kind=note.fact.kind,
            subject=note.fact.subject,
            said_at=note.fact.said_ms,
            detail=note.fact.detail,
            envelope=note.envelope,
            at=note.fact.at_ms,
        )
    )


def has_note(conn: Connection, note: str) -> bool:
    """Return whether a note is stored."""
    return (
        conn.execute(sa.select(notes.c.number).where(notes.c.note_id == note)).first() is not None
    )


def count_notes(conn: Connection, device: str, request: str) -> int:
    """Return how many notes of a machine are stored for a request (or, empty, for none)."""
    found = conn.execute(
        sa.select(sa.func.count())
        .select_from(notes)
        .where(notes.c.device_id == device, notes.c.request_id == request, notes.c.kind != "notice")
    ).scalar()
    return int(found or 0)


def select_notes(conn: Connection, request: str) -> list[Row]:
    """Return what came for a request, in its order."""
    return list(
        conn.execute(sa.select(notes).where(notes.c.request_id == request).order_by(notes.c.number))
    )


def select_facts(conn: Connection, request: str) -> list[Fact]:
    """Return the facts about a request, in their order."""
    rows = conn.execute(
        sa.select(notes.c.kind, notes.c.subject, notes.c.at, notes.c.said_at, notes.c.detail)
        .where(notes.c.request_id == request)
        .order_by(notes.c.number)
    )
    return [Fact(row.kind, row.subject, row.at, row.said_at, row.detail) for row in rows]


def select_recording(conn: Connection, session: str) -> Row | None:
    """Return how much of a recording is stored, or None."""
    return conn.execute(sa.select(recordings).where(recordings.c.session_id == session)).first()


def insert_recording(conn: Connection, values: Mapping[str, Any]) -> None:
    """Begin a recording."""
    conn.execute(recordings.insert().values(**values))


def append_piece(
    conn: Connection, session: str, owner: str, data: bytes, place: tuple[int, bool, int]
) -> bool:
    """Write a piece at `place` (start, whether it is the last, time).

    Say whether it was written: the recording may have grown meanwhile.
    """
    start, done, at_ms = place
    changed = conn.execute(
        recordings.update()
        .where(
            recordings.c.session_id == session,
            recordings.c.size == start,
            recordings.c.done.is_(False),
        )
        .values(size=start + len(data), done=done, updated_at=at_ms)
    ).rowcount
    if not changed:
        return False
    if data:
        conn.execute(
            pieces.insert().values(session_id=session, start=start, owner_id=owner, data=data)
        )
    return True


def select_pieces(conn: Connection, session: str, first: int, last: int) -> list[Row]:
    """Return the pieces that begin from `first` to `last` (excluded), in order."""
    return list(
        conn.execute(
            sa.select(pieces.c.start, pieces.c.data)
            .where(pieces.c.session_id == session, pieces.c.start >= first, pieces.c.start < last)
            .order_by(pieces.c.start)
        )
    )


def _with_devices() -> sa.Join:
    device = metadata.tables["identity_device"]
    return requests.outerjoin(device, device.c.device_id == requests.c.device_id)


def _listed() -> sa.Select[Any]:
    device = metadata.tables["identity_device"]
    joined = _with_devices().outerjoin(recordings, recordings.c.session_id == requests.c.session_id)
    return sa.select(
        requests,
        sa.func.coalesce(device.c.name, "").label("device_name"),
        sa.func.coalesce(device.c.site, "").label("site"),
        sa.func.coalesce(recordings.c.size, 0).label("recording_bytes"),
        recordings.c.done.label("recording_done"),
    ).select_from(joined)


def _where(wanted: Filter) -> sa.ColumnElement[bool]:
    clauses: list[sa.ColumnElement[bool]] = []
    if wanted.states:
        clauses.append(requests.c.state.in_(wanted.states))
    if wanted.device:
        clauses.append(requests.c.device_id == wanted.device)
    if wanted.sites is not None or wanted.devices is not None:
        site = metadata.tables["identity_device"].c.site
        clauses.append(
            sa.or_(
                site.in_(sorted(wanted.sites or ())),
                requests.c.device_id.in_(sorted(wanted.devices or ())),
            )
        )
    return sa.and_(sa.true(), *clauses)
