"""Closings on the server: carried, shown, kept; never judged. And the three tiers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.access_world import AccessWorld
from tests.closing_wishes import sign_closing, sign_kept, wish
from tests.server_world import ServerWorld, server_world
from tests.trust_world import Machine, refused, resign
from tests.unit.trust.test_ledger_sessions import audit, words

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.keys import make_key
from fleetward.server.closing import ingest
from fleetward.server.closing.decide import (
    STALE_MS,
    Evidence,
    Listener,
    Order,
    decide_tiers,
    orders_of,
)
from fleetward.server.web.caller import Caller, Role, Scope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.closing import Closing, ClosingReport, make_report_payload
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.keys import ED25519, ES256
from fleetward.wire.subjects import Up

OPERATOR = Caller("person", "p1", "Otto", Role.OPERATOR)


@dataclass
class There:
    """One server, two machines, and what it would tell the bus."""

    world: ServerWorld
    side: AccessWorld
    pump: Machine
    other: Machine
    orders: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def slice(self) -> Any:
        return self.world.house.closing

    def submit(self, closing: Closing) -> Any:
        return self.slice.closings.submit(closing.raw, OPERATOR)

    def say(self, machine: Machine, closing: Closing, outcome: str, **said: Any) -> None:
        """Let a machine's journal hold a signed report."""
        report = self.report(machine, closing, outcome, **said)
        body = {"closing": closing.hash, "outcome": outcome, "report": to_base64url(report)}
        self.enter(machine, f"closing.{outcome}", {**body, "words": "It says so."})

    def enter(self, machine: Machine, kind: str, body: dict[str, Any]) -> None:
        machine.write(kind, body)
        assert self.world.send(machine, Up.BATCH, machine.cut())["type"] == "receipt"

    def report(self, machine: Machine, closing: Closing, outcome: str, **said: Any) -> bytes:
        values: dict[str, Any] = {
            "device": machine.device, "owner": closing.owner, "closing": closing.hash,
            "serial": closing.serial, "outcome": outcome, "rule": "", "closed": closing.ports,
            "local_access": closing.local_access, "still_runs": (), "listening": (), "cut": (),
            "seconds_left": 600 if outcome == "applied" else 0, "words": "So it is.",
            "at_ms": self.world.clock.now,
        }  # fmt: skip
        return seal(make_report_payload(ClosingReport(**(values | said))), [machine.identity])

    def states(self, closing: Closing) -> dict[str, str]:
        row = self.slice.closings.find(closing.hash)
        shown = self.slice.shown.detail(row, (0, 50), 1)
        return {part.device_id: part.state for part in shown.machines}


@pytest.fixture
def there(database: Database, tmp_path: Path) -> Iterator[There]:
    with server_world(database, make_private_directory(tmp_path / "ca")) as world:
        pump, other = (world.join(name, preapproved=True) for name in ("pump 7", "pump 8"))
        side = AccessWorld(world.trust, make_key(ED25519), make_key(ES256), pump)
        world.confirm(pump, other)
        made = There(world, side, pump, other)
        world.house.closing.closings.carry(lambda device, raw: made.orders.append((device, raw)))
        yield made


def test_from_the_order_to_its_end(there: There) -> None:
    closing = sign_closing(there.side, wish(22), 5)
    there.submit(closing)
    assert sorted(d for d, _ in there.orders) == sorted([there.pump.device, there.other.device])
    assert set(there.states(closing).values()) == {"handed"}
    there.say(there.pump, closing, "applied")
    assert there.states(closing)[there.pump.device] == "applied"
    kept = sign_kept(there.side, closing.hash)
    there.slice.closings.keep(closing.hash, kept.raw, OPERATOR)
    there.say(there.pump, closing, "kept")
    # A machine that comes late is handed the confirmation as soon as it has closed.
    there.orders.clear()
    there.say(there.other, closing, "applied")
    assert there.orders == [(there.other.device, kept.raw)]
    assert there.states(closing)[there.pump.device] == "kept"
    row = there.slice.shown.row(there.slice.closings.find(closing.hash[:12]))
    assert (row.words, row.counts) == ("tcp/22", {"kept": 1, "applied": 1})
    assert [len(there.world.deeds(f"document.{k}")) for k in ("closing", "closing-kept")] == [1, 1]


