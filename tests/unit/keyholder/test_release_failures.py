"""What failed in the field, put together by cause."""

from __future__ import annotations

from typing import Any

from fleetward.cli.release_failures import group_failures


def row(cause: str, words: str, **changes: Any) -> dict[str, Any]:
    return {
        "device_id": "a" * 32, "name": "pump 7", "site": "Ward 3", "simulated": False,
        "runs": False, "version": "1.0", "outcome": "rolled_back", "cause": cause, "words": words,
        "said_at": None,
    } | changes  # fmt: skip


def test_causes_are_counted_and_nobody_is_named_unless_asked_for() -> None:
    rows = [
        row("health: http", "no answer"),
        row("health: http", "no answer", version="0.9", simulated=True),
        row("health: http", "late", outcome="failed"),
        row("", "disk full", outcome="failed"),
        row("health: http", "mended since", runs=True),
        row("", "", outcome="accepted"),
    ]
    first, second = group_failures(rows, with_machines=False)
    assert first == {
        "cause": "health: http", "machines": 3, "simulated": 1,
        "outcomes": {"rolled_back": 2, "failed": 1}, "from_versions": {"1.0": 2, "0.9": 1},
        "words": ["no answer", "late"],
    }  # fmt: skip
    assert (second["cause"], second["words"]) == ("failed", ["disk full"])
    assert "pump 7" not in str((first, second))
    named, _ = group_failures(rows, with_machines=True)
    assert [each["name"] for each in named["devices"]] == ["pump 7"] * 3
