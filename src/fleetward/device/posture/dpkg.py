"""Packages and pending updates of Debian and its relatives, from dpkg's and apt's own files.

Neither program is run. apt's lists are read plain, or packed by gzip, xz or lz4; lz4 needs the
system's own library, which apt itself depends on.
"""

from __future__ import annotations

import ctypes
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final

from fleetward.device.posture.debversion import compare_versions, version_key
from fleetward.device.posture.files import MAX_SMALL_BYTES, Root, read_blocks, show_text
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable
from fleetward.wire.posture import Package, Section, Sight, Update

STATUS: Final = "/var/lib/dpkg/status"
LISTS: Final = "/var/lib/apt/lists"
MAX_STATUS_BYTES: Final = 64 * 1024 * 1024
MAX_LIST_BYTES: Final = 512 * 1024 * 1024
"""Unpacked; the largest list of Debian has about 60 MB."""
MAX_STANZA_BYTES: Final = 256 * 1024
"""One package's record; a longer one is skipped and said."""
STALE_DAYS: Final = 7
_DAY_SECONDS: Final = 86_400
_FIELD: Final = re.compile(rb"^([A-Za-z][A-Za-z0-9-]*):[ \t]*([^\n]*)", re.MULTILINE)
_SUFFIXES: Final = ("_Packages", "_Packages.lz4", "_Packages.xz", "_Packages.gz")


@dataclass(frozen=True)
class Installed:
    """dpkg's record of one installed package."""

    package: Package
    held: bool


@dataclass(frozen=True)
class Origin:
    """Where a list comes from, by the release file beside it."""

    words: str
    security: bool
    automatic: bool
    """False for suites such as backports, which apt uses only when they were chosen before."""


def read_fields(stanza: bytes) -> dict[bytes, bytes]:
    """Return the first lines of a stanza's fields; folded lines are left out."""
    return {name.lower(): value.strip() for name, value in _FIELD.findall(stanza)}


def split_stanzas(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield stanzas from blocks; one longer than MAX_STANZA_BYTES is cut, never gathered."""
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n\n")
        yield from whole
        if len(rest) > MAX_STANZA_BYTES:
            rest = rest[:MAX_STANZA_BYTES]
    yield rest


def _source_name(fields: Mapping[bytes, bytes]) -> str:
    source = fields.get(b"source", b"").split(b" ", 1)[0]
    return show_text(source or fields.get(b"package", b""))


def parse_status(blocks: Iterable[bytes]) -> tuple[list[Installed], int]:
    """Return installed packages and the number of records that were too long to read."""
    found: list[Installed] = []
    skipped = 0
    for stanza in split_stanzas(blocks):
        if len(stanza) >= MAX_STANZA_BYTES:
            skipped += 1
            continue
        fields = read_fields(stanza)
        state = fields.get(b"status", b"").split()
        if len(state) != 3 or state[2] not in (b"installed", b"triggers-pending", b"unpacked"):
            continue
        name, version = fields.get(b"package", b""), fields.get(b"version", b"")
        if not name or not version:
            skipped += 1
            continue
        arch = show_text(fields.get(b"architecture", b""))
        package = Package("dpkg", show_text(name), show_text(version), arch, _source_name(fields))
        found.append(Installed(package, held=state[0] == b"hold"))
    return found, skipped


def read_installed(root: Root) -> tuple[list[Installed], int]:
    """Read dpkg's database. Raises Unreachable or Malformed."""
    descriptor = root.open(STATUS)
    with os.fdopen(descriptor, "rb") as stream:
        return parse_status(read_blocks(stream.read, MAX_STATUS_BYTES))


class _Lz4:
    """The system's lz4 library, by its stable frame interface."""

    def __init__(self) -> None:
        try:
            library = ctypes.CDLL("liblz4.so.1")
        except OSError as error:
            raise Unreachable(
                "lists packed by lz4 need liblz4, which is not here", reason="lz4_missing"
            ) from error
        self._create = library.LZ4F_createDecompressionContext
        self._create.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_uint]
        self._create.restype = ctypes.c_size_t
        self._step = library.LZ4F_decompress
        self._step.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_size_t),
            ctypes.c_void_p,
        ]
        self._step.restype = ctypes.c_size_t
        self._failed = library.LZ4F_isError
        self._failed.argtypes = [ctypes.c_size_t]
        self._free = library.LZ4F_freeDecompressionContext
        self._free.argtypes = [ctypes.c_void_p]

    def unpack(self, stream: IO[bytes]) -> Iterator[bytes]:
        """Yield unpacked blocks; raise Malformed on bytes that are not an lz4 frame."""
        context = ctypes.c_void_p()
        if self._failed(self._create(ctypes.byref(context), 100)):
            raise Unreachable("lz4 has no memory", reason="lz4_memory")
        output = ctypes.create_string_buffer(1 << 20)
        window = memoryview(output)
        try:
            while packed := stream.read(1 << 18):
                offset = 0
                while True:
                    taken = ctypes.c_size_t(len(packed) - offset)
                    made = ctypes.c_size_t(len(output))
                    state = self._step(
                        context, output, ctypes.byref(made), packed[offset:], taken, None
                    )
                    if self._failed(state):
                        raise Malformed("not an lz4 frame", reason="list_malformed")
                    offset += taken.value
                    if made.value:
                        yield bytes(window[: made.value])
                    if made.value < len(output) and offset >= len(packed):
                        break
                    if not made.value and not taken.value:
                        raise Malformed("a broken lz4 frame", reason="list_malformed")
        finally:
            self._free(context)


