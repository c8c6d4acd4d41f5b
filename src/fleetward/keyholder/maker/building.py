"""`release build`: files become blobs, and a manifest that says what they are. Nobody signs here.

1. Read what was named as a machine would read it, before anything is packed.
2. Store each part, piece by piece, with its list of segments; folders become archives.
3. Look whether every hook and every file of a check is in its part, and can be run.
4. Make deltas to the parts, from signed releases and out of nothing (`deltas`).
5. Make the bill of materials, or take the given one.
6. Write the manifest, and read it as a machine does: what that refuses is no draft.

The same files give the same blobs. A draft is what `release sign` shows to a person; until then it
may be built again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from fleetward.keyholder.maker.bills import (
    MAX_BILL_BYTES,
    BillPart,
    make_bill,
    read_bill,
)
from fleetward.keyholder.maker.blobs import BlobStore
from fleetward.keyholder.maker.debs import read_deb
from fleetward.keyholder.maker.deltas import (
    DeltaMaker,
    DeltaWish,
    choose_sources,
    require_sources,
)
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.packing import (
    PackedFile,
    measure_folder,
    pack_files,
    pack_folder,
)
from fleetward.keyholder.maker.parts import PartWish, list_debs
from fleetward.keyholder.maker.products import list_products_of, support_ends_at_ms
from fleetward.keyholder.maker.progress import Meter
from fleetward.keyholder.maker.released import draft_path, last_counter, list_drafts, list_released
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import Malformed, Misuse, Refused
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import (
    ANY_HARDWARE,
    UNPACKED,
    Blob,
    Conflict,
    Health,
    Manifest,
    Needed,
    Part,
    check_version,
    read_manifest,
    write_manifest,
)

AGENT_NAME: Final = "fleetward"
AGENT_FILE: Final = "fleetward/device/guard_main.py"
WITHIN_SECONDS: Final = 60
STEADY_SECONDS: Final = 10
_NO_BLOB: Final = Blob("0" * 64, 1, "f" * 64)
"""What stands for a part that is not packed yet."""


@dataclass(frozen=True, slots=True)
class BuildWish:
    """A release as its maker names it. `counter` 0: one more than the last, drafts included."""

    product: str
    version: str
    parts: tuple[PartWish, ...]
    counter: int = 0
    hardware: tuple[str, ...] = (ANY_HARDWARE,)
    checks: tuple[Check, ...] = ()
    within_seconds: int = WITHIN_SECONDS
    steady_seconds: int = STEADY_SECONDS
    needs: tuple[Needed, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    least_before: int = 0
    reboot: bool = False
    notes: str = ""
    fixes: tuple[str, ...] = ()
    bill: Path | None = None
    deltas: DeltaWish = field(default_factory=DeltaWish)
    replaces_agent: bool = False
    """Whether it holds the agent in a form that cannot be seen from here, as in an image. What can
    be seen, is: a part of the installer `agent`, and packages of the agent's name."""


@dataclass
class _Built:
    part: Part
    bill: BillPart
    files: Sequence[PackedFile] = field(default_factory=tuple)


def build_release(desk: MakerDesk, wish: BuildWish, *, quiet: bool = False) -> Manifest:
    """Build a draft and return what it says. Raises `Malformed`, `Refused`, `Unreachable`."""
    check_version(wish.version)
    with desk.folder.locked():
        state = desk.require_product(wish.product)
        released = list_released(desk.repository, state, wish.product)
        if any(each.version == wish.version for each in released):
            raise Refused(
                f"Expected a new version; {wish.product} {wish.version} is signed already. What "
                "was signed stays what it is: choose another version.",
                reason="release_exists",
            )
        last = last_counter(released)
        drafts = [
            each
            for each in list_drafts(desk.folder)
            if each.product == wish.product and each.version != wish.version
        ]
        following = max(last, last_counter(drafts)) + 1
        if wish.counter and wish.counter <= last:
            raise Refused(
                f"Expected a counter above {last}, the last one signed, got {wish.counter}. "
                "Machines never go below what they have committed.",
                reason="counter_too_low",
            )
        support = next(p for p in list_products_of(state, desk.now_ms) if p.name == wish.product)
    manifest = Manifest(
        product=wish.product,
        version=wish.version,
        counter=wish.counter or following,
        released_at_ms=desk.now_ms,
        hardware=wish.hardware,
        parts=tuple(_imagine(part) for part in wish.parts),
        needs=wish.needs,
        conflicts=wish.conflicts,
        least_before=wish.least_before,
        health=Health(wish.within_seconds, wish.steady_seconds, wish.checks),
        reboot=wish.reboot,
        notes=wish.notes,
        fixes=wish.fixes,
        support_ends_at_ms=support_ends_at_ms(support.support_ends),
        sbom=None,
        hash="",
        replaces_agent=wish.replaces_agent or any(p.installer == "agent" for p in wish.parts),
    )
    if not wish.parts:
        raise Malformed(
            "Expected a part: --part NAME=PATH, a folder, a file, a RAUC bundle or .deb files.",
            reason="no_part",
        )
    _write(manifest)
    store = BlobStore(desk.repository.blobs)
    sources = choose_sources(wish.deltas, released)
    require_sources(store, sources)
    built = _build_parts(wish, store, quiet=quiet)
    _check_paths(wish, built)
    maker = DeltaMaker(store, wish.deltas, sources, released)
    name = f"{wish.product} {wish.version}"
    parts = maker.add([each.part for each in built], name, quiet=quiet)
    bill = _store_bill(wish, built, store, desk.now_ms)
    marked = manifest.replaces_agent or any(map(_has_agent, built))
    data = _write(replace(manifest, parts=parts, sbom=bill, replaces_agent=marked))
    path = draft_path(desk.folder, wish.product, wish.version)
    make_private_directory(path.parent)
    atomic_write(path, data)
    return read_manifest(data)


