"""Metadata that a machine keeps, so that nobody can show it an older state.

One folder for each anchor: the digest of the root that the owner's policy names. A policy that
names another root therefore begins with nothing, and nothing that was kept under the old one is
believed. The names of files are made by `trust.releases.names`, which makes them harmless.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError, Unreachable
from fleetward.trust.releases.limits import MAX_KEPT_BYTES
from fleetward.trust.releases.steps import Change, Want

ROOT_FILE: Final = "root.json"


class Shelf:
    """Keeps metadata below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, anchor: str, want: Want) -> bytes | None:
        """Return a kept file, or None: what cannot be read is fetched again."""
        return self._read(anchor, want.file_name)

    def read_root(self, anchor: str) -> bytes | None:
        """Return the newest root that was verified under this anchor."""
        return self._read(anchor, ROOT_FILE)

    def keep(self, anchor: str, changes: Iterable[Change]) -> None:
        """Store what was verified, in its order. Raises `Unreachable`."""
        for change in changes:
            folder = make_private_directory(self._folder / anchor)
            if change.data is not None:
                atomic_write(folder / change.file_name, change.data)
                continue
            try:
                (folder / change.file_name).unlink(missing_ok=True)
            except OSError as e:
                raise Unreachable(
                    f"Metadata cannot be dropped: {e.strerror}.", reason="disk_refused"
                ) from e

    def keep_root(self, anchor: str, data: bytes) -> None:
        """Store the root that has the digest of the policy. Raises `Unreachable`."""
        self.keep(anchor, (Change("root", data),))

    def forget_others(self, anchors: Collection[str]) -> None:
        """Drop what was kept under roots that the policy names no more."""
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                if path.name not in anchors:
                    shutil.rmtree(path, ignore_errors=True)

    def _read(self, anchor: str, name: str) -> bytes | None:
        try:
            return read_bounded(self._folder / anchor / name, MAX_KEPT_BYTES)
        except FleetwardError:
            return None
