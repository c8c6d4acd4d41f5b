"""Turn the fragments in `changes/` into the part of CHANGELOG.md that is not released yet.

A visible change brings one file, `changes/NUMBER.KIND.md`, of one to five lines: whole sentences
that tell a user what is different. NUMBER is that of the issue; several fragments of one issue
add a letter (`2a.added.md`).

    python -m tools.changelog                    show what the next release will say
    python -m tools.changelog --release 0.1.0    write it into CHANGELOG.md, remove the fragments
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FRAGMENTS: Final = ROOT / "changes"
CHANGELOG: Final = ROOT / "CHANGELOG.md"
KINDS: Final = ("security", "added", "changed", "fixed", "removed")
"""In the order in which a reader wants to know."""

NAME: Final = re.compile(rf"(\d+)([a-z]?)\.({'|'.join(KINDS)})\.md")
MARK: Final = "<!-- releases, newest first -->"
MOST_LINES: Final = 5
LONGEST_LINE: Final = 300


@dataclass(frozen=True, order=True)
class Fragment:
    """One visible change."""

    number: int
    letter: str
    kind: str
    text: str


def read_fragment(path: Path) -> Fragment:
    """Read a fragment. Raises ValueError, saying what is wrong, when it is not well formed."""
    named = NAME.fullmatch(path.name)
    if named is None:
        raise ValueError(f"{path.name}: expected NUMBER.KIND.md with KIND one of {KINDS}")
    text = path.read_text(encoding="utf-8").strip()
    lines = text.splitlines()
    if not text or len(lines) > MOST_LINES or max(map(len, lines)) > LONGEST_LINE:
        raise ValueError(f"{path.name}: expected one to {MOST_LINES} lines of text")
    if (
        not (text[0].isupper() or text[0] == "`")
        or text[-1] not in ".)`"
        or text.startswith(("#", "-", "*"))
    ):
        raise ValueError(f"{path.name}: expected whole sentences, without heading or list")
    return Fragment(int(named[1]), named[2], named[3], text)


def read_fragments(folder: Path) -> list[Fragment]:
    """Read all fragments of a folder, in the order of their numbers."""
    paths = [path for path in folder.iterdir() if path.name != "README.md"]
    return sorted(read_fragment(path) for path in paths)


def build_section(title: str, fragments: list[Fragment]) -> str:
    """Write one release as text."""
    parts = [f"## {title}"]
    for kind in KINDS:
        texts = [one.text for one in fragments if one.kind == kind]
        if texts:
            parts.append(f"### {kind.capitalize()}")
            parts.append("\n".join("- " + text.replace("\n", "\n  ") for text in texts))
    return "\n\n".join(parts) + "\n"


def release(version: str, day: str, folder: Path, changelog: Path) -> None:
    """Write the fragments into the changelog and remove them."""
    section = build_section(f"{version}, {day}", read_fragments(folder))
    text = changelog.read_text(encoding="utf-8")
    if MARK not in text:
        raise ValueError(f"{changelog.name}: expected the line {MARK}")
    changelog.write_text(text.replace(f"{MARK}\n", f"{MARK}\n\n{section}", 1), encoding="utf-8")
    for path in folder.iterdir():
        if path.name != "README.md":
            path.unlink()


def main() -> int:
    parser = argparse.ArgumentParser(prog="changelog", description="The changelog by fragments.")
    parser.add_argument("--release", metavar="VERSION", help="write it into CHANGELOG.md")
    chosen: str | None = parser.parse_args().release
    if chosen is None:
        print(build_section("Unreleased", read_fragments(FRAGMENTS)), end="")
    else:
        release(chosen, datetime.now(UTC).date().isoformat(), FRAGMENTS, CHANGELOG)
    return 0


if __name__ == "__main__":
    sys.exit(main())
