"""A second implementation of the formats, in another language, passes every published vector."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECOND = ROOT / "tests" / "vectors" / "second"
COMPILER = ROOT / "console" / "node_modules" / ".bin" / "tsc"
TYPES = ROOT / "console" / "node_modules" / "@types" / "node"
OLDEST_NODE = 20


def node_or_skip() -> str:
    """Return the path of a Node that is new enough, or skip and say what is missing."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed; `make setup` says how to get it")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True)
    if int(version.stdout.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version.stdout.strip()} is older than {OLDEST_NODE}")
    if not COMPILER.exists() or not TYPES.exists():
        pytest.skip("console/node_modules is absent; `make setup` installs it")
    return node


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Return node and the compiled second implementation."""
    node = node_or_skip()
    build = tmp_path_factory.mktemp("second")
    compiled = subprocess.run(
        [node, COMPILER.resolve(), "-p", SECOND, "--outDir", build],
        capture_output=True,
        text=True,
        check=False,
    )
    assert compiled.returncode == 0, compiled.stdout
    return node, build


def run_vectors(program: tuple[str, Path], vectors: Path) -> tuple[int, dict[str, int], str]:
    """Return the exit code, the counts and the output of one run over a folder of vectors."""
    node, build = program
    done = subprocess.run(
        [node, "--test", "--test-reporter=tap", build / "vectors.test.mjs"],
        env={**os.environ, "FLEETWARD_VECTORS": str(vectors)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    counts = {m[1]: int(m[2]) for m in re.finditer(r"^# (\w+) (\d+)$", done.stdout, re.MULTILINE)}
    return done.returncode, counts, done.stdout + done.stderr


def test_it_passes_every_vector(program: tuple[str, Path]) -> None:
    expected = sum(
        p.read_text("utf-8").count('\n{"check": ')
        for p in (ROOT / "tests" / "vectors").glob("*.json")
    )
    code, counts, output = run_vectors(program, ROOT / "tests" / "vectors")
    assert code == 0, output[-5000:]
    assert counts["pass"] == counts["tests"] == expected > 300


def test_it_does_look(program: tuple[str, Path], tmp_path: Path) -> None:
    """A runner that passes whatever it is given would prove nothing: give it a wrong vector."""
    for file in (ROOT / "tests" / "vectors").glob("word*.json"):
        text = file.read_text("utf-8")
        (tmp_path / file.name).write_text(text.replace('"words": "abacus', '"words": "zebra'))
    code, counts, output = run_vectors(program, tmp_path)
    assert code != 0, output
    assert counts["fail"] == 1