@contextmanager
def open_list(root: Root, name: str) -> Iterator[Iterator[bytes]]:
    """Give the unpacked blocks of one of apt's lists, bounded by MAX_LIST_BYTES."""
    with os.fdopen(root.open(f"{LISTS}/{name}"), "rb") as stream:
        if name.endswith(".lz4"):
            yield _bounded(_Lz4().unpack(stream))
        elif name.endswith(".xz"):
            with lzma.open(stream) as unpacked:
                yield read_blocks(unpacked.read, MAX_LIST_BYTES)
        elif name.endswith(".gz"):
            with gzip.open(stream) as unpacked_gzip:
                yield read_blocks(unpacked_gzip.read, MAX_LIST_BYTES)
        else:
            yield read_blocks(stream.read, MAX_LIST_BYTES)


def _bounded(blocks: Iterator[bytes]) -> Iterator[bytes]:
    return read_blocks(lambda _size: next(blocks, b""), MAX_LIST_BYTES)


def find_offers(blocks: Iterable[bytes], wanted: Collection[bytes]) -> dict[tuple[str, str], str]:
    """Return the newest version per (name, architecture) among the wanted names."""
    offers: dict[tuple[str, str], str] = {}
    for stanza in split_stanzas(blocks):
        if not stanza.startswith(b"Package: "):
            continue
        if stanza[9 : stanza.find(b"\n")] not in wanted:
            continue
        fields = read_fields(stanza)
        key = (show_text(fields[b"package"]), show_text(fields.get(b"architecture", b"")))
        version = show_text(fields.get(b"version", b""))
        if version and (key not in offers or compare_versions(offers[key], version) < 0):
            offers[key] = version
    return offers


def read_origin(root: Root, list_name: str) -> Origin:
    """Return where a list comes from; its own name is the fallback for the release file."""
    head = list_name.split("_dists_", 1)
    suite = head[1].split("_", 1)[0] if len(head) == 2 else ""
    prefix = f"{head[0]}_dists_{suite}" if suite else list_name.rsplit("_", 1)[0]
    fields: dict[bytes, bytes] = {}
    for ending in ("_InRelease", "_Release"):
        try:
            fields = read_fields(root.read(f"{LISTS}/{prefix}{ending}", 4 * MAX_SMALL_BYTES))
            break
        except FleetwardError:
            continue
    named = [fields.get(key, b"").decode("utf-8", "replace") for key in (b"suite", b"codename")]
    security = any(name.endswith("-security") for name in (suite, *named)) or (
        fields.get(b"label", b"").lower().endswith(b"-security")
    )
    origin = fields.get(b"origin", b"").decode("utf-8", "replace")
    return Origin(
        words=show_text(f"{origin} {suite or named[0]}".strip() or list_name),
        security=security,
        automatic=fields.get(b"notautomatic", b"").lower() != b"yes",
    )


