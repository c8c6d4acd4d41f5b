"""One file that carries a release to a machine without a network: a USB stick's bundle.

    "FLEETWARD-BUNDLE-1\\n"
    four bytes, big endian: the length of the index
    the index: canonical JSON, {"files": [{"length", "name"}, …], "type"}
    the files, one behind the other, in the order of the index, and nothing behind them

| name                      | what it is                                                    |
|---------------------------|---------------------------------------------------------------|
| `documents`               | a bundle of the owner's documents, for a machine long away    |
| `root/SHA256`             | the maker's root that the owner's policy names                |
| `image/PRODUCT/FILE.json` | the maker's metadata, by the file names of TUF                |
| `manifest/SHA256`         | a release                                                     |
| `approval/N`              | approvals and withdrawals of the owner                        |
| `blob/SHA256`             | parts, deltas, lists of segments                              |

Nothing in it is believed because it stands in it: guard verifies each file as if a server had sent
it. No name becomes a path.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import Json
from fleetward.trust.errors import Malformed, Misuse
from fleetward.trust.fields import Fields

MAGIC: Final = b"FLEETWARD-BUNDLE-1\n"
BUNDLE_TYPE: Final = "fleetward.update-bundle.v1"
LENGTH: Final = struct.Struct(">I")
HEAD_BYTES: Final = len(MAGIC) + LENGTH.size
MAX_INDEX_BYTES: Final = 1024 * 1024
MAX_FILES: Final = 4096
MAX_FILE_BYTES: Final = 64 * 1024**3
DOCUMENTS: Final = "documents"
_NAME: Final = re.compile(
    r"documents|approval/[0-9]{1,4}|(?:root|manifest|blob)/[0-9a-f]{64}"
    r"|image/[a-z0-9-]{1,48}/[A-Za-z0-9_.~%-]{1,200}\.json"
)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a file lies in the bundle."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Index:
    """What lies where."""

    files: Mapping[str, Span]
    total_bytes: int
    """How long the whole file is."""


def write_head(files: Sequence[tuple[str, int]]) -> bytes:
    """Return what stands before the files, given their names and lengths in order."""
    entries: list[Json] = [{"length": length, "name": name} for name, length in files]
    index = canonical.encode({"files": entries, "type": BUNDLE_TYPE})
    if len(index) > MAX_INDEX_BYTES or len(files) > MAX_FILES:
        raise Misuse("A bundle of so many files was made.", reason="too_many_files")
    return MAGIC + LENGTH.pack(len(index)) + index


def index_length(head: bytes) -> int:
    """Return the length of the index, from the first `HEAD_BYTES` bytes. Raises `Malformed`."""
    if len(head) != HEAD_BYTES or not head.startswith(MAGIC):
        raise Malformed(
            "This is no bundle of Fleetward. Make one with `fleetward release bundle`.",
            reason="no_bundle",
        )
    (length,) = LENGTH.unpack(head[len(MAGIC) :])
    if length > MAX_INDEX_BYTES:
        raise Malformed("The bundle's index is too long.", reason="bad_bundle")
    return int(length)


def read_index(data: bytes) -> Index:
    """Return what lies where. Raises `Malformed`."""
    fields = Fields(
        canonical.decode(data, max_bytes=MAX_INDEX_BYTES), "the bundle's index", {"files", "type"}
    )
    fields.choice("type", (BUNDLE_TYPE,))
    files: dict[str, Span] = {}
    at = HEAD_BYTES + len(data)
    for value in fields.items("files", most=MAX_FILES):
        entry = Fields(value, "a file of the bundle", {"length", "name"})
        name, length = entry.text("name"), entry.integer("length", high=MAX_FILE_BYTES)
        if _NAME.fullmatch(name) is None or name in files:
            raise Malformed(f"Expected another name than {name[:60]!r}.", reason="bad_bundle")
        files[name] = Span(at, length)
        at += length
    return Index(MappingProxyType(files), at)
