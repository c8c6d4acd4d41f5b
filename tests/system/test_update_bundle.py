"""A bundle on a stick, the agent's real processes, and no server anywhere."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.update_world import PRODUCT, UpdateGuard, make_bundle

from fleetward.device.status import is_running
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import Health, Manifest, Part, make_blob

AGENT = Path(sys.executable).with_name("fleetward-agent")


def archive(files: dict[str, bytes]) -> bytes:
    """Return a tar of these files, as a maker's tool writes one."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


class Stick:
    """A machine that runs for real, and bundles for it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.guard = UpdateGuard.make(self.data / "guard")
        self.folder = folder

    def bundle(
        self, version: str, counter: int, files: dict[str, bytes], **changes: object
    ) -> Path:
        payload = archive(files)
        part = Part(
            "app", "directory", "app", make_blob(payload), (), sum(map(len, files.values())),
            len(files),
        )  # fmt: skip
        check = Health(5, 0, (Check("file", part="app", path="index.html"),))
        manifest: Manifest = self.guard.release(
            version, counter, payload, parts=(part,), **{"health": check, **changes}
        )
        self.guard.approve()
        path = self.folder / f"{version}.bundle"
        path.write_bytes(make_bundle(self.guard, manifest))
        return path

    def apply(self, path: Path) -> tuple[int, dict[str, object], str]:
        done = subprocess.run(
            [AGENT, "update", "apply-bundle", path, "--data", self.data, "--json"],
            capture_output=True, text=True, check=False, timeout=90,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr

    @contextmanager
    def running(self) -> Iterator[None]:
        self.guard.core.close()
        agent = subprocess.Popen([AGENT, "run", "--data", self.data], stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 20
            while not is_running(self.data / "guard") or agent.poll() is not None:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield
        finally:
            agent.terminate()
            agent.wait(20)

    @property
    def current(self) -> Path:
        return self.data / "software" / PRODUCT / "app" / "current"


@pytest.fixture
def stick(tmp_path: Path) -> Stick:
    return Stick(tmp_path)


@pytest.mark.slow
def test_a_stick_brings_a_release_and_a_bad_one_is_taken_back(stick: Stick) -> None:
    good = stick.bundle("1.1", 11, {"index.html": b"eleven"})
    bad = stick.bundle("1.2", 12, {"other.html": b"twelve"})
    old = stick.bundle("1.0", 10, {"index.html": b"ten"})
    with stick.running():
        status, said, words = stick.apply(good)
        assert (status, said["state"]) == (0, "committed"), words
        assert (stick.current / "index.html").read_bytes() == b"eleven"
        status, said, _ = stick.apply(bad)
        assert (status, said["state"], said["rule"]) == (1, "rolled_back", "unhealthy")
        assert (stick.current / "index.html").read_bytes() == b"eleven"
        status, said, words = stick.apply(old)
        assert (status, said["state"], said["rule"]) == (1, "refused", "older_counter")
        assert "older_counter" in words
        shown = subprocess.run(
            [AGENT, "update", "status", "--data", stick.data],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert "1.1" in shown


def test_without_an_agent_it_says_how_to_start_one(stick: Stick) -> None:
    path = stick.bundle("1.1", 11, {"index.html": b"eleven"})
    stick.guard.core.close()
    status, _, words = stick.apply(path)
    assert status == 1
    assert "fleetward-agent run" in words
