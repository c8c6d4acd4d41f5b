"""What `reference-image/recipe.toml` says."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent.parent
FOLDER: Final = ROOT / "reference-image"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe."""

    suite: str
    packages: tuple[str, ...]
    without: tuple[str, ...]
    drop: tuple[str, ...]
    modules: tuple[str, ...]
    bootenv_mib: int
    slot_mib: int
    data_mib: int


def read_recipe(folder: Path = FOLDER) -> Recipe:
    """Return the recipe. Raises `ValueError` for one that lacks a line, or has one too many."""
    said = tomllib.loads((folder / "recipe.toml").read_text())
    sizes = said.pop("sizes_mib", {})
    wanted = {"suite", "packages", "without", "drop", "modules"}
    if set(said) != wanted or set(sizes) != {"bootenv", "slot", "data"}:
        raise ValueError(f"Expected {', '.join(sorted(wanted))} and [sizes_mib] in recipe.toml.")
    return Recipe(
        said["suite"],
        tuple(said["packages"]),
        tuple(said["without"]),
        tuple(said["drop"]),
        tuple(said["modules"]),
        sizes["bootenv"],
        sizes["slot"],
        sizes["data"],
    )