def test_what_machines_say_becomes_a_part_of_the_record(there: There) -> None:
    """Once for each news of it: not what is repeated, and not what a filter went through."""
    closing = sign_closing(there.side, wish(22), 5)
    there.submit(closing)
    for outcome in ("applied", "applied", "undone", "applied"):
        there.say(there.pump, closing, outcome)
    there.say(there.other, closing, "refused")
    there.say(there.other, closing, "refused")
    there.slice.closings.keep(closing.hash, sign_kept(there.side, closing.hash).raw, OPERATOR)
    there.say(there.pump, closing, "kept")
    there.say(there.pump, closing, "refused")
    said = [deed["payload"] for deed in there.world.deeds("document.closing-report")]
    assert [(s["device"], s["outcome"]) for s in said] == [
        (there.pump.device, "applied"),
        (there.other.device, "refused"),
        (there.pump.device, "kept"),
    ]
    report = audit(there)
    assert report.whole
    assert "1 keeps it, 1 said no" in words(report.proven, "closing")[0]
    assert words(report.unknown, "strange_entries") == []


def test_what_a_machine_says_of_what_is_not_known_here_is_recorded(there: There) -> None:
    unknown = sign_closing(there.side, wish(22), 5)
    for outcome in ("applied", "applied", "refused"):
        there.say(there.pump, unknown, outcome)
    assert len(there.world.deeds("document.closing-report")) == 1
    assert words(audit(there).contradicted, "closing_not_signed")


def test_a_machine_that_never_stops_talking_fills_no_record(
    there: There, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "MOST_REPORTS", 3)
    for serial in range(1, 6):
        closing = sign_closing(there.side, wish(serial), serial)
        there.submit(closing)
        there.say(there.pump, closing, "applied")
        assert there.states(closing)[there.pump.device] == "applied"
    there.say(there.other, closing, "applied")
    said = [deed["payload"]["device"] for deed in there.world.deeds("document.closing-report")]
    assert said == [there.pump.device] * 3 + [there.other.device]
    assert audit(there).whole


def test_a_copy_that_nobody_signed_does_not_keep_the_true_one_out_of_the_record(
    there: There,
) -> None:
    closing = sign_closing(there.side, wish(22), 5)
    there.slice.closings.submit(resign(closing.raw, {}, [make_key(ED25519)]), OPERATOR)
    there.submit(closing)
    there.submit(closing)
    there.say(there.pump, closing, "applied")
    assert len(there.world.deeds("document.closing")) == 2
    assert audit(there).whole


def test_one_that_no_export_could_hold_is_refused(there: There) -> None:
    closing = sign_closing(there.side, wish(22), 5)
    with refused(Refused, "too_large"):
        there.world.house.ledger.append_signed("closing", closing.raw + b" " * 65_535, ("x", ""), 1)


def test_the_same_twice_is_stored_once_and_handed_again(there: There) -> None:
    closing = sign_closing(there.side, wish(22, devices=(there.pump.device,)), 5)
    there.submit(closing)
    there.submit(closing)
    assert [d for d, _ in there.orders] == [there.pump.device] * 2
    assert there.world.count("closing_part") == 1


def test_who_greets_is_handed_the_newest_that_it_has_not_answered(there: There) -> None:
    orders = there.slice.closings.orders_for
    old, new = (sign_closing(there.side, wish(port), port) for port in (22, 80))
    there.submit(old)
    there.submit(new)
    assert orders(there.pump.device) == [new.raw]
    there.say(there.pump, new, "applied")
    assert orders(there.pump.device) == []
    late = there.world.join("pump 9", preapproved=True)
    assert orders(late.device) == [new.raw]
    assert there.states(new)[late.device] == "handed"


def test_what_is_none_or_of_nobody_here(there: There) -> None:
    closing = sign_closing(there.side, wish(22), 5)
    signers = [there.side.trust.signers[0]]
    with refused(Untrusted, "another_owner"):
        there.slice.closings.submit(resign(closing.raw, {"owner": "0" * 64}, signers), OPERATOR)
    with refused(Malformed, "wrong_type"):
        there.slice.closings.submit(sign_kept(there.side, "0" * 64).raw, OPERATOR)
    with refused(Refused, "unknown_device"):
        there.submit(sign_closing(there.side, wish(22, devices=("b" * 32,)), 6))
    there.submit(closing)
    with refused(Refused, "another_closing"):
        other = sign_kept(there.side, "0" * 64)
        there.slice.closings.keep(closing.hash, other.raw, OPERATOR)
    assert there.world.deeds("closing.kept") == []


