"""One slot: what Debian's packages gave, without what the recipe drops, with what it adds.

Everything is a stream of tar members on its way to `mksquashfs`: nothing is unpacked, and no rights
are needed. Times and order are fixed: the same inputs give the same image.
"""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

EPOCH: Final = 1_750_000_000
"""When everything in an image was changed last, as it says."""
COMPRESSION: Final = ("-comp", "lzo", "-Xalgorithm", "lzo1x_1")
"""What both GRUB and the kernel read, and what unpacks fastest of that."""


@dataclass(frozen=True, slots=True)
class Added:
    """A file, or a link, that the recipe adds."""

    data: bytes = b""
    mode: int = 0o644
    link: str = ""


class Base:
    """The tar that mmdebstrap made."""

    def __init__(self, path: Path, drop: tuple[str, ...]) -> None:
        self._path = path
        self._drop = drop

    def read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """Return some files by other names. `wanted` maps how a path ends to its new name."""
        found: dict[str, bytes] = {}
        with tarfile.open(self._path) as tar:
            for member in tar:
                for end, name in wanted.items():
                    if member.isfile() and member.name.endswith(end):
                        file = tar.extractfile(member)
                        assert file is not None  # it is a file
                        found[name] = file.read()
        missing = set(wanted.values()) - set(found)
        if missing:
            raise ValueError(f"Debian's packages gave no {', '.join(sorted(missing))}.")
        return found

    def find_kernel(self) -> bytes:
        """Return the kernel."""
        with tarfile.open(self._path) as tar:
            for member in tar:
                if member.isfile() and member.name.startswith("./boot/vmlinuz-"):
                    file = tar.extractfile(member)
                    assert file is not None  # it is a file
                    return file.read()
        raise ValueError("Debian's packages gave no kernel in /boot.")

    def members(self) -> Iterator[tuple[tarfile.TarInfo, IO[bytes] | None]]:
        """Yield what stays of it."""
        with tarfile.open(self._path) as tar:
            for member in tar:
                name = member.name.removeprefix("./").rstrip("/")
                if name in ("", ".") or any(
                    name == d or name.startswith(f"{d}/") for d in self._drop
                ):
                    continue
                if member.ischr() or member.isblk():
                    continue  # The kernel makes devices.
                member.name = name
                yield member, tar.extractfile(member) if member.isfile() else None


def compose_slot(base: Base, added: Mapping[str, Added], out: Path) -> None:
    """Write the image of a slot. Raises `CalledProcessError`."""
    out.unlink(missing_ok=True)
    command = ["mksquashfs", "-", str(out), "-tar", *COMPRESSION]
    maker = subprocess.Popen(
        [*command, "-no-progress", "-no-xattrs", "-quiet", "-mkfs-time", str(EPOCH)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    )
    assert maker.stdin is not None  # it is a pipe
    with maker.stdin as pipe, tarfile.open(fileobj=pipe, mode="w|", format=tarfile.GNU_FORMAT) as t:
        for member, data in base.members():
            if member.name not in added:
                member.mtime = EPOCH
                member.pax_headers = {}
                t.addfile(member, data)
        for name in sorted(added):
            _add(t, name, added[name])
    if maker.wait() != 0:
        raise subprocess.CalledProcessError(maker.returncode, command)


def _add(tar: tarfile.TarFile, name: str, added: Added) -> None:
    info = tarfile.TarInfo(name)
    info.mtime, info.mode = EPOCH, added.mode
    if added.link:
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, added.link, 0o777
        tar.addfile(info)
    elif added.mode & 0o40000:
        info.type, info.mode = tarfile.DIRTYPE, added.mode & 0o7777
        tar.addfile(info)
    else:
        info.size = len(added.data)
        tar.addfile(info, io.BytesIO(added.data))


def make_initrd(files: Mapping[str, Added]) -> bytes:
    """Return a cpio archive (newc, as Documentation/driver-api/early-userspace has it)."""
    out = io.BytesIO()
    folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    everything = {**{name: Added(mode=0o40755) for name in folders}, **files}
    for number, name in enumerate(sorted(everything), 1):
        each = everything[name]
        kind = 0 if each.mode & 0o40000 else 0o100000
        data = each.data
        if each.link:
            kind, data = 0o120777, each.link.encode()
        _write_cpio(out, name, (number, kind | each.mode), data)
    _write_cpio(out, "TRAILER!!!", (0, 0), b"")
    return out.getvalue()


def _write_cpio(out: io.BytesIO, name: str, numbers: tuple[int, int], data: bytes) -> None:
    encoded = name.encode() + b"\0"
    fields = (*numbers, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
    out.write(b"070701" + b"".join(b"%08X" % field for field in fields) + encoded)
    out.write(bytes(-out.tell() % 4) + data)
    out.write(bytes(-out.tell() % 4))
