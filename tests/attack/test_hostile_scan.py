"""Whoever can write files on a machine tries to stop, mislead or take over what scans it.

The collector must end in bounded time and memory, run nothing, follow nothing out of its tree,
say what it could not read, and let no control character through.
"""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path

import pytest
from tests.unit.posture.trees import HEAD, add_process, make_tree, stanza, table_row

from fleetward.device.confine import ConfinedResult, run_confined
from fleetward.wire.posture import Inventory, decode_inventory

MEGABYTE = 1 << 20
LISTS = "/var/lib/apt/lists"
MAIN = f"{LISTS}/x_dists_bookworm_main_binary-amd64_Packages"


def scan(base: Path, sections: str = "") -> tuple[Inventory, ConfinedResult]:
    """Look at a hostile tree as the agent does: confined, in 20 s and 512 MB."""
    result = run_confined(
        [sys.executable, "-m", "fleetward.device.posture.collect", "--root", str(base)]
        + (["--sections", sections] if sections else []),
        hidden=[],
        timeout_seconds=20,
        memory_bytes=512 * MEGABYTE,
        output_bytes=8 * MEGABYTE,
    )
    assert result.state == "done", (result.state, result.errors)
    for character in range(0x20):
        assert character not in result.output
    return decode_inventory(result.output), result


def test_fifos_in_place_of_files_stop_nobody(tmp_path: Path) -> None:
    for name in (
        "etc/passwd", "etc/shadow", "etc/os-release", "var/lib/dpkg/status", "proc/1/stat",
        "lib/apk/db/installed", "usr/lib/node_modules/a/package.json", "root/.ssh/authorized_keys",
        "etc/apt/apt.conf.d/20auto", "sys/kernel/security/lsm", "proc/self/mountinfo",
    ):  # fmt: skip
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(path)
    found, result = scan(tmp_path)
    assert result.seconds < 10
    assert found.packages is not None
    assert found.packages.sight.level == "none"
    assert "not a regular file" in found.packages.sight.reason
    assert found.users is not None
    assert found.users.sight.level == "none"


def test_links_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(stanza("stolen", "6.6.6"))
    base = tmp_path / "tree"
    make_tree(base, {"/etc/group": "", "/var/lib/dpkg/info/x.list": "/bin/x\n"})
    (base / "var/lib/dpkg/status").symlink_to(secret)
    (base / "etc/passwd").symlink_to("/etc/passwd")
    (base / "etc/os-release").symlink_to("/etc/os-release")
    (base / "usr/lib/node_modules").mkdir(parents=True)
    (base / "usr/lib/node_modules/loop").symlink_to(".")
    (base / "usr/lib/node_modules/node_modules").symlink_to("..")
    (base / "home").mkdir()
    (base / "home/loop").symlink_to("../home")
    found, _ = scan(base)
    assert found.packages is not None
    assert found.packages.items == ()
    assert found.users is not None
    assert found.users.items == ()
    assert found.machine.os_version == ""


def test_a_sparse_file_of_ten_gigabytes_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path, {"/etc/group": ""})
    for name in ("etc/passwd", "var/lib/dpkg/status", "lib/apk/db/installed", MAIN[1:]):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            stream.truncate(10 << 30)
    found, result = scan(tmp_path)
    assert result.seconds < 15
    assert found.packages is not None
    assert found.packages.sight.level == "none"
    assert found.users is not None
    assert found.users.sight.level == "none"


def test_a_status_of_one_line_of_fifty_megabytes(tmp_path: Path) -> None:
    line = stanza("good", "1.0") + "Package: " + "a" * (50 * MEGABYTE) + "\n\n" + stanza("b", "2")
    make_tree(tmp_path, {"/var/lib/dpkg/status": line})
    found, result = scan(tmp_path, "packages")
    assert found.packages is not None
    assert [row.name for row in found.packages.items] == ["b", "good"]
    assert found.packages.sight.reason == "1 records of dpkg cannot be read."
    assert result.seconds < 10


def test_a_bomb_of_packed_lists_is_bounded(tmp_path: Path) -> None:
    import gzip
    import lzma

    bomb = gzip.compress(b"\0" * (600 * MEGABYTE), 9)
    files: dict[str, str | bytes] = {
        "/var/lib/dpkg/status": stanza("good", "1.0"),
        MAIN + ".gz": bomb,
        f"{LISTS}/y_dists_z_main_binary-amd64_Packages.xz": lzma.compress(b"\n" * MEGABYTE)[:-40],
        f"{LISTS}/v_dists_z_main_binary-amd64_Packages.lz4": b"\x04\x22\x4d\x18" + b"\xff" * 99,
    }
    make_tree(tmp_path, files)
    found, result = scan(tmp_path, "updates")
    assert found.updates is not None
    assert (found.updates.sight.level, found.updates.items) == ("none", ())
    assert found.updates.sight.reason.count("cannot be read") == 3
    assert result.seconds < 20


NASTY = "evil\n\x1b[2J\u202e\x07"


