"""The console's types are made from a file, and the file is what the server's code says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tools import openapi

FREE = frozenset({"CeremonyShown", "EventRow", "FinishedCeremony"})
"""What a browser or a machine says in its own words: their fields may hold any object."""


@pytest.fixture(scope="module")
def text() -> str:
    return openapi.build_text()


def find_untyped(schemas: dict[str, Any]) -> list[str]:
    """Name every field of which the description does not say what it holds."""
    return [
        f"{name}.{field}"
        for name, schema in schemas.items()
        for field, kind in schema.get("properties", {}).items()
        if not kind or kind == {"type": "object"}
    ]


def test_the_file_is_what_the_code_says(text: str) -> None:
    found = openapi.FILE.read_text(encoding="utf-8")
    assert found == text, "run `make openapi`, read the difference, and commit it"


def test_every_page_of_the_console_is_described(text: str) -> None:
    paths = json.loads(text)["paths"]
    client = (openapi.FILE.parent / "client.ts").read_text(encoding="utf-8")
    named = set(re.findall(r"http\.(?:get|post)<.*?>\('(/[a-z/-]+)'", client))
    assert len(named) > 10
    assert not {name for name in named if f"/api/v1{name}" not in paths}


def test_no_field_is_left_without_a_type(text: str) -> None:
    schemas = json.loads(text)["components"]["schemas"]
    assert not [name for name in find_untyped(schemas) if name.partition(".")[0] not in FREE]
    assert find_untyped({"Made": {"properties": {"up": {}}}}) == ["Made.up"]
