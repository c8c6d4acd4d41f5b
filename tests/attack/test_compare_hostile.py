"""A machine whose files were laid out to mislead, stop or blind whoever looks before and after.

The promise: a look follows no link, waits for nobody, executes nothing, stays within its bounds,
and what it cannot see it names. What a session changed cannot be hidden by any of this.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.unit.posture.compare_world import PASSWD, SmallMachine

from fleetward.device.confine import run_confined
from fleetward.device.posture.compare import tree
from fleetward.device.posture.compare.reading import Reader
from fleetward.device.posture.compare.snapshot import Snapshot, pack_snapshot, unpack_snapshot
from fleetward.device.posture.tools import read_approvals
from fleetward.trust.errors import Malformed
from fleetward.wire.comparison import decode_comparison, encode_comparison

NAMES = [
    b"\x1b]0;owned\x07", b"line\nbreak", b"\xff\xfe", "right\u202eleft".encode(), b"back\\x0aslash",
    b"back\nslash", b"\xe2\x80\xa8", b"n" * 255, b"<script>alert(1)<script>", b"a'b\"c;$(reboot)",
    b" ", b"\x7f", b"-rf", b"*",
]  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path) -> SmallMachine:
    return SmallMachine.make(tmp_path)


def test_hostile_names_are_each_told_and_do_nothing(machine: SmallMachine) -> None:
    folder = os.fsencode(machine.base / "etc/names")
    Path(os.fsdecode(folder)).mkdir()
    machine.look()
    for name in NAMES:
        Path(os.fsdecode(folder + b"/" + name)).write_bytes(b"x")
    found = machine.compare()
    told = [c.name for c in found.changes]
    assert len(told) == len(set(told)) == len(NAMES), "two names are never shown as one"
    assert all(name.isprintable() for name in told)
    assert decode_comparison(encode_comparison(found)) == found


def test_hostile_lines_of_every_file_that_is_read(machine: SmallMachine) -> None:
    line = b"\x1b[2J\x00\xff\xe2\x80\xae: : :" + b"x" * 5000 + b"\n"
    for name in (
        "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/sudoers", "/etc/crontab",
        "/etc/ld.so.preload", "/root/.ssh/authorized_keys", "/etc/systemd/system/x.service",
        "/proc/modules", "/etc/fleetward/approved-tools.toml",
    ):  # fmt: skip
        machine.write(name, b"eve:x:99999999999:1:::\n" * 3 + line * 3 + PASSWD.encode())
    found = machine.compare()
    for text in [f.words + f.evidence for f in found.findings] + [c.name for c in found.changes]:
        assert text.isprintable()


def test_a_home_that_is_no_path_hides_nobody_elses_keys(machine: SmallMachine) -> None:
    machine.look()
    machine.write("/etc/passwd", PASSWD.encode() + b"x:x:7:7::/ho\x00me:/bin/sh\ny:x:8:8::..:\n")
    machine.write("/home/app/.ssh/authorized_keys", "ssh-rsa AAAA eve\n")
    assert {"new_key", "new_user"} <= set(machine.rules())


def test_pipes_devices_sockets_and_loops_stop_nobody(machine: SmallMachine) -> None:
    etc = machine.base / "etc"
    os.mkfifo(etc / "crontab")
    os.mkfifo(etc / "ld.so.preload")
    (machine.base / "root/.ssh").mkdir()
    os.mkfifo(machine.base / "root/.ssh/authorized_keys")
    (etc / "cron.d").symlink_to("cron.d")
    (etc / "loop").symlink_to(".")
    (etc / "up").symlink_to("../..")
    (machine.base / "home/app/.bashrc").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as sock, contextlib.chdir(etc):
        sock.bind("s")
    if os.geteuid() == 0:
        os.mknod(etc / "zero", 0o666 | 0o020000, os.makedev(1, 5))
    began = time.monotonic()
    found = machine.compare()
    assert time.monotonic() - began < 5
    told = {c.name: c.after for c in found.changes if c.kind == "file"}
    assert told["/etc/crontab"].startswith("pipe")
    assert told["/etc/loop"].startswith("link")
    assert not any("/etc/loop/" in name or "/etc/up/" in name for name in told)


def test_a_link_in_the_place_of_a_key_file_leads_nobody_away(machine: SmallMachine) -> None:
    machine.write("/srv/secret", "ssh-rsa AAAA root-only\n")
    (machine.base / "home/app").chmod(0o777)
    (machine.base / "home/app/.ssh").symlink_to("/srv")
    (machine.base / "root/.ssh").mkdir()
    (machine.base / "root/.ssh/authorized_keys").symlink_to("../../srv/secret")
    found = machine.compare()
    (finding,) = [f for f in found.findings if f.rule == "new_key"]
    assert "link to ../../srv/secret" in finding.evidence
    assert not any("root-only" in f.evidence for f in found.findings)
    assert any("/home/app/.ssh/authorized_keys" in words for words in found.unseen)


def test_a_link_of_the_system_itself_is_followed(machine: SmallMachine) -> None:
    """On some systems `/home` is a link to `/var/home`; nobody but root can have made it."""
    (machine.base / "var").mkdir()
    (machine.base / "home").rename(machine.base / "var/home")
    (machine.base / "home").symlink_to("var/home")
    machine.look()
    machine.append("/var/home/app/.profile", "x &\n")
    assert machine.rules() == ["shell_start_changed"]


def test_a_folder_that_becomes_a_link_meanwhile_is_not_followed(tmp_path: Path) -> None:
    """Somebody swaps a folder for a link again and again while a reader with all rights reads."""
    (tmp_path / "home/eve/a").mkdir(parents=True)
    (tmp_path / "home/eve/a/key").write_text("mine")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key").write_text("root's own")
    stop = threading.Event()

    def swap() -> None:
        place, aside = tmp_path / "home/eve/a", tmp_path / "home/eve/b"
        while not stop.is_set():
            place.rename(aside)
            place.symlink_to(tmp_path / "secret")
            place.unlink()
            aside.rename(place)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        reader = Reader(tmp_path)
        seen = {reader.read("/home/eve/a/key") for _ in range(2000)}
    finally:
        stop.set()
        swapper.join()
    assert seen <= {b"mine", None}


def test_a_hundred_thousand_files_cost_a_bounded_look(machine: SmallMachine) -> None:
    crowd = machine.base / "etc/crowd"
    crowd.mkdir()
    first = crowd / "0"
    first.touch()
    # Links are quick to make; a file has some sixty thousand at most. The count can be raised.
    for number in range(1, int(os.environ.get("FLEETWARD_CROWD", "20000"))):
        if number % 50_000 == 0:
            first = crowd / f"more-{number}"
            first.touch()
        os.link(first, crowd / str(number))
    (machine.base / "etc/zz").mkdir()
    machine.look()
    machine.write("/etc/cron.d/x", "* * * * * root true\n")
    began = time.monotonic()
    found = machine.compare()
    assert time.monotonic() - began < 5
    assert [f.rule for f in found.findings] == ["new_cron_entry"]
    assert any("not looked through wholly" in words for words in found.unseen)
    assert not any(c.name.startswith("/etc/crowd/") for c in found.changes)


def test_a_walk_ends_when_its_time_is_over(
    machine: SmallMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "WALK_SECONDS", -1.0)
    machine.write("/etc/cron.d/x", "* * * * * root true\n")
    found = machine.compare()
    assert [f.rule for f in found.findings] == ["new_cron_entry"], "named places come first"
    assert found.unseen


def test_a_file_that_changes_while_it_is_read(machine: SmallMachine) -> None:
    path = machine.write("/etc/growing", "x")
    stop = threading.Event()

    def grow() -> None:
        with path.open("r+b") as file:
            while not stop.is_set():
                file.seek(0)
                file.write(os.urandom(8000))
                file.flush()

    grower = threading.Thread(target=grow)
    grower.start()
    try:
        for _ in range(20):
            machine.see()
    finally:
        stop.set()
        grower.join()
    assert machine.compare().change_count == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_folders_that_cannot_be_read_are_named(machine: SmallMachine) -> None:
    (machine.base / "etc/cron.d").mkdir()
    (machine.base / "etc/cron.d").chmod(0)
    assert any("not readable without root" in words for words in machine.compare().unseen)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become a user")
def test_a_user_who_may_not_read_is_told_so(machine: SmallMachine) -> None:
    (machine.base / "etc/cron.d").mkdir()
    (machine.base / "etc/cron.d").chmod(0)
    for folder in (machine.base, *machine.base.parents):
        if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
            pytest.skip("nobody else can enter this folder")
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:  # pragma: no cover - another process
        os.setresuid(65534, 65534, 65534)
        words = " ".join(machine.see().unseen)
        os.write(writing, words.encode()[:4000])
        os._exit(0)
    os.waitpid(child, 0)
    assert b"/etc/cron.d" in os.read(reading, 4096)
    os.close(reading)
    os.close(writing)


def test_nobody_approves_his_own_tool(machine: SmallMachine) -> None:
    approval = '[anydesk]\nby = "Ada Berg"\nreason = "contract 7"\n'
    machine.write("/etc/fleetward/approved-tools.toml", approval, 0o644)
    machine.look()
    machine.write("/usr/bin/anydesk", "x")
    (finding,) = machine.compare().findings
    assert (finding.rule, finding.severity) == ("remote_tool", "warning")
    machine.look()
    machine.write("/etc/systemd/system/anydesk.service", "[Service]\n")
    found = {f.rule: f for f in machine.compare().findings}
    assert found["approved_remote_tool"].words == "AnyDesk, approved by Ada Berg"
    assert found["approved_remote_tool"].severity == "info"


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o602])
def test_an_approval_that_others_may_write_approves_nothing(
    machine: SmallMachine, mode: int
) -> None:
    approval = '[anydesk]\nby = "Eve"\nreason = "none"\n'
    path = machine.write("/etc/fleetward/approved-tools.toml", approval, mode)
    from fleetward.device.posture.files import Root

    root = Root(machine.base)
    assert read_approvals(root).tools == {} and "nobody else may write" in (
        read_approvals(root).problem
    )
    path.chmod(0o644)
    assert read_approvals(root).tools["anydesk"].by == "Eve"
    path.unlink()
    path.symlink_to("/etc/passwd")
    assert read_approvals(root).tools == {}


@pytest.mark.parametrize(
    "content",
    ["[anydesk]\nby = ''\nreason = 'x'\n", "[nothing]\nby = 'a'\nreason = 'x'\n", "[", "a = 1",
     "[anydesk]\nby = 'a'\n", "\ufeff"],
)  # fmt: skip
def test_an_approval_in_another_form_approves_nothing(machine: SmallMachine, content: str) -> None:
    from fleetward.device.posture.files import Root

    machine.write("/etc/fleetward/approved-tools.toml", content, 0o644)
    assert read_approvals(Root(machine.base)).tools == {}
    assert read_approvals(Root(machine.base)).problem


@pytest.mark.parametrize(
    "packed",
    [b"", b"x", pack_snapshot(Snapshot(True, {}, {}))[:-2], pack_snapshot(Snapshot(True, {}, {}))
     + b"more", b"x" * (9 * 1024 * 1024)],
    ids=["nothing", "noise", "cut", "more", "long"],
)  # fmt: skip
def test_what_a_child_returns_is_read_strictly(packed: bytes) -> None:
    with pytest.raises(Malformed):
        unpack_snapshot(packed)


def test_a_look_that_would_unpack_to_everything_is_refused() -> None:
    import zlib

    with pytest.raises(Malformed):
        unpack_snapshot(zlib.compress(b"\x00" * (64 * 1024 * 1024), 9))


def test_the_look_of_this_machine_behind_its_walls(tmp_path: Path) -> None:
    """It has no network and sees no secret; its key stands in no argument."""
    hidden = tmp_path / "data"
    hidden.mkdir()
    (hidden / "identity.key").write_text("secret")
    result = run_confined(
        ["fleetward.device.posture.compare.look", "--files", str(hidden)],
        hidden=[hidden],
        timeout_seconds=30,
        memory_bytes=384 << 20,
        output_bytes=8 << 20,
        secret=b"k" * 32,
    )
    assert result.state == "done", result.errors
    look = unpack_snapshot(result.output)
    if not any(wall.name == "secrets" for wall in result.missing):
        assert not look.folders.get(str(hidden))
    assert look.facts["user"] or look.unseen