def test_a_report_counts_only_by_the_machines_own_key_and_for_itself(there: There) -> None:
    closing = sign_closing(there.side, wish(22), 5)
    there.submit(closing)
    forged = there.report(there.other, closing, "applied")
    body = {"closing": closing.hash, "outcome": "applied", "words": "x"}
    there.enter(there.pump, "closing.applied", {**body, "report": to_base64url(forged)})
    for text in ("", "????", to_base64url(b"{}"), "A" * 40_000):
        if len(text) < 30_000:
            there.enter(there.pump, "closing.applied", {**body, "report": text})
    assert set(there.states(closing).values()) == {"handed"}
    there.say(there.pump, closing, "applied")
    there.say(there.pump, closing, "refused", rule="old_serial")
    assert there.states(closing)[there.pump.device] == "applied"


def test_a_machine_shows_its_tiers_and_who_is_connected(there: There) -> None:
    peers = [{"address": "10.0.0.9", "port": 22, "process": "sshd"}]
    there.enter(there.pump, "posture.connected", {"peers": peers, "more": 3, "words": "One."})
    there.enter(there.pump, "posture.connected", {"peers": "x", "words": "Bad."})
    shown = there.slice.shown.machine(there.pump.device, OPERATOR)
    assert [(p.address, p.port) for p in shown.peers] == [("10.0.0.9", 22)]
    assert (shown.peers_more, len(shown.tiers)) == (3, 3)
    narrow = Caller("token", "t", "elsewhere", Role.OPERATOR, Scope(sites=frozenset({"Ship"})))
    with refused(Refused, "not_found"):
        there.slice.shown.machine(there.pump.device, narrow)


NOW = 10**12
SSHD = Listener("tcp", 22, "all", "sshd")


def evidence(**said: Any) -> Evidence:
    values: dict[str, Any] = {
        "now_ms": NOW, "seen_ms": NOW - 1000, "connected": True,
        "certificate_ends_ms": NOW + 1000, "policy_version": 2, "rules_words": "Nobody.",
        "looked_ms": NOW - 1000, "sight": "full", "sight_words": "", "listeners": (),
    }  # fmt: skip
    return Evidence(**(values | said))


@pytest.mark.parametrize(
    ("said", "states"),
    [
        ({}, "yes yes yes"),
        ({"seen_ms": 0, "policy_version": 0, "listeners": None}, "unknown unknown unknown"),
        ({"certificate_ends_ms": NOW}, "no yes yes"),
        ({"listeners": (SSHD,)}, "yes no yes"),
        ({"listeners": (SSHD,), "filtered_ways": frozenset({"ssh"})}, "yes yes yes"),
        ({"listeners": (SSHD,), "filtered_tcp": frozenset({22})}, "yes yes yes"),
        ({"listeners": (SSHD,), "filtered_ways": frozenset({"telnet"})}, "yes no yes"),
        ({"listeners": (Listener("tcp", 22, "loopback", "sshd"),)}, "yes yes yes"),
        ({"listeners": (Listener("tcp", 2222, "lan", "dropbear"),)}, "yes no yes"),
        ({"listeners": (Listener("tcp", 22, "all", "systemd"),)}, "yes no yes"),
        (
            {"listeners": (Listener("tcp", 9, "all", None),), "sight": "partial"},
            "yes unknown yes",
        ),
        ({"filtered_ways": frozenset({"ssh"}), "outcome": "undone"}, "yes no yes"),
        (
            {
                "connected": False, "seen_ms": NOW - STALE_MS, "looked_ms": NOW - STALE_MS,
                "listeners": (SSHD,),
            },
            "stale stale stale",
        ),
        ({"connected": False}, "stale stale stale"),
        ({"looked_ms": NOW - STALE_MS}, "yes stale yes"),
    ],
)  # fmt: skip
def test_each_tier_says_yes_no_unknown_or_stale(said: dict[str, Any], states: str) -> None:
    tiers = decide_tiers(evidence(**said))
    assert " ".join(tier.state for tier in tiers) == states
    assert all(tier.words.endswith(".") for tier in tiers)


def test_only_the_newest_order_is_handed_again() -> None:
    def order(serial: int, state: str, *, kept: bool = False) -> Order:
        return Order(str(serial), serial, state, kept, opens_all=False)

    assert orders_of([]) == ()
    assert orders_of([order(1, "handed"), order(2, "kept")]) == ()
    assert orders_of([order(1, "kept"), order(2, "handed")]) == (("2", "closing"),)
    assert orders_of([order(2, "applied", kept=True)]) == (("2", "kept"),)
    assert orders_of([order(2, "restored", kept=True)]) == ()
