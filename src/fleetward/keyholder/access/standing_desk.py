"""Permissions given ahead at the owner's desk: signed, kept in the folder, handed over, compared.

    documents/ahead/HASH.json    a permission that enough people signed
    documents/ahead/HASH.stop    the stop that took it back

What is in the folder is told even when a server withholds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.judging import Judge, explain
from fleetward.keyholder.access.standing import (
    PreparedStanding,
    StandingCase,
    read_standing_case,
    sign_revocation,
)
from fleetward.keyholder.access.standing_draft import make_standing_draft
from fleetward.keyholder.access.standing_rows import StandingApi, StandingRow
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.grants.standing import verify_standing

MIN_PREFIX: Final = 8
_FOLDER: Final = "documents/ahead"


@dataclass(frozen=True, slots=True)
class Doubted:
    """A permission that the server shows and that nothing proves."""

    id: str
    trouble: str


def finish_standing(desk: Desk, prepared: PreparedStanding, raw: bytes) -> None:
    """Keep a permission that is signed by enough people, to be handed over.

    Raises `Refused` with the place of the draft when more must sign, else as `verify_standing`.
    """
    documents = desk.documents()
    try:
        verify_standing(raw, documents.policy)
    except Untrusted as e:
        if e.reason != "too_few_signatures":
            raise
        name = f"drafts/ahead-{prepared.hash[:16]}.json"
        desk.folder.keep_draft(name, make_standing_draft(documents, prepared, raw))
        raise Refused(
            f"It takes {prepared.needed} people; the draft is in {desk.folder.path / name}. Let "
            f"others run `fleetward owner cosign FILE --root {documents.owner} --key KEY`, then "
            "run `fleetward owner window add --draft FILE`.",
            reason="more_signatures_needed",
        ) from e
    desk.folder.write_once(f"{_FOLDER}/{prepared.hash}.json", raw)


def kept_rows(folder: OwnerFolder) -> dict[str, StandingRow]:
    """Return what the folder holds, by hash."""
    found: dict[str, StandingRow] = {}
    for path in sorted((folder.path / _FOLDER).glob("*.json")):
        name = path.stem
        stop = f"{_FOLDER}/{name}.stop"
        found[name] = StandingRow(
            id=name,
            envelope=to_base64url(folder.read(f"{_FOLDER}/{path.name}")),
            stop=to_base64url(folder.read(stop)) if folder.has(stop) else "",
        )
    return found


def read_all(
    folder: OwnerFolder, api: StandingApi | None
) -> tuple[list[StandingCase], list[Doubted]]:
    """Return every permission that is known, the newest first, and what is not believed.

    Without an `api`, what the folder knows.
    """
    documents = load_documents(folder)
    judge = Judge(documents.policies, documents.entries)
    rows = kept_rows(folder)
    for row in api.rows() if api is not None else ():
        known = rows.get(row.id)
        rows[row.id] = (
            row
            if known is None
            else StandingRow(
                id=row.id,
                envelope=known.envelope,
                stop=known.stop or row.stop,
                machines=row.machines,
                entries=row.entries,
            )
        )
    cases: list[StandingCase] = []
    doubted: list[Doubted] = []
    for row in rows.values():
        try:
            cases.append(read_standing_case(judge, row))
        except FleetwardError as e:
            doubted.append(Doubted(row.id, explain(e)))
    return sorted(cases, key=lambda c: -c.standing.issued_at_ms), doubted


def find_case(cases: list[StandingCase], named: str) -> StandingCase:
    """Return the permission that a person named by its id, or its beginning. Raises `Refused`."""
    text = named.strip().lower()
    found = [c for c in cases if c.standing.hash.startswith(text)]
    if len(text) < MIN_PREFIX or len(found) != 1:
        raise Refused(
            f"Expected the id of a permission given ahead, or {MIN_PREFIX} digits of its "
            f"beginning; got {named[:80]!r}. See: fleetward owner window list",
            reason="standing_not_found",
        )
    return found[0]


def take_back(desk: Desk, standing: str, reason: str, at_ms: int) -> bytes:
    """Sign the stop of a permission, and keep it; the same one again when there is one."""
    name = f"{_FOLDER}/{standing}.stop"
    if desk.folder.has(name):
        return desk.folder.read(name)
    signer = desk.signer("approver")
    raw = sign_revocation(desk.documents().policy, standing, reason, signer, at_ms)
    desk.folder.write_once(name, raw)
    return raw
