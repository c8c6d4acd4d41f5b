"""Listening sockets: a made-up machine, and the sockets that these tests open."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest
from tests.unit.posture.trees import HEAD, add_process, make_tree, table_row

from fleetward.device.posture.files import Root
from fleetward.device.posture.processes import take_snapshot
from fleetward.device.posture.sockets import collect_sockets, decode_address, judge_exposure
from fleetward.device.posture.watch import SocketWatch
from fleetward.wire.posture import Socket


@pytest.mark.parametrize(
    ("address", "exposure"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.8.8", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "all"),
        ("::", "all"),
        ("::ffff:0.0.0.0", "all"),
        ("8.8.8.8", "all"),
        ("192.168.1.5", "lan"),
        ("10.0.0.1", "lan"),
        ("fe80::1", "lan"),
        ("169.254.0.9", "lan"),
    ],
)
def test_exposure_follows_the_bound_address(address: str, exposure: str) -> None:
    assert judge_exposure(address) == exposure


def test_addresses_of_the_kernel_are_read() -> None:
    loopback = socket.inet_aton("127.0.0.1")
    native = int.from_bytes(loopback, sys.byteorder)
    assert decode_address(b"%08X" % native) == "127.0.0.1"
    with pytest.raises(ValueError, match="8 or 32"):
        decode_address(b"00")


def test_sockets_are_joined_with_processes_users_and_packages(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {
            "/proc/net/tcp": HEAD
            + table_row("00000000", 23, "0A", 11)
            + table_row("0100007F", 5432, "0A", 12, uid=70)
            + table_row("0100007F", 4000, "01", 13)
            + "garbage here\n",
            "/proc/net/udp": HEAD + table_row("00000000", 53, "07", 14),
        },
    )
    add_process(tmp_path, 1, "init", executable="/sbin/init")
    add_process(
        tmp_path, 40, "busybox", executable="/bin/busybox", inodes=(11,),
        cgroup="0::/system.slice/telnet.service",
    )  # fmt: skip
    add_process(tmp_path, 41, "postgres", uid=70, inodes=(12,), executable="/usr/bin/postgres")
    snapshot = take_snapshot(Root(tmp_path))
    found = collect_sockets(snapshot, {0: "root", 70: "postgres"}, {"/bin/busybox": "busybox"})
    assert found.items == (
        Socket(
            "tcp", "0.0.0.0", 23, "all", "busybox", "/bin/busybox", "root", "telnet.service",
            "busybox",
        ),
        Socket("udp", "0.0.0.0", 53, "all", None, None, "root"),
        Socket("tcp", "127.0.0.1", 5432, "loopback", "postgres", "/usr/bin/postgres", "postgres"),
    )  # fmt: skip
    assert found.sight.level == "partial"
    assert "The process behind 1 of the sockets is not visible." in found.sight.reason
    assert "1 lines" in found.sight.reason


def test_a_machine_without_tables_is_not_visible_rather_than_closed(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    found = collect_sockets(take_snapshot(Root(tmp_path)), {}, {})
    assert (found.sight.level, found.items) == ("none", ())


def test_a_port_of_this_test_is_seen_with_its_process() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        found = collect_sockets(take_snapshot(Root(Path("/"))), {}, {})
    mine = [row for row in found.items if row.port == port]
    assert [(row.proto, row.exposure) for row in mine] == [("tcp", "loopback")]
    assert mine[0].executable == str(Path("/proc/self/exe").readlink())


def test_the_watch_notices_what_this_test_opens() -> None:
    """Others on this machine may open sockets meanwhile, so only differences are asserted."""
    watch = SocketWatch()
    try:
        with socket.socket() as listener, socket.socket(type=socket.SOCK_DGRAM) as waiting:
            listener.bind(("127.0.0.1", 0))
            before = watch.fingerprint()
            listener.listen()
            opened = watch.fingerprint()
            waiting.bind(("127.0.0.1", 0))
            waited = watch.fingerprint()
        assert len({before, opened, waited, watch.fingerprint()} - {before}) >= 2
        assert opened != before
        assert waited != opened
    finally:
        watch.close()


def test_the_watch_notices_listening_and_nothing_else(tmp_path: Path) -> None:
    telnet, shell = table_row("00000000", 23, "0A", 11), table_row("00000000", 22, "0A", 12)
    talk = table_row("0100007F", 22, "01", 13)
    dns = table_row("0100007F", 53, "07", 14)

    def fingerprint(tcp: str, udp: str = "") -> bytes:
        (tmp_path / "tcp").write_text(HEAD + tcp)
        (tmp_path / "udp").write_text(HEAD + udp)
        watch = SocketWatch(str(tmp_path))
        try:
            return watch.fingerprint()
        finally:
            watch.close()

    quiet = fingerprint(telnet + shell)
    assert fingerprint(shell + talk + telnet) == quiet
    assert fingerprint(telnet + shell.replace("100 0 0 10 0", "200 4 30 9 7")) == quiet
    assert fingerprint(telnet) != quiet
    assert fingerprint(telnet + shell, dns) != quiet
    assert fingerprint(telnet + shell, dns.replace(" 07 ", " 01 ")) == quiet
    assert fingerprint(telnet + shell.replace(" 12 ", " 15 ")) != quiet
