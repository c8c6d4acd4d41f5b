"""The real closer and a real filter, in networks of their own: what is closed is closed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.closing_wishes import sign_closing, wish
from tests.closing_world import (
    NEAR,
    ClosingGuard,
    RealClosers,
    Wire,
    can_have_network,
    listening,
    own_network,
)

from fleetward.device.access.closing_words import encode, read_downward
from fleetward.device.access.connections import look
from fleetward.device.access.nft_rules import Flow, render
from fleetward.trust.errors import FleetwardError, Malformed

pytestmark = pytest.mark.skipif(
    not can_have_network() or not Path("/usr/sbin/nft").exists(),
    reason="needs root, network name spaces and nft",
)
TALK = """
import socket, sys
s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)
s.settimeout(3)
s.sendall(b"a"); s.recv(1); print("in", flush=True)
sys.stdin.readline()
try:
    s.sendall(b"b"); print("alive" if s.recv(1) else "closed", flush=True)
except OSError as e:
    print("cut", flush=True)
"""
CALL_BACK = """
import socket, sys
server = socket.create_server(("0.0.0.0", int(sys.argv[1])))
print("ready", flush=True)
s, _ = server.accept()
while data := s.recv(100):
    s.sendall(data)
"""


@pytest.fixture(scope="module")
def wire() -> Iterator[Wire]:
    with own_network() as made:
        yield made


@pytest.fixture
def guard(tmp_path: Path, wire: Wire) -> Iterator[ClosingGuard]:
    closers = RealClosers()
    made = ClosingGuard.of(tmp_path, closers)
    yield made
    made.close()
    closers.reap()
    subprocess.run(
        ["nft", "delete", "table", "inet", "fleetward"], capture_output=True, check=False
    )


def test_closed_cut_loopback_lives_and_it_opens_again(guard: ClosingGuard, wire: Wire) -> None:
    with listening(2323), listening(2324):
        assert wire.reaches(2323) and wire.reaches(2323, "fd77::1") is False
        inside = wire.start(TALK, NEAR, "2323")
        other = wire.start(TALK, NEAR, "2324")
        assert inside.stdout and other.stdout
        assert (inside.stdout.readline(), other.stdout.readline()) == ("in\n", "in\n")
        guard.shut(2323)
        # Nobody new, nobody who was in; the machine itself, and other ports, as before.
        assert not wire.reaches(2323)
        assert inside.communicate("\n")[0] == "cut\n"
        assert other.communicate("\n")[0] == "alive\n"
        with socket.create_connection(("127.0.0.1", 2323), 2) as own:
            own.sendall(b"x")
            assert own.recv(1) == b"x"
        assert wire.reaches(2324)
        (report,) = guard.reports("applied")
        assert len(report.cut) == 1 and report.cut[0].startswith("10.77.0.2:")
        assert any(text.startswith("tcp/2323") for text in report.listening)
        guard.pass_seconds(601)
        assert wire.reaches(2323)
        assert guard.reports("restored")


def test_a_program_that_talks_first_is_cut_too(guard: ClosingGuard, wire: Wire) -> None:
    """The kernel learns of a connection by its first packet, which may be the machine's own."""
    stop = threading.Event()

    def chatter(sock: socket.socket) -> None:
        with sock:
            sock.recv(1)
            try:
                while not stop.wait(0.02):
                    sock.sendall(b"tick")
            except OSError:
                return

    with listening(2325, chatter):
        code = TALK.replace(
            's.sendall(b"b");',
            "import time; time.sleep(0.5); s.settimeout(1.5);\n"
            "    [s.recv(9999) for _ in range(100)];",
        )
        inside = wire.start(code, NEAR, "2325")
        assert inside.stdout
        assert inside.stdout.readline() == "in\n"
        guard.shut(2325)
        assert "cut" in inside.communicate("\n")[0]
        stop.set()


def test_what_the_machine_began_itself_lives(guard: ClosingGuard, wire: Wire) -> None:
    """The agent's own connection, even from a port whose number is closed."""
    far = wire.start(CALL_BACK, "4222")
    assert far.stdout
    far.stdout.readline()
    with socket.socket() as own:
        own.bind((NEAR, 41000))
        own.settimeout(3)
        own.connect(("10.77.0.2", 4222))
        guard.shut(41000)
        own.sendall(b"hello")
        assert own.recv(5) == b"hello"
    far.kill()
    far.communicate()


@pytest.mark.skipif(not Path("/usr/sbin/sshd").exists(), reason="sshd is not installed")
def test_ssh_that_runs_elsewhere_is_found_and_closed(
    guard: ClosingGuard, wire: Wire, tmp_path: Path
) -> None:
    sshd = _start_sshd(tmp_path, 2222)
    try:
        assert _greets(wire, 2222)
        guard.order(wish(ways=("ssh",)))
        assert not wire.reaches(2222)
        (report,) = guard.reports("applied")
        assert report.still_runs == ("ssh",) and "the program still runs" in report.words
        guard.order(wish())
        assert _greets(wire, 2222)
    finally:
        sshd.terminate()
        sshd.wait()


