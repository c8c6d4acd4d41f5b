"""A release as a machine will see it: the maker's metadata, followed and verified.

1. The anchor is the root that the policy names; what comes must have its digest.
2. The four roles are brought up to date (`trust.releases.refresh`), against what was kept.
3. The release is found by its path among the delegations (`trust.releases.search`).
4. Its manifest has the length and hashes that were signed, was signed by the product's own key,
   and says the product and version of its path (`trust.releases.meeting.open_release`).

So whoever serves the files can withhold a release and show an older state to one who has seen
none; he can show no other release under a name. There is no director here: the owner decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from fleetward.keyholder.updates.kept import Kept
from fleetward.keyholder.updates.source import Source
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.release_manifest import Manifest, check_product, check_version, make_path
from fleetward.trust.releases.director import require_anchor
from fleetward.trust.releases.meeting import open_release
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Steps
from fleetward.trust.words import six_words


class Beginning(Kept, Protocol):
    """What is kept, and can be begun."""

    def begin(self, root: bytes) -> None:
        """Keep the root that the policy names."""
        ...


@dataclass(frozen=True, slots=True)
class Found:
    """A verified release, and the bytes of its manifest."""

    manifest: Manifest
    raw: bytes

    @property
    def words(self) -> str:
        """Six words of the manifest's hash: the same on every screen that shows this release."""
        return six_words(bytes.fromhex(self.manifest.hash))


def find_release(
    source: Source, kept: Beginning, anchor: str, named: tuple[str, str], now_ms: int
) -> Found:
    """Return the release (product, version) that the maker with the root `anchor` signed.

    Raises `Refused` when the maker has not released it, or lets his metadata expire; `Unreachable`
    when a file is not there; `Malformed` or `Untrusted` for what may not be believed.
    """
    product, version = check_product(named[0]), check_version(named[1])
    # 1.
    root = kept.newest_root()
    if root is None:
        data = source.root(anchor)
        if data is None:
            raise Unreachable(
                f"The root of {product}'s maker, {anchor[:16]}…, is not there. Let the maker "
                "publish it, or take the files from elsewhere: --from FILE.",
                reason="root_absent",
            )
        root = require_anchor(data, anchor)
        kept.begin(root)
    # 2.
    refresh = Refresh(root, now_ms)
    _drive(refresh, source, kept, product)
    # 3.
    search = Search(refresh.result, make_path(product, version))
    _drive(search, source, kept, product)
    target = search.result
    if target is None:
        raise Refused(
            f"The maker of {product} has not released {version}, or withdrew it. See which there "
            "are, or name another.",
            reason="release_absent",
        )
    # 4.
    raw = source.manifest(product, version, target)
    if raw is None:
        raise Unreachable(
            f"The maker released {product} {version}, and its description is not there. Try again "
            "later, or take it from elsewhere: --from FILE.",
            reason="release_absent",
        )
    return Found(open_release(target, raw, None), raw)


def _drive(steps: Steps[Any], source: Source, kept: Kept, product: str) -> None:
    while (want := steps.want) is not None:
        data = kept.read(want) if want.is_kept else source.metadata(product, want)
        try:
            steps.give(data)
        finally:
            kept.store(steps.take_changes())
