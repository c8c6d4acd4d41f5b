"""Software that others than dpkg installed: rpm, apk, Python and npm distributions."""

from __future__ import annotations

import os
import re
import sqlite3
import struct
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from fleetward.device.posture.dpkg import read_installed
from fleetward.device.posture.files import Root, show_text
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable
from fleetward.wire.posture import MAX_ROWS, Package, Section, Sight

MAX_APK_BYTES: Final = 64 << 20
MAX_RPM_BYTES: Final = 1 << 30
MAX_RPM_HEADER_BYTES: Final = 16 << 20
MAX_RPM_TAGS: Final = 8192
MAX_RPM_STEPS: Final = 5_000
"""Times ten thousand instructions of SQLite: about a second."""
MAX_PACKAGE_JSON_BYTES: Final = 1 << 20
MAX_NPM_FOLDERS: Final = 5000
MAX_NPM_DEPTH: Final = 8

_RPM_FILES: Final = ("/usr/lib/sysimage/rpm/rpmdb.sqlite", "/var/lib/rpm/rpmdb.sqlite")
_RPM_STRINGS: Final = {1000: "name", 1001: "version", 1002: "release", 1022: "arch", 1044: "src"}
_RPM_EPOCH: Final = 1003
_RPM_STRING_TYPE: Final = 6
_RPM_INT32_TYPE: Final = 4
_DIST: Final = re.compile(r"^(?P<name>[^-]+)-(?P<version>[^-]+)(?:-py[0-9.]+)?\.(?:dist|egg)-info$")
_PYTHON_PARENTS: Final = (
    "/usr",
    "/usr/local",
    "/opt/*",
    "/root/.local",
    "/home/*/.local",
    "/root/.pyenv/versions/*",
    "/home/*/.pyenv/versions/*",
    "/srv/*",
)
_NPM_FOLDERS: Final = (
    "/usr/lib/node_modules",
    "/usr/local/lib/node_modules",
    "/usr/share/nodejs",
    "/opt/*/node_modules",
    "/opt/*/lib/node_modules",
    "/srv/*/node_modules",
    "/home/*/node_modules",
    "/root/node_modules",
)


class _NpmPackage(msgspec.Struct, frozen=True):
    name: str = ""
    version: str = ""


_npm_decoder: Final = msgspec.json.Decoder(_NpmPackage)


def expand(root: Root, pattern: str) -> list[str]:
    """Return the folders that a pattern with whole-name stars matches, following no link."""
    found = [""]
    for part in pattern.strip("/").split("/"):
        if part == "*":
            found = [f"{base}/{name}" for base in found[:500] for name in root.entries(base or "/")]
        else:
            found = [f"{base}/{part}" for base in found]
    return [name for name in found if _is_folder(root, name)]


def _is_folder(root: Root, name: str) -> bool:
    path = root.at(name)
    return path.is_dir() and not path.is_symlink()


def _python_folders(root: Root) -> Iterator[str]:
    for parent in _PYTHON_PARENTS:
        for base in expand(root, parent):
            for library in ("lib", "lib64"):
                if not _is_folder(root, f"{base}/{library}"):
                    continue
                for version in root.entries(f"{base}/{library}"):
                    if version.startswith("python3"):
                        yield f"{base}/{library}/{version}/site-packages"
                        yield f"{base}/{library}/{version}/dist-packages"


def collect_python(root: Root) -> list[Package]:
    """List Python distributions by the names of their metadata folders; opens no file."""
    found = set()
    for folder in _python_folders(root):
        for entry in root.entries(folder):
            match = _DIST.match(entry)
            if match is not None:
                name = re.sub(r"[-_.]+", "-", match["name"]).lower()
                found.add(Package("pypi", show_text(name), show_text(match["version"])))
    return list(found)


def collect_npm(root: Root) -> list[Package]:
    """List npm packages by their package.json, in bounded number and depth."""
    queue = [(folder, 0) for pattern in _NPM_FOLDERS for folder in expand(root, pattern)]
    found: set[Package] = set()
    looked = 0
    while queue and looked < MAX_NPM_FOLDERS:
        folder, depth = queue.pop()
        for entry in root.entries(folder):
            inner = f"{folder}/{entry}"
            if entry.startswith("."):
                continue
            if entry.startswith("@"):
                queue.append((inner, depth))
                continue
            looked += 1
            package = _read_npm(root, inner)
            if package is not None:
                found.add(package)
            if depth < MAX_NPM_DEPTH and _is_folder(root, f"{inner}/node_modules"):
                queue.append((f"{inner}/node_modules", depth + 1))
    return list(found)


