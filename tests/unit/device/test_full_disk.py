"""A disk that is really full: a small file system of its own, filled to the last block."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
PLAY = """
import contextlib, sys
from pathlib import Path
from tests.trust_world import refused
from tests.unit.device.device_world import Fleet, Guarded, SmallServer, pushed
from fleetward.device.port import TakePushed
from fleetward.trust.errors import FleetwardError, Unreachable

disk = Path(sys.argv[1])
machine = Guarded(disk / "guard", Fleet.make())
machine.tick()
server = SmallServer(machine.fleet, machine.core.signer.public)
server.serve(machine.core)

stuffing = disk / "stuffing"
with stuffing.open("wb", buffering=0) as file, contextlib.suppress(OSError):
    while True:
        file.write(b"x" * 4096)

# Evidence finds no room and is counted; nothing half-written stays.
for _ in range(50):
    machine.core.diary.evidence("posture.changed", {"words": "y" * 900})
assert machine.core.state.lost_to_full_disk > 0
assert machine.core.report().journal.full

# A refusal still does, out of the reserve.
before = machine.core.journal.tip.sequence
with contextlib.suppress(FleetwardError):
    machine.core.handle(TakePushed(), b"{}")
assert machine.core.journal.tip.sequence == before + 1
assert not machine.core.diary.evidence("posture.changed", {"words": "z"})

# Documents are not taken over by halves.
machine.fleet.world.publish()
view = machine.core.view
with contextlib.suppress(Unreachable):
    machine.core.handle(TakePushed(), pushed(machine.fleet.world.bundle(machine.device)))
machine.crash()
assert machine.core.view.policy == view.policy

# With room again everything goes on, and what was lost is said.
stuffing.unlink()
machine.clock.pass_ms(120_000)
machine.tick()
assert machine.bodies("gate.refused")
assert not machine.core.report().journal.full
server.serve(machine.core)
assert machine.core.outbox.unproven == 0
print("whole")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_when_the_disk_is_full_refusals_are_still_written_and_nothing_breaks(
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = tmp_path / "play.py"
    script.write_text(PLAY)
    mounted = 'mount -t tmpfs -o size=3m small "$1" && exec "$2" "$3" "$1"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, "sh", str(disk), sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout.strip() == "whole", done.stderr[-3000:]
