"""MeshCentral beside us: its server, its agent and a client on this computer's loopback.

Used by `bench/session.py --meshcentral FOLDER`, where FOLDER holds what
`npm install meshcentral` put there. A server is set up in a folder that is removed again, on a
loopback port of its own; its agent is the one in the package, run in the foreground and not
installed. It is neither end-to-end encrypted nor, as set up here, recorded.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = HERE.parent / "console" / "node_modules"
COMPILE = (
    "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext",
    "--strict", "--types", "node", "--typeRoots", str(MODULES / "@types"),
)  # fmt: skip
USER, PASSWORD = "bench", "Bench-pass-1!"
READY_SECONDS = 120.0


@dataclass(frozen=True)
class Peer:
    """A running MeshCentral with one device."""

    packages: Path
    address: str
    device: str

    def measure(
        self, folder: Path, keys: int, seconds: float, port: int
    ) -> tuple[list[float], float, float]:
        """Return the keystrokes in milliseconds, and bytes a second of output and port."""
        client = HERE / "meshcentral_client.mts"
        compiler = [str(MODULES / ".bin" / "tsc"), *COMPILE]
        subprocess.run([*compiler, "--outDir", str(folder), str(client)], check=True)
        script = folder / "meshcentral_client.mjs"
        wish = {
            "packages": str(self.packages), "address": f"wss://{self.address}", "user": USER,
            "password": PASSWORD, "device": self.device, "port": port, "keys": keys,
            "seconds": seconds,
        }  # fmt: skip
        done = subprocess.run(
            ["node", str(script), json.dumps(wish)], capture_output=True, text=True, check=True,
            timeout=300,
        )  # fmt: skip
        found = json.loads(done.stdout.splitlines()[-1])
        return found["keys"], found["output"], found["port"]


@contextlib.contextmanager
def run_peer(installed: Path, folder: Path, port: int) -> Iterator[Peer]:
    """Run server and agent until the block ends. Raises `TimeoutError`."""
    packages = installed / "node_modules"
    address = f"127.0.0.1:{port}"
    data = folder / "meshcentral-data"
    data.mkdir()
    settings = {
        "cert": "127.0.0.1", "port": port, "portBind": "127.0.0.1", "redirPort": 0, "mpsPort": 0,
        "selfUpdate": False, "wanOnly": True, "noAgentUpdate": 1,
    }  # fmt: skip
    domains = {"": {"title": "bench", "newAccounts": False}}
    (data / "config.json").write_text(json.dumps({"settings": settings, "domains": domains}))
    server = ["node", str(packages / "meshcentral"), "--datapath", str(data)]
    make_user = ["--createaccount", USER, "--pass", PASSWORD, "--email", "bench@example.org"]
    for words in (make_user, ["--adminaccount", USER]):
        subprocess.run([*server, *words], cwd=folder, check=True, capture_output=True, timeout=120)
    with _running(server, folder):
        _wait("the server of MeshCentral", lambda: bool(_fetch(f"https://{address}/")))
        _control(packages, address, "AddDeviceGroup", "--name", "bench")
        group = json.loads(_control(packages, address, "ListDeviceGroups", "--json"))[0]["_id"]
        agent = folder / "agent"
        agent.mkdir()
        shutil.copy(packages / "meshcentral" / "agents" / "meshagent_x86-64", agent / "meshagent")
        (agent / "meshagent").chmod(0o700)
        settings_url = f"https://{address}/meshsettings?id={group.rpartition('/')[2]}"
        (agent / "meshagent.msh").write_bytes(_fetch(settings_url))
        with _running([str(agent / "meshagent"), "connect"], agent):
            found: list[str] = []

            def find() -> bool:
                told = _control(packages, address, "ListDevices", "--json")
                with contextlib.suppress(ValueError):
                    found.extend(one["_id"] for one in json.loads(told) if one.get("conn"))
                return bool(found)

            _wait("the agent of MeshCentral", find)
            time.sleep(3.0)
            yield Peer(packages, address, found[0])


@contextlib.contextmanager
def _running(words: list[str], folder: Path) -> Iterator[None]:
    with (folder / "output").open("ab") as output:
        process = subprocess.Popen(
            words, cwd=folder, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield
    finally:
        # The server is two processes, the agent starts shells: they are one group.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _control(packages: Path, address: str, *words: str) -> str:
    command = ["node", str(packages / "meshcentral" / "meshctrl.js"), *words]
    sign_in = ["--url", f"wss://{address}", "--loginuser", USER, "--loginpass", PASSWORD]
    done = subprocess.run(
        [*command, *sign_in], capture_output=True, text=True, check=False, timeout=60
    )
    return done.stdout


def _fetch(url: str) -> bytes:
    """Fetch from the peer's server, whose certificate is its own and new."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        contextlib.suppress(OSError),
        urllib.request.urlopen(url, context=context, timeout=10) as answer,
    ):
        data: bytes = answer.read()
        return data
    return b""


def _wait(what: str, ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if ready():
            return
        time.sleep(1.0)
    raise TimeoutError(f"{what} was not ready after {READY_SECONDS:.0f} seconds")
