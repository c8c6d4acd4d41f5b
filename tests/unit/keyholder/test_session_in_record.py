"""A session in an exported record: only what its machine vouches for, in the log, counts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.unit.keyholder.ledger_world import World, write_export

from fleetward.keyholder.access.verifying import verify_in_record
from fleetward.trust.canonical import JsonObject
from fleetward.trust.ledger_findings import AuditReport, Findings

SESSION = "5" * 64
HEADS = [bytes([n]) * 32 for n in range(4)]
ENTRIES: list[tuple[str, JsonObject]] = [
    ("session.opened", {"session": SESSION}),
    ("session.recorded", {"session": SESSION, "records": 2, "head": HEADS[2].hex()}),
    ("session.ended", {"session": SESSION, "records": 3, "head": HEADS[3].hex()}),
]


PAPERS = {name: b'{"%s":"of the session"}' % name.encode() for name in (
    "request", "offer", "grant", "receipt",
)}  # fmt: skip


def paper(world: World, name: str) -> bytes:
    return PAPERS[name].replace(b"the session", world.machines[0].id.encode())


def look(world: World, export: Path, heads: list[bytes] = HEADS) -> AuditReport:
    entry = next(e for e in world.entries if e.device == world.machines[0].id)
    papers = {name: SimpleNamespace(raw=paper(world, name), ahead=None) for name in PAPERS}
    case: Any = SimpleNamespace(entry=entry, session=SESSION, **papers)
    findings = Findings()
    verify_in_record(case, heads, export, world.owner, findings)
    return findings.report()


def recorded(
    path: Path, said: list[tuple[str, JsonObject]], order: tuple[str, ...] = tuple(PAPERS)
) -> tuple[World, Path]:
    world = World().live(2)
    world.log.leaves += [paper(world, name) for name in order]
    world.log.leaves.append(world.say(world.machines[0], said=said))
    world.live(1)
    return world, write_export(world, path)


def ids(found: Any) -> set[str]:
    return {finding.id for finding in found}


def test_its_papers_are_found_as_they_were_signed(tmp_path: Path) -> None:
    report = look(*recorded(tmp_path / "e", ENTRIES))
    assert ids(report.proven) == {f"{name}_in_record" for name in PAPERS}
    assert report.whole
    assert not report.unknown


def test_what_is_missing_is_not_proven(tmp_path: Path) -> None:
    report = look(*recorded(tmp_path / "e", ENTRIES, ("request", "offer", "grant")))
    assert ids(report.unknown) == {"receipt_not_in_record"}
    assert report.whole


def test_an_end_before_its_permission(tmp_path: Path) -> None:
    order = ("request", "offer", "receipt", "grant")
    assert ids(look(*recorded(tmp_path / "e", [], order)).contradicted) == {"end_before_grant"}


def test_another_recording_than_the_machine_wrote_down(tmp_path: Path) -> None:
    world, export = recorded(tmp_path / "e", ENTRIES)
    other = [*HEADS[:2], b"x" * 32, HEADS[3]]
    assert ids(look(world, export, other).contradicted) == {"head_differs"}
    assert "record_missing" in ids(look(world, export, HEADS[:2]).unknown)


def test_a_session_that_opened_twice(tmp_path: Path) -> None:
    world, export = recorded(tmp_path / "e", [*ENTRIES, ENTRIES[0]])
    assert ids(look(world, export).contradicted) == {"opened_twice"}


def test_what_is_not_in_the_log_does_not_count(tmp_path: Path) -> None:
    """A batch that lies in the export's folder and in no leaf, and one of another machine."""
    twice = [*ENTRIES, ENTRIES[0]]
    world = World().live(2)
    assert world.say(world.machines[0], said=twice)
    assert look(world, write_export(world, tmp_path / "a")).whole
    world = World().live(2)
    world.log.leaves.append(world.say(world.machines[1], said=twice))
    assert look(world, write_export(world, tmp_path / "b")).whole
