"""Reading the tables of several capabilities together. Nothing is written here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"

MAX_ASKING: Final = 500
"""Requests that are counted on the first page."""
HIDDEN_STATES: Final = ("retired",)
SORTS: Final = ("name", "site", "last_seen", "need", "updates", "open_ports")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which machines to list. Empty strings filter nothing."""

    site: str = ""
    state: str = ""
    connection: str = ""
    need: str = ""
    text: str = ""
    sites: frozenset[str] | None = None
    devices: frozenset[str] | None = None

    @property
    def narrowed(self) -> bool:
        """Whether the caller may see a part of the fleet alone."""
        return self.sites is not None or self.devices is not None


def _tables() -> tuple[sa.Table, sa.Table]:
    return metadata.tables["identity_device"], metadata.tables["posture_device"]


def _connection(device: sa.Table) -> sa.ColumnElement[str]:
    return sa.case(
        (device.c.connected.is_(True), "connected"),
        (device.c.last_seen_at > 0, "silent"),
        else_="never",
    )


def _need(device: sa.Table, posture: sa.Table) -> sa.ColumnElement[str]:
    """Rank what a machine needs; the first that holds is shown, so that each counts once."""
    return sa.case(
        (device.c.state == "pending", "waiting"),
        (device.c.state == "quarantined", "quarantined"),
        (sa.and_(device.c.connected.is_(False), device.c.state == "active"), "silent"),
        (posture.c.exposed_ports > 0, "exposed"),
        (posture.c.security_updates > 0, "updates"),
        (device.c.confirmed.is_(False), "unconfirmed"),
        else_="",
    )


def _joined() -> tuple[sa.Join, sa.Table, sa.Table]:
    device, posture = _tables()
    return device.outerjoin(posture, posture.c.device_id == device.c.device_id), device, posture


def _columns(device: sa.Table, posture: sa.Table) -> list[Any]:
    return [
        device,
        _connection(device).label("connection"),
        _need(device, posture).label("need"),
        posture.c.open_ports,
        posture.c.lan_ports,
        posture.c.exposed_ports,
        posture.c.updates_pending,
        posture.c.security_updates,
        posture.c.as_of.label("posture_as_of"),
    ]


def _where(wanted: Filter, device: sa.Table, posture: sa.Table) -> sa.ColumnElement[bool]:
    clauses: list[sa.ColumnElement[bool]] = []
    if wanted.state:
        clauses.append(device.c.state == wanted.state)
    else:
        clauses.append(device.c.state.not_in(HIDDEN_STATES))
    if wanted.site:
        clauses.append(device.c.site == wanted.site)
    if wanted.connection:
        clauses.append(_connection(device) == wanted.connection)
    if wanted.need:
        clauses.append(_need(device, posture) == wanted.need)
    if wanted.text:
        # SQLite lowers ASCII alone: "Ä" is found as it is written, "a" in both cases.
        patterns = {"%" + _escape(text) + "%" for text in (wanted.text, wanted.text.lower())}
        clauses.append(
            sa.or_(
                *(
                    made.like(pattern, escape="\\")
                    for c in (device.c.name, device.c.site, device.c.model, device.c.device_id)
                    for made in (c, sa.func.lower(c))
                    for pattern in sorted(patterns)
                )
            )
        )
    if wanted.narrowed:
        clauses.append(_covers(wanted, device))
    return sa.and_(*clauses)


def _covers(wanted: Filter, device: sa.Table) -> sa.ColumnElement[bool]:
    return sa.or_(
        device.c.site.in_(sorted(wanted.sites or ())),
        device.c.device_id.in_(sorted(wanted.devices or ())),
    )


def _only_about(
    wanted: Filter, column: sa.ColumnElement[str], prefix: str = ""
) -> sa.ColumnElement[bool]:
    """Hold back what is about no machine in scope. `prefix` stands before the id in `column`."""
    if not wanted.narrowed:
        return sa.true()
    device, _ = _tables()
    named = sa.literal(prefix) + device.c.device_id if prefix else device.c.device_id
    return column.in_(sa.select(named).where(_covers(wanted, device)))


def select_page(
    conn: Connection, wanted: Filter, sort: str, offset: int, limit: int
) -> tuple[list[Row], int]:
    """Return a page of machines and how many there are in all."""
    joined, device, posture = _joined()
    clause = _where(wanted, device, posture)
    rows = conn.execute(
        sa.select(*_columns(device, posture))
        .select_from(joined)
        .where(clause)
        .order_by(*_order(sort, device, posture))
        .offset(offset)
        .limit(limit)
    ).all()
    total = conn.execute(sa.select(sa.func.count()).select_from(joined).where(clause)).scalar()
    return list(rows), int(total or 0)


def _order(sort: str, device: sa.Table, posture: sa.Table) -> list[Any]:
    down = sort.startswith("-")
    keys: dict[str, Any] = {
        "name": sa.func.lower(device.c.name),
        "site": sa.func.lower(device.c.site),
        "last_seen": device.c.last_seen_at,
        "need": _need(device, posture),
        "updates": sa.func.coalesce(posture.c.updates_pending, -1),
        "open_ports": sa.func.coalesce(posture.c.open_ports, -1),
    }
    key = keys[sort.removeprefix("-")]
    return [key.desc() if down else key, sa.func.lower(device.c.name), device.c.device_id]