def test_names_cannot_forge_lines_or_colours(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {
            "/etc/passwd": f"{NASTY.splitlines()[1]}:x:0:0::/root:/bin/sh\n",
            "/proc/uptime": "1000.0 1\n",
            "/var/lib/dpkg/status": stanza("a\x1b[31mred", "1\x07"),
            "/proc/net/tcp": HEAD + table_row("00000000", 23, "0A", 9),
            f"/usr/lib/python3/dist-packages/{NASTY}-1.0.dist-info/x": "",
            "/usr/lib/node_modules/a/package.json": '{"name":"x\\u001b[1m","version":"1\\n2"}',
            f"/bin/{NASTY}": b"\x7fELF",
            "/etc/os-release": f"NAME='{NASTY}'\n",
        },
    )
    add_process(tmp_path, 9, NASTY, executable=f"/bin/{NASTY}", inodes=(9,))
    (tmp_path / "etc/systemd/system/x.wants").mkdir(parents=True)
    found, _ = scan(tmp_path)
    assert found.sockets is not None
    assert found.sockets.items[0].process == "evil\\x0a\\x1b[2J\\u202e\\x07"
    assert found.packages is not None
    assert "a\\x1b[31mred" in {row.name for row in found.packages.items}
    assert found.programs is not None
    assert "cannot be judged" in found.programs.items[0].note


def _elf(segments: int, *, size: int = 56, offset: int = 64) -> bytes:
    head = struct.pack("<HHIQQQIHHH", 3, 62, 1, 0, offset, 0, 0, 64, size, segments)
    return b"\x7fELF\x02\x01\x01" + b"\0" * 9 + head.ljust(48, b"\0")


HUGE = struct.pack("<IIQQQQQQ", 2, 6, 0, 0, 0, 2**63, 2**63, 8)
FAR = struct.pack("<IIQQQQQQ", 2, 6, 2**63, 0, 0, 64, 64, 8)
INTERPRETED = struct.pack("<IIQQQQQQ", 3, 4, 0, 0, 0, 8, 8, 1)


@pytest.mark.parametrize(
    "content",
    [
        _elf(65535),
        _elf(1000),
        _elf(3, size=1),
        _elf(1, offset=2**64 - 1),
        _elf(2) + INTERPRETED + HUGE,
        _elf(2) + INTERPRETED + FAR,
        _elf(0)[:30],
    ],
    ids=["65535", "1000-missing", "entry-size", "offset", "huge", "far", "cut"],
)
def test_absurd_elf_headers_are_a_note(tmp_path: Path, content: bytes) -> None:
    make_tree(
        tmp_path,
        {
            "/proc/net/tcp": HEAD + table_row("00000000", 23, "0A", 9),
            "/proc/uptime": "1000.0 1\n",
            "/bin/evil": content,
        },
    )
    add_process(tmp_path, 9, "evil", executable="/bin/evil", inodes=(9,))
    found, result = scan(tmp_path, "programs")
    assert found.programs is not None
    row = found.programs.items[0]
    assert "cannot be judged" in row.note
    assert (row.canary, row.nx, row.pie) == ("unknown", "unknown", "unknown")
    assert result.seconds < 10


def test_a_crowd_of_files_is_bounded(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/node_modules"
    modules.mkdir(parents=True)
    for number in range(6000):
        (modules / f"p{number}").mkdir()
    deep = modules / "p0"
    for _ in range(40):
        deep = deep / "node_modules" / "again"
        deep.mkdir(parents=True)
        (deep / "package.json").write_text('{"name":"again","version":"1"}')
    found, result = scan(tmp_path, "packages")
    assert found.packages is not None
    assert len(found.packages.items) <= 1
    assert result.seconds < 15


def test_nothing_that_is_scanned_is_run(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    script = f"#!/bin/sh\ntouch {mark}\n"
    names = ("usr/bin/dpkg", "usr/bin/apt", "usr/bin/python3", "usr/bin/rpm", "sbin/init")
    tree = make_tree(tmp_path / "tree", {f"/{name}": script for name in names})
    for name in names:
        tree.at(name).chmod(0o755)
    make_tree(
        tmp_path / "tree",
        {
            "/usr/lib/python3/dist-packages/sitecustomize.py": f"open({str(mark)!r}, 'w')",
            "/usr/lib/python3/dist-packages/evil.pth": f"import os; os.mknod({str(mark)!r})",
            "/etc/ld.so.preload": "/evil.so\n",
        },
    )
    scan(tmp_path / "tree")
    assert not mark.exists()


def test_an_rpm_database_that_never_ends_is_ended(tmp_path: Path) -> None:
    import sqlite3

    make_tree(tmp_path, {"/var/lib/rpm/lock": "", "/var/lib/dpkg/status": stanza("good", "1")})
    connection = sqlite3.connect(tmp_path / "var/lib/rpm/rpmdb.sqlite")
    connection.execute(
        "CREATE VIEW Packages AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) "
        "SELECT x AS blob FROM n WHERE x < 0"
    )
    connection.commit()
    connection.close()
    found, result = scan(tmp_path, "packages")
    assert found.packages is not None
    assert [row.name for row in found.packages.items] == ["good"]
    assert found.packages.sight.level == "partial"
    assert result.seconds < 10