def _read_npm(root: Root, folder: str) -> Package | None:
    try:
        content = _npm_decoder.decode(root.read(f"{folder}/package.json", MAX_PACKAGE_JSON_BYTES))
    except (FleetwardError, msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
    if not content.name or not content.version:
        return None
    return Package("npm", show_text(content.name), show_text(content.version))


def collect_apk(root: Root) -> tuple[list[Package], int]:
    """List Alpine's packages and count the records without name or version.

    Raises Unreachable when there is no such database.
    """
    text = root.read("/lib/apk/db/installed", MAX_APK_BYTES)
    found = []
    broken = 0
    for stanza in text.split(b"\n\n"):
        fields = {line[:1]: line[2:] for line in stanza.split(b"\n") if line[1:2] == b":"}
        name, version = fields.get(b"P"), fields.get(b"V")
        if name and version:
            arch, source = fields.get(b"A", b""), fields.get(b"o", name)
            found.append(
                Package(
                    "apk", show_text(name), show_text(version), show_text(arch), show_text(source)
                )
            )
        elif fields:
            broken += 1
    return found, broken


def parse_rpm_header(blob: bytes) -> Package:
    """Read name, version and architecture from an rpm header blob. Raises Malformed.

    The blob is: number of index entries, number of data bytes, the entries of four 32-bit
    words each (tag, type, offset, count), the data; all big-endian.
    """
    if len(blob) < 8:
        raise Malformed("an rpm header of less than 8 bytes", reason="rpm_malformed")
    count, size = struct.unpack_from(">II", blob)
    start = 8 + 16 * count
    if count > MAX_RPM_TAGS or size > MAX_RPM_HEADER_BYTES or start + size > len(blob):
        raise Malformed("an rpm header that claims more than it has", reason="rpm_malformed")
    data = blob[start : start + size]
    fields: dict[str, str] = {}
    for tag, kind, offset, _ in struct.iter_unpack(">IIiI", blob[8:start]):
        if not 0 <= offset < size:
            continue
        if tag in _RPM_STRINGS and kind == _RPM_STRING_TYPE:
            end = data.find(b"\0", offset, offset + 4096)
            fields[_RPM_STRINGS[tag]] = show_text(data[offset : max(end, offset)])
        elif tag == _RPM_EPOCH and kind == _RPM_INT32_TYPE and offset + 4 <= size:
            fields["epoch"] = str(int.from_bytes(data[offset : offset + 4], "big"))
    if not fields.get("name") or not fields.get("version"):
        raise Malformed("an rpm header without name or version", reason="rpm_malformed")
    version = f"{fields['version']}-{fields.get('release', '')}".rstrip("-")
    if fields.get("epoch", "0") != "0":
        version = f"{fields['epoch']}:{version}"
    return Package("rpm", fields["name"], version, fields.get("arch", ""), fields.get("src", ""))


def collect_rpm(root: Root) -> tuple[list[Package], int]:
    """List packages of rpm's SQLite database and count the records that could not be read.

    Raises Unreachable when there is none. Older formats (Berkeley DB, ndb) are not read.
    """
    descriptor = None
    for name in _RPM_FILES:
        try:
            descriptor = root.open(name)
            break
        except Unreachable:
            continue
    if descriptor is None:
        raise Unreachable("no rpm database in SQLite form", reason="rpm_absent")
    try:
        if os.fstat(descriptor).st_size > MAX_RPM_BYTES:
            raise Malformed("an rpm database of more than 1 GiB", reason="rpm_malformed")
        return _read_rpm(f"file:/proc/self/fd/{descriptor}?mode=ro&immutable=1")
    except sqlite3.Error as error:
        raise Malformed("an rpm database that SQLite refuses", reason="rpm_malformed") from error
    finally:
        os.close(descriptor)


def _read_rpm(address: str) -> tuple[list[Package], int]:
    found: list[Package] = []
    broken = 0
    connection = sqlite3.connect(address, uri=True)
    try:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_RPM_HEADER_BYTES)
        connection.execute("PRAGMA trusted_schema=OFF")
        # The table may be a view that never ends.
        steps = iter(range(MAX_RPM_STEPS))
        connection.set_progress_handler(lambda: next(steps, None) is None, 10_000)
        for (blob,) in connection.execute("SELECT blob FROM Packages LIMIT ?", (MAX_ROWS,)):
            try:
                found.append(parse_rpm_header(bytes(blob)))
            except (Malformed, TypeError):
                broken += 1
    finally:
        connection.close()
    return found, broken


def _collect_dpkg(root: Root) -> tuple[list[Package], int]:
    installed, skipped = read_installed(root)
    return [row.package for row in installed], skipped


_SYSTEMS: Final[
    tuple[tuple[str, tuple[str, ...], Callable[[Root], tuple[list[Package], int]]], ...]
] = (
    ("dpkg", ("/var/lib/dpkg/status",), _collect_dpkg),
    ("rpm", _RPM_FILES, collect_rpm),
    ("apk", ("/lib/apk/db/installed",), collect_apk),
)


def collect_packages(root: Root) -> Section[Package]:
    """List the packages of every manager that left a database here.

    A database that is there and cannot be read lowers the sight; an absent one does not.
    """
    found: list[Package] = []
    doubts: list[str] = []
    present = [row for row in _SYSTEMS if any(root.exists(name) for name in row[1])]
    for manager, _, collect in present:
        try:
            rows, skipped = collect(root)
        except FleetwardError as error:
            doubts.append(f"The list of {manager} cannot be read: {error.message}")
            continue
        found += rows
        if skipped:
            doubts.append(f"{skipped} records of {manager} cannot be read.")
    if not present:
        doubts.append("No package list of the system was found.")
    found += collect_python(root) + collect_npm(root)
    ordered = sorted(set(found), key=lambda row: (row.manager, row.name, row.version, row.arch))
    if len(ordered) > MAX_ROWS:
        doubts.append(f"Only the first {MAX_ROWS} of {len(ordered)} packages are listed.")
    words = show_text(" ".join(doubts), 1000)
    if doubts and not ordered:
        return Section(Sight("none", words))
    return Section(Sight("partial" if doubts else "full", words), tuple(ordered[:MAX_ROWS]))
