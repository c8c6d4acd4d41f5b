"""Where the files of a release come from: the server, a bundle, a maker's repository on this disk.

Nothing that a source hands out is believed: `finding` verifies it, as a machine does. A source
names files out of verified values alone, and reads no more than it was asked for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Protocol
from urllib.parse import quote

import msgspec

from fleetward.keyholder.api import ApiClient, decode_answer
from fleetward.runtime.files import read_bounded
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.release_manifest import MAX_MANIFEST_BYTES
from fleetward.trust.releases.limits import MAX_ROOT_BYTES
from fleetward.trust.releases.steps import Want
from fleetward.trust.releases.target import Target
from fleetward.wire.update_bundle import HEAD_BYTES, Index, Span, index_length, read_index

_MAX_ANSWER_BYTES: Final = 2 * MAX_MANIFEST_BYTES
_ROOTS_OF_FOLDER: Final = 1024
"""Files of roots in a repository's folder that are looked through for the one that is named."""


class Source(Protocol):
    """Hands out bytes; each may be hostile."""

    def root(self, digest: str) -> bytes | None:
        """Return what it has as the root with this SHA-256."""
        ...

    def metadata(self, product: str, want: Want) -> bytes | None:
        """Return the metadata file that a step wants, or None where it is not there."""
        ...

    def manifest(self, product: str, version: str, target: Target) -> bytes | None:
        """Return what it has as the manifest that the maker's metadata names."""
        ...


class _ReleaseRow(msgspec.Struct, frozen=True):
    manifest: Annotated[str, msgspec.Meta(max_length=_MAX_ANSWER_BYTES)]


class ServerSource:
    """The server's copy of what the maker published."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    def root(self, digest: str) -> bytes | None:
        """See `Source`. Raises `Unreachable` or `Refused`."""
        return self._client.seek(f"/updates/roots/{digest}", MAX_ROOT_BYTES)

    def metadata(self, product: str, want: Want) -> bytes | None:
        """See `Source`. Raises `Unreachable`, `Malformed` for more bytes, or `Refused`."""
        name = quote(want.file_name, safe="")
        return self._client.seek(f"/updates/metadata/{product}/{name}", want.max_bytes)

    def manifest(self, product: str, version: str, target: Target) -> bytes | None:
        """See `Source`. Raises as `metadata`."""
        path = f"/updates/releases/{product}/{quote(version, safe='')}"
        answer = self._client.seek(path, _MAX_ANSWER_BYTES)
        if answer is None:
            return None
        return from_base64url(decode_answer(answer, _ReleaseRow).manifest)


class FolderSource:
    """A maker's repository on this computer: `metadata/` and `targets/`."""

    def __init__(self, path: Path) -> None:
        """Raises `Refused` when there is none at `path`."""
        if not (path / "metadata").is_dir():
            raise Refused(
                f"Expected a maker's repository at {path}, with a folder `metadata` in it; or the "
                "file of a bundle.",
                reason="no_repository",
            )
        self._path = path

    def root(self, digest: str) -> bytes | None:
        """See `Source`."""
        names = sorted((self._path / "metadata").glob("*.root.json"))[:_ROOTS_OF_FOLDER]
        for name in names:
            data = read_bounded(name, MAX_ROOT_BYTES)
            if hashlib.sha256(data).hexdigest() == digest:
                return data
        return None

    def metadata(self, product: str, want: Want) -> bytes | None:
        """See `Source`."""
        return _read_file(self._path / "metadata" / want.file_name, want.max_bytes)

    def manifest(self, product: str, version: str, target: Target) -> bytes | None:
        """See `Source`."""
        return _read_file(self._path / "targets" / target.file_name, MAX_MANIFEST_BYTES)


class BundleSource:
    """A bundle for a machine without a network (`wire.update_bundle`)."""

    def __init__(self, path: Path) -> None:
        """Raises `Malformed` for another file, `Unreachable` when it cannot be read."""
        self._path = path
        head = self._read(Span(0, HEAD_BYTES))
        self._index: Index = read_index(self._read(Span(HEAD_BYTES, index_length(head))))

    def root(self, digest: str) -> bytes | None:
        """See `Source`."""
        return self._take(f"root/{digest}", MAX_ROOT_BYTES)

    def metadata(self, product: str, want: Want) -> bytes | None:
        """See `Source`."""
        return self._take(f"image/{product}/{want.file_name}", want.max_bytes)

    def manifest(self, product: str, version: str, target: Target) -> bytes | None:
        """See `Source`."""
        return self._take(f"manifest/{dict(target.hashes).get('sha256')}", MAX_MANIFEST_BYTES)

    def _take(self, name: str, max_bytes: int) -> bytes | None:
        span = self._index.files.get(name)
        if span is None:
            return None
        if span.length > max_bytes:
            raise Malformed(
                f"Expected at most {max_bytes} bytes of {name[:80]} in the bundle, it has "
                f"{span.length}.",
                reason="bad_bundle",
            )
        return self._read(span)

    def _read(self, span: Span) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(span.offset)
                data = file.read(span.length)
        except OSError as e:
            raise Unreachable(
                f"Expected to read the bundle {self._path}; the system says: {e.strerror}.",
                reason="disk_refused",
            ) from e
        if len(data) != span.length:
            raise Malformed(
                f"Expected a whole bundle at {self._path}; it ends too early.", reason="no_bundle"
            )
        return data


class FilesSource:
    """Files that travelled in a draft: the anchor, the roots behind it, a file for each role."""

    def __init__(self, roots: tuple[bytes, ...], roles: Mapping[str, bytes], raw: bytes) -> None:
        self._roots = roots
        self._roles = roles
        self._raw = raw
        self._next = 1

    def root(self, digest: str) -> bytes | None:
        """See `Source`."""
        return self._roots[0] if self._roots else None

    def metadata(self, product: str, want: Want) -> bytes | None:
        """See `Source`. Roots come in their order; of each other role there is one file."""
        if want.role != "root":
            return self._roles.get(want.role)
        data = self._roots[self._next] if self._next < len(self._roots) else None
        self._next += 1
        return data

    def manifest(self, product: str, version: str, target: Target) -> bytes | None:
        """See `Source`."""
        return self._raw


def open_source(path: Path) -> Source:
    """Return the source at a path: a repository's folder, or a bundle. Raises as they do."""
    return FolderSource(path) if path.is_dir() else BundleSource(path)


def _read_file(path: Path, max_bytes: int) -> bytes | None:
    return read_bounded(path, max_bytes) if path.is_file() else None
