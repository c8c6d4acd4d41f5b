"""The whole look: at this machine, at small trees, and when parts of it fail."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from tests.unit.posture.trees import HEAD, add_process, make_tree, rpm_header, stanza, table_row

from fleetward.device.posture.collect import (
    Request,
    after_walls,
    before_walls,
    check_section,
    collect_inventory,
    collect_section,
)
from fleetward.device.posture.files import Root, show_text
from fleetward.device.posture.processes import take_snapshot
from fleetward.device.posture.sockets import collect_sockets
from fleetward.trust.canonical import decode, encode
from fleetward.trust.errors import Malformed
from fleetward.wire.posture import (
    SECTION_NAMES,
    Inventory,
    InventoryNotice,
    Package,
    Section,
    Sight,
    can_log_in,
    decode_inventory,
    digest_inventory,
    encode_inventory,
    summarize,
)

OS_RELEASE = 'NAME="Small Linux"\nVERSION_ID=3\nID=small\n'


def look(base: Path) -> Inventory:
    root = Root(base)
    return collect_inventory(Request(root, SECTION_NAMES), take_snapshot(root), time.time())


def test_this_machine_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "fleetward.device.posture.collect"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    inventory = decode_inventory(done.stdout)
    assert all(getattr(inventory, name) is not None for name in SECTION_NAMES)
    assert inventory.machine.kernel == os.uname().release
    assert inventory.packages is not None
    assert any(row.manager == "pypi" for row in inventory.packages.items)
    assert spent < 2.0


def test_two_looks_have_one_digest(tmp_path: Path) -> None:
    arguments = ["--sections", "packages,updates,users,kernel,disk,firmware"]
    documents = {after_walls(arguments, before_walls(arguments)) for _ in range(2)}
    assert len({digest_inventory(document) for document in documents}) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to start as this user does")
def test_what_was_seen_with_root_is_the_same_behind_walls() -> None:
    from fleetward.device.confine import run_confined

    arguments = ["--sections", "packages,users,disk,firmware"]
    free = after_walls(arguments, before_walls(arguments))
    result = run_confined(
        ["fleetward.device.posture.collect", *arguments],
        hidden=[],
        timeout_seconds=60,
        memory_bytes=1 << 29,
        output_bytes=1 << 23,
    )
    assert result.output == free


def test_a_small_machine_is_read_whole(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {
            "/etc/os-release": OS_RELEASE,
            "/etc/passwd": "root:x:0:0::/root:/bin/sh\nbin:x:1:1::/:/sbin/nologin\n"
            "eve:x:1000:1000::/home/eve:/bin/sh\nann::1001:1001::/home/ann:/bin/sh\n",
            "/etc/shadow": "root:!:1::::::\neve:$6$abc:1::::::\n",
            "/etc/group": "sudo:x:27:eve\n",
            "/root/.ssh/authorized_keys": "# none\nssh-ed25519 AAAA a@b\n",
            "/proc/net/tcp": HEAD + table_row("00000000", 22, "0A", 7),
            "/proc/sys/kernel/osrelease": "6.1.0\n",
            "/proc/sys/kernel/randomize_va_space": "2\n",
            "/proc/uptime": "1000.0 1.0\n",
            "/proc/self/mountinfo": "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n",
            "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c": (
                b"\6\0\0\0\1"
            ),
            "/sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
            "/sys/devices/dm/dm/uuid": "CRYPT-LUKS2-abc\n",
            "/etc/systemd/system/multi-user.target.wants/sshd.service": "",
            "/etc/systemd/system/multi-user.target.wants/idle.service": "",
            "/lib/apk/db/installed": "P:musl\nV:1.2.4-r1\nA:x86_64\no:musl\n\nX:y\n\n",
            "/usr/lib/python3.11/site-packages/Foo_Bar-1.2.dist-info/METADATA": "",
            "/usr/lib/node_modules/left-pad/package.json": '{"name":"left-pad","version":"1.3.0"}',
            "/usr/lib/node_modules/odd/package.json": '{"name":["x"]}',
            "/usr/sbin/sshd": Path("/proc/self/exe").read_bytes()[: 1 << 16],
        },
    )
    (tmp_path / "sys/dev/block").mkdir(parents=True)
    (tmp_path / "sys/dev/block/8:1").symlink_to("../../devices/dm")
    add_process(tmp_path, 1, "systemd")
    add_process(
        tmp_path, 50, "sshd", uid=1000, inodes=(7,), executable="/usr/sbin/sshd",
        cgroup="0::/system.slice/sshd.service",
    )  # fmt: skip
    found = look(tmp_path)
    assert (found.machine.os_name, found.machine.init) == ("Small Linux", "systemd")
    assert found.packages is not None
    assert [(p.manager, p.name, p.version) for p in found.packages.items] == [
        ("apk", "musl", "1.2.4-r1"),
        ("npm", "left-pad", "1.3.0"),
        ("pypi", "foo-bar", "1.2"),
    ]
    assert found.packages.sight.level == "partial"
    assert found.users is not None
    assert [(u.name, u.password, u.keys, u.administrator) for u in found.users.items] == [
        ("root", "locked", 1, True),
        ("eve", "set", 0, True),
        ("ann", "empty", 0, False),
    ]
    assert all(can_log_in(user) for user in found.users.items)
    assert found.services is not None
    assert [(s.unit, s.state, s.enabled) for s in found.services.items] == [
        ("idle.service", "stopped", True),
        ("sshd.service", "running", True),
    ]
    layers = found.services.items[1].layers
    assert (layers.own_user, layers.no_new_privileges, layers.seccomp) == (True, True, True)
    assert found.kernel is not None
    facts = {fact.key: fact.value for fact in found.kernel.items}
    assert facts["boot.secure_boot"] == "on"
    assert facts["kernel.lockdown"] == "integrity"
    assert facts["kernel.aslr"] == "2"
    assert facts["kernel.lsm"] is None
    assert found.disk is not None
    assert {f.key: f.value for f in found.disk.items}["disk.encrypted"] == "on"
    assert found.updates is not None
    assert found.updates.sight.level == "none"
    assert found.programs is not None
    assert [(p.executable, p.network) for p in found.programs.items] == [("/usr/sbin/sshd", "all")]
    summary = summarize(found)
    assert (summary.packages, summary.exposed_ports, summary.updates_pending) == (3, 1, None)
    assert decode_inventory(encode_inventory(found)) == found


def test_an_empty_tree_is_not_visible_never_zero(tmp_path: Path) -> None:
    found = look(tmp_path)
    summary = summarize(found)
    assert summary.open_ports is None
    assert summary.packages is None
    assert summary.updates_pending is None
    assert found.sockets is not None
    assert found.sockets.sight.level == "none"
    assert found.users is not None
    assert found.users.sight.level == "none"


def test_dpkg_and_rpm_side_by_side(tmp_path: Path) -> None:
    import sqlite3

    make_tree(tmp_path, {"/var/lib/dpkg/status": stanza("bash", "5.2"), "/var/lib/rpm/x": ""})
    connection = sqlite3.connect(tmp_path / "var/lib/rpm/rpmdb.sqlite")
    connection.execute("CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB NOT NULL)")
    rows = [(rpm_header("kernel", "6.1", "3.fc39"),), (rpm_header("acl", "2.3", "1", 1),), (b"x",)]
    connection.executemany("INSERT INTO Packages (blob) VALUES (?)", rows)
    connection.commit()
    connection.close()
    found = look(tmp_path).packages
    assert found is not None
    assert [(row.manager, row.name, row.version) for row in found.items] == [
        ("dpkg", "bash", "5.2"),
        ("rpm", "acl", "1:2.3-1"),
        ("rpm", "kernel", "6.1-3.fc39"),
    ]
    assert found.sight.reason == "1 records of rpm cannot be read."


def test_a_section_that_fails_becomes_one_without_sight() -> None:
    def fail() -> None:
        raise ZeroDivisionError("so\nbad")

    found = collect_section(fail)  # type: ignore[arg-type]
    assert (found.sight.level, found.items) == ("none", ())
    assert found.sight.reason == "Looking failed: ZeroDivisionError: so\\x0abad"


def test_a_running_program_whose_file_was_replaced_is_said_to_be(tmp_path: Path) -> None:
    copy = tmp_path / "sleeper"
    shutil.copy("/bin/sleep", copy)
    with subprocess.Popen([copy, "60"]) as child:
        try:
            copy.unlink()
            processes = take_snapshot(Root(Path("/"))).processes
            mine = next(process for process in processes if process.pid == child.pid)
        finally:
            child.kill()
    assert (mine.executable, mine.replaced) == (str(copy), True)


def test_text_is_safe_to_show_and_bounded() -> None:
    assert show_text(b"a\x1b[31mb\nc\xff") == "a\\x1b[31mb\\x0ac\\xff"
    assert show_text("rtl\u202egpj") == "rtl\\u202egpj"
    assert len(show_text("x" * 10_000)) == 512
    assert show_text("Grüße") == "Grüße"


def test_a_document_with_control_characters_or_another_spelling_is_refused() -> None:
    good = after_walls(["--sections", "clock"], before_walls(["--sections", "clock"]))
    assert decode_inventory(good).clock is not None
    value = json.loads(good)
    value["machine"]["os_name"] = "a\x1b[31m"
    for bad in (
        json.dumps(value, sort_keys=True, separators=(",", ":")).encode(),
        good.replace(b'"clock"', b' "clock"', 1),
        good[:-1] + b',"extra":1}',
        good[:-1],
        b"[]",
        b"\xff",
        b"[" * 100_000,
    ):
        with pytest.raises(Malformed):
            decode_inventory(bad)


def test_a_row_that_breaks_the_document_costs_its_section_only() -> None:
    good = Section(Sight("full"), (Package("dpkg", "bash", "5.2"),))
    assert check_section("packages", good) == good
    for name in ("x" * 2000, "a\nb", "\ud800"):
        bad = Section(Sight("full"), (Package("dpkg", name, "1"),))
        found = check_section("packages", bad)
        assert (found.sight.level, found.items) == ("none", ())
        assert "cannot be written" in found.sight.reason


def test_a_quick_look_says_of_sockets_what_a_full_one_says() -> None:
    with subprocess.Popen(["unshare", "-n", "sleep", "60"]) as child:
        try:
            time.sleep(0.3)
            root = Root(Path("/"))
            quick, full = (take_snapshot(root, deep=deep) for deep in (False, True))
        finally:
            child.kill()
    sights = [collect_sockets(snapshot, {}, {}).sight for snapshot in (quick, full)]
    assert sights[0] == sights[1]
    if os.geteuid() == 0:
        assert "separate networks" in sights[0].reason


def test_an_entry_of_the_journal_can_carry_the_summary() -> None:
    document = after_walls(["--sections", "sockets"], before_walls(["--sections", "sockets"]))
    summary = summarize(decode_inventory(document))
    body = msgspec.to_builtins(InventoryNotice(digest_inventory(document), len(document), summary))
    assert decode(encode(body)) == body
    assert msgspec.convert(body, InventoryNotice).summary == summary
