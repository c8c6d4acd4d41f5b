"""A machine that reads the maker's repository: it is asked before anything is written or sent.

It is `trust.releases`, the very code that machines run, driven over files. What a machine would
refuse is never published; and what the maker's own tools extend was verified by it before, so that
nobody who can write into the repository gets his words signed along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from fleetward.trust.errors import Refused
from fleetward.trust.release_manifest import Manifest, make_path
from fleetward.trust.releases.meeting import open_release
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Change, Steps
from fleetward.trust.releases.target import Target
from fleetward.trust.releases.trusted import TrustedSet

ReadFile: TypeAlias = Callable[[str], "bytes | None"]
"""Given a metadata file's name, returns its bytes or None."""

NO_AGE_MS: Final = 0
"""At the beginning of time nothing has run out: for reading what is to be signed again."""
NO_VERSION: Final = "0"
"""Of a path that nobody released, to have a product's role looked at."""


@dataclass
class Reader:
    """A machine that trusts a root, and what it has verified since."""

    root: bytes
    kept: dict[str, bytes] = field(default_factory=dict)
    """The newest verified bytes of each role, root too once there was a newer one."""

    def refresh(self, read: ReadFile, now_ms: int) -> TrustedSet:
        """Bring the four roles up to date. Raises what a machine raises."""
        steps = Refresh(self.root, now_ms)
        self._drive(steps, read)
        return steps.result

    def find(self, trusted: TrustedSet, path: str, read: ReadFile) -> Target | None:
        """Look for a target. Raises what a machine raises."""
        steps = Search(trusted, path)
        self._drive(steps, read)
        return steps.result

    def visit(self, trusted: TrustedSet, products: Iterable[str], read: ReadFile) -> None:
        """Have each product's role verified."""
        for product in products:
            self.find(trusted, make_path(product, NO_VERSION), read)

    def _drive(self, steps: Steps[Any], read: ReadFile) -> None:
        while (want := steps.want) is not None:
            data = self.kept.get(want.role) if want.is_kept else read(want.file_name)
            try:
                steps.give(data)
            finally:
                self._keep(steps.take_changes())

    def _keep(self, changes: Iterable[Change]) -> None:
        for change in changes:
            if change.data is None:
                self.kept.pop(change.role, None)
            elif change.role == "root":
                self.root = change.data
            else:
                self.kept[change.role] = change.data


def open_as_machine(
    reader: Reader, read: ReadFile, release: tuple[str, bytes], now_ms: int
) -> tuple[Target, Manifest]:
    """Return a release as a machine takes it: path and manifest, verified from the root on.

    Raises `Refused` when nobody signed it, else what a machine raises.
    """
    path, data = release
    target = reader.find(reader.refresh(read, now_ms), path, read)
    if target is None:
        raise Refused(
            f"Expected {path} to be signed; the repository does not name it. Sign it: "
            f"fleetward release sign {path.removesuffix('/release.json')}",
            reason="release_not_signed",
        )
    return target, open_release(target, data, None)
