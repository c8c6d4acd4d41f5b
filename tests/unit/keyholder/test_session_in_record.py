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


def look(world: World, export: Path, heads: list[bytes] = HEADS) -> AuditReport:
    entry = next(e for e in world.entries if e.device == world.machines[0].id)
    case: Any = SimpleNamespace(entry=entry, session=SESSION, receipt=object())
    findings = Findings()
    verify_in_record(case, heads, export, world.owner, findings)
    return findings.report()


def recorded(said: list[tuple[str, JsonObject]], path: Path) -> tuple[World, Path]:
    world = World().live(2)
    world.log.leaves.append(world.say(world.machines[0], said=said))
    world.live(1)
    return world, write_export(world, path)


def ids(found: Any) -> set[str]:
    return {finding.id for finding in found}


def test_begin_and_end_are_found(tmp_path: Path) -> None:
    report = look(*recorded(ENTRIES, tmp_path / "e"))
    assert ids(report.proven) == {"in_record", "end_in_record"}
    assert report.whole
    assert not report.unknown


def test_another_recording_than_the_machine_wrote_down(tmp_path: Path) -> None:
    world, export = recorded(ENTRIES, tmp_path / "e")
    other = [*HEADS[:2], b"x" * 32, HEADS[3]]
    assert ids(look(world, export, other).contradicted) == {"head_differs"}
    assert "record_missing" in ids(look(world, export, HEADS[:2]).unknown)


def test_a_session_that_opened_twice(tmp_path: Path) -> None:
    world, export = recorded([*ENTRIES, ENTRIES[0]], tmp_path / "e")
    assert ids(look(world, export).contradicted) == {"opened_twice"}


def test_what_is_not_in_the_log_does_not_count(tmp_path: Path) -> None:
    """A batch that lies in the export's folder and in no leaf, and one of another machine."""
    world = World().live(2)
    hidden = world.say(world.machines[0], said=ENTRIES)
    assert hidden
    report = look(world, write_export(world, tmp_path / "a"))
    assert ids(report.unknown) == {"not_in_record", "end_not_in_record"}
    world = World().live(2)
    world.log.leaves.append(world.say(world.machines[1], said=ENTRIES))
    report = look(world, write_export(world, tmp_path / "b"))
    assert "in_record" not in ids(report.proven)
