"""The maker's file of places, and how guard has an installer started."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from tests.trust_world import refused

from fleetward.device.access.doors import ServiceDoors, SupervisedDoors
from fleetward.device.run import INSTALLER, STARTED, Supervisor
from fleetward.device.updates.installer_words import (
    MAX_WORD_BYTES,
    PartWord,
    Plan,
    Surveyed,
    encode,
    read_upward,
)
from fleetward.device.updates.places import (
    DirectoryPlace,
    DpkgPlace,
    FileSlotPlace,
    Places,
    RaucPlace,
    read_places,
)
from fleetward.trust.errors import Refused, Unreachable

APP = '[places.app]\nproduct = "kiosk"\n'
OS = '[places.os]\nproduct = "kiosk"\n'
WHOLE = """\
in_use = "/run/acme/in-use"
[places.app]
product = "kiosk"
installer = "directory"
path = "/opt/acme"
restart = ["acme.service", "acme-web@1.service"]
user = "acme"
[places.os]
product = "kiosk"
installer = "file-slot"
slots = ["/dev/disk/by-partlabel/root-a", "/dev/disk/by-partlabel/root-b"]
active = "/boot/active"
[places.tools]
product = "kiosk"
installer = "dpkg"
[places.board]
product = "kiosk"
installer = "rauc"
"""


def read(folder: Path, text: str) -> Places:
    path = folder / "places.toml"
    path.write_text(text)
    return read_places(folder, path)


def test_the_file_of_the_handbook(tmp_path: Path) -> None:
    places = read(tmp_path, WHOLE)
    app = places.find("app", "directory", "kiosk")
    assert app == DirectoryPlace(
        product="kiosk",
        path="/opt/acme",
        restart=("acme.service", "acme-web@1.service"),
        user="acme",
    )
    found = places.find("os", "file-slot", "kiosk")
    assert isinstance(found, FileSlotPlace)
    assert found.active == "/boot/active"
    assert places.find("tools", "dpkg", "kiosk") == DpkgPlace(product="kiosk")
    assert places.find("board", "rauc", "kiosk") == RaucPlace(product="kiosk")
    assert places.in_use == Path("/run/acme/in-use")
    handbook = Path(__file__).parents[3] / "docs/operate/installers.md"
    block = handbook.read_text().partition("```toml\n")[2].partition("```")[0]
    assert read(tmp_path, block).named is not None


def test_names_that_are_not_there_and_other_installers(tmp_path: Path) -> None:
    places = read(tmp_path, WHOLE)
    with refused(Refused, "unknown_place"):
        places.find("elsewhere", "directory", "kiosk")
    with refused(Refused, "another_product"):
        places.find("app", "directory", "lights")
    with refused(Refused, "wrong_installer"):
        places.find("app", "dpkg", "kiosk")
    with refused(Refused, "wrong_installer"):
        places.find("app", "agent", "kiosk")


def test_without_the_file_there_are_folders_below_the_data(tmp_path: Path) -> None:
    places = read_places(tmp_path, tmp_path / "missing.toml")
    found = places.find("app", "directory", "kiosk")
    assert found == DirectoryPlace(product="kiosk", path=f"{tmp_path}/software/kiosk/app")
    with refused(Refused, "wrong_installer"):
        places.find("os", "file-slot", "kiosk")
    assert places.read_in_use() == ""


@pytest.mark.parametrize(
    "text",
    [
        "[places.app]\n",
        '[places.app]\ninstaller = "directory"\npath = "/x"\n',
        APP + 'installer = "script"\npath = "/x"\n',
        APP + 'installer = "directory"\npath = "relative"\n',
        APP + 'installer = "directory"\npath = "/x"\nowner = "me"\n',
        APP + 'installer = "directory"\npath = "/x"\nrestart = ["a;reboot"]\n',
        APP + 'installer = "directory"\npath = "/x"\nrestart = ["--now.service"]\n',
        APP + 'installer = "directory"\npath = "/x"\nuser = "-x"\n',
        '[places."a/b"]\nproduct = "kiosk"\ninstaller = "dpkg"\n',
        OS + 'installer = "file-slot"\nslots = ["/a"]\nactive = "/b"\n',
        OS + 'installer = "file-slot"\nslots = ["/a/x", "/b/x"]\nactive = "/b"\n',
        OS + 'installer = "rauc"\nbus = "tcp:host=evil"\n',
        'in_use = "relative"\n',
        "verify = false\n",
        "[places\n",
        "x = '\\ud800'",
        "# " + "x" * 70_000,
    ],
)
def test_a_file_with_a_mistake_gives_no_places(tmp_path: Path, text: str) -> None:
    with pytest.raises(Refused) as found:
        read(tmp_path, text)
    assert found.value.reason == "places_damaged"
    assert "until then nothing is installed" in found.value.message


def test_a_link_in_the_place_of_the_file_gives_no_places(tmp_path: Path) -> None:
    (tmp_path / "other").write_text(WHOLE)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with refused(Refused, "places_damaged"):
        read_places(tmp_path, tmp_path / "link")


def test_in_use_is_what_cannot_be_told_to_be_free(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    places = Places(tmp_path, {}, sign)
    assert places.read_in_use() == ""
    sign.write_text("\n a patient is attached \nmore")
    assert places.read_in_use() == "a patient is attached"
    for content in (b"", b"\n\n", b"x" * 5000):
        sign.write_bytes(content)
        assert "in use" in places.read_in_use()
    sign.unlink()
    sign.mkdir()
    assert "in use" in places.read_in_use()
    sign.rmdir()
    sign.symlink_to(tmp_path / "nowhere")
    assert "in use" in places.read_in_use()
    assert Places(tmp_path, {}, tmp_path / "missing/sign").read_in_use() == ""


def test_the_supervisor_starts_an_installer_for_guard_with_its_data(tmp_path: Path) -> None:
    guards, ours = socket.socketpair()
    supervisor = Supervisor(tmp_path, once=False)
    supervisor._control = ours
    with (
        supervisor._woken,
        supervisor._wake,
        guards,
        ours,
        SupervisedDoors(guards).start_installer() as talk,
    ):
        supervisor._start_session()
        talk.settimeout(30)
        part = PartWord("app", "directory", "app", "00" * 32, 10)
        talk.send(encode(Plan("kiosk", (part,))))
        said = read_upward(talk.recv(MAX_WORD_BYTES))
        assert isinstance(said, Surveyed)
        assert said.slots[0].part == "app"
        (pid,) = supervisor._sessions
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert command[2:4] == [b"-m", INSTALLER.encode()]
        assert command[command.index(b"--data") + 1] == str(tmp_path).encode()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (tmp_path / "software/installer.lock").exists()
    assert set(STARTED) == {b"s", b"c", b"i"}


def test_systemd_is_asked_for_one_over_its_socket(tmp_path: Path) -> None:
    path = tmp_path / "installer.sock"
    doors = ServiceDoors(installer=path)
    with refused(Unreachable, "session_cannot_start"):
        doors.start_installer()
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as waits:
        waits.bind(str(path))
        waits.listen()
        with doors.start_installer() as talk:
            peer, _ = waits.accept()
            with peer:
                talk.send(b"plan")
                assert peer.recv(10) == b"plan"
