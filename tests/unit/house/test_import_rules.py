"""The import rules are kept, cover what is there, and notice each kind of breach."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SOURCES = ROOT / "src" / "fleetward"
RULES = ROOT / ".importlinter"
SLICE_FILES = frozenset({"act.py", "decide.py", "ingest.py", "store.py"})

BREACHES = {
    "Programs stand on runtime, wire and trust": ("keyholder", "import fleetward.server"),
    "What a machine believes is decided": ("trust", "import socket"),
    "The agent carries no server library": ("device", "import sqlalchemy"),
    "The gateway carries no server library": ("gateway", "import sqlalchemy"),
    "No file of the server can reach": (
        "runtime/database.py",
        "import fleetward.trust.grants.grant",
    ),
    "Only what judges and makes releases imports python-tuf": ("device", "import tuf.api.metadata"),
    "Only what makes and what applies a delta": ("wire", "from backports import zstd"),
    "Capabilities of the server do not import": ("server/events", "import fleetward.server.audit"),
    "decide.py has no I/O": ("server/events/decide.py", "import time"),
}
"""The beginning of each rule's name; where a line that breaks it is planted; the line."""


def run_linter(sources: Path) -> str:
    """Check the rules over a tree of sources and return what the linter printed."""
    finished = subprocess.run(
        [ROOT / ".venv/bin/lint-imports", "--no-logo", "--no-cache", "--config", RULES],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        check=False,
    )
    return " ".join((finished.stdout + finished.stderr).split())


def read_rules() -> configparser.ConfigParser:
    rules = configparser.ConfigParser()
    rules.read(RULES)
    return rules


def test_every_rule_has_a_breach_below() -> None:
    rules = read_rules()
    names = [rules[part]["name"] for part in rules.sections() if "contract" in part]
    assert len(names) == len(BREACHES)
    assert all(any(name.startswith(begin) for begin in BREACHES) for name in names)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the linter says of a copy of the sources in which every rule is broken once."""
    copy = tmp_path_factory.mktemp("broken")
    shutil.copytree(
        SOURCES, copy / "fleetward", ignore=shutil.ignore_patterns("static", "__pycache__")
    )
    for place, line in BREACHES.values():
        path = copy / "fleetward" / place
        path = path / "__init__.py" if path.is_dir() else path
        path.write_text(f"{path.read_text(encoding='utf-8')}\n{line}\n", encoding="utf-8")
    return run_linter(copy)


@pytest.mark.parametrize("begin", BREACHES)
def test_a_breach_is_noticed(begin: str, report: str) -> None:
    verdict = re.search(re.escape(begin) + ".*?(KEPT|BROKEN)", report)
    assert verdict, report
    assert verdict[1] == "BROKEN"


def test_sources_keep_the_rules() -> None:
    assert " 0 broken." in run_linter(ROOT / "src")


def test_of_python_tuf_only_its_metadata_is_imported() -> None:
    """The linter sees packages of others as one; the client of this one would fetch by itself."""
    line = re.compile(r"^\s*(?:from|import)\s+(tuf[.\w]*)", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in SOURCES.rglob("*.py")]
    found = {name for text in texts for name in line.findall(text)}
    assert found == {"tuf.api.metadata", "tuf.api.serialization"}


def test_every_capability_of_the_server_is_named() -> None:
    layers = read_rules()["importlinter:contract:slices"]["layers"]
    named = {part.strip(" ()\n") for part in layers.split("|")}
    folders = {
        path.name
        for path in (SOURCES / "server").iterdir()
        if path.is_dir() and SLICE_FILES & {inside.name for inside in path.iterdir()}
    }
    assert folders <= named
    assert len(folders) > 1
