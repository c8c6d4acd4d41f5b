"""What a Debian package says of itself: name, version, architecture, out of its control file.

A .deb is an `ar` archive of `debian-binary`, `control.tar…` and `data.tar…` (deb(5)). Its control
file is read with the standard library; where it is compressed in a way that this does not know
(zstd), the file's name stands for it, which is NAME_VERSION_ARCHITECTURE.deb by convention.
Nothing of a package is run or unpacked.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.keyholder.maker.blobs import open_plain
from fleetward.trust.errors import Malformed

_MAGIC: Final = b"!<arch>\n"
_HEAD_BYTES: Final = 60
MAX_CONTROL_BYTES: Final = 4 * 1024 * 1024
"""Bytes of a control archive: those of the largest packages have some hundred KiB."""
_PIECE_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class DebPackage:
    """One package of a set."""

    file: str
    name: str
    version: str
    architecture: str
    sha256: str


def read_deb(path: Path) -> DebPackage:
    """Return what a package says of itself. Raises `Malformed` for a file that is none."""
    with open_plain(path) as (descriptor, _), os.fdopen(os.dup(descriptor), "rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise _no_deb(path)
        control = _find_control(file, path)
        fields = _read_control(control[1], control[0], path)
        file.seek(0)
        digest = hashlib.sha256()
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    name, version, architecture = fields
    return DebPackage(path.name, name, version, architecture, digest.hexdigest())


def _find_control(file: io.BufferedReader, path: Path) -> tuple[str, bytes]:
    while head := file.read(_HEAD_BYTES):
        name = head[:16].decode("ascii", "replace").strip().rstrip("/")
        size_text = head[48:58].strip()
        if len(head) != _HEAD_BYTES or head[58:] != b"`\n" or not size_text.isdigit():
            raise _no_deb(path)
        size = int(size_text)
        if name.startswith("control.tar"):
            if size > MAX_CONTROL_BYTES:
                raise _no_deb(path)
            return name, file.read(size)
        file.seek(size + size % 2, os.SEEK_CUR)
    raise _no_deb(path)


def _read_control(data: bytes, name: str, path: Path) -> tuple[str, str, str]:
    if name not in ("control.tar", "control.tar.gz", "control.tar.xz"):
        return _read_name(path)
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:*") as archive:
            for member in archive:
                if member.name.removeprefix("./") == "control" and member.isfile():
                    inside = archive.extractfile(member)
                    assert inside is not None  # it is a file
                    text = inside.read(MAX_CONTROL_BYTES).decode("utf-8", "replace")
                    return _read_fields(text, path)
    except (tarfile.TarError, EOFError, OSError, ValueError) as e:
        raise _no_deb(path) from e
    raise _no_deb(path)


def _read_fields(text: str, path: Path) -> tuple[str, str, str]:
    fields = {}
    for line in text.splitlines():
        name, colon, value = line.partition(":")
        if colon and not line.startswith((" ", "\t")):
            fields[name.lower()] = value.strip()
    package, version = fields.get("package", ""), fields.get("version", "")
    if not package or not version or not (package + version).isprintable():
        raise _no_deb(path)
    return package, version, fields.get("architecture", "")


def _read_name(path: Path) -> tuple[str, str, str]:
    pieces = path.name.removesuffix(".deb").split("_")
    if len(pieces) != 3:
        raise Malformed(
            f"Expected {path.name} to be called NAME_VERSION_ARCHITECTURE.deb: its control file is "
            "compressed in a way that is not read here. Rename it as its maker called it.",
            reason="unknown_deb",
        )
    return pieces[0], pieces[1].replace("%3a", ":"), pieces[2]


def _no_deb(path: Path) -> Malformed:
    return Malformed(f"Expected a Debian package at {path}.", reason="bad_deb")
