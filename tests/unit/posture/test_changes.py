"""Changes in a person's words."""

from __future__ import annotations

from typing import Any

import msgspec

from fleetward.device.posture.changes import describe_changes, describe_tools
from fleetward.server.posture.attention import Since, judge_attention
from fleetward.wire.posture import (
    Change,
    Fact,
    Inventory,
    Machine,
    Package,
    Section,
    Sight,
    Socket,
    Tool,
    Update,
    User,
    decode_inventory,
    encode_inventory,
)

FULL = Sight("full")
MACHINE = Machine("debian", "Debian", "12", "6.1", "x86_64", "systemd", root=True)


def inventory(**sections: tuple[Any, ...]) -> Inventory:
    made = {name: Section(FULL, rows) for name, rows in sections.items()}
    return Inventory(type="fleetward.inventory.v1", machine=MACHINE, **made)  # type: ignore[arg-type]  # no crowd among them


def words(before: Inventory, after: Inventory) -> list[tuple[str, str]]:
    return [(change.words, change.severity) for change in describe_changes(before, after)]


def packages(*rows: tuple[str, str]) -> tuple[Package, ...]:
    return tuple(Package("dpkg", name, version, "amd64") for name, version in rows)


TELNET = Socket("tcp", "192.168.1.9", 23, "lan", "busybox")


def test_ports_open_close_and_widen() -> None:
    none = inventory(sockets=())
    lan = inventory(sockets=(TELNET,))
    wide = inventory(sockets=(TELNET, Socket("tcp6", "::", 23, "all", "busybox")))
    local = inventory(sockets=(Socket("udp", "127.0.0.1", 53, "loopback", None),))
    assert words(none, lan) == [("port 23 opened by busybox, reachable from the LAN", "warning")]
    assert words(lan, none) == [("port 23 closed", "info")]
    assert words(lan, wide) == [
        ("port 23 of busybox is now reachable from the LAN and every other network", "warning")
    ]
    assert words(none, local) == [
        (
            "UDP port 53 opened by a process that is not visible, reachable from this machine only",
            "info",
        )
    ]


def test_an_owner_that_comes_into_sight_is_no_change() -> None:
    blind = inventory(sockets=(Socket("tcp", "0.0.0.0", 22, "all", None),))
    seeing = inventory(sockets=(Socket("tcp", "0.0.0.0", 22, "all", "sshd"),))
    other = inventory(sockets=(Socket("tcp", "0.0.0.0", 22, "all", "evil"),))
    assert words(blind, seeing) == words(seeing, blind) == []
    assert words(seeing, other) == [("port 22 is now held by evil, before by sshd", "notice")]


def test_packages_are_named_or_counted() -> None:
    old = inventory(packages=packages(("openssl", "3.0.9-1"), ("curl", "8.0-1")))
    new = inventory(packages=packages(("openssl", "3.0.17-1"), ("curl", "7.9-1"), ("nmap", "7")))
    assert words(old, new) == [
        ("curl went back from 8.0-1 to 7.9-1", "warning"),
        ("nmap 7 installed", "notice"),
        ("openssl upgraded from 3.0.9-1 to 3.0.17-1", "info"),
    ]
    many = inventory(packages=packages(*((f"p{n:02}", "1") for n in range(14))))
    none = inventory(packages=())
    assert words(many, none) == [("14 packages removed, among them p00, p01, p02", "notice")]
    exactly_ten = inventory(packages=packages(*((f"p{n}", "1") for n in range(10))))
    assert len(words(exactly_ten, none)) == 10


