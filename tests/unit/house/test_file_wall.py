"""A file tells one thing: 600 lines are the wall."""

from __future__ import annotations

from pathlib import Path

from tests.unit.house.tracked import ROOT, list_tracked

WALL_LINES = 600
CODE = frozenset({".css", ".html", ".js", ".mjs", ".py", ".sh", ".ts", ".tsx"})
GENERATED = ("console/src/api/schema.ts",)
"""Written from the OpenAPI file by a tool, and read by nobody."""


def list_code() -> list[Path]:
    return [path for path in list_tracked() if path.suffix in CODE or path.name == "Makefile"]


def test_code_is_found() -> None:
    assert len(list_code()) > 50


def test_no_file_is_longer_than_the_wall() -> None:
    lengths = {
        str(path.relative_to(ROOT)): path.read_bytes().count(b"\n")
        for path in list_code()
        if str(path.relative_to(ROOT)) not in GENERATED
    }
    assert not {name: length for name, length in lengths.items() if length > WALL_LINES}
