"""Releases of the agent: our own code under another version, whole, or broken in one place.

    archive = agent_archive("9.1.0")
    archive = agent_archive("9.2.0", {"fleetward/device/guard_main.py": b"raise SystemExit(3)"})

A real release brings its packages along. These take them from where the tests have them, by a line
in their own first file, so that an archive is small and made in a moment.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

import fleetward
from fleetward.trust.release_manifest import Health, Part, make_blob

HOME = Path(fleetward.__file__).parent
PACKAGES = Path(msgspec.__file__).parent.parent
PROGRAMS = ("device", "runtime", "trust", "wire")
VERSION = "fleetward/device/version.py"


@cache
def read_code() -> Mapping[str, bytes]:
    """Return the files of the agent, by their path in a release."""
    files = {"fleetward/__init__.py": f"import sys\nsys.path.append({str(PACKAGES)!r})\n".encode()}
    for program in PROGRAMS:
        for path in sorted((HOME / program).rglob("*.py")):
            files[f"fleetward/{path.relative_to(HOME)}"] = path.read_bytes()
    return files


def agent_archive(version: str, changes: Mapping[str, bytes] | None = None) -> bytes:
    """Return the archive of a release of the agent."""
    code = {**read_code(), **(changes or {})}
    code[VERSION] = code[VERSION].replace(b"0.1.0/", f"{version}/".encode())
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name in sorted(code):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(code[name]), 0o644
            tar.addfile(info, io.BytesIO(code[name]))
    return out.getvalue()


def agent_part(archive: bytes) -> Part:
    """Return the part that this archive is."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        members = tar.getmembers()
    size = sum(member.size for member in members)
    return Part("agent", "agent", "agent", make_blob(archive), (), size, len(members))


AT_ONCE = Health(5, 0, ())
"""Healthy as soon as it says so, within 5 seconds."""
