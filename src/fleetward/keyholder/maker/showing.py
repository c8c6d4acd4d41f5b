"""What a release says, in a person's words, and how it differs from the one before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from fleetward.keyholder.maker.bills import MAX_BILL_BYTES, BillDifference, compare_bills, read_bill
from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.released import list_drafts, list_released, read_draft_release
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import FleetwardError
from fleetward.trust.release_manifest import Delta, Manifest
from fleetward.trust.sayings import say_count, say_length
from fleetward.wire.delta import EMPTY_SOURCE

DRAFT: Final = "draft"
SIGNED: Final = "signed"
MAX_LINES: Final = 12
"""Lines of each kind of difference that a person is shown; JSON has them all."""
_UNITS: Final = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


@dataclass(frozen=True, slots=True)
class Shown:
    """A release with its state, and the difference to the one before it, if there is one."""

    manifest: Manifest
    state: str
    before: Manifest | None
    difference: BillDifference | None


def find_release(desk: MakerDesk, product: str, version: str) -> Shown:
    """Return a release, signed or else a draft. Raises `Refused` when there is neither."""
    released = list_released(desk.repository, desk.require_product(product), product)
    signed = [each for each in released if each.version == version]
    manifest = signed[0] if signed else read_draft_release(desk.folder, product, version)[1]
    older = [each for each in released if each.counter < manifest.counter]
    before = older[-1] if older else None
    return Shown(manifest, SIGNED if signed else DRAFT, before, _compare(desk, before, manifest))


def list_all(desk: MakerDesk, product: str = "") -> list[tuple[Manifest, str]]:
    """Return the signed releases and drafts of a product, or of all, with their states."""
    state = desk.require_product(product) if product else desk.repository.verify()
    products = (product,) if product else state.products
    rows = [
        (each, SIGNED) for name in products for each in list_released(desk.repository, state, name)
    ]
    rows += [(each, DRAFT) for each in list_drafts(desk.folder) if each.product in products]
    return sorted(rows, key=lambda row: (row[0].product, row[0].counter, row[1]))


def describe_release(manifest: Manifest) -> dict[str, Any]:
    """Return a release as JSON shows it."""
    return {
        "release": f"{manifest.product}/{manifest.version}",
        "product": manifest.product,
        "version": manifest.version,
        "counter": manifest.counter,
        "hash": manifest.hash,
        "released_at": _say_time(manifest.released_at_ms),
        "support_ends_at": _say_time(manifest.support_ends_at_ms),
        "hardware": list(manifest.hardware),
        "parts": [
            {
                "name": part.name,
                "installer": part.installer,
                "place": part.place,
                "sha256": part.blob.sha256,
                "size_bytes": part.blob.length_bytes,
                "unpacked_bytes": part.unpacked_bytes,
                "unpacked_files": part.unpacked_files,
                "hook": part.hook,
                "deltas": [
                    {
                        "source": "" if each.source == EMPTY_SOURCE else each.source,
                        "sha256": each.blob.sha256,
                        "size_bytes": each.blob.length_bytes,
                    }
                    for each in part.deltas
                ],
            }
            for part in manifest.parts
        ],
        "health": {
            "within_seconds": manifest.health.within_seconds,
            "steady_seconds": manifest.health.steady_seconds,
            "checks": [check.to_json() for check in manifest.health.checks],
        },
        "needs": [{"product": n.product, "least": n.least} for n in manifest.needs],
        "conflicts": [
            {"product": c.product, "first": c.first, "last": c.last} for c in manifest.conflicts
        ],
        "least_before": manifest.least_before,
        "reboot": manifest.reboot,
        "replaces_agent": manifest.replaces_agent,
        "notes": manifest.notes,
        "fixes": list(manifest.fixes),
        "sbom": manifest.sbom.sha256 if manifest.sbom else "",
    }


def show_release(shown: Shown) -> dict[str, Any]:
    """Return a release with its state and the difference to the one before, as JSON shows it."""
    return {
        "state": shown.state,
        **describe_release(shown.manifest),
        "before": shown.before.version if shown.before else "",
        "components": asdict(shown.difference) if shown.difference else None,
    }


def tell_list(rows: Sequence[tuple[Manifest, str]]) -> str:
    """Return a line for each release."""
    lines = [
        f"{each.product}/{each.version}: counter {each.counter}, {state}, "
        f"{_say_time(each.released_at_ms)}"
        for each, state in rows
    ]
    return "\n".join(lines) or "There is no release yet: fleetward release build"


def tell_release(manifest: Manifest) -> str:
    """Return what a release says to machines, in words."""
    lines = [f"{manifest.product} {manifest.version}, counter {manifest.counter}"]
    models = "every model" if manifest.hardware == ("*",) else ", ".join(manifest.hardware)
    lines.append(f"  for {models}")
    for part in manifest.parts:
        size = say_bytes(part.blob.length_bytes)
        inside = ""
        if part.unpacked_files:
            files = say_count(part.unpacked_files, "file")
            inside = f", unpacks to {files}, {say_bytes(part.unpacked_bytes)}"
        hook = f", then runs {part.hook}" if part.hook else ""
        lines.append(f"  {part.name}: {part.installer} to {part.place}, {size}{inside}{hook}")
        lines += [f"    {_tell_delta(each)}" for each in part.deltas]
    lines += [f"  needs {each.product} from counter {each.least}" for each in manifest.needs]
    lines += [
        f"  does not bear {each.product} {each.first} to {each.last}" for each in manifest.conflicts
    ]
    if manifest.least_before:
        lines.append(f"  machines below counter {manifest.least_before} take one in between first")
    if manifest.replaces_agent:
        lines.append("  REPLACES THE AGENT: an owner has to approve it by its name")
    lines += _tell_health(manifest)
    if manifest.reboot:
        lines.append("  the machine starts again")
    if manifest.fixes:
        lines.append(f"  mends {', '.join(manifest.fixes)}")
    if manifest.notes:
        lines.append(f"  {manifest.notes}")
    return "\n".join(lines)


def tell_difference(shown: Shown) -> str:
    """Return how the components differ from the release before, in words."""
    if shown.before is None:
        return "It is the first release of its product."
    if shown.difference is None:
        return f"The bills of materials of it and {shown.before.version} are not both here."
    kinds = (
        ("added", shown.difference.added),
        ("removed", shown.difference.removed),
        ("changed", shown.difference.changed),
    )
    counts = ", ".join(f"{len(rows)} {name}" for name, rows in kinds)
    lines = [f"Components, against {shown.before.version}: {counts}"]
    for name, rows in kinds:
        lines += [f"  {name:8}{row}" for row in rows[:MAX_LINES]]
        if len(rows) > MAX_LINES:
            lines.append(f"  {name:8}… and {len(rows) - MAX_LINES} more; --json names them all")
    return "\n".join(lines)


def say_bytes(size: int) -> str:
    """Return a size, roughly."""
    for unit, many in _UNITS:
        if size >= many:
            return f"{size / many:.1f} {unit}"
    return f"{size} B"


def _tell_delta(delta: Delta) -> str:
    size = say_bytes(delta.blob.length_bytes)
    if delta.source == EMPTY_SOURCE:
        return f"packed: {size}"
    return f"for machines that have {delta.source[:12]}…: {size}"


def _tell_health(manifest: Manifest) -> list[str]:
    health = manifest.health
    if manifest.has_agent:
        within, steady = say_length(health.within_seconds), say_length(health.steady_seconds)
        said = f"guard and uplink stand within {within} and then for {steady}"
        return [f"  healthy when {said}, and reach the server"]
    if not health.checks:
        return ["  no health checks: it counts as healthy when it was switched to"]
    within, steady = say_length(health.within_seconds), say_length(health.steady_seconds)
    lines = [f"  healthy when, within {within} and then for {steady}:"]
    return lines + [f"    {check.words()}" for check in health.checks]


def _compare(desk: MakerDesk, before: Manifest | None, after: Manifest) -> BillDifference | None:
    bills = [_read_bill(desk, each) for each in (before, after)]
    if bills[0] is None or bills[1] is None:
        return None
    return compare_bills(bills[0], bills[1])


def _read_bill(desk: MakerDesk, manifest: Manifest | None) -> dict[str, str] | None:
    if manifest is None or manifest.sbom is None:
        return None
    place = BlobStore(desk.repository.blobs).place(manifest.sbom.sha256)
    try:
        return read_bill(read_bounded(place, MAX_BILL_BYTES))
    except FleetwardError:  # it is for showing alone; what is not here is said to be not here
        return None


def _say_time(at_ms: int) -> str:
    if not at_ms:
        return ""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