def select_one(conn: Connection, device_id: str) -> Row | None:
    """Return one machine, or None."""
    joined, device, posture = _joined()
    return conn.execute(
        sa.select(*_columns(device, posture))
        .select_from(joined)
        .where(device.c.device_id == device_id)
    ).first()


def count_needs(conn: Connection, wanted: Filter) -> list[Row]:
    """Return per site and need: how many machines, since when the oldest, and one of them."""
    joined, device, posture = _joined()
    need = _need(device, posture).label("need")
    return list(
        conn.execute(
            sa.select(
                device.c.site,
                need,
                sa.func.count().label("number"),
                sa.func.min(device.c.joined_at).label("joined_at"),
                sa.func.min(device.c.last_seen_at).label("seen_at"),
                sa.func.min(device.c.state_at).label("state_at"),
                sa.func.min(posture.c.exposed_since).label("exposed_since"),
                sa.func.min(posture.c.updates_since).label("updates_since"),
                sa.func.min(device.c.device_id).label("device_id"),
                sa.func.min(device.c.name).label("name"),
            )
            .select_from(joined)
            .where(_where(wanted, device, posture))
            .group_by(device.c.site, need)
        )
    )


def select_examples(conn: Connection, wanted: Filter, need: str, limit: int) -> list[Row]:
    """Return the first few machines with a need."""
    joined, device, posture = _joined()
    clause = sa.and_(_where(wanted, device, posture), _need(device, posture) == need)
    return list(
        conn.execute(
            sa.select(*_columns(device, posture))
            .select_from(joined)
            .where(clause)
            .order_by(device.c.joined_at, device.c.device_id)
            .limit(limit)
        )
    )


