"""The published vectors: this implementation passes them, and they are what it writes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.vectors import generate
from tests.vectors.checks import CHECKS

from fleetward.trust.errors import FleetwardError
from fleetward.trust.wordlist import WORDS

FOLDER = Path(generate.__file__).parent
FILES = sorted(p.name for p in FOLDER.glob("*.json") if p.name != "wordlist.json")


def resolve(value: Any, shared: dict[str, str]) -> Any:
    """Return the input with every `@name` replaced by the text that it names."""
    if isinstance(value, dict):
        return {k: resolve(v, shared) for k, v in value.items()}
    if isinstance(value, list):
        return [resolve(v, shared) for v in value]
    return shared.get(value, value) if isinstance(value, str) else value


def cases() -> list[Any]:
    found = []
    for name in FILES:
        whole = json.loads((FOLDER / name).read_text("utf-8"))
        for case in whole["cases"]:
            case["input"] = resolve(case["input"], whole["shared"])
            found.append(pytest.param(case, id=f"{name[:-5]}: {case['name']}"))
    return found


@pytest.mark.parametrize("case", cases())
def test_vector(case: dict[str, Any]) -> None:
    check = CHECKS[case["check"]]
    if "expect" in case:
        assert check(case["input"]) == case["expect"]
        return
    with pytest.raises(FleetwardError) as caught:
        check(case["input"])
    refused = {"family": type(caught.value).__name__, "reason": caught.value.reason}
    assert refused == case["refused"]


def test_every_check_has_vectors_and_most_are_attacks() -> None:
    seen = {case.values[0]["check"] for case in cases()}
    assert seen == set(CHECKS)
    refused = [c for c in cases() if "refused" in c.values[0]]
    assert len(refused) > 120


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """What this code writes."""
    return generate.write_all()


@pytest.mark.parametrize("name", [*FILES, "wordlist.json"])
def test_the_vectors_are_those_that_this_code_writes(name: str, written: dict[str, str]) -> None:
    assert written[name] == (FOLDER / name).read_text("utf-8"), (
        "A published format changed. If that is meant, run `python -m tests.vectors.generate`."
    )


def test_no_file_is_left_over(written: dict[str, str]) -> None:
    assert set(written) == {*FILES, "wordlist.json"}
    assert json.loads(written["wordlist.json"]) == list(WORDS)