def test_flushed_by_somebody_it_is_found_and_closed_again(guard: ClosingGuard, wire: Wire) -> None:
    with listening(2326):
        guard.shut(2326)
        subprocess.run(["nft", "flush", "ruleset"], check=True)
        assert wire.reaches(2326)
        guard.core.closings.check_soon()
        guard.settle()
        guard.settle()
        assert not wire.reaches(2326)
        assert len(guard.reports("undone")) == 1


def test_killed_again_and_again_it_is_never_half(guard: ClosingGuard, wire: Wire) -> None:
    """The closer is killed at every moment of its work; the table is the old one or the new."""
    del wire
    guard.keep(guard.shut(2327))
    closers = guard.closer
    for number in range(6):
        wanted = wish(2327, 2400 + number)
        guard.serial += 1
        guard.push(sign_closing(guard.access, wanted, guard.serial).raw)
        guard.core.closings.tick()
        time.sleep(0.04 * number)
        os.kill(closers.pids[-1], signal.SIGKILL)
        ports = _closed_now()
        assert 2327 in ports and len(ports) <= 2
        guard.start()
        guard.settle()
        assert _closed_now() == {2327, 2400 + number}
        guard.pass_seconds(601)
        assert _closed_now() == {2327}


@pytest.mark.parametrize(
    "word",
    [
        b'{"word":"shut","tcp":["22"],"udp":[],"stop":[],"start":[],"local_access":[]}',
        b'{"word":"shut","tcp":[0],"udp":[],"stop":[],"start":[],"local_access":[]}',
        b'{"word":"shut","tcp":[65536],"udp":[],"stop":[],"start":[],"local_access":[]}',
        b'{"word":"shut","tcp":[22.5],"udp":[],"stop":[],"start":[],"local_access":[]}',
        b'{"word":"shut","tcp":[],"udp":[],"stop":["cron.service"],"start":[],"local_access":[]}',
        b'{"word":"shut","tcp":[],"udp":[],"stop":[],"start":["-H root@x"],"local_access":[]}',
        b'{"word":"shut","tcp":[],"udp":[],"stop":[],"start":[],"local_access":["x"]}',
        b'{"word":"shut","tcp":[],"udp":[],"stop":[],"start":[],"local_access":[],"rule":"x"}',
        b'{"word":"run","argv":["sh"]}',
    ],
)
def test_the_closer_takes_nothing_but_numbers(word: bytes) -> None:
    with pytest.raises(Malformed):
        read_downward(word)


@pytest.mark.parametrize("bad", ["22; flush ruleset", "22", 0, 65536, -1, True, None, 22.0])
def test_rules_are_made_of_numbers_alone(bad: object) -> None:
    with pytest.raises(Malformed):
        render([bad], [], [])  # type: ignore[list-item]  # what no caller hands over
    with pytest.raises(Malformed):
        render([], [bad], [])  # type: ignore[list-item]
    for address in ("1.2.3.4 } ; flush ruleset", "host", "", "fe80::1%eth0"):
        with pytest.raises(Malformed):
            render([22], [], [Flow(address, 1, 2)])


def _closed_now() -> set[int]:
    listed = subprocess.run(
        ["nft", "list", "set", "inet", "fleetward", "tcp_ports"],
        capture_output=True, text=True, check=False,
    ).stdout  # fmt: skip
    inner = listed.partition("elements = {")[2].partition("}")[0]
    return {int(text) for text in inner.replace("\n", " ").split(",") if text.strip()}


def _start_sshd(folder: Path, port: int) -> subprocess.Popen[bytes]:
    key = folder / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(f"HostKey {key}\nPort {port}\nPidFile none\nUsePAM no\n")
    return subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)], stderr=subprocess.DEVNULL
    )


def _greets(wire: Wire, port: int) -> bool:
    code = """
import socket, sys, time
for _ in range(40):
    try:
        s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 2)
        sys.exit(0 if s.recv(4) == b"SSH-" else 1)
    except OSError:
        time.sleep(0.1)
sys.exit(1)
"""
    return wire.run(code, NEAR, str(port)).returncode == 0


def test_tables_of_the_kernel_are_read_as_they_are(wire: Wire) -> None:
    del wire
    with listening(2330):
        seen = look()
        assert any(row.port == 2330 and not row.loopback for row in seen.waiting)
    assert encode(read_downward(b'{"word":"check"}')) == b'{"word":"check"}'


def test_a_refusal_of_the_kernel_changes_nothing(guard: ClosingGuard) -> None:
    with pytest.raises(FleetwardError):
        guard.push(b"{}")
