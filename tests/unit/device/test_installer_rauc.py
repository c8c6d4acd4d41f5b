"""RAUC on a machine that is not set up for two steps, or not started again, or is lied to."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.installer_rauc_world import GrubRaucGround, RaucGround, has_rauc

from fleetward.device.updates.installer_words import Back, Commit, Done, Switch, Written

pytestmark = pytest.mark.skipif(not has_rauc(), reason="needs root, RAUC and loop devices")


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[RaucGround]:
    made = RaucGround(tmp_path)
    yield made
    made.close()


def test_where_writing_would_switch_nothing_is_taken(ground: RaucGround) -> None:
    config = ground.folder / "system.conf"
    text = config.read_text()
    for line in ("", "activate-installed=true\n"):
        config.write_text(text.replace("activate-installed=false\n", line))
        with ground.begin("1") as session:
            assert session.surveyed.rule == "place_damaged"
            assert "activate-installed=false" in session.surveyed.problem
            assert session.write().rule == "place_damaged"
    config.unlink()
    with ground.begin("1") as session:
        assert session.surveyed.rule == "place_damaged"
    assert ground.content() == ""


def test_a_service_that_switches_all_the_same_is_switched_back(ground: RaucGround) -> None:
    """The file was changed, and the service still runs by the old one."""
    config = ground.folder / "system.conf"
    text = config.read_text()
    config.write_text(text.replace("activate-installed=false\n", ""))
    ground.reboot()
    config.write_text(text)
    with ground.begin("1") as session:
        assert session.surveyed.problem == ""
        assert session.write().rule == "place_damaged"
        assert ground.content() == ""
        assert session.do(Switch()).rule == "not_written"


def test_nothing_is_written_over_what_starts_next(ground: RaucGround) -> None:
    ground.install("1")
    with ground.begin("2", "1") as session:
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
        assert session.do(Commit()) == Done()
    with ground.begin("3", "2") as session:
        found = session.write()
        assert found.rule == "restart_waits"
        assert "Start it again" in found.problem
    assert ground.content() == "2"
    ground.reboot()
    ground.install("3", "2")


def test_going_back_is_not_done_before_rauc_was_told(ground: RaucGround) -> None:
    """A word that was cut just before RAUC heard of it, and comes again."""
    ground.install("1")
    runs = (ground.folder / "boot/primary").read_text().strip()
    (note,) = ground.data.rglob("chosen")
    with ground.begin("2", "1") as session:
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
    assert ground.content() == "2"
    # As an agent before this one wrote it first.
    note.write_text(f"{runs}\n")
    with ground.begin("2", "1") as session:
        assert session.do(Back()) == Done()
        assert ground.content() == "1"
        assert session.do(Switch()) == Done()
        assert ground.content() == "2"
        # What is noted of the slot that runs is noted when RAUC has been told.
        (ground.folder / "backend").write_text("#!/bin/sh\nexit 1\n")
        assert session.do(Back()).problem != ""
        assert note.read_text().strip() != runs


def test_a_bundle_that_rauc_does_not_trust(ground: RaucGround) -> None:
    ground.install("1")
    certify = ["openssl", "req", "-x509", "-newkey", "ec", "-nodes", "-subj", "/CN=other"]
    certify += ["-pkeyopt", "ec_paramgen_curve:P-256", "-days", "36500"]
    names = ["-keyout", str(ground.folder / "key.pem"), "-out", str(ground.folder / "other.pem")]
    subprocess.run([*certify, *names], check=True, capture_output=True)
    trusted = ground.folder / "cert.pem"
    kept = trusted.read_bytes()
    trusted.write_bytes((ground.folder / "other.pem").read_bytes())
    ground.make("2")
    trusted.write_bytes(kept)
    with ground.begin("2", "1") as session:
        found = session.write()
        assert found.rule == "tool_failed"
        # The words are the end of what RAUC said, as long as a word of the installer may be.
        assert "Verify error" in found.problem
        assert session.do(Switch()).rule == "not_written"
        assert session.do(Back()) == Done()
    assert ground.content() == "1"
    assert not list(ground.data.rglob("*.raucb"))


def test_without_a_service_the_survey_says_so(ground: RaucGround) -> None:
    ground.close()
    with ground.begin("1") as session:
        assert session.surveyed.rule == "tool_failed"
        assert session.surveyed.problem.startswith("RAUC ended ")


@pytest.fixture
def counting(tmp_path: Path) -> Iterator[GrubRaucGround]:
    if shutil.which("grub-editenv") is None:
        pytest.skip("needs grub-editenv")
    made = GrubRaucGround(tmp_path)
    made.mark_good()
    yield made
    made.close()


def try_out(ground: GrubRaucGround, version: str, before: str = "") -> None:
    """Have a release be on trial: written, switched to, and started once."""
    with ground.begin(version, before) as session:
        assert session.write() == Written()
        assert session.do(Switch()) == Done()
        assert session.restart
    ground.reboot()


def test_a_boot_loader_that_counts_tries_does_not_hide_a_trial(counting: GrubRaucGround) -> None:
    """While a slot is on trial RAUC calls the other one primary, or none."""
    try_out(counting, "1")
    with counting.begin("1") as session:
        assert session.surveyed.slots[0].active == counting.part("1").sha256
        assert session.do(Commit()) == Done()
    counting.reboot()
    assert counting.content() == "1"
    counting.mark_good()
    try_out(counting, "2", "1")
    with counting.begin("2", "1") as session:
        assert session.surveyed.slots[0].active == counting.part("2").sha256
        assert session.do(Back()) == Done()
        assert session.restart
    counting.reboot()
    assert counting.content() == "1"
    with counting.begin("2", "1") as session:
        assert session.do(Back()) == Done()
    counting.mark_good()
    # And now one that does not start at all: the boot loader comes back by itself.
    try_out(counting, "3", "1")
    counting.reboot()
    assert counting.content() == "1"
    with counting.begin("3", "1") as session:
        assert session.surveyed.slots[0].active == counting.part("1").sha256
        assert session.do(Back()) == Done()
    counting.reboot()
    assert counting.content() == "1"
