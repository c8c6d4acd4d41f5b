"""The systemd units that `install` writes: right in their own words, and hardened."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.trust_world import refused

from fleetward.device import units
from fleetward.device.cli import main
from fleetward.device.privileges import UPLINK_USER
from fleetward.trust.errors import Refused

ANALYZE = shutil.which("systemd-analyze")
needs_analyze = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")
MOST_EXPOSURE = {units.GUARD_UNIT: 50, units.UPLINK_UNIT: 20, units.INSTALLER_UNIT: 70}
"""Tenths of what `systemd-analyze security` counts: 100 is unprotected. Guard reads every file."""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    assert main(["install", "--root", str(tmp_path), "--data", "/var/lib/fleetward"]) == 0
    return tmp_path


def test_install_writes_units_that_start_with_the_machine(tree: Path) -> None:
    folder = tree / units.UNITS
    for name in (units.GUARD_UNIT, units.UPLINK_UNIT):
        link = folder / "multi-user.target.wants" / name
        assert link.resolve() == (folder / name).resolve()
        text = link.read_text()
        assert "Restart=always" in text
        assert "WantedBy=multi-user.target" in text
    for name in (units.SOCKET_UNIT, units.SESSION_SOCKET_UNIT):
        link = folder / "sockets.target.wants" / name
        assert link.resolve() == (folder / name).resolve()
    assert UPLINK_USER in (tree / units.SYSUSERS).read_text()


def test_guard_gets_no_internet_socket_and_uplink_no_right(tree: Path) -> None:
    guard = (tree / units.UNITS / units.GUARD_UNIT).read_text()
    uplink = (tree / units.UNITS / units.UPLINK_UNIT).read_text()
    assert "RestrictAddressFamilies=AF_UNIX\n" in guard
    assert "CapabilityBoundingSet=\n" in uplink
    assert f"User={UPLINK_USER}\n" in uplink
    assert "NoNewPrivileges=yes" in guard
    assert "NoNewPrivileges=yes" in uplink


def test_guard_speaks_to_the_tpm_by_the_group_that_the_system_gave_it(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    groups = tmp_path / "etc/group"
    for content, line in (("root:x:0:\n", ""), ("tss:x:102:\n", "SupplementaryGroups=tss\n")):
        groups.write_text(content)
        assert main(["install", "--root", str(tmp_path), "--data", "/var/lib/fleetward"]) == 0
        guard = (tmp_path / units.UNITS / units.GUARD_UNIT).read_text()
        assert "DeviceAllow=/dev/tpmrm0 rw\n" in guard
        assert line in guard and ("SupplementaryGroups" in guard) == bool(line)


def test_the_launcher_starts_everything_and_only_the_installer_writes_code(tree: Path) -> None:
    folder = tree / units.UNITS
    started = [path for path in folder.glob("*.service") if "ExecStart=" in path.read_text()]
    assert len(started) == 5
    for path in started:
        assert " -I -m fleetward.device.launcher.main /var/lib/fleetward fleetward." in (
            path.read_text()
        )
    guard = (folder / units.GUARD_UNIT).read_text()
    assert "ReadOnlyPaths=-/var/lib/fleetward/agent\n" in guard
    uplink = (folder / units.UPLINK_UNIT).read_text()
    assert "ReadWritePaths=/var/lib/fleetward/uplink\n" in uplink
    assert uplink.count("ReadWritePaths") == 1


def test_only_root_has_a_session_started_and_nothing_outlives_it(tree: Path) -> None:
    folder = tree / units.UNITS
    listening = (folder / units.SESSION_SOCKET_UNIT).read_text()
    assert "SocketMode=0600\n" in listening
    assert "SocketUser" not in listening
    session = (folder / units.SESSION_UNIT).read_text()
    assert "KillMode=control-group\n" in session
    assert "IPAddressAllow=localhost\n" in session


def test_only_root_has_software_installed_and_the_installer_reaches_no_network(
    tree: Path,
) -> None:
    folder = tree / units.UNITS
    listening = (folder / units.INSTALLER_SOCKET_UNIT).read_text()
    assert "SocketMode=0600\n" in listening
    assert "SocketUser" not in listening
    link = folder / "sockets.target.wants" / units.INSTALLER_SOCKET_UNIT
    assert link.resolve() == (folder / units.INSTALLER_SOCKET_UNIT).resolve()
    installer = (folder / units.INSTALLER_UNIT).read_text()
    assert "IPAddressDeny=any\nIPAddressAllow=localhost\n" in installer
    assert "--data /var/lib/fleetward\n" in installer
    assert "RuntimeMaxSec" not in installer


def test_uninstall_removes_all_that_install_wrote(tree: Path) -> None:
    assert main(["uninstall", "--root", str(tree)]) == 0
    left = [p for p in tree.rglob("*") if p.is_symlink() or p.is_file()]
    assert left == []
    assert main(["uninstall", "--root", str(tree)]) == 0


@needs_analyze
@pytest.mark.parametrize("name", [*units._ENABLED, units.SESSION_UNIT, units.INSTALLER_UNIT])
def test_systemd_understands_every_line(tree: Path, name: str) -> None:
    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", "--recursive-errors=no", tree / units.UNITS / name],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "fleetward" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@needs_analyze
@pytest.mark.parametrize("name", list(MOST_EXPOSURE))
def test_units_stay_as_hardened_as_they_are(tree: Path, name: str) -> None:
    done = subprocess.run(
        [
            str(ANALYZE),
            "security",
            "--offline=true",
            f"--threshold={MOST_EXPOSURE[name]}",
            "--no-pager",
            tree / units.UNITS / name,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Overall exposure level" in done.stdout
    assert done.returncode == 0, done.stdout[-400:]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may install")
def test_without_root_install_says_what_is_missing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["install"]) == 1
    assert "needs root" in capsys.readouterr().err


def test_a_machine_without_owner_is_not_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gets that far")
    assert main(["install", "--data", str(tmp_path)]) == 1
    assert "has not joined" in capsys.readouterr().err


def test_code_that_uplinks_user_cannot_reach_is_not_installed(tmp_path: Path) -> None:
    units.require_reachable([Path("/usr/bin/env")])
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    program = closed / "program"
    program.touch()
    for path in (program, Path("/", "root", "program")):
        with refused(Refused, "code_not_reachable"):
            units.require_reachable([path])
