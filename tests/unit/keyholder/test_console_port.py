"""The port of the owner's console: passkeys are bound to it, so it is the same at each start."""

from __future__ import annotations

import contextlib
import socket

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock

from fleetward.keyholder.console.port import bind_port, read_port
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import add_passkey, change_policy
from fleetward.runtime.keys import make_key
from fleetward.trust.errors import Unreachable
from fleetward.trust.keys import ES256
from fleetward.trust.passkey import Passkey


def port_of(listening: list[socket.socket]) -> int:
    named = [each.getsockname()[:2] for each in listening]
    for each in listening:
        each.close()
    assert {address for address, _ in named} <= {"127.0.0.1", "::1"}
    assert named[0][0] == "127.0.0.1" and len({port for _, port in named}) == 1
    return int(named[0][1])


def test_the_same_port_at_each_start(desk: Desk) -> None:
    first = port_of(bind_port(desk))
    assert read_port(desk) == first
    assert port_of(bind_port(desk)) == first


def test_a_port_that_is_named_is_remembered(desk: Desk) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    assert port_of(bind_port(desk, free)) == free
    assert port_of(bind_port(desk)) == free


def test_a_port_that_passkeys_need_is_not_changed_in_silence(desk: Desk, clock: FixedClock) -> None:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(each) for each in bind_port(desk)]
        port = sockets[0].getsockname()[1]
        assert port_of(bind_port(desk)) != port
        desk.folder.replace("console-port", f"{port}\n".encode())
        place = Passkey("owner.localhost", (f"http://owner.localhost:{port}",))
        change_policy(desk, add_passkey("Ada", make_key(ES256).public, place), clock.now)
        with pytest.raises(Unreachable, match=str(port)):
            bind_port(desk)


def test_a_spoilt_file_is_no_port(desk: Desk) -> None:
    for text in (b"x", b"99999", b""):
        desk.folder.replace("console-port", text)
        assert read_port(desk) == 0


def test_nobody_else_answers_at_the_name(desk: Desk) -> None:
    """A browser may try ::1 first for a name below localhost."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as other:
        try:
            other.bind(("::1", 0))
        except OSError:
            pytest.skip("this computer has no IPv6")
        other.listen(1)
        port = other.getsockname()[1]
        with pytest.raises(Unreachable, match=f"Expected port {port} of ::1 to be free"):
            bind_port(desk, port)
