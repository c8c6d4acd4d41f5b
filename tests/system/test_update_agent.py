"""The agent's own update: real processes replaced by a copy of themselves, and by a broken one."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.agent_world import agent_archive, agent_part
from tests.system.test_update_bundle import Stick
from tests.update_world import make_bundle

from fleetward.device.launcher.store import read_state
from fleetward.device.status import read_last_words
from fleetward.trust.release_manifest import Health

WITHOUT_UPLINK = {"fleetward/device/uplink_main.py": b"raise SystemExit(3)\n"}


def carry(stick: Stick, version: str, counter: int, archive: bytes, health: Health) -> Path:
    """Put a release of the agent on a stick."""
    part = agent_part(archive)
    manifest = stick.guard.release(
        version, counter, archive, parts=(part,), health=health, replaces_agent=True
    )
    stick.guard.approve()
    path = stick.folder / f"{version}.bundle"
    path.write_bytes(make_bundle(stick.guard, manifest))
    return path


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_agent_becomes_another_and_a_broken_one_is_gone_back_from(tmp_path: Path) -> None:
    stick = Stick(tmp_path)
    archive = agent_archive("9.1.0")
    good = carry(stick, "9.1", 11, archive, Health(120, 0, ()))
    broken = agent_archive("9.2.0", WITHOUT_UPLINK)
    bad = carry(stick, "9.2", 12, broken, Health(5, 0, ()))
    with stick.running():
        status, said, words = stick.apply(good)
        assert (status, said["state"]) == (0, "committed"), words
        now = read_last_words(stick.data / "guard").updates
        assert now.agent.version.startswith("9.1.0/")
        assert now.agent.release == agent_part(archive).blob.sha256
        status, said, words = stick.apply(bad)
        assert (status, said["state"], said["rule"]) == (1, "rolled_back", "agent_not_healthy")
    state = read_state(stick.data)
    assert (state.phase, state.active) == ("settled", agent_part(archive).blob.sha256)
