"""Any history of closings, confirmations and time against a simple oracle; and hostile bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.access_world import AccessWorld
from tests.closing_wishes import sign_closing, sign_kept, wish
from tests.trust_world import alter, payload_of

from fleetward.trust.closing import (
    LOCAL_ACCESS,
    ClosedPort,
    ClosingReport,
    ClosingWish,
    make_closing_payload,
    make_report_payload,
    say_closed,
    verify_closing,
    verify_closing_of_owner,
    verify_closing_report,
    verify_kept,
)
from fleetward.trust.closing_standing import (
    Standing,
    begin,
    keep,
    note_carried_out,
    restore,
)
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted

WORLD = AccessWorld.make(("ada",))
PORTS = st.lists(
    st.builds(ClosedPort, st.sampled_from(("tcp", "udp")), st.integers(1, 65535)),
    max_size=8, unique=True,
)  # fmt: skip
WISHES = st.builds(
    ClosingWish,
    st.just(()),
    PORTS.map(tuple),
    st.lists(st.sampled_from(LOCAL_ACCESS), unique=True, max_size=2).map(tuple),
    st.integers(60, 86_400),
    st.text("abc ", max_size=20),
)


@dataclass
class Oracle:
    """What a person would say is closed: names of closings, and no cleverness."""

    highest: int = 0
    kept: str = ""
    trial: str = ""
    done: bool = False

    @property
    def now(self) -> str:
        return self.trial or self.kept


@given(st.lists(st.tuples(st.sampled_from("cokrd"), st.integers(1, 12)), max_size=30))
def test_every_history_agrees_with_the_oracle(steps: list[tuple[str, int]]) -> None:
    made: dict[int, Any] = {}
    standing, oracle = Standing(), Oracle()
    for what, number in steps:
        if what in "co":
            wanted = wish() if what == "o" else wish(number)
            closing = made.setdefault(number, sign_closing(WORLD, wanted, number))
            opens = closing.opens_all
            try:
                standing = begin(standing, closing)
                taken = True
            except Refused as e:
                taken = False
                assert e.reason == "old_serial"
            assert taken == (number > oracle.highest)
            if taken:
                oracle.highest, oracle.done = number, False
                oracle.trial = "" if opens else closing.hash
                oracle.kept = closing.hash if opens else oracle.kept
        elif what == "k" and number in made:
            named = made[number].hash
            try:
                standing = keep(standing, sign_kept(WORLD, named))
                held = True
            except Refused:
                held = False
            good = named == oracle.kept or (named == oracle.trial and oracle.done)
            assert held == good
            if held and named != oracle.kept:
                oracle.kept, oracle.trial, oracle.done = named, "", False
        elif what == "r":
            standing, oracle.trial, oracle.done = restore(standing), "", False
        elif what == "d":
            standing, oracle.done = note_carried_out(standing), bool(oracle.trial)
        assert (standing.wanted.closing if standing.wanted else "") == oracle.now
        assert standing.serial == oracle.highest


@given(WISHES, st.integers(1, 2**53 - 1))
def test_what_is_made_is_read_as_it_was(wanted: ClosingWish, serial: int) -> None:
    policy, device = WORLD.trust.policy, WORLD.machine.device
    raw = seal(make_closing_payload(policy, wanted, serial, 5), [WORLD.trust.signers[0]])
    closing = verify_closing(raw, policy, device)
    assert (closing.ports, closing.serial) == (tuple(sorted(wanted.ports)), serial)
    assert set(closing.local_access) == set(wanted.local_access)
    assert closing.opens_all == (not wanted.ports and not wanted.local_access)
    assert verify_closing_of_owner(raw, policy).hash == closing.hash
    assert say_closed(closing.ports, closing.local_access)
    with pytest.raises(FleetwardError):
        verify_kept(raw, policy)


@given(st.data())
def test_no_changed_byte_is_taken(data: st.DataObject) -> None:
    raw = sign_closing(WORLD, wish(22, 80, ways=("ssh",)), 7).raw
    at = data.draw(st.integers(0, len(raw) - 1))
    bit = data.draw(st.integers(0, 7))
    bad = raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]
    with pytest.raises((Malformed, Untrusted)):
        verify_closing(bad, WORLD.trust.policy, WORLD.machine.device)


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_our_own_errors(data: bytes) -> None:
    policy, key = WORLD.trust.policy, WORLD.machine.key
    for read in (
        lambda: verify_closing(data, policy, WORLD.machine.device),
        lambda: verify_kept(data, policy),
        lambda: verify_closing_report(data, key, policy.owner),
    ):
        with pytest.raises((Malformed, Untrusted)):
            read()


@given(
    st.sampled_from(["devices", "epoch", "owner", "ports", "serial", "local_access", "type"]),
    st.sampled_from([None, 0, -1, 1.5, "", "x", [], {}, [1], [[]], True, 2**60]),
)
def test_every_field_changed_is_refused(name: str, value: Any) -> None:
    closing = sign_closing(WORLD, wish(22), 7)
    if payload_of(closing.raw)[name] == value:
        return
    try:
        bad = alter(closing.raw, {name: value})
    except FleetwardError:
        return
    with pytest.raises((Malformed, Untrusted)):
        verify_closing(bad, WORLD.trust.policy, WORLD.machine.device)


def test_a_report_is_read_as_it_was_signed() -> None:
    owner, machine = WORLD.trust.owner, WORLD.machine
    report = ClosingReport(
        machine.device, owner, "ab" * 32, 7, "applied", "", (ClosedPort("tcp", 22),), ("ssh",),
        ("ssh",), ("tcp/22 sshd",), ("10.0.0.9:5 on tcp/22",), 600, "Closed.", 5,
    )  # fmt: skip
    raw = seal(make_report_payload(report), [machine.identity])
    read = verify_closing_report(raw, machine.key, owner)
    assert make_report_payload(read) == make_report_payload(report)