def test_users_gain_and_lose_ways_in() -> None:
    locked = User("eve", 1000, "/bin/sh", "locked", administrator=False, keys=0)
    keyed = User("eve", 1000, "/bin/sh", "locked", administrator=False, keys=1)
    admin = User("eve", 1000, "/bin/sh", "locked", administrator=True, keys=2)
    empty = User("eve", 1000, "/bin/sh", "empty", administrator=True, keys=2)
    steps = [inventory(users=rows) for rows in ((), (locked,), (keyed,), (admin,), (empty,))]
    assert words(steps[0], steps[1]) == []
    assert words(steps[1], steps[2]) == [("user eve can now log in", "warning")]
    assert words(steps[2], steps[3]) == [
        ("user eve is now an administrator", "warning"),
        ("user eve has 2 SSH keys, before 1", "warning"),
    ]
    assert words(steps[3], steps[4]) == [("user eve can now log in without a password", "warning")]
    assert words(steps[4], steps[0]) == [("user eve can no longer log in", "info")]


def test_updates_and_facts() -> None:
    quiet = inventory(updates=(), kernel=(Fact("boot.secure_boot", "Secure Boot", "on"),))
    update = Update("dpkg", "openssl", "1", "2", "Debian", security=True)
    loud = inventory(updates=(update,), kernel=(Fact("boot.secure_boot", "Secure Boot", "off"),))
    assert words(quiet, loud) == [
        ("Secure Boot changed from on to off", "warning"),
        ("security update for openssl is waiting: 2", "notice"),
    ]


def test_what_goes_out_of_sight_has_not_changed() -> None:
    seen = inventory(sockets=(TELNET,), kernel=(Fact("boot.secure_boot", "Secure Boot", "on"),))
    blind = Inventory(
        type="fleetward.inventory.v1",
        machine=MACHINE,
        sockets=Section(Sight("none", "no root")),
        kernel=Section(FULL, (Fact("boot.secure_boot", "Secure Boot: not visible"),)),
    )
    assert describe_changes(seen, blind) == describe_changes(blind, seen) == []
    assert describe_changes(seen, inventory()) == []


def test_a_change_says_before_and_after() -> None:
    change = describe_changes(inventory(sockets=()), inventory(sockets=(TELNET,)))
    assert change == [
        Change(
            "tcp/23",
            "port.opened",
            "port 23 opened by busybox, reachable from the LAN",
            "",
            "busybox, reachable from the LAN",
            "warning",
        )
    ]


def test_long_names_stay_within_what_a_message_may_hold() -> None:
    long = "v" * 512
    old = inventory(packages=packages(("n" * 512, "1" + long)))
    new = inventory(packages=packages(("n" * 512, "2" + long)))
    for change in describe_changes(old, new):
        assert msgspec.convert(msgspec.to_builtins(change), Change) == change


def test_a_remote_tool_is_told_when_it_is_first_seen_and_when_nobody_approves_it_any_more() -> None:
    tool = Tool("anydesk", "AnyDesk", "the screen", "package anydesk")
    approved = msgspec.structs.replace(tool, approved_by="Ada", reason="contract")
    found, fine, none = (Section(Sight("full"), rows) for rows in ((tool,), (approved,), ()))
    told = [describe_tools(*each) for each in (
        (None, found), (none, found), (found, found), (none, fine), (fine, found), (found, none),
        (found, None), (None, none),
    )]  # fmt: skip
    assert [[(c.what, c.severity) for c in each] for each in told] == [
        [("tool.found", "warning")],
        [("tool.found", "warning")],
        [],
        [("tool.approved", "info")],
        [("tool.found", "warning")],
        [("tool.gone", "info")],
        [],
        [],
    ]
    (approval,) = describe_tools(none, fine)
    assert approval.words == "AnyDesk is on this machine, approved by Ada"


def test_a_remote_tool_that_nobody_approved_needs_a_person() -> None:
    tool = Tool("anydesk", "AnyDesk", "the screen", "package anydesk")
    approved = msgspec.structs.replace(tool, id="vnc", approved_by="Ada", reason="contract")
    made = inventory(tools=(tool, approved))
    (card,) = judge_attention(made, Since(1, 1, 1))
    assert (card.key, card.urgent) == ("tools/anydesk", True)
    assert decode_inventory(encode_inventory(made)) == made
