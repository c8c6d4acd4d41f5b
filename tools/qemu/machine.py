"""A machine in QEMU: emulated, without a network, with a simulated TPM, and a serial console.

What it says on the console is kept in a file, each line with the seconds since the play began.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

from tools.reference_image.layout import MIB, SECTOR_BYTES

TOOLS: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "swtpm": "swtpm",
    "mformat": "mtools",
}
"""By program, the package of Debian that has it."""
MEMORY_MIB: Final = 512
START_SECONDS: Final = 20
_COLOURS: Final = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]|\x1bc|[^\x20-\x7e\t]")


class TooLateError(Exception):
    """The machine did not say in time what it was to say."""


class Machine:
    """One machine, which may be started again and again. `folder` is for its sockets and logs."""

    def __init__(self, disk: Path, folder: Path, began: float) -> None:
        self.disk = disk
        self._folder = folder
        self._began = began
        self._qemu: subprocess.Popen[bytes] | None = None
        self._tpm: subprocess.Popen[bytes] | None = None
        self._lines: list[tuple[float, str]] = []
        self._said = threading.Condition()
        self._read = 0
        self._qmp: socket.socket | None = None
        self._answers = b""
        self._plugged = False
        (folder / "tpm").mkdir(parents=True, exist_ok=True)

    # --- power

    def switch_on(self) -> None:
        """Start it. Raises `RuntimeError` when QEMU does not."""
        tpm, qmp = self._folder / "tpm.sock", self._folder / "qmp.sock"
        for path in (tpm, qmp):
            path.unlink(missing_ok=True)
        self._tpm = subprocess.Popen(
            ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder / 'tpm'}",
             "--ctrl", f"type=unixio,path={tpm}", "--terminate"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._wait_for(tpm)
        self._qemu = subprocess.Popen(
            [*_command(self.disk), "-serial", "stdio",
             "-chardev", f"socket,id=tpm,path={tpm}",
             "-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm0",
             "-qmp", f"unix:{qmp},server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        threading.Thread(target=self._listen, args=(self._qemu,), daemon=True).start()
        self._wait_for(qmp)
        self._qmp = socket.socket(socket.AF_UNIX)
        self._qmp.connect(str(qmp))
        self._qmp.settimeout(START_SECONDS)
        self._answers = b""
        self._hear()
        self._ask("qmp_capabilities")

    def cut_power(self) -> None:
        """End it at once, as somebody who pulls the plug."""
        for program in (self._qemu, self._tpm):
            if program is not None:
                program.kill()
                program.wait(30)
        if self._qmp is not None:
            self._qmp.close()
        self._qemu = self._tpm = self._qmp = None
        self._plugged = False

    # --- sticks

    def plug(self, stick: Path) -> None:
        """Put a stick in."""
        node = {"driver": "raw", "node-name": "stick", "read-only": True,
                "file": {"driver": "file", "filename": str(stick)}}  # fmt: skip
        self._ask("blockdev-add", **node)
        self._ask("device_add", driver="virtio-blk-pci", drive="stick", id="plug", bus="socket")
        self._plugged = True

    def unplug(self) -> None:
        """Pull the stick out, if there is one."""
        if not self._plugged:
            return
        self._plugged = False
        self._ask("device_del", id="plug")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):
                self._ask("blockdev-del", **{"node-name": "stick"})
                return
            time.sleep(0.2)

    # --- the console

    def wait(self, pattern: str, seconds: float) -> re.Match[str]:
        """Return the next line that this is in. Raises `TooLateError` with the last lines."""
        deadline = time.monotonic() + seconds
        with self._said:
            while True:
                while self._read < len(self._lines):
                    found = re.search(pattern, self._lines[self._read][1])
                    self._read += 1
                    if found:
                        return found
                left = deadline - time.monotonic()
                if left <= 0 or (self._qemu is not None and self._qemu.poll() is not None):
                    last = "\n".join(line for _, line in self._lines[-12:])
                    raise TooLateError(f"Expected the machine to say {pattern!r}. Last:\n{last}")
                self._said.wait(min(left, 1.0))

    def _listen(self, qemu: subprocess.Popen[bytes]) -> None:
        assert qemu.stdout is not None  # it is a pipe
        with (self._folder / "console.log").open("a") as log:
            for raw in qemu.stdout:
                line = _COLOURS.sub(b"", raw).decode("ascii").strip()
                at = time.monotonic() - self._began
                if line:
                    log.write(f"{at:7.1f} {line}\n")
                    log.flush()
                    with self._said:
                        self._lines.append((at, line))
                        self._said.notify_all()

    # --- QEMU's own words

    def _ask(self, command: str, **arguments: object) -> Any:
        assert self._qmp is not None  # it is switched on
        word = {"execute": command, "arguments": arguments}
        self._qmp.sendall(json.dumps(word).encode() + b"\n")
        while True:
            said = self._hear()
            if "error" in said:
                raise RuntimeError(f"QEMU refuses {command}: {said['error'].get('desc')}")
            if "return" in said:
                return said["return"]

    def _hear(self) -> dict[str, Any]:
        assert self._qmp is not None  # it is switched on
        while b"\n" not in self._answers:
            block = self._qmp.recv(65536)
            if not block:
                raise OSError("QEMU has ended.")
            self._answers += block
        line, _, self._answers = self._answers.partition(b"\n")
        said: dict[str, Any] = json.loads(line)
        return said

    @staticmethod
    def _wait_for(path: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not path.exists():
            if time.monotonic() > deadline:
                raise RuntimeError(f"Expected a socket at {path}; the program did not start.")
            time.sleep(0.02)


def _command(disk: Path) -> list[str]:
    """Return QEMU's command. Two processors, each emulated by a thread of its own."""
    return [
        "qemu-system-x86_64", "-machine", "q35,usb=off,smm=off,graphics=off", "-cpu", "max",
        "-smp", "2", "-m", str(MEMORY_MIB), "-accel", "tcg,thread=multi", "-no-user-config",
        "-nodefaults", "-display", "none", "-nic", "none",
        "-drive", f"file={disk},if=none,id=disk,format=raw,cache=writeback",
        "-device", "virtio-blk-pci,drive=disk,bootindex=0",
        "-device", "pcie-root-port,id=socket,slot=1",
        "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng",
    ]  # fmt: skip


def make_stick(out: Path, bundle: Path) -> None:
    """Write a stick with one bundle: a FAT file system with the label that the machine looks for.

    Raises `CalledProcessError`.
    """
    sectors = (bundle.stat().st_size // MIB + 40) * MIB // SECTOR_BYTES
    first = MIB // SECTOR_BYTES
    with out.open("wb") as file:
        file.truncate((first + sectors) * SECTOR_BYTES)
        # One partition of type FAT32, as sticks have.
        record = struct.pack("<B3sB3sII", 0, b"\0\0\0", 0x0C, b"\0\0\0", first, sectors)
        file.write(bytes(446) + record + bytes(48) + b"\x55\xaa")
    env = {**os.environ, "MTOOLS_SKIP_CHECK": "1"}
    inside = f"{out}@@{MIB}"
    for command in (
        ["mformat", "-i", inside, "-F", "-v", "FLEETWARD", "-T", str(sectors), "::"],
        ["mcopy", "-i", inside, str(bundle), f"::{bundle.name}"],
    ):
        subprocess.run(command, env=env, check=True, capture_output=True)


def find_missing_tools() -> list[str]:
    """Return the packages of Debian that this computer lacks for the play."""
    return sorted({package for tool, package in TOOLS.items() if shutil.which(tool) is None})
