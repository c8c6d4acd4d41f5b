"""Reading an exported record from a folder that may be hostile.

Every name is made here from numbers and ids; none comes out of the folder but the versions of
rosters, which are digits. No link is followed at any step of a path, nothing but plain files is
opened, and every file has a limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated, Final

import msgspec

from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.ledger import MAX_GENERATIONS
from fleetward.trust.ledger_documents import HandedOver
from fleetward.trust.note import MAX_NOTE_BYTES
from fleetward.trust.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    bundle_path,
    tile_path,
)

FORMAT: Final = "fleetward-export/1"
MAX_POLICIES: Final = 10_000
MAX_DOCUMENT_BYTES: Final = 256 * 1024
MAX_ENTRIES_BYTES: Final = 256 * 1024 * 1024
MAX_CONTENT_BYTES: Final = 1024 * 1024
MAX_ENTRIES: Final = 1 << 26
"""Entries of a generation: 67 million, for which the verifier takes 4 GB."""
_MAX_NAMES: Final = 100_000
_HASHES_BYTES: Final = TILE_WIDTH * 32
_MAX_WITNESSES: Final = 64
_WITNESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_VERSION: Final = re.compile(r"([0-9]{5,10})\.json")


class ExportHead(msgspec.Struct, frozen=True):
    """What `export.json` says. It is a hint: nothing is believed because of it."""

    format: str
    owner_root: str
    generation: Annotated[int, msgspec.Meta(ge=1, le=MAX_GENERATIONS)]
    exported_at: str = ""


class ExportFolder:
    """One export on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def head(self) -> ExportHead:
        """Return `export.json`. Raises `Refused` when this is no export, `Malformed`."""
        data = self.read("export.json", MAX_DOCUMENT_BYTES)
        if data is None:
            raise Refused(
                f"Expected an exported record at {self.path}; it has no export.json. "
                "Make one by `fleetward audit export --out DIR`.",
                reason="no_export",
            )
        try:
            head = msgspec.json.decode(data, type=ExportHead)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
            raise Malformed(
                f"Expected export.json of this release; {e}.", reason="bad_export"
            ) from e
        if head.format != FORMAT:
            raise Malformed(
                f"Expected an export of format {FORMAT}, got {head.format[:40]!r}. "
                "Use the verifier of that release.",
                reason="bad_export",
            )
        return head

    def documents(self) -> HandedOver:
        """Return the owner's documents, empty where one is missing. Raises as `read` does."""
        policies: list[bytes] = []
        while len(policies) < MAX_POLICIES:
            data = self.read(f"policies/{len(policies) + 1:05d}.json", MAX_DOCUMENT_BYTES)
            if data is None:
                break
            policies.append(data)
        version = max(self._versions("rosters"), default="")
        lines = self.read(f"rosters/{version}.entries", MAX_ENTRIES_BYTES) or b""
        return HandedOver(
            root=self._document("root.json"),
            policies=tuple(policies),
            roster=self._document(f"rosters/{version}.json"),
            entries=tuple(line for line in lines.split(b"\n") if line),
            head=self._document("head.json"),
            lease=self._document("lease.json"),
        )

    def checkpoint(self, generation: int) -> bytes | None:
        """Return the checkpoint note of a generation, or None."""
        return self.read(f"log/{generation}/checkpoint", MAX_NOTE_BYTES)

    def cosigned(self, generation: int) -> tuple[bytes, ...]:
        """Return the checkpoints that witnesses signed, in the order of their names."""
        base = f"log/{generation}/witnesses"
        names = sorted(n for n in self._names(base) if _WITNESS.fullmatch(n))[:_MAX_WITNESSES]
        notes = (self.read(f"{base}/{name}", MAX_NOTE_BYTES) for name in names)
        return tuple(note for note in notes if note is not None)

    def bundle(self, generation: int, index: int, width: int) -> bytes | None:
        """Return an entry bundle: of this width, or what there is of another."""
        base = f"log/{generation}/"
        data = self.read(base + bundle_path(index, width), MAX_BUNDLE_BYTES)
        if data is None:
            data = self.read(base + bundle_path(index), MAX_BUNDLE_BYTES)
        if data is None:
            partial = base + bundle_path(index, 1).rpartition("/")[0]
            widths = [int(name) for name in self._names(partial) if name.isdecimal()]
            best = max((w for w in widths if 0 < w < TILE_WIDTH), default=0)
            data = self.read(f"{partial}/{best}", MAX_BUNDLE_BYTES) if best else None
        return data

    def hashes(self, generation: int, index: int, width: int) -> bytes | None:
        """Return the hashes that the export gives for the entries of a bundle."""
        return self.read(f"log/{generation}/{tile_path(0, index, width)}", _HASHES_BYTES)

    def content(self, device: str, first: int) -> bytes | None:
        """Return the journal entries behind a batch, where they are given."""
        return self.read(f"batches/{device}/{first}.jsonl", MAX_CONTENT_BYTES)

    def has_contents(self) -> bool:
        """Say whether any journal entries are given."""
        return any(True for _ in self._names("batches"))

    def read(self, name: str, max_bytes: int) -> bytes | None:
        """Return a file's bytes, or None when there is none.

        Raises `Refused` for a link or anything but a plain file, `Malformed` when it is longer.
        """
        try:
            with self._opened(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as descriptor:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise _not_plain(name)
                return _read_all(descriptor, name, max_bytes)
        except FileNotFoundError:
            return None
        except OSError as e:
            if e.errno in (errno.ELOOP, errno.ENOTDIR):
                raise _not_plain(name) from e
            raise Unreachable(
                f"Expected to read {name}; the system says: {e.strerror}.", reason="disk_refused"
            ) from e

    def _document(self, name: str) -> bytes:
        return self.read(name, MAX_DOCUMENT_BYTES) or b""

    def _versions(self, folder: str) -> list[str]:
        return [m[1] for name in self._names(folder) if (m := _VERSION.fullmatch(name))]

    def _names(self, folder: str) -> list[str]:
        with contextlib.suppress(OSError), self._opened(folder, os.O_DIRECTORY) as descriptor:
            return [entry.name for entry in islice(os.scandir(descriptor), _MAX_NAMES)]
        return []

    @contextlib.contextmanager
    def _opened(self, name: str, flags: int) -> Iterator[int]:
        """Open a name step by step from the folder, following no link."""
        steps = name.split("/")
        current = os.open(self.path, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for step in steps[:-1]:
                below = os.open(step, os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
                os.close(current)
                current = below
            opened = os.open(steps[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
        finally:
            os.close(current)
        try:
            yield opened
        finally:
            os.close(opened)


def _read_all(descriptor: int, name: str, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = max_bytes + 1
    while left > 0 and (part := os.read(descriptor, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise Malformed(
            f"Expected at most {max_bytes} bytes in {name}; it has more.", reason="file_too_long"
        )
    return b"".join(parts)


def _not_plain(name: str) -> Refused:
    return Refused(
        f"Expected {name} to be a plain file in plain folders; a link or something else is there. "
        "An export has none: somebody put it there.",
        reason="file_not_regular",
    )