def select_names(conn: Connection, device_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of machines."""
    device, _ = _tables()
    rows = conn.execute(
        sa.select(device.c.device_id, device.c.name).where(device.c.device_id.in_(list(device_ids)))
    )
    return {row.device_id: row.name for row in rows}


@dataclass(frozen=True, slots=True)
class Timespan:
    """What of a timeline is asked for. Empty strings ask for everything."""

    device_id: str = ""
    kind: str = ""
    since_ms: int = 0


def select_timeline(
    conn: Connection, about: Timespan, wanted: Filter, span: tuple[int, int]
) -> list[Row]:
    """Return changes that machines reported and deeds of the record, newest first.

    Who may see a part of the fleet gets what is about its machines, and no other deed. `span` is
    offset and limit. Inventories, renewals and starts of agents are left out, and so are heads and
    leases: they are routine. Each side is ordered and cut by its own index, so that a page costs a
    page.
    """
    end = span[0] + span[1]
    union = sa.union_all(
        *(
            sa.select(side.order_by(*_newest(side.selected_columns)).limit(end).subquery())
            for side in (_deeds(about, wanted), _events(about, wanted))
        )
    ).subquery()
    query = sa.select(union).order_by(*_newest(union.c)).offset(span[0]).limit(span[1])
    return list(conn.execute(query))


def count_timeline(conn: Connection, about: Timespan, wanted: Filter) -> int:
    """Return how many entries the timeline has, whatever the page."""
    sides = (_deeds(about, wanted), _events(about, wanted))
    counts = [side.with_only_columns(sa.func.count()) for side in sides]
    return sum(int(conn.execute(count).scalar() or 0) for count in counts)


def _newest(columns: Any) -> list[Any]:
    """Newest first; of one moment the later, and of two machines the same order each time."""
    return [
        columns.at.desc(),
        columns.leaf.desc(),
        columns.sequence.desc(),
        columns.subject,
    ]


ROUTINE_EVENTS: Final = (
    "posture.inventory",
    "transport.renewed",
    "gate.refreshed",
    "session.recorded",
    "posture.connected",
)
ROUTINE_DEEDS: Final = (
    "device.renewed",
    "document.head",
    "document.invitation",
    "document.lease",
    "document.roster",
    # What these say, the deeds and the machine's own entries say in words.
    "document.request",
    "document.offer",
    "document.grant",
    "document.stop",
    "document.denial",
    "document.receipt",
    "document.closing",
    "document.closing-kept",
    "document.closing-report",
    "session.opened",
    "login_link.made",
    "token.made",
    "intake.refused",
)


def _of_kind(column: sa.Column[str], kind: str) -> sa.ColumnElement[bool]:
    return column.like(_escape(kind) + "%", escape="\\") if kind else sa.true()


def _deeds(about: Timespan, wanted: Filter) -> sa.Select[Any]:
    leaf = metadata.tables["audit_leaf"]
    clause = sa.and_(
        _not_batch(leaf),
        leaf.c.kind.not_in(ROUTINE_DEEDS),
        leaf.c.at >= about.since_ms,
        _of_kind(leaf.c.kind, about.kind),
        _only_about(wanted, leaf.c.subject, "device:"),
    )
    if about.device_id:
        clause = sa.and_(clause, leaf.c.subject == f"device:{about.device_id}")
    return sa.select(
        leaf.c.at.label("at"),
        leaf.c.kind.label("kind"),
        leaf.c.subject.label("subject"),
        leaf.c.body.label("body"),
        sa.literal(-1).label("sequence"),
        leaf.c.position.label("leaf"),
    ).where(clause)


def _events(about: Timespan, wanted: Filter) -> sa.Select[Any]:
    event = metadata.tables["events_event"]
    clause = sa.and_(
        event.c.kind.not_in(ROUTINE_EVENTS),
        event.c.received_at >= about.since_ms,
        _of_kind(event.c.kind, about.kind),
        _only_about(wanted, event.c.device_id),
    )
    if about.device_id:
        clause = sa.and_(clause, event.c.device_id == about.device_id)
    return sa.select(
        event.c.received_at.label("at"),
        event.c.kind.label("kind"),
        (sa.literal("device:") + event.c.device_id).label("subject"),
        event.c.body.label("body"),
        event.c.sequence.label("sequence"),
        sa.literal(-1).label("leaf"),
    ).where(clause)


def select_heads(conn: Connection, limit: int) -> list[Row]:
    """Return the machines with the time of their newest signed head, the oldest first."""
    device, _ = _tables()
    head = metadata.tables["events_machine"]
    return list(
        conn.execute(
            sa.select(device.c.device_id, device.c.name, head.c.head_at)
            .select_from(device.outerjoin(head, head.c.device_id == device.c.device_id))
            .where(device.c.state.not_in(HIDDEN_STATES))
            .order_by(sa.func.coalesce(head.c.head_at, 0), device.c.name)
            .limit(limit)
        )
    )


def select_proof(conn: Connection, device_id: str) -> tuple[Row | None, str]:
    """Return where a machine's stored journal ends, and the hash of its newest batch, if any."""
    head, batch = metadata.tables["events_machine"], metadata.tables["events_batch"]
    row = conn.execute(
        sa.select(head.c.last, head.c.head, head.c.head_at).where(head.c.device_id == device_id)
    ).first()
    newest = conn.execute(
        sa.select(batch.c.hash)
        .where(batch.c.device_id == device_id)
        .order_by(batch.c.first.desc())
        .limit(1)
    ).scalar()
    return row, newest or ""


def count_refusals(
    conn: Connection, kinds: Sequence[str], since_ms: int, wanted: Filter
) -> list[Row]:
    """Return deeds of these kinds since then about machines in scope, newest first, at most 50."""
    leaf = metadata.tables["audit_leaf"]
    return list(
        conn.execute(
            sa.select(leaf.c.at, leaf.c.kind, leaf.c.subject, leaf.c.body)
            .where(
                _not_batch(leaf),
                leaf.c.kind.in_(list(kinds)),
                leaf.c.at >= since_ms,
                _only_about(wanted, leaf.c.subject, "device:"),
            )
            .order_by(leaf.c.at.desc())
            .limit(50)
        )
    )


def select_asking(conn: Connection, wanted: Filter) -> list[Row]:
    """Return requests to enter machines that wait for their owner, the oldest first."""
    request, (device, _) = metadata.tables["access_request"], _tables()
    clause = request.c.state == "offered"
    if wanted.sites is not None or wanted.devices is not None:
        clause &= sa.or_(
            device.c.site.in_(sorted(wanted.sites or ())),
            device.c.device_id.in_(sorted(wanted.devices or ())),
        )
    return list(
        conn.execute(
            sa.select(
                request.c.request_id,
                request.c.person,
                request.c.org,
                request.c.reason,
                request.c.scopes,
                request.c.offered_at,
                request.c.envelope,
                device.c.name,
                device.c.site,
            )
            .select_from(request.join(device, device.c.device_id == request.c.device_id))
            .where(clause)
            .order_by(request.c.offered_at)
            .limit(MAX_ASKING)
        )
    )


def select_changed(conn: Connection, wanted: Filter, since_ms: int) -> list[Row]:
    """Return sessions after which something was found, the newest first."""
    found, request = metadata.tables["access_comparison"], metadata.tables["access_request"]
    device, _ = _tables()
    clause = (found.c.findings > 0) & (found.c.severity == "warning") & (found.c.at >= since_ms)
    if wanted.narrowed:
        clause &= _covers(wanted, device)
    joined = found.join(request, request.c.request_id == found.c.request_id).join(
        device, device.c.device_id == found.c.device_id
    )
    return list(
        conn.execute(
            sa.select(
                found.c.request_id,
                found.c.findings,
                found.c.top,
                found.c.at,
                request.c.person,
                request.c.org,
                device.c.name,
                device.c.site,
            )
            .select_from(joined)
            .where(clause)
            .order_by(found.c.at.desc())
            .limit(MAX_ASKING)
        )
    )


def _not_batch(leaf: sa.Table) -> sa.ColumnElement[bool]:
    """The clause of the indexes over deeds, written as they are: else they do not serve."""
    return leaf.c.kind != sa.literal_column("'batch'")


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
