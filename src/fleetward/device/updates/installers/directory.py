"""The installer `directory`: an archive becomes a folder of its own, and a link leads to it.

Programs are started from PATH/current. Switching renames a link over a link, so it is one step, and
going back is the same step. Nothing that runs is written to: a program that has its files open
keeps the old ones until it is restarted.
"""

from __future__ import annotations

from pathlib import Path

from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import (
    Found,
    Source,
    Tell,
    not_active,
    not_written,
    nothing_before,
)
from fleetward.device.updates.installers.releases import PREVIOUS, Releases


class DirectoryInstaller:
    """One place of this kind."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._releases = Releases(path)

    def survey(self, part: PartWord) -> Found:
        """Say what is there."""
        releases = self._releases
        releases.check_ours()
        active = releases.read()
        written = active != part.sha256 and releases.has(part.sha256)
        is_source = releases.has_archive(active)
        return Found(active, written, releases.needed_bytes(part), self._path, is_source)

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Unpack it, beside what is active."""
        self._releases.put(part, source, tell)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """The same, out of the archive of what is active, or of nothing."""
        self._releases.patch(part, delta, word, tell)

    def switch(self, part: PartWord, tell: Tell) -> None:
        """Have `current` lead to it."""
        tell(0)
        releases = self._releases
        releases.check_ours()
        if not releases.has(part.sha256):
            raise not_written(part)
        if releases.read() != part.sha256:
            releases.point(part.sha256)

    def commit(self, part: PartWord, tell: Tell) -> None:
        """Keep it and the one before, and drop every other."""
        releases = self._releases
        if releases.read() != part.sha256:
            raise not_active(part)
        previous = releases.read(PREVIOUS)
        if part.before not in ("", part.sha256) and releases.has(part.before):
            previous = part.before
            releases.point(previous, PREVIOUS)
        releases.keep({part.sha256, previous}, part.sha256, tell)

    def back(self, part: PartWord, tell: Tell) -> None:
        """Have `current` lead to what was before; to nothing, when nothing was."""
        tell(0)
        releases = self._releases
        if releases.read() == part.before:
            return
        if part.before and not releases.has(part.before):
            raise nothing_before(part)
        releases.point(part.before)

    def clear(self, part: PartWord, tell: Tell) -> None:
        """Drop it, unless a link leads to it."""
        releases = self._releases
        if part.sha256 not in (releases.read(), releases.read(PREVIOUS), part.before):
            releases.drop(part.sha256, tell)

    def waits_restart(self) -> bool:
        """What is active runs at once."""
        return False

    def tree(self) -> Path | None:
        """Return the folder that `current` leads to."""
        sha256 = self._releases.read()
        return self._releases.tree_of(sha256) if sha256 else None
