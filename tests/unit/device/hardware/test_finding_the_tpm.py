"""Guard and a TPM whose driver comes late: waited for where counters are bound to it alone."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.tpm_world import HeldCounter

from fleetward.device import guard_main
from fleetward.device.guard_main import BOUND, find_counter
from fleetward.device.updates.floors import Floors


@pytest.fixture
def bound(tmp_path: Path) -> Path:
    """A data folder whose counters are bound to a TPM, as guard leaves it."""
    (tmp_path / BOUND.parent).mkdir(parents=True)
    floors = Floors(tmp_path / BOUND.parent, HeldCounter(), lambda: 1000)
    floors.load(None)
    floors.save({"kiosk": 4}, is_commit=True)
    assert (tmp_path / BOUND).is_file()
    return tmp_path


def test_a_driver_that_comes_after_guard_is_waited_for(bound: Path) -> None:
    tpm, waits = bound / "tpmrm0", []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            tpm.touch()

    assert find_counter(bound, tpm, wait) is not None
    assert len(waits) == 3
    assert find_counter(bound, tpm, wait) is not None and len(waits) == 3


def test_one_that_never_comes_is_waited_for_with_an_end(
    bound: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0])
    monkeypatch.setattr(guard_main, "time", clock)

    def wait(seconds: float) -> None:
        now[0] += seconds

    assert find_counter(bound, bound / "tpmrm0", wait) is None
    assert guard_main.TPM_SECONDS <= now[0] < guard_main.TPM_SECONDS + 1


def test_without_bound_counters_nothing_is_waited_for(tmp_path: Path) -> None:
    def wait(_: float) -> None:
        raise AssertionError("it waited")

    assert find_counter(tmp_path, tmp_path / "tpmrm0", wait) is None