@dataclass(frozen=True)
class _Offer:
    version: str
    origin: Origin


def choose_update(installed: Installed, offers: Iterable[_Offer]) -> Update | None:
    """Return the update that apt would choose by its default priorities, or None.

    Pins of the machine's owner are not read. A suite that is not automatic counts only when
    the installed version is newer than anything in the automatic ones.
    """
    current = installed.package.version
    ready = list(offers)
    normal = [offer for offer in ready if offer.origin.automatic]
    if all(compare_versions(offer.version, current) < 0 for offer in normal):
        normal = ready
    newer = [offer for offer in normal if compare_versions(offer.version, current) > 0]
    if not newer:
        return None
    best = max(newer, key=lambda offer: version_key(offer.version))
    return Update(
        manager="dpkg",
        name=installed.package.name,
        installed=current,
        candidate=best.version,
        origin=best.origin.words,
        security=any(offer.origin.security for offer in newer),
        held=installed.held,
    )


def collect_updates(root: Root, now_seconds: float) -> Section[Update]:
    """Compare what is installed with apt's own lists.

    Raises Unreachable when there is no dpkg; broken or missing lists lower the sight.
    """
    installed, _ = read_installed(root)
    wanted = {row.package.name.encode() for row in installed}
    names = [name for name in root.entries(LISTS) if name.endswith(_SUFFIXES)]
    if not names:
        return Section(Sight("none", "This machine keeps no package lists; apt has not run."))
    doubts: list[str] = []
    offers: dict[tuple[str, str], list[_Offer]] = {}
    for name in names:
        origin = read_origin(root, name)
        try:
            with open_list(root, name) as blocks:
                for key, version in find_offers(blocks, wanted).items():
                    offers.setdefault(key, []).append(_Offer(version, origin))
        except (FleetwardError, OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            doubts.append(f"The list of {origin.words} cannot be read: {show_text(str(error))}.")
    doubts += _age_doubt(root, now_seconds)
    rows = []
    for row in installed:
        keys = ((row.package.name, row.package.arch), (row.package.name, "all"))
        ready = [offer for key in dict.fromkeys(keys) for offer in offers.get(key, ())]
        update = choose_update(row, ready)
        if update is not None:
            rows.append(update)
    if doubts and not offers:
        return Section(Sight("none", show_text(" ".join(doubts), 1000)))
    sight = Sight("partial", show_text(" ".join(doubts), 1000)) if doubts else Sight("full")
    return Section(sight, tuple(sorted(rows, key=lambda update: (update.name, update.candidate))))


def _age_doubt(root: Root, now_seconds: float) -> list[str]:
    """Say that the lists are old. Only the coarse step is written: the exact age is volatile."""
    newest = 0.0
    for name in (LISTS, f"{LISTS}/partial", "/var/lib/apt/periodic/update-success-stamp"):
        try:
            newest = max(newest, root.at(name).lstat().st_mtime)
        except OSError:
            continue
    days = (now_seconds - newest) / _DAY_SECONDS
    for step in (90, 30, STALE_DAYS):
        if days > step:
            return [f"The package lists are more than {step} days old."]
    return []


def find_owners(root: Root, paths: Collection[str]) -> dict[str, str]:
    """Return the package of each path that dpkg installed.

    dpkg records some files under /bin and /lib that live under /usr since the merge.
    """
    by_name: dict[bytes, str] = {}
    for path in paths:
        by_name[path.encode("utf-8", "surrogateescape")] = path
        if path.startswith("/usr/"):
            by_name.setdefault(path[4:].encode("utf-8", "surrogateescape"), path)
    owners: dict[str, str] = {}
    if not by_name:
        return owners
    folder = "/var/lib/dpkg/info"
    match: Callable[[Iterable[bytes]], set[bytes]] = set(by_name).intersection
    for entry in root.entries(folder):
        if not entry.endswith(".list"):
            continue
        try:
            lines = root.read(f"{folder}/{entry}", 16 * MAX_SMALL_BYTES).split(b"\n")
        except FleetwardError:
            continue
        for line in match(lines):
            owners[by_name[line]] = show_text(entry[:-5].split(":", 1)[0])
    return owners
