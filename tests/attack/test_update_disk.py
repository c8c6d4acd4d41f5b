"""A disk that is full, and power that goes, at any step of a release: it ends with old or new.

The disk is a small file system of its own, filled to the last block and emptied again; the power
goes between any two things that guard does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.adversary.update_watch import kept_versions, machine_with_a_release
from tests.update_world import PRODUCT, big_payload

REPOSITORY = Path(__file__).parents[2]
PLAY = """
import contextlib, shutil, sys
from pathlib import Path
from tests.update_world import UpdateGuard, big_payload

disk = Path(sys.argv[1])
payload = big_payload(1)
for step in range(18):
    guard = UpdateGuard.make(disk / "m")
    guard.release("1.0", 10)
    guard.approve()
    guard.run()
    manifest = guard.release("1.1", 11, payload)
    guard.approve()
    updates = guard.core.updates
    updates.talk.look_now()

    def do_one():
        guard.core.tick()
        guard._let_the_installer_answer()
        guard.carry(2)
        guard.clock.pass_ms(1000)

    for _ in range(step):
        do_one()
    stuffing = disk / "stuffing"
    with stuffing.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)
    old = {"app": updates.memory.held["kiosk"].parts[0].sha256}
    for _ in range(12):
        do_one()
        new = {"app": manifest.parts[0].blob.sha256}
        assert guard.installer.active in (old, new), step
        assert updates.memory.floors["kiosk"] in (10, 11)
    if step % 2:
        # And the power goes while it is full.
        guard.crash()
        for _ in range(3):
            do_one()
    stuffing.unlink()
    guard.clock.pass_ms(2 * 3600 * 1000)
    for _ in range(3):
        guard.run()
    if guard.outcomes()[-1] in ("failed", "rolled_back"):
        guard.approve(reason="again")
        guard.run()
    assert guard.outcomes()[-1] == "committed", (step, guard.outcomes())
    assert guard.core.updates.memory.held["kiosk"].version == "1.1", step
    assert guard.installer.active == new
    guard.core.close()
    shutil.rmtree(disk / "m")
print("whole")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_is_full_at_any_step(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "play.py"
    script.write_text(PLAY)
    mounted = 'mount -t tmpfs -o size=24m small "$1" && exec "$2" "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(disk), sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout.strip() == "whole", done.stderr[-3000:]


class PowerCut(BaseException):
    """Nothing of what was to come is done."""


def test_power_that_goes_at_any_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each write to the disk in turn, before it is durable and after; nobody sees it coming."""
    honest, left = os.fsync, 10**9

    def fsync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise PowerCut
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    cuts = 0
    for cut in range(1, 400, 2):
        with machine_with_a_release() as guard:
            guard.release("1.1", 11, big_payload(0))
            guard.approve()
            left = cut
            try:
                guard.run()
            except PowerCut:
                cuts += 1
                kept = kept_versions(guard)
                guard.crash()
                assert guard.core.updates.memory.floors[PRODUCT] in (10, 11)
                now = kept_versions(guard)
                assert all(now[name] >= version for name, version in kept.items())
                guard.run()
                guard.run()
            assert guard.core.updates.memory.held[PRODUCT].version == "1.1", cut
            assert guard.installer.active == {"app": guard.newest.parts[0].blob.sha256}
            assert guard.outcomes()[-1] == "committed"
            if left > 0:
                break
        left = 10**9
    assert cuts > 20
