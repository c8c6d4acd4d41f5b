"""A promise in docs/security/claims.md names a file that keeps it and an attack on it."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.unit.house.tracked import ROOT

CLAIMS = ROOT / "docs" / "security" / "claims.md"
ATTACKS = ROOT / "tests" / "attack"
HEADER = ("claim", "keeps it", "attack test")
CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Claim:
    """One row of the table: the promise, the files that keep it, the tests that attack it."""

    words: str
    keepers: tuple[str, ...]
    attacks: tuple[str, ...]


def read_claims(text: str) -> list[Claim]:
    """Read the rows of the one table; a row of another shape is an error."""
    rows = [
        tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        for line in text.splitlines()
        if line.startswith("|")
    ]
    assert rows, "claims.md holds no table"
    assert tuple(cell.lower() for cell in rows[0]) == HEADER
    claims = []
    for row in rows[2:]:
        assert len(row) == len(HEADER), row
        claims.append(Claim(row[0], tuple(CODE.findall(row[1])), tuple(CODE.findall(row[2]))))
    return claims


def list_tests(path: Path) -> set[str]:
    """Name the test functions of a file, those in classes too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, kinds) and node.name.startswith("test_")
    }


def find_faults(claim: Claim, root: Path) -> list[str]:
    """Say all that is wrong with a row."""
    faults = [] if claim.words else ["says nothing"]
    faults += [] if claim.keepers else ["names no file that keeps it"]
    faults += [] if claim.attacks else ["names no attack test"]
    faults += [f"{name} is not there" for name in claim.keepers if not (root / name).is_file()]
    for attack in claim.attacks:
        name, _, test = attack.partition("::")
        path = root / name
        if not name.startswith("tests/attack/") or not path.is_file():
            faults.append(f"{name} is not a file of tests/attack")
        elif test not in list_tests(path):
            faults.append(f"{attack} is not a test")
    return faults


def test_every_claim_is_kept_and_attacked() -> None:
    claims = read_claims(CLAIMS.read_text(encoding="utf-8"))
    assert claims, "no promise is made, which is not true"
    faults = {claim.words: find_faults(claim, ROOT) for claim in claims}
    assert not {words: found for words, found in faults.items() if found}


def test_no_promise_is_made_twice() -> None:
    words = [claim.words for claim in read_claims(CLAIMS.read_text(encoding="utf-8"))]
    assert len(words) == len(set(words))


def test_every_attack_belongs_to_a_claim() -> None:
    named = {
        attack.partition("::")[0]
        for claim in read_claims(CLAIMS.read_text(encoding="utf-8"))
        for attack in claim.attacks
    }
    files = {str(path.relative_to(ROOT)) for path in ATTACKS.glob("test_*.py")}
    assert not files - named, "an attack without a promise: add the row"


ROW = "| {words} | {keeper} | {attack} |"


@pytest.mark.parametrize(
    ("keeper", "attack", "fault"),
    [
        ("`kept.py`", "", "names no attack test"),
        ("`kept.py`", "soon", "names no attack test"),
        ("", "`tests/attack/test_a.py::test_it`", "names no file"),
        ("`gone.py`", "`tests/attack/test_a.py::test_it`", "gone.py is not there"),
        ("`kept.py`", "`tests/attack/test_a.py::test_other`", "is not a test"),
        ("`kept.py`", "`tests/attack/test_b.py::test_it`", "is not a file of tests/attack"),
        ("`kept.py`", "`tests/unit/test_a.py::test_it`", "is not a file of tests/attack"),
    ],
)
def test_a_row_that_promises_too_much_is_noticed(
    keeper: str, attack: str, fault: str, tmp_path: Path
) -> None:
    (tmp_path / "tests" / "attack").mkdir(parents=True)
    (tmp_path / "tests/attack/test_a.py").write_text("def test_it() -> None:\n    assert 1\n")
    (tmp_path / "kept.py").write_text("")
    head = "| claim | keeps it | attack test |\n|---|---|---|\n"
    [row] = read_claims(head + ROW.format(words="It holds.", keeper=keeper, attack=attack))
    assert [found for found in find_faults(row, tmp_path) if fault in found]
    good = Claim("It holds.", ("kept.py",), ("tests/attack/test_a.py::test_it",))
    assert not find_faults(good, tmp_path)
