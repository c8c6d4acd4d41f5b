"""All SQL of releases, approvals, the director's words and reports. Rollouts have a store of their
own; the names and sites of machines are read from the identity's table and never written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from fleetward.server.schema.tables import metadata
from fleetward.server.updates.reading import WITHDRAWAL, MetadataFile
from fleetward.server.updates.tables import (
    blobs,
    directed,
    files,
    offers,
    papers,
    releases,
    reports,
    repositories,
    states,
)

Row: TypeAlias = "sa.Row[*tuple[Any, ...]]"
RECORDED: Final = "document.update-report"
"""The kind under which a report stands in the record."""


def insert_repository(conn: Connection, repository: str, owner: str, at_ms: int) -> None:
    """Write a repository, once."""
    found = conn.execute(
        sa.select(repositories.c.at).where(repositories.c.repository_id == repository)
    ).first()
    if found is None:
        conn.execute(
            repositories.insert().values(repository_id=repository, owner_id=owner, at=at_ms)
        )


def select_file(conn: Connection, repository: str, name: str) -> Row | None:
    """Return a file of a repository, or None."""
    clause = sa.and_(files.c.repository_id == repository, files.c.name == name)
    return conn.execute(sa.select(files).where(clause)).first()


def select_root(conn: Connection, sha256: str) -> Row | None:
    """Return the root file with this hash, of any repository, or None."""
    clause = sa.and_(files.c.sha256 == sha256, files.c.role == "root")
    return conn.execute(sa.select(files).where(clause).limit(1)).first()


def upsert_file(
    conn: Connection, repository: str, owner: str, file: MetadataFile, at_ms: int
) -> None:
    """Write a file of a repository, instead of the one of its name."""
    clause = sa.and_(files.c.repository_id == repository, files.c.name == file.name)
    conn.execute(files.delete().where(clause))
    conn.execute(
        files.insert().values(
            repository_id=repository,
            name=file.name,
            owner_id=owner,
            sha256=file.sha256,
            role=file.role,
            version=file.version,
            body=file.body,
            at=at_ms,
        )
    )


def insert_release(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a release. Raises `Refused` (conflict) for another one of its version."""
    conn.execute(releases.insert().values(**values))


def select_releases(conn: Connection) -> list[Row]:
    """Return all releases with their manifests, by product, newest first."""
    return list(
        conn.execute(
            sa.select(releases).order_by(releases.c.product, releases.c.counter.desc())
        ).all()
    )


def select_release(conn: Connection, release: str) -> Row | None:
    """Return a release by the hash of its manifest, or None."""
    return conn.execute(sa.select(releases).where(releases.c.release_id == release)).first()


def select_version(conn: Connection, product: str, version: str) -> Row | None:
    """Return the release of a product with this version, or None."""
    clause = sa.and_(releases.c.product == product, releases.c.version == version)
    return conn.execute(sa.select(releases).where(clause)).first()


def select_before(conn: Connection, product: str, counter: int) -> Row | None:
    """Return the release of a product that comes before this counter, or None."""
    clause = sa.and_(releases.c.product == product, releases.c.counter < counter)
    asked = sa.select(releases).where(clause).order_by(releases.c.counter.desc())
    return conn.execute(asked.limit(1)).first()


def select_blob(conn: Connection, sha256: str) -> Row | None:
    """Return what is known of a blob, or None."""
    return conn.execute(sa.select(blobs).where(blobs.c.sha256 == sha256)).first()


def upsert_blob(conn: Connection, sha256: str, values: Mapping[str, Any]) -> None:
    """Write what is known of a blob."""
    changed = conn.execute(blobs.update().where(blobs.c.sha256 == sha256).values(**values)).rowcount
    if not changed:
        conn.execute(blobs.insert().values(sha256=sha256, **values))


def has_copy(conn: Connection, copy: str) -> bool:
    """Return whether this copy of an approval is stored."""
    found = conn.execute(sa.select(papers.c.at).where(papers.c.copy_id == copy)).first()
    return found is not None


def count_copies(conn: Connection, approval: str) -> int:
    """Return how many copies of an approval are stored."""
    clause = papers.c.approval_id == approval
    counted = sa.select(sa.func.count()).select_from(papers).where(clause)
    return int(conn.execute(counted).scalar() or 0)


