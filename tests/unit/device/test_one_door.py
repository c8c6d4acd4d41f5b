"""On a machine, only the gate judges who may enter."""

from __future__ import annotations

import ast
from pathlib import Path

import fleetward.device

DEVICE = Path(fleetward.device.__file__).parent
JUDGES = {"gate.py", "gate_sessions.py", "gate_standing.py"}


def names_taken_from_grants(path: Path) -> set[str]:
    """Return what a file imports from `trust.grants`, what is only for types apart."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "fleetward.trust.grants"
        ):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name.startswith("fleetward.trust.grants")}
    return found


def test_only_the_gate_imports_what_judges() -> None:
    judging: dict[str, set[str]] = {}
    for path in DEVICE.rglob("*.py"):
        names = names_taken_from_grants(path)
        judges = {n for n in names if n.startswith(("verify", "recheck", "check", "fleetward"))}
        if judges:
            judging[path.name] = judges
    assert set(judging) <= JUDGES, judging
    assert "verify_grant" in judging["gate_sessions.py"]
