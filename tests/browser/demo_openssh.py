"""A real sshd on a loopback port of its own, and the words of a real client for it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PORTS = range(8200, 8900)
"""Within what the demo's owner lets be asked for."""


def find_sshd() -> str | None:
    """Return sshd, which needs not be on the path of an ordinary user."""
    return shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _free() -> int:
    for port in PORTS:
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[tuple[int, list[str]]]:
    """Run sshd for this user with keys made for it; yield its port and a client's words."""
    sshd = find_sshd()
    assert sshd is not None
    for name in ("host", "user"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(words, check=True)
    allowed = folder / "allowed"
    allowed.write_text((folder / "user.pub").read_text())
    allowed.chmod(0o600)
    port = _free()
    settings = {
        "Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host",
        "AuthorizedKeysFile": allowed, "PidFile": folder / "pid", "StrictModes": "no",
        "PermitRootLogin": "prohibit-password", "UsePAM": "no",
    }  # fmt: skip
    config = folder / "config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    daemon = subprocess.Popen([sshd, "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.1)
        options = ["StrictHostKeyChecking=no", f"UserKnownHostsFile={folder / 'known'}"]
        client = ["ssh", "-q", "-i", str(folder / "user"), "-F", "/dev/null", "-l"]
        client += [getpass.getuser(), *(word for each in options for word in ("-o", each))]
        yield port, client
    finally:
        daemon.terminate()
        daemon.wait(10)
