"""The files that belong to the project: those under version control and those about to be."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
NOT_OURS = frozenset(
    {".git", ".venv", "node_modules", "build", "dist", "static", "demo-data", "__pycache__"}
)


@cache
def list_tracked() -> tuple[Path, ...]:
    """List the project's files; without git, all but what set-up and tests have made."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        ).stdout
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if NOT_OURS.isdisjoint(path.parts)]
    return tuple(sorted(path for path in paths if path.is_file() and not path.is_symlink()))


def read_text(path: Path) -> str | None:
    """Read a file as text; None when it is not text."""
    content = path.read_bytes()
    if b"\0" in content:
        return None
    return content.decode("utf-8", errors="replace")
