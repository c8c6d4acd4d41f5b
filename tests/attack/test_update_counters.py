"""Who puts back an older copy of a machine's disk, to have it install an older release again.

The server is in his hands, and the older release was approved once, by name and by a standing
approval.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.tpm_world import NEEDS_SWTPM, HeldCounter, software_tpm
from tests.trust_world import NOW_MS
from tests.update_world import DAY_MS, UpdateGuard

from fleetward.device.hardware.tpm_counter import TpmCounter
from fleetward.device.updates.floors import Counter
from fleetward.trust.release_manifest import Manifest

UPDATES = "updates"


@dataclass
class Robbed:
    """A machine at 1.2 whose disk was copied when it had 1.0."""

    guard: UpdateGuard
    copy: Path
    weak_release: Manifest

    @classmethod
    def make(cls, folder: Path, counter: Counter | None) -> Robbed:
        guard = UpdateGuard.make(folder / "guard", counter=counter)
        guard.release("1.0", 10)
        guard.approve()
        guard.run()
        copy = folder / "copy"
        shutil.copytree(guard.folder / UPDATES, copy)
        weak = guard.release("1.1", 11)
        guard.approve()
        guard.allow_all()
        for version, number in (("1.1", 11), ("1.2", 12)):
            if version == "1.2":
                guard.release(version, number)
                guard.approve()
            guard.run()
        assert guard.core.updates.memory.floors == {"kiosk": 12}
        return cls(guard, copy, weak)

    def put_back(self) -> None:
        """Put the older copy back while the machine is off, and have 1.1 named again."""
        guard = self.guard
        guard.core.updates.close()
        shutil.rmtree(guard.folder / UPDATES)
        shutil.copytree(self.copy, guard.folder / UPDATES)
        guard.installer.active.clear()
        guard.crash()
        data = b"the files of 1.1"
        guard.publish(self.weak_release, data)
        guard.run()

    @property
    def last(self) -> tuple[str, str, str]:
        report = self.guard.reports()[-1]
        return report.outcome, report.rule, report.counters


def test_an_older_copy_of_the_disk_brings_no_older_release_back(tmp_path: Path) -> None:
    robbed = Robbed.make(tmp_path, HeldCounter())
    assert robbed.last == ("committed", "", "tpm")
    robbed.put_back()
    assert robbed.last == ("refused", "counters_in_doubt", "doubted")
    assert robbed.guard.bodies("update.counters_in_doubt")


@NEEDS_SWTPM
def test_nor_with_a_tpm_that_starts_again(tmp_path: Path) -> None:
    state = tmp_path / "tpm"
    state.mkdir()
    with software_tpm(state) as line:
        robbed = Robbed.make(tmp_path, TpmCounter(line, "pump"))
        assert robbed.last == ("committed", "", "tpm")
    with software_tpm(state):
        robbed.put_back()
        assert robbed.last == ("refused", "counters_in_doubt", "doubted")


@pytest.mark.parametrize("lie", ["altered", "removed", "weak", "no tpm", "an old doubt"])
def test_nor_does_a_file_that_he_writes_himself(tmp_path: Path, lie: str) -> None:
    counter = HeldCounter()
    robbed = Robbed.make(tmp_path, counter)
    bound = robbed.copy / "floors.bound"
    if lie == "altered":
        number = str(counter.number).encode()
        data = bound.read_bytes().split(b'"number":')
        bound.write_bytes(
            data[0] + b'"number":' + number + b',"seal"' + data[1].split(b',"seal"')[1]
        )
    elif lie == "removed":
        bound.unlink()
    elif lie == "an old doubt":
        # As if the doubt were older than every approval.
        dated = b'{"number":%d,"at_ms":0,"seal":"%s"}' % (counter.number or 0, b"00" * 32)
        (robbed.copy / "floors.doubt").write_bytes(dated)
    elif lie == "weak":
        bound.unlink()
        (robbed.copy / "floors.json").write_bytes(b"{}")
    else:
        counter.silent = True
    robbed.put_back()
    assert robbed.last[:2] == ("refused", "counters_in_doubt")


def test_what_the_owner_approves_by_name_from_now_on_ends_the_doubt(tmp_path: Path) -> None:
    robbed = Robbed.make(tmp_path, HeldCounter())
    robbed.put_back()
    guard = robbed.guard
    guard.clock.pass_ms(DAY_MS // 24)
    # A standing one does not say which release, and one from before does not say that it is meant.
    guard.allow_all()
    guard.run()
    assert robbed.last[:2] == ("refused", "counters_in_doubt")
    guard.release("1.3", 13)
    guard.approve(at_ms=guard.clock.wall_ms() + 1)
    guard.run()
    assert robbed.last == ("committed", "", "tpm")
    assert guard.clock.wall_ms() > NOW_MS
    # And the machine knows again: what is older is older.
    guard.publish(robbed.weak_release, b"the files of 1.1")
    guard.approve(robbed.weak_release, at_ms=guard.clock.wall_ms() + 2)
    guard.run()
    assert robbed.last[:2] == ("refused", "older_counter")


def test_without_a_tpm_the_report_says_so(tmp_path: Path) -> None:
    """The honest limit: nothing notices, and every report calls the counters a file's."""
    robbed = Robbed.make(tmp_path, None)
    assert robbed.last == ("committed", "", "file")
    robbed.put_back()
    assert robbed.last == ("committed", "", "file")
