"""The example in CONTRIBUTING.md works as it is printed, in as many lines as it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.unit.house.tracked import ROOT

BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
MOST_LINES = 30


def read_example() -> tuple[str, str, str]:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    fact, judgement, test = BLOCK.findall(text)
    count = sum(block.count("\n") for block in (fact, judgement, test))
    assert count <= MOST_LINES
    assert f"It takes {count} lines in three files." in text
    return fact, judgement, test


def insert_after(path: Path, mark: str, lines: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(mark) == 1, f"{path.name} no longer holds {mark!r}"
    path.write_text(text.replace(mark, mark + lines), encoding="utf-8")


def test_a_check_is_added_in_30_lines(tmp_path: Path) -> None:
    fact, judgement, test = read_example()
    package = tmp_path / "src" / "fleetward"
    ignored = shutil.ignore_patterns("static", "__pycache__")
    shutil.copytree(ROOT / "src" / "fleetward", package, ignore=ignored)
    shutil.copytree(ROOT / "tests", tmp_path / "tests", ignore=ignored)
    folder = tmp_path / "tests" / "unit" / "posture"
    shutil.copy(ROOT / "pyproject.toml", tmp_path)

    insert_after(package / "device/posture/facts.py", "_SETTINGS: Final = (\n", fact)
    mark = '         "Set kernel.randomize_va_space to 2."),\n'
    insert_after(package / "server/posture/decide.py", mark, judgement)
    (folder / "test_sysrq.py").write_text(test, encoding="utf-8")

    finished = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder / "test_sysrq.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "3 passed" in finished.stdout
