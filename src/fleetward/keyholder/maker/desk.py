"""Everything that one command of a maker works with: folder, repository, keys, the time."""

from __future__ import annotations

from dataclasses import dataclass

from fleetward.keyholder.maker.folder import MakerFolder
from fleetward.keyholder.maker.key_ring import KeyRing
from fleetward.keyholder.maker.repository import Repository, Verified
from fleetward.trust.errors import Refused
from fleetward.trust.release_manifest import check_product


@dataclass(frozen=True)
class MakerDesk:
    """What a command works with. `now_ms` is read once, so that one command is one moment."""

    folder: MakerFolder
    repository: Repository
    keys: KeyRing
    now_ms: int

    @classmethod
    def of(cls, folder: MakerFolder, keys: KeyRing, now_ms: int) -> MakerDesk:
        """Return the desk of a folder."""
        return cls(folder, Repository(folder.repository, folder.first_root), keys, now_ms)

    def require_product(self, product: str) -> Verified:
        """Return the verified state, in which there is this product. Raises `Refused`."""
        check_product(product)
        state = self.repository.verify()
        if product not in state.products:
            raise Refused(
                f"Expected the product {product!r}; there is none of that name. Add it: fleetward "
                f"maker product add {product} --support-ends YYYY-MM-DD",
                reason="no_such_product",
            )
        return state