def _has_agent(built: _Built) -> bool:
    """Say whether a part has a package, or a program, that is the agent's by its name."""
    named = any(package.name.startswith(AGENT_NAME) for package in built.bill.packages)
    return named or any(file.path.endswith(AGENT_FILE) for file in built.files)


def _write(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest that a machine reads. Raises `Malformed`."""
    try:
        data = write_manifest(manifest)
    except Misuse as e:  # a number or a text of the command line that has no canonical form
        raise Malformed(e.message, reason=e.reason) from e
    read_manifest(data)
    return data


def _imagine(wish: PartWish) -> Part:
    """Return a part as it will be, but for what is in it."""
    return Part(wish.name, wish.installer, wish.place, _NO_BLOB, hook=wish.hook)


def _build_parts(wish: BuildWish, store: BlobStore, *, quiet: bool) -> list[_Built]:
    total = sum(_measure(part) for part in wish.parts)
    meter = Meter(f"Packing {wish.product} {wish.version}", total, quiet=quiet)
    built = [_build_part(part, store, meter) for part in wish.parts]
    meter.end()
    return built


def _measure(wish: PartWish) -> int:
    for source in wish.sources:
        if not source.exists() and not source.is_symlink():
            raise Malformed(f"Expected a file or folder at {source}.", reason="no_such_part")
    return sum(
        measure_folder(source) if source.is_dir() else source.lstat().st_size
        for source in wish.sources
    )


def _build_part(wish: PartWish, store: BlobStore, meter: Meter) -> _Built:
    first = wish.sources[0]
    if wish.installer == "dpkg":
        return _build_debs(wish, store, meter)
    if wish.installer not in UNPACKED:
        if first.is_dir():
            raise Malformed(
                f"Expected a file for the installer {wish.installer}; {first} is a folder.",
                reason="wrong_installer",
            )
        blob = store.copy(first, meter)
        part = Part(wish.name, wish.installer, wish.place, blob, hook=wish.hook)
        return _Built(part, BillPart(wish.name, blob.sha256))
    if wish.installer == "agent" and not (first / AGENT_FILE).is_file():
        raise Malformed(
            f"Expected an agent in {first}, and {AGENT_FILE} is not there. Make the folder by "
            "pip install --target.",
            reason="not_an_agent",
        )
    packed = pack_folder(first, store, meter)
    part = Part(
        wish.name, wish.installer, wish.place, packed.blob,
        unpacked_bytes=packed.unpacked_bytes, unpacked_files=packed.members, hook=wish.hook,
    )  # fmt: skip
    return _Built(part, BillPart(wish.name, packed.blob.sha256, packed.files), packed.files)


def _build_debs(wish: PartWish, store: BlobStore, meter: Meter) -> _Built:
    sources = list(wish.sources)
    if len(sources) == 1 and sources[0].is_dir():
        folder = sources[0]
        sources = list_debs(folder)
        if not sources:
            raise Malformed(f"Expected .deb files alone in {folder}.", reason="wrong_installer")
    packages = [read_deb(path) for path in sources]
    packed = pack_files(sources, store, meter)
    if {each.path: each.sha256 for each in packed.files} != {p.file: p.sha256 for p in packages}:
        raise Refused(
            "Expected the packages to stay as they are; one changed while it was packed. Build "
            "again when nothing writes there.",
            reason="file_changes",
        )
    part = Part(
        wish.name, wish.installer, wish.place, packed.blob,
        unpacked_bytes=packed.unpacked_bytes, unpacked_files=packed.members, hook=wish.hook,
    )  # fmt: skip
    bill = BillPart(wish.name, packed.blob.sha256, packed.files, packages)
    return _Built(part, bill, packed.files)


def _check_paths(wish: BuildWish, built: Sequence[_Built]) -> None:
    inside = {each.part.name: {file.path: file for file in each.files} for each in built}
    wanted = [(each.part.name, each.part.hook, True) for each in built if each.part.hook]
    wanted += [
        (check.part, check.path, check.kind == "command") for check in wish.checks if check.part
    ]
    for part, path, is_run in wanted:
        found = inside.get(part, {}).get(path)
        if found is None:
            raise Malformed(
                f"Expected {path} in the part {part!r}; it is not there.", reason="path_not_in_part"
            )
        if is_run and not found.is_program:
            raise Malformed(
                f"Expected {path} in the part {part!r} to be a program: chmod +x",
                reason="not_a_program",
            )


def _store_bill(wish: BuildWish, built: Sequence[_Built], store: BlobStore, now_ms: int) -> Blob:
    if wish.bill is not None:
        data = read_bounded(wish.bill, MAX_BILL_BYTES)
        read_bill(data)
    else:
        data = make_bill(wish.product, wish.version, [each.bill for each in built], now_ms)
    return store.add(data)
