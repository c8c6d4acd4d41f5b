"""The word that has a machine start again: who may say it, and what is asked last of all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetward.device.updates.hooks import Units
from fleetward.device.updates.installer_words import Done, PartWord, Plan, Restart
from fleetward.device.updates.installing import Installing
from fleetward.device.updates.places import DirectoryPlace, Places
from fleetward.trust.errors import Refused

TOOL = '#!/bin/sh\necho "$@" >> {said}\nexit {code}\n'


class Ground:
    """An installer with a plan, and a tool that writes down what it is told."""

    def __init__(self, folder: Path, lock: int) -> None:
        self.folder, self.said = folder, folder / "said"
        self.in_use = folder / "in-use"
        self.lock = lock
        self.tool = folder / "systemctl"
        self.answer(0)

    def answer(self, code: int) -> None:
        self.tool.write_text(TOOL.format(said=self.said, code=code))
        self.tool.chmod(0o755)

    def restart(self, *, may: bool = True, systemd: bool = True, places: object = None) -> Done:
        part = PartWord("app", "directory", "app", hashlib.sha256(b"").hexdigest(), 0)
        place = DirectoryPlace(product="kiosk", path=str(self.folder / "app"))
        known = Places(self.folder, {"app": place}, self.in_use, self.folder / "p.toml", may)
        said = places if isinstance(places, Refused) else known
        units = Units(str(self.tool) if systemd else None)
        installing = Installing(Plan("kiosk", (part,)), self.folder, said, units, self.lock)
        return installing.act(Restart(), lambda done: None)

    def told(self) -> list[str]:
        return self.said.read_text().splitlines() if self.said.exists() else []


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    lock = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    yield Ground(tmp_path, lock)
    os.close(lock)


def test_a_machine_whose_maker_allows_it_starts_again(ground: Ground) -> None:
    assert ground.restart() == Done()
    assert ground.told() == ["--no-block reboot"]


def test_without_the_makers_word_nothing_is_started(ground: Ground) -> None:
    found = ground.restart(may=False)
    assert found.rule == "restart_by_hand"
    assert "may_restart" in found.problem
    assert not ground.told()


def test_a_machine_that_is_in_use_is_not_disturbed(ground: Ground) -> None:
    ground.in_use.write_text("patient attached\n")
    found = ground.restart()
    assert found.rule == "in_use"
    assert "patient attached" in found.problem
    ground.in_use.unlink()
    ground.in_use.mkdir()  # What cannot be told counts as in use.
    assert ground.restart().rule == "in_use"
    assert not ground.told()


def test_what_cannot_be_done_is_said(ground: Ground) -> None:
    ground.answer(1)
    assert ground.restart().rule == "restart_failed"
    assert ground.restart(systemd=False).rule == "restart_failed"
    damaged = Refused("Not known.", reason="places_damaged")
    assert ground.restart(places=damaged).rule == "places_damaged"
