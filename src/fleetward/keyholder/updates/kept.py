"""What the owner's folder remembers of a maker's metadata, so that an older state is refused.

    updates/PRODUCT/ANCHOR/roots/00001.json …   the root that the policy names, and those behind it
    updates/PRODUCT/ANCHOR/ROLE.json            the newest of each other role

ANCHOR is the SHA-256 of the root that the policy names: another maker begins anew. All of it can be
deleted; then the next look believes whatever is newest there, as the first one did.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from fleetward.keyholder.folder import OwnerFolder
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.releases.limits import MAX_KEPT_BYTES, MAX_ROOT_BYTES
from fleetward.trust.releases.steps import Change, Want


class Kept(Protocol):
    """What one who looks at releases remembers."""

    def newest_root(self) -> bytes | None:
        """Return the newest root that was believed, or None before the first."""
        ...

    def read(self, want: Want) -> bytes | None:
        """Return the file that is kept of a role."""
        ...

    def store(self, changes: Iterable[Change]) -> None:
        """Keep and forget, in this order, each durable before the next."""
        ...


class KeptFolder:
    """A product's part of the owner's folder."""

    def __init__(self, folder: OwnerFolder, product: str, anchor: str) -> None:
        self._anchor = anchor
        self._path = folder.path / "updates" / product / anchor

    def begin(self, root: bytes) -> None:
        """Keep the root that the policy names; its digest was compared."""
        self._write_root(1, root)

    def newest_root(self) -> bytes | None:
        """See `Kept`. Raises `Untrusted` when the first is not the one that the policy names."""
        roots = self.roots()
        return roots[-1] if roots else None

    def roots(self) -> tuple[bytes, ...]:
        """Return the root that the policy names, and those that followed. Raises as above."""
        found = tuple(read_bounded(path, MAX_ROOT_BYTES) for path in self._root_files())
        if found and hashlib.sha256(found[0]).hexdigest() != self._anchor:
            raise Untrusted(
                f"Somebody changed {self._path}. Delete it, and look again.", reason="another_root"
            )
        return found

    def roles(self) -> dict[str, bytes]:
        """Return what is kept of each other role, by the name of its file without the ending."""
        files = sorted(self._path.glob("*.json"))
        return {path.name.removesuffix(".json"): read_bounded(path, MAX_KEPT_BYTES)
                for path in files}  # fmt: skip

    def read(self, want: Want) -> bytes | None:
        """See `Kept`. One that cannot be read counts as none: it is fetched again."""
        path = self._path / want.file_name
        try:
            return read_bounded(path, want.max_bytes) if path.is_file() else None
        except (Refused, Malformed):
            return None

    def store(self, changes: Iterable[Change]) -> None:
        """See `Kept`. Raises `Unreachable` when the disk refuses."""
        for change in changes:
            if change.role == "root" and change.data is not None:
                self._write_root(len(self._root_files()) + 1, change.data)
            elif change.data is None:
                (self._path / change.file_name).unlink(missing_ok=True)
            else:
                atomic_write(self._path / change.file_name, change.data)

    def _root_files(self) -> list[Path]:
        return sorted((self._path / "roots").glob("*.json"))

    def _write_root(self, number: int, data: bytes) -> None:
        make_private_directory(self._path / "roots")
        atomic_write(self._path / "roots" / f"{number:05}.json", data)


class NothingKept:
    """Of one who looks for the first time, and remembers nothing afterwards."""

    def __init__(self) -> None:
        self._root: bytes | None = None

    def begin(self, root: bytes) -> None:
        """Begin with the root that the policy names."""
        self._root = root

    def newest_root(self) -> bytes | None:
        """See `Kept`."""
        return self._root

    def read(self, want: Want) -> bytes | None:
        """See `Kept`."""
        return None

    def store(self, changes: Iterable[Change]) -> None:
        """See `Kept`."""
