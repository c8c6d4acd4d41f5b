"""The seven properties and what needs a person."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from fleetward.server.posture.attention import Since, judge_attention
from fleetward.server.posture.decide import Context, judge_properties, judge_service
from fleetward.wire.posture import (
    SECTION_NAMES,
    Fact,
    Inventory,
    Layers,
    Machine,
    Program,
    Section,
    Service,
    Sight,
    Socket,
    Update,
    User,
)

NOW = 1_795_000_000_000
SINCE = Since(NOW, NOW, NOW)
DAY = 86_400_000
MACHINE = Machine("debian", "Debian", "12", "6.1", "x86_64", "systemd", root=True)
APART = Layers(
    own_user=True, no_new_privileges=True, seccomp=True, capabilities_dropped=True, namespaces=()
)
BARE = Layers(
    own_user=False, no_new_privileges=False, seccomp=False, capabilities_dropped=False,
    namespaces=(),
)  # fmt: skip
GOOD_FACTS = {
    "hardware.tpm": "TPM 2",
    "boot.secure_boot": "on",
    "kernel.lsm": "lockdown,yama,apparmor",
    "kernel.aslr": "2",
    "kernel.module_signing": "enforced",
    "disk.encrypted": "on",
    "updates.automatic": "on",
    "failure.core_pattern": "|/usr/lib/systemd/systemd-coredump",
    "failure.pstore": "present",
    "failure.watchdog": "present",
}
BEST = Context(
    inventory_at_ms=NOW,
    reported_at_ms=NOW,
    hardware_key=True,
    wall=True,
    certificate_until_ms=NOW + DAY,
    lineage=3,
    now_ms=NOW,
)
SSHD = Program("/usr/sbin/sshd", ("sshd",), "all", "yes", "yes", "yes", "yes", "yes")


def machine(level: str = "full", facts: dict[str, str] | None = None, **rows: Any) -> Inventory:
    made: dict[str, Any] = {
        "sockets": (Socket("tcp", "0.0.0.0", 22, "all", "sshd", user="sshd"),),
        "users": (User("ann", 1000, "/bin/sh", "locked", administrator=True, keys=1),),
        "services": (Service("ssh.service", "running", layers=APART),),
        "programs": (SSHD,),
        "updates": (),
        "kernel": tuple(
            Fact(key, key, value) for key, value in (GOOD_FACTS if facts is None else facts).items()
        ),
        **rows,
    }
    sight = Sight(level, "" if level == "full" else "no root")  # type: ignore[arg-type]
    sections: dict[str, Any] = {name: Section(sight, items) for name, items in made.items()}
    return Inventory(
        type="fleetward.inventory.v1",
        machine=Machine("d", "Debian", "12", "6.1", "x86", "systemd", root=level == "full"),
        **sections,
    )


def states(inventory: Inventory | None, context: Context = BEST) -> dict[str, str]:
    return {row.id: row.state for row in judge_properties(inventory, context)}


def test_the_best_machine_shows_all_seven_and_needs_nothing() -> None:
    rows = judge_properties(machine(), BEST)
    assert [row.id for row in rows] == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]
    assert {row.state for row in rows} == {"shown"}
    assert {row.next for row in rows} == {""}


def test_without_an_inventory_and_context_nothing_is_visible() -> None:
    rows = judge_properties(None, Context(inventory_at_ms=NOW))
    assert {row.state for row in rows} == {"not_visible"}
    assert all(row.next for row in rows)
    assert all(evidence.words for row in rows for evidence in row.evidence)


def test_a_machine_seen_without_root_is_never_called_bad() -> None:
    blind = Inventory(
        type="fleetward.inventory.v1",
        machine=MACHINE,
        **{name: Section(Sight("none", "no root")) for name in SECTION_NAMES},  # type: ignore[arg-type]  # no crowd among them
    )
    found = states(blind, Context(inventory_at_ms=NOW))
    assert set(found.values()) == {"not_visible"}


def test_each_missing_piece_is_told_with_one_next_step() -> None:
    rows = {
        row.id: row
        for row in judge_properties(
            machine(
                facts={**GOOD_FACTS, "hardware.tpm": "absent", "boot.secure_boot": "off",
                       "failure.watchdog": "absent"},
                sockets=(Socket("tcp", "0.0.0.0", 23, "all", "busybox", user="root"),),
                users=(User("eve", 1000, "/bin/sh", "set", administrator=False, keys=0),),
                services=(Service("a.service", "running", layers=APART),
                          Service("b.service", "running", layers=BARE)),
                updates=(Update("dpkg", "openssl", "1", "2", "Debian", security=True),),
            ),
            BEST,
        )
    }  # fmt: skip
    assert {row.state for row in rows.values()} == {"partly"}
    assert rows["P1"].next.startswith("Choose hardware with a TPM 2.0")
    assert rows["P2"].next.startswith("Give busybox another user than root")
    assert rows["P3"].next == "Switch Secure Boot on in the firmware."
    assert rows["P4"].next == "Run b.service as its own user, with NoNewPrivileges=yes."
    assert rows["P5"].next.startswith("Lock the password of eve")
    assert rows["P6"].next == "Install the waiting security updates."
    assert rows["P7"].next.startswith("Switch a hardware watchdog on")


def test_an_expired_certificate_and_a_password_show_nothing_of_p5() -> None:
    late = Context(inventory_at_ms=NOW, certificate_until_ms=NOW - 1, now_ms=NOW)
    users = (User("eve", 1000, "/bin/sh", "empty", administrator=False, keys=0),)
    assert states(machine(users=users), late)["P5"] == "not_shown"


def test_old_lists_do_not_show_that_no_update_waits() -> None:
    stale = machine()
    sections = {name: getattr(stale, name) for name in SECTION_NAMES}
    sections["updates"] = Section(Sight("partial", "old lists"), ())
    old = Inventory(type="fleetward.inventory.v1", machine=MACHINE, **sections)
    assert states(old)["P6"] == "partly"


def test_a_service_needs_its_own_user_and_one_layer_more() -> None:
    assert judge_service(Service("a", "running", layers=APART)) is True
    assert judge_service(Service("a", "running", layers=BARE)) is False
    assert judge_service(Service("a", "running")) is None
    only_user = Layers(
        own_user=True, no_new_privileges=False, seccomp=False, capabilities_dropped=False,
        namespaces=(),
    )  # fmt: skip
    assert judge_service(Service("a", "running", layers=only_user)) is False


def test_open_telnet_is_the_first_thing_that_needs_a_person() -> None:
    cards = judge_attention(
        machine(
            sockets=(
                Socket("tcp", "0.0.0.0", 8080, "all", "python3"),
                Socket("tcp6", "::", 8080, "all", "python3"),
                Socket("tcp", "192.168.1.5", 23, "lan", "busybox"),
                Socket("tcp", "127.0.0.1", 6379, "loopback", "redis"),
            ),
            users=(User("eve", 1000, "/bin/sh", "empty", administrator=False, keys=0),),
            updates=(Update("dpkg", "openssl", "1", "2", "Debian", security=True),),
        ),
        Since(said_ms=NOW, exposed_ms=NOW - 1, updates_ms=NOW - 2),
    )
    assert [card.since_ms for card in cards] == [NOW, NOW, NOW - 1, NOW - 2]
    assert [(card.kind, card.title) for card in cards] == [
        ("exposure", "Telnet is open on port 23"),
        ("exposure", "eve can log in without a password"),
        ("exposure", "1 port is open to every network"),
        ("updates", "1 security update is waiting"),
    ]
    assert "busybox" in cards[0].why
    assert "port 8080 (python3)" in cards[2].why


def test_the_next_step_for_what_was_not_seen_fits_who_could_see_it() -> None:
    def steps(inventory: Inventory | None) -> set[str]:
        judged = judge_properties(inventory, Context(inventory_at_ms=NOW))
        return {each.next for each in judged if each.state == "not_visible"}

    assert steps(None) == {"Wait for its first inventory."}
    blind = machine("none", {})
    assert steps(blind) == {"Let the agent see it: run it as root on this machine."}
    rooted = replace(blind, machine=replace(blind.machine, root=True))
    (step,) = steps(rooted)
    assert "the agent runs as root there" in step


def test_a_quiet_machine_needs_nobody() -> None:
    assert judge_attention(machine(sockets=()), SINCE) == []


def test_sight_is_asked_for_only_without_root() -> None:
    cards = judge_attention(machine("partial", sockets=()), SINCE)
    assert [(card.kind, card.key) for card in cards] == [("setup", "sight")]
    assert "sockets" in cards[0].why
