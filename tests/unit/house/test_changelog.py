"""Visible changes are told by fragments of one form, and a release gathers them."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools.changelog import CHANGELOG, FRAGMENTS, MARK, build_section, read_fragments, release


def test_every_fragment_is_well_formed() -> None:
    assert build_section("Unreleased", read_fragments(FRAGMENTS)).startswith("## Unreleased")
    assert MARK in CHANGELOG.read_text(encoding="utf-8")


def test_release_gathers_in_order_and_removes(tmp_path: Path) -> None:
    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text(f"# Changes\n\n{MARK}\n\n## 0.0.1, 2026-01-01\n")
    folder = tmp_path / "changes"
    folder.mkdir()
    (folder / "README.md").write_text("How to.\n")
    (folder / "10.added.md").write_text("Ten came.\n")
    (folder / "2b.added.md").write_text("Two came\nin two lines.\n")
    (folder / "3.security.md").write_text("Three is safer.\n")
    release("0.1.0", "2026-02-03", folder, changelog)
    assert changelog.read_text() == (
        f"# Changes\n\n{MARK}\n\n## 0.1.0, 2026-02-03\n\n"
        "### Security\n\n- Three is safer.\n\n"
        "### Added\n\n- Two came\n  in two lines.\n- Ten came.\n\n## 0.0.1, 2026-01-01\n"
    )
    assert [path.name for path in folder.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("2.new.md", "A change.\n"),
        ("added.md", "A change.\n"),
        ("2.added.txt", "A change.\n"),
        ("2.added.md", ""),
        ("2.added.md", "- A list.\n"),
        ("2.added.md", "no sentence\n"),
        ("2.added.md", "Long.\n" * 6),
    ],
)
def test_another_form_is_refused(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match="expected"):
        read_fragments(tmp_path)
