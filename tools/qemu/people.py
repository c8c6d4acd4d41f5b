"""The people around the machine, each by the commands that they have: an owner, and a maker.

A server runs for as long as the machine needs to join; after that nothing of it is left, and
releases come on sticks. Nothing here is a short cut: keys, ceremonies and judgements are the real
ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from tools.reference_image.recipe import ROOT

BIN: Final = ROOT / ".venv/bin"
PRODUCT: Final = "reference"
COMMAND_SECONDS: Final = 300
READY_SECONDS: Final = 90


class People:
    """Everybody's folders below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.machine = folder / "machine"
        self.owner_root = self.device = ""
        self._passphrase = folder / "passphrase"
        self._passphrase.touch(0o600)
        self._passphrase.write_text("correct horse battery staple\n")

    def gather(self) -> None:
        """Have an owner, a maker whom he names, and a machine that has joined. Raises
        `RuntimeError` with the last words of what failed."""
        server = self.folder / "server"
        ready = self.folder / "ready.json"
        program = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "fleetward.server.main",
                "--data",
                server,
                "--ready-file",
                ready,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait_for(ready, program)
            said = self._fleetward(
                "owner", "init", "--name", "Plant", "--person", "Ada", "--data", server,
                "--out", self.folder / "owner", *self._sealed,
            )  # fmt: skip
            self.owner_root = str(said["owner_root"])
            self._become_maker()
            root = next((self.folder / "maker/repository/metadata").glob("1.root.json"))
            self._as_owner("policy", "set", "maker", PRODUCT, root)
            self._join()
        finally:
            program.terminate()
            program.wait(30)

    def _become_maker(self) -> None:
        self._as_maker("maker", "init", "--name", "Acme", *self._sealed)
        ends = ("--support-ends", "2035-12-31")
        self._as_maker("maker", "product", "add", PRODUCT, *ends, *self._sealed)

    def _join(self) -> None:
        invited = self._as_owner("invite", "--site", "Plant", "--preapproved", "--ttl", "600")
        said = self._run("fleetward-agent", "join", invited["join"], "--data", self.machine)
        self.device = str(said["id"])
        self._as_owner("confirm", said["id"], said["words"])
        # It hears from its owner what it is, once, before it goes where there is no network.
        self._run("fleetward-agent", "run", "--once", "--data", self.machine)

    def release(self, version: str, image: Path, *, health: str) -> None:
        """Have the maker sign a release, and the owner approve it."""
        counter, part = version.replace(".", ""), f"system={image}:file-slot:system"
        self._as_maker(
            "release", "build", PRODUCT, version, "--counter", counter, "--part", part, "--reboot",
            "--no-delta", "--health", health, "--within", "120", "--steady", "1",
        )  # fmt: skip
        name = f"{PRODUCT}/{version}"
        self._as_maker("release", "sign", name, *self._sealed)
        approval = self.folder / f"{version}.approval"
        repository = self.folder / "maker/repository"
        yes = ("--all", "--yes", "--from", repository, "--out", approval)
        self._as_owner("approve", name, *yes)

    def bundle(self, version: str, out: str) -> Path:
        """Return a bundle with a release, and with the metadata of today."""
        bundle, approval = self.folder / f"{out}.bundle", self.folder / f"{version}.approval"
        along = ("--out", bundle, "--approval", approval)
        self._as_maker("release", "bundle", f"{PRODUCT}/{version}", *along)
        return bundle

    # --- commands

    @property
    def _sealed(self) -> tuple[object, ...]:
        return ("--passphrase-file", self._passphrase)

    def _as_owner(self, *words: object) -> dict[str, Any]:
        folders = ("--owner", self.folder / "owner", "--data", self.folder / "server")
        return self._fleetward("owner", *words, *folders, *self._sealed)

    def _as_maker(self, *words: object) -> dict[str, Any]:
        return self._fleetward(*words, "--maker", self.folder / "maker")

    def _fleetward(self, *words: object) -> dict[str, Any]:
        return self._run("fleetward", *words)

    def _run(self, program: str, *words: object) -> dict[str, Any]:
        done = subprocess.run(
            [str(BIN / program), *map(str, words), "--json"],
            capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode != 0:
            shown = " ".join(map(str, words[:3]))
            raise RuntimeError(f"{program} {shown} failed: {done.stderr.strip()[-800:]}")
        said = json.loads(done.stdout or "{}")
        return said if isinstance(said, dict) else {}

    @staticmethod
    def _wait_for(ready: Path, program: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready.exists():
            if program.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("The server did not start.")
            time.sleep(0.1)
