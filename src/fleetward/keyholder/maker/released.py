"""Which releases there are: signed ones, verified as a machine does, and drafts."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tuf.api.metadata import Targets

from fleetward.keyholder.maker.folder import MakerFolder
from fleetward.keyholder.maker.repository import Repository, Verified
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.release_manifest import (
    MAX_MANIFEST_BYTES,
    Manifest,
    check_product,
    check_version,
    make_path,
    read_manifest,
)
from fleetward.trust.releases.meeting import open_release
from fleetward.trust.releases.target import make_target


def split_release(text: str) -> tuple[str, str]:
    """Return product and version of `PRODUCT/VERSION`. Raises `Malformed`."""
    product, slash, version = text.partition("/")
    if not slash:
        raise Malformed(
            f"Expected a release as PRODUCT/VERSION, got {text[:80]!r}.", reason="bad_release"
        )
    return check_product(product), check_version(version)


def draft_path(folder: MakerFolder, product: str, version: str) -> Path:
    """Return where the draft of a release lies, or would."""
    return folder.drafts / make_path(check_product(product), check_version(version))


def drop_draft(folder: MakerFolder, product: str, version: str) -> None:
    """Remove a draft and its folder. None is no error."""
    path = draft_path(folder, product, version)
    path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # something else of the maker's lies there: it stays
        path.parent.rmdir()


def read_draft_release(folder: MakerFolder, product: str, version: str) -> tuple[bytes, Manifest]:
    """Return a draft: its bytes, and what they say. Raises `Refused` when there is none."""
    try:
        data = read_bounded(draft_path(folder, product, version), MAX_MANIFEST_BYTES)
    except Unreachable as e:
        raise Refused(
            f"Expected a draft of {product} {version}; there is none. Build it: fleetward release "
            f"build {product} {version} --part NAME=PATH",
            reason="no_draft",
        ) from e
    manifest = read_manifest(data)
    if (manifest.product, manifest.version) != (product, version):
        raise Malformed(
            f"Expected the draft of {product} {version}; it says {manifest.product} "
            f"{manifest.version}.",
            reason="another_release",
        )
    return data, manifest


def list_drafts(folder: MakerFolder) -> list[Manifest]:
    """Return all drafts, by product and counter."""
    found = [
        read_manifest(read_bounded(path, MAX_MANIFEST_BYTES))
        for path in folder.drafts.glob("*/*/release.json")
    ]
    return sorted(found, key=lambda each: (each.product, each.counter))


def list_released(repository: Repository, state: Verified, product: str) -> list[Manifest]:
    """Return the signed releases of a product, oldest counter first, each as it was signed.

    Raises `Refused` when the file of one is not there, `Untrusted` when it is another.
    """
    found = []
    for file in state.open(product, Targets).signed.targets.values():
        target = make_target(file, ("targets", product), is_consistent=True)
        data = repository.read_target(target.file_name)
        if data is None:
            raise Refused(
                f"Expected {target.file_name} in {repository.targets}; it is gone. Take it from a "
                "copy of the repository.",
                reason="target_missing",
            )
        found.append(open_release(target, data, None))
    return sorted(found, key=lambda each: each.counter)


def last_counter(released: list[Manifest]) -> int:
    """Return the highest counter that was signed; 0 before the first."""
    return max((each.counter for each in released), default=0)
