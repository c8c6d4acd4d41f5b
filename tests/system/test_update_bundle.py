"""A bundle on a stick, the agent's real processes, and no server anywhere."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.delta_world import make
from tests.installer_world import spoil
from tests.update_world import PRODUCT, UpdateGuard, make_bundle

from fleetward.device.status import is_running
from fleetward.trust.release_checks import Check
from fleetward.trust.release_manifest import Delta, Health, Manifest, Part, make_blob
from fleetward.wire.delta import EMPTY_SOURCE

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
        self.before = b""

    def delta_bundle(
        self, version: str, counter: int, files: dict[str, bytes], carries: str, spoilt: str = ""
    ) -> Path:
        """Return a bundle with some of the ways to a release alone: `part`, `packed` (out of
        nothing), `small` (from the release before). What is `spoilt` was signed so."""
        payload = archive(files)
        made = {"part": payload, "packed": make(b"", payload, self.folder / "made")}
        if self.before:
            made["small"] = make(self.before, payload, self.folder / "made")
        for name in spoilt.split():
            made[name] = made[name][:-1] + bytes([made[name][-1] ^ 1])
        sources = {"packed": EMPTY_SOURCE, "small": hashlib.sha256(self.before).hexdigest()}
        deltas = tuple(
            Delta(sources[name], make_blob(data)) for name, data in made.items() if name != "part"
        )
        part = Part(
            "app", "directory", "app", make_blob(payload), deltas, sum(map(len, files.values())),
            len(files),
        )  # fmt: skip
        check = Health(5, 0, (Check("file", part="app", path="index.html"),))
        manifest = self.guard.release(version, counter, payload, parts=(part,), health=check)
        self.guard.server.blobs.clear()
        self.guard.publish(manifest, *made.values())
        self.guard.approve()
        lacks = [made[name] for name in made if name not in carries.split()]
        path = self.folder / f"{version}.bundle"
        without = [hashlib.sha256(data).hexdigest() for data in lacks]
        path.write_bytes(make_bundle(self.guard, manifest, without=without))
        self.before = payload
        return path

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


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_deltas_bring_releases_and_bad_ones_do_not_stop_them(stick: Stick) -> None:
    """Each bundle lacks what would be needed if the delta had not served, until one is bad."""
    (stick.folder / "made").mkdir()
    fixed = {f"lib/{n}": random.Random(n).randbytes(5000) for n in range(20)}

    def files(version: str) -> dict[str, bytes]:
        return {**fixed, "index.html": version.encode(), "words": b"the same words " * 2000}

    bundles = {
        "1.1": stick.delta_bundle("1.1", 11, files("1.1"), "packed"),
        "1.2": stick.delta_bundle("1.2", 12, files("1.2"), "small"),
        "1.3": stick.delta_bundle("1.3", 13, files("1.3"), "small packed", spoilt="small"),
        "1.4": stick.delta_bundle("1.4", 14, files("1.4"), "small packed part", "small packed"),
        "1.5": stick.delta_bundle("1.5", 15, files("1.5"), "small packed"),
        "1.6": stick.delta_bundle("1.6", 16, files("1.6"), "small", spoilt="small"),
    }
    assert bundles["1.2"].stat().st_size < bundles["1.1"].stat().st_size - 90_000
    with stick.running():
        for version in ("1.1", "1.2", "1.3", "1.4", "1.5"):
            if version == "1.5":
                # Somebody wrote one byte into what the delta starts from.
                [kept] = (stick.current.parent / "releases").glob(".*.tar")
                spoil(kept)
            status, said, words = stick.apply(bundles[version])
            assert (status, said["state"]) == (0, "committed"), (version, said, words)
            assert (stick.current / "index.html").read_bytes() == version.encode()
            assert (stick.current / "lib/7").read_bytes() == fixed["lib/7"]
        # A stick with a bad delta and nothing else: the release may come again on a better one.
        status, said, _ = stick.apply(bundles["1.6"])
        assert (status, said["state"], said["rule"]) == (1, "refused", "bundle_incomplete")
        assert (stick.current / "index.html").read_bytes() == b"1.5"


def test_without_an_agent_it_says_how_to_start_one(stick: Stick) -> None:
    path = stick.bundle("1.1", 11, {"index.html": b"eleven"})
    stick.guard.core.close()
    status, _, words = stick.apply(path)
    assert status == 1
    assert "fleetward-agent run" in words
