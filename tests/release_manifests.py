"""Manifests of releases, small and whole, for tests of whoever reads one.

>>> read_manifest(manifest_bytes("kiosk", "1.1", counter=11)).version
'1.1'
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import (
    Blob,
    Delta,
    Health,
    Manifest,
    Part,
    make_blob,
    write_manifest,
)

RELEASED_MS: Final = 1_795_000_000_000
APP: Final = make_blob(b"the application")
OLD: Final = "ab" * 32


def make_part(name: str = "app", installer: str = "directory", **changes: Any) -> Part:
    """Return a part that is unpacked into a place of its name."""
    delta = Delta(OLD, make_blob(b"less"))
    part = Part(name, installer, name, APP, (delta,), 4096, 3, "bin/hook")
    return replace(part, **changes)


def make_manifest(
    product: str = "kiosk", version: str = "1.1", counter: int = 11, **changes: Any
) -> Manifest:
    """Return a release of one part. Its `hash` is empty: the bytes have one."""
    checks = (Check("process", name="kiosk"), Check("file", part="app", path="bin/kiosk"))
    manifest = Manifest(
        product=product, version=version, counter=counter, released_at_ms=RELEASED_MS,
        hardware=("*",), parts=(make_part(),), needs=(), conflicts=(), least_before=0,
        health=Health(60, 10, checks), reboot=False, notes="Faster start.",
        fixes=("CVE-2026-0001",), support_ends_at_ms=RELEASED_MS + 365 * 86_400_000,
        sbom=make_blob(b"{}"), hash="",
    )  # fmt: skip
    return replace(manifest, **changes)


def manifest_bytes(*named: Any, **changes: Any) -> bytes:
    """Return the bytes of such a manifest."""
    return write_manifest(make_manifest(*named, **changes))


def agent_part() -> Part:
    """Return a part that is the agent itself."""
    return make_part("agent", "agent", blob=Blob("cd" * 32, 9, "ef" * 32), hook="")


AGENT_RELEASE: Final[dict[str, Any]] = {
    "parts": (agent_part(),), "health": Health(60, 10, ()), "replaces_agent": True,
}  # fmt: skip
"""What makes a release one of the agent's own code."""
MARKED_RELEASE: Final[dict[str, Any]] = {"replaces_agent": True}
"""What makes a release one that holds the agent in a form that only its maker can see."""
