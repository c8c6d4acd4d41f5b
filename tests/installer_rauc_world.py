"""The ground of RAUC: a real service on a bus of its own, whose slots are files."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.installer_world import MIXED, Ground

_JSON = ("--output-format=json",)
_RAUC_SLOT_BYTES = 1024 * 1024
_RAUC_KEYS = (("cert", "cert"), ("key", "key"), ("keyring", "cert"))
_RAUC_MANIFEST = """\
[update]
compatible=acme
version={version}
[bundle]
format=plain
[image.rootfs]
filename=root.img
"""
_RAUC_CONFIG = """\
[system]
compatible=acme
{loader}
bundle-formats=plain verity
statusfile={folder}/status
mountprefix={folder}/mnt
activate-installed=false
[keyring]
path={folder}/cert.pem
{handlers}
[slot.rootfs.0]
device={folder}/boot/slot0
type=raw
bootname=A
[slot.rootfs.1]
device={folder}/boot/slot1
type=raw
bootname=B
"""
_RAUC_BACKEND = """\
#!/bin/sh
cd {boot}
case "$1" in
get-primary) cat primary ;;
set-primary) echo "$2" > .primary.new && mv .primary.new primary ;;
get-state) echo good ;;
esac
"""
_BUS_CONFIG = """\
<busconfig><type>system</type><listen>unix:path={folder}/bus</listen><auth>EXTERNAL</auth>
<policy context="default"><allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/><allow own="*"/></policy></busconfig>
"""


class RaucGround(Ground):
    """A RAUC service on a bus of its own, whose two slots are files, and whose boot loader is a
    script with a file for what is next. It signs its own bundles."""

    kind = "rauc"
    loader = "bootloader=custom"
    handlers = "[handlers]\nbootloader-custom-backend={folder}/backend"

    def prepare(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        folder = self.folder
        for name in ("mnt", "boot"):
            (folder / name).mkdir()
        for number in (0, 1):
            (folder / f"boot/slot{number}").write_bytes(bytes(_RAUC_SLOT_BYTES))
        (folder / "boot/primary").write_text("A")
        script = folder / "backend"
        script.write_text(_RAUC_BACKEND.format(boot=folder / "boot"))
        script.chmod(0o755)
        more = {n: getattr(self, n).format(folder=folder) for n in ("loader", "handlers")}
        said = _RAUC_CONFIG.format(folder=folder, **more)
        (folder / "system.conf").write_text(said)
        (folder / "bus.conf").write_text(_BUS_CONFIG.format(folder=folder))
        certify = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=acme"]
        certify += ["-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", str(folder / "key.pem")]
        self._tool(*certify, "-days", "36500", "-out", str(folder / "cert.pem"))
        bus = ["dbus-daemon", f"--config-file={folder / 'bus.conf'}", "--nofork"]
        self._running.append(subprocess.Popen(bus))
        self._wait(lambda: (folder / "bus").exists())
        self._start_service()

    def _tool(self, *argv: str) -> str:
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}"}
        done = subprocess.run(argv, check=True, capture_output=True, env=environment)
        return done.stdout.decode()

    @staticmethod
    def _wait(holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not holds():
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def booted(self) -> str:
        """Have the boot loader choose, and return the slot that it starts."""
        return (self.folder / "boot/primary").read_text().strip()

    def _start_service(self) -> None:
        booted = self.booted()
        environment = {**os.environ, "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.folder / 'bus'}"}
        argv = ["rauc", f"--conf={self.folder / 'system.conf'}", f"--override-boot-slot={booted}"]
        self._running.append(
            subprocess.Popen([*argv, "service"], env=environment, stderr=subprocess.DEVNULL)
        )

        def answers() -> bool:
            with contextlib.suppress(subprocess.CalledProcessError):
                return f'"booted":"{booted}"' in self._tool(*argv[:2], "status", *_JSON)
            return False

        self._wait(answers)

    def reboot(self) -> None:
        service = self._running.pop()
        service.terminate()
        service.wait(20)
        self._start_service()

    def close(self) -> None:
        while self._running:
            process = self._running.pop()
            process.terminate()
            process.wait(20)

    def lines(self) -> str:
        bus = f"unix:path={self.folder / 'bus'}"
        return f'config = "{self.folder / "system.conf"}"\nbus = "{bus}"\n'

    def build(self, version: str) -> bytes:
        build = self.folder / f"build-{version}"
        build.mkdir()
        (build / "root.img").write_bytes(self.image(version))
        (build / "manifest.raucm").write_text(_RAUC_MANIFEST.format(version=version))
        bundle = self.folder / f"{version}.raucb"
        keys = [f"--{k}={self.folder / v}.pem" for k, v in _RAUC_KEYS]
        self._tool("rauc", *keys, "bundle", str(build), str(bundle))
        return bundle.read_bytes()

    @staticmethod
    def image(version: str) -> bytes:
        """Return what a bundle has for a slot."""
        return version.encode() + random.Random(version).randbytes(300_000)

    def content(self) -> str:
        number = {"A": 0, "B": 1}[(self.folder / "boot/primary").read_text().strip()]
        data = (self.folder / f"boot/slot{number}").read_bytes()
        version = data[:1].decode()
        if version == "\0":
            return ""
        return version if data.startswith(self.image(version)) else MIXED

    def watched(self) -> tuple[Path, ...]:
        return (self.folder / "boot", self.data / "software")


class GrubRaucGround(RaucGround):
    """The same with RAUC's own support of GRUB, which counts tries: `booted` does what the script
    in RAUC's documentation has GRUB do."""

    loader = "bootloader=grub\ngrubenv={folder}/boot/grubenv"
    handlers = ""

    def prepare(self) -> None:
        self.runs = "A"
        (self.folder / "boot").mkdir()
        self._set("ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=0", make=True)
        (self.folder / "boot/grubenv").rename(self.folder / "grubenv")
        (self.folder / "boot").rmdir()
        super().prepare()

    def booted(self) -> str:
        if (self.folder / "grubenv").exists():
            (self.folder / "grubenv").rename(self.folder / "boot/grubenv")
        said = self._tool("grub-editenv", str(self.folder / "boot/grubenv"), "list")
        values = dict(line.split("=", 1) for line in said.splitlines())
        for name in values["ORDER"].split():
            if (values[f"{name}_OK"], values[f"{name}_TRY"]) == ("1", "0"):
                self._set(f"{name}_TRY=1")
                self.runs = name
                break
        return self.runs

    def mark_good(self) -> None:
        """Do what RAUC's unit does at the end of every good start."""
        self._set(f"{self.runs}_OK=1", f"{self.runs}_TRY=0")

    def _set(self, *values: str, make: bool = False) -> None:
        path = str(self.folder / "boot/grubenv")
        if make:
            self._tool("grub-editenv", path, "create")
        self._tool("grub-editenv", path, "set", *values)

    def content(self) -> str:
        (self.folder / "boot/primary").write_text(self.runs)
        return super().content()


def has_rauc() -> bool:
    """Say whether RAUC can be tried here: it mounts bundles, so it needs root and a loop device."""
    tools = ("rauc", "dbus-daemon", "openssl", "mksquashfs")
    if os.geteuid() != 0 or not all(shutil.which(tool) for tool in tools):
        return False
    free = subprocess.run(["losetup", "--find"], capture_output=True, check=False)
    return free.returncode == 0 and "squashfs" in Path("/proc/filesystems").read_text()