def insert_paper(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a copy of an approval or withdrawal."""
    conn.execute(papers.insert().values(**values))


def select_papers(conn: Connection) -> list[Row]:
    """Return every copy, newest first."""
    return list(conn.execute(sa.select(papers).order_by(papers.c.issued_at.desc())).all())


def select_withdrawals(conn: Connection, approval: str) -> list[Row]:
    """Return what withdraws an approval."""
    clause = sa.and_(papers.c.withdraws == approval, papers.c.kind == WITHDRAWAL)
    return list(conn.execute(sa.select(papers).where(clause)).all())


def select_directed(conn: Connection, devices: Sequence[str]) -> dict[str, Row]:
    """Return the director's newest words to machines; those without one are left out."""
    clause = directed.c.device_id.in_(list(devices))
    return {row.device_id: row for row in conn.execute(sa.select(directed).where(clause))}


def replace_directed(conn: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the director's newest words to machines."""
    ids = [row["device_id"] for row in rows]
    conn.execute(directed.delete().where(directed.c.device_id.in_(ids)))
    conn.execute(directed.insert(), [dict(row) for row in rows])


def select_offers(conn: Connection, devices: Sequence[str]) -> dict[str, set[str]]:
    """Return the releases that machines were ever told of."""
    found: dict[str, set[str]] = {}
    asked = sa.select(offers.c.device_id, offers.c.release_id)
    for row in conn.execute(asked.where(offers.c.device_id.in_(list(devices)))):
        found.setdefault(row.device_id, set()).add(row.release_id)
    return found


def select_counters(conn: Connection, devices: Sequence[str]) -> dict[str, dict[str, int]]:
    """Return the counters of what runs on machines, by product."""
    found: dict[str, dict[str, int]] = {}
    asked = sa.select(states.c.device_id, states.c.product, states.c.counter)
    for row in conn.execute(asked.where(states.c.device_id.in_(list(devices)))):
        found.setdefault(row.device_id, {})[row.product] = int(row.counter)
    return found


def select_offered(conn: Connection, release: str) -> dict[str, int]:
    """Return the machines that were ever told of a release, and when first."""
    clause = offers.c.release_id == release
    rows = conn.execute(sa.select(offers.c.device_id, offers.c.at).where(clause))
    return {row.device_id: int(row.at) for row in rows}


def insert_offers(
    conn: Connection, owner: str, fresh: Sequence[tuple[str, str]], at_ms: int
) -> None:
    """Write that machines (machine, release) were told of a release for the first time."""
    if fresh:
        values = {"owner_id": owner, "at": at_ms}
        conn.execute(
            offers.insert(),
            [{**values, "device_id": device, "release_id": each} for device, each in fresh],
        )


def has_report(conn: Connection, report: str) -> bool:
    """Return whether a report is stored."""
    found = conn.execute(sa.select(reports.c.at).where(reports.c.report_id == report)).first()
    return found is not None


def insert_report(conn: Connection, values: Mapping[str, Any]) -> None:
    """Write a report."""
    conn.execute(reports.insert().values(**values))


def select_reports(conn: Connection, device: str, offset: int, limit: int) -> tuple[list[Row], int]:
    """Return a page of a machine's reports, newest first, and how many there are."""
    clause = reports.c.device_id == device
    rows = conn.execute(
        sa.select(reports)
        .where(clause)
        .order_by(reports.c.sequence.desc())
        .offset(offset)
        .limit(limit)
    ).all()
    counted = sa.select(sa.func.count()).select_from(reports).where(clause)
    return list(rows), int(conn.execute(counted).scalar() or 0)


def select_states(conn: Connection, device: str) -> list[Row]:
    """Return what runs on a machine, by product."""
    clause = states.c.device_id == device
    return list(conn.execute(sa.select(states).where(clause).order_by(states.c.product)).all())


def select_all_states(conn: Connection, product: str = "") -> list[Row]:
    """Return what runs on every machine, of one product or of all."""
    asked = sa.select(states)
    if product:
        asked = asked.where(states.c.product == product)
    return list(conn.execute(asked).all())


def upsert_state(conn: Connection, device: str, product: str, values: Mapping[str, Any]) -> None:
    """Write how a product stands on a machine."""
    clause = sa.and_(states.c.device_id == device, states.c.product == product)
    changed = conn.execute(states.update().where(clause).values(**values)).rowcount
    if not changed:
        conn.execute(states.insert().values(device_id=device, product=product, **values))


def count_recorded(conn: Connection, device: str, most: int) -> int:
    """Return how many reports of a machine are entries of the record; no more than `most`."""
    leaf = metadata.tables["audit_leaf"]
    # As the index has it: batches are left out of it.
    clause = (leaf.c.kind != sa.literal_column("'batch'")) & (leaf.c.subject == f"device:{device}")
    found = sa.select(leaf.c.position).where(clause, leaf.c.kind == RECORDED).limit(most).subquery()
    return int(conn.execute(sa.select(sa.func.count()).select_from(found)).scalar() or 0)


def select_named(conn: Connection) -> dict[str, Row]:
    """Return the machines that are not retired, with their names, sites and whether connected."""
    device = metadata.tables["identity_device"]
    rows = conn.execute(
        sa.select(
            device.c.device_id, device.c.name, device.c.site, device.c.connected,
            device.c.last_seen_at, device.c.simulated,
        ).where(device.c.state != "retired")
    )  # fmt: skip
    return {row.device_id: row for row in rows}
