"""The few packages of the operating system that have no other way in.

They are for tests alone (and `python3-venv`, without which Debian's Python makes no virtual
environment). As root they are installed by apt, which is said before it is done; otherwise the
missing ones are named and the work goes on: a test that needs one skips and says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

TEST_PACKAGES: Final[Mapping[str, str]] = {
    "bubblewrap": "the wall between the agent's two processes where there is no root",
    "chromium": "the browser that walks both web programs",
    "softhsm2": "the token, in software, that keys on a token are tried on",
    "swtpm": "the TPM, in software, that counters against older releases are bound to",
    "postgresql": "the second database that every store is tested on",
    "nftables": "the filter that closes a machine's ports",
    "rauc": "the updater of whole images, which installs real bundles and refuses tampered ones",
    "squashfs-tools": "what RAUC makes bundles with",
    "dbus-daemon": "the bus on which RAUC's service is asked",
    "grub-common": "the boot loader's counter of tries",
}
APT_SECONDS: Final = 600


def find_missing_test_packages() -> dict[str, str]:
    """Name the packages that tests would use and that are not here, each with its purpose."""
    present = {
        "bubblewrap": shutil.which("bwrap") is not None,
        "chromium": any(shutil.which(name) for name in ("chromium", "chromium-browser")),
        "softhsm2": shutil.which("softhsm2-util") is not None,
        "swtpm": shutil.which("swtpm") is not None,
        "postgresql": _has_postgresql(),
        "nftables": Path("/usr/sbin/nft").exists(),
        "rauc": shutil.which("rauc") is not None,
        "squashfs-tools": shutil.which("mksquashfs") is not None,
        "dbus-daemon": shutil.which("dbus-daemon") is not None,
        "grub-common": shutil.which("grub-editenv") is not None,
    }
    return {name: why for name, why in TEST_PACKAGES.items() if not present[name]}


def install_packages(wanted: Mapping[str, str]) -> bool:
    """Install packages by apt, saying so first. Return whether they are installed now."""
    names = sorted(wanted)
    listed = "\n".join(f"    {name}: {wanted[name]}" for name in names)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        print(f"  Missing packages of the operating system:\n{listed}", flush=True)
        print(f"  As root on Debian: apt-get install {' '.join(names)}", flush=True)
        return False
    print(f"  Installing packages of the operating system with apt-get:\n{listed}", flush=True)
    _apt("update")
    done = _apt("install", "--yes", "--no-install-recommends", *names)
    if not done:
        print("  apt-get could not install them (its words are above).")
    return done


def _apt(*arguments: str) -> bool:
    try:
        finished = subprocess.run(
            ["apt-get", "-q", "-o", "Dpkg::Use-Pty=0", *arguments],
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=APT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        print(f"  apt-get {arguments[0]} took more than {APT_SECONDS} s and was stopped.")
        return False
    if finished.returncode != 0:
        print(finished.stdout[-2000:] + finished.stderr[-2000:], flush=True)
    return finished.returncode == 0


def _has_postgresql() -> bool:
    found = any(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found or shutil.which("initdb") is not None
