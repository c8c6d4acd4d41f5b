"""Remember what a step of the set-up was done from, so that it is done again only after a change.

A stamp is a small file in `.venv/stamps` that holds the hash of the step's inputs. It is written
after the step succeeded: a step that was interrupted is simply done again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


def hash_inputs(root: Path, files: Iterable[Path], *, also: str = "") -> str:
    """Hash names and contents of files below root, and a text, into one hexadecimal string."""
    hashed = hashlib.sha256(also.encode() + b"\0")
    for path in sorted(files):
        hashed.update(str(path.relative_to(root)).encode() + b"\0")
        hashed.update(hashlib.sha256(path.read_bytes()).digest())
    return hashed.hexdigest()


def list_sources(folder: Path, *, without: frozenset[str]) -> list[Path]:
    """List the files below a folder, leaving out those inside folders of the given names."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and without.isdisjoint(path.relative_to(folder).parts)
    ]


@dataclass(frozen=True)
class Stamps:
    """The folder of stamps."""

    folder: Path

    def is_current(self, step: str, wanted: str) -> bool:
        """Say whether the step was last done from these inputs."""
        path = self.folder / step
        return path.is_file() and path.read_text() == wanted

    def write(self, step: str, done_from: str) -> None:
        """Record that the step was done from these inputs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / step).write_text(done_from)
