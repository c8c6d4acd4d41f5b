"""A bundle that somebody carried to this machine: it answers what a server would be asked.

`fleetward-agent update apply-bundle` puts it into guard's folder; guard reads it, believes nothing
of it that is not signed, and says in a file beside it what came of it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

import msgspec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.documents import MAX_BUNDLE_BYTES
from fleetward.trust.errors import FleetwardError, Malformed, Refused
from fleetward.trust.release_approval import MAX_APPROVAL_BYTES
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES, read_manifest
from fleetward.trust.releases.limits import MAX_TARGETS_BYTES
from fleetward.trust.releases.names import name_file
from fleetward.wire.update_bundle import (
    DOCUMENTS,
    HEAD_BYTES,
    Index,
    Span,
    index_length,
    read_index,
)
from fleetward.wire.updates import MAX_APPROVALS, MAX_PIECE_BYTES, UpdateAnswer, UpdateQuestion

INCOMING: Final = "incoming"
BUNDLE_FILE: Final = "bundle"
LOOK_FILE: Final = "look"
"""A file whose being there asks guard to look at once."""
OUTCOME_FILE: Final = "outcome.json"
MAX_OUTCOME_BYTES: Final = 64 * 1024
MAX_RELEASES: Final = 16
_NOTHING: Final = UpdateAnswer(found=False)


class BundleOutcome(msgspec.Struct, frozen=True):
    """What came of a bundle so far. `state` is `reading`, `accepted`, or one of the outcomes of a
    report; `phase` and `percent` say how far an accepted one is."""

    bundle: str
    state: str
    release: str = ""
    rule: str = ""
    words: str = ""
    phase: str = ""
    percent: int = 0


def open_bundle(path: Path) -> tuple[BinaryIO, Index]:
    """Open a bundle and read its index.

    Raises `OSError`, `Malformed` for a file that is no whole bundle, and `Refused` for a link, a
    pipe or a device: what lies on a stick may be any of these, and some have no end.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError as e:
        if e.errno != errno.ELOOP:
            raise
        raise _not_plain() from e
    try:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise _not_plain()
        index = read_index(file.read(index_length(file.read(HEAD_BYTES))))
        if found.st_size != index.total_bytes:
            raise Malformed(
                f"Expected a bundle of {index.total_bytes} bytes: it was cut, or copied badly. "
                "Copy it again.",
                reason="bad_bundle",
            )
    except BaseException:
        file.close()
        raise
    return file, index


def _not_plain() -> Refused:
    return Refused(
        "Expected a plain file; this is a link or something else. Name the file itself.",
        reason="file_not_regular",
    )


class BundleFile:
    """Reads one bundle. Raises as `open_bundle`."""

    def __init__(self, path: Path) -> None:
        self._file, self._index = open_bundle(path)

    def is_at(self, path: Path) -> bool:
        """Whether this very file still lies there, and nobody has put another in its place."""
        try:
            found, mine = path.lstat(), os.fstat(self._file.fileno())
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == (mine.st_dev, mine.st_ino)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @property
    def documents(self) -> bytes:
        """The owner's documents in it, or nothing. Raises `Malformed`."""
        return self._read(DOCUMENTS, MAX_BUNDLE_BYTES) or b""

    def list_paths(self) -> list[str]:
        """Return the paths that the manifests in it name. Nothing of them is verified yet."""
        paths: list[str] = []
        for name in self._index.files:
            if name.startswith("manifest/") and len(paths) < MAX_RELEASES:
                data = self._read(name, MAX_MANIFEST_BYTES) or b""
                paths.append(read_manifest(data).path)
        return paths

    def answer(self, question: UpdateQuestion) -> UpdateAnswer:
        """Answer as a server would. Raises `Malformed` for a file that is too long."""
        if question.what == "approvals":
            return UpdateAnswer(found=True, envelopes=self._list_approvals())
        if question.what == "blob":
            return self._answer_piece(question)
        name = _name(question)
        data = self._read(name, MAX_TARGETS_BYTES) if name else None
        return _NOTHING if data is None else UpdateAnswer(found=True, data=to_base64url(data))

    def _answer_piece(self, question: UpdateQuestion) -> UpdateAnswer:
        span = self._index.files.get(f"blob/{question.name}")
        if span is None or question.offset + question.length > span.length:
            return _NOTHING
        length = min(question.length, MAX_PIECE_BYTES)
        self._file.seek(span.offset + question.offset)
        data = self._file.read(length)
        return UpdateAnswer(found=True, data=to_base64url(data), total=span.length)

    def _list_approvals(self) -> tuple[str, ...]:
        names = [name for name in self._index.files if name.startswith("approval/")]
        found = [self._read(name, MAX_APPROVAL_BYTES) or b"" for name in names[:MAX_APPROVALS]]
        return tuple(to_base64url(each) for each in found)

    def _read(self, name: str, most: int) -> bytes | None:
        span: Span | None = self._index.files.get(name)
        if span is None:
            return None
        if span.length > most:
            raise Malformed(f"Expected at most {most} bytes of {name}.", reason="bad_bundle")
        self._file.seek(span.offset)
        return self._file.read(span.length)


def _name(question: UpdateQuestion) -> str:
    """Return the name in the bundle of what is asked for; empty for what no bundle has."""
    if question.what == "image":
        return f"image/{question.product}/{name_file(question.name, question.version or None)}"
    return f"{question.what}/{question.name}" if question.what in ("root", "manifest") else ""


def write_outcome(folder: Path, outcome: BundleOutcome) -> None:
    """Say what came of a bundle; a full disk does not stop guard."""
    with contextlib.suppress(FleetwardError):
        atomic_write(folder / OUTCOME_FILE, msgspec.json.encode(outcome))


def read_outcome(folder: Path) -> BundleOutcome | None:
    """Return what is said of a bundle, or None."""
    try:
        data = read_bounded(folder / OUTCOME_FILE, MAX_OUTCOME_BYTES)
        return msgspec.json.decode(data, type=BundleOutcome)
    except (FleetwardError, msgspec.MsgspecError, UnicodeError):
        return None
