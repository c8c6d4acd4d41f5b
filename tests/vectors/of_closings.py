"""Vectors of closings: the order, its confirmation, and what a machine says of them."""

from __future__ import annotations

from typing import Any, Final

from tests.closing_wishes import sign_closing, sign_kept, wish
from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust.canonical import Json
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.closing import ClosedPort, ClosingReport, make_report_payload
from fleetward.trust.envelope import seal
from fleetward.trust.keys import ES256

_REASONS: Final = {
    "a port twice": "bad_order",
    "ports out of order": "bad_order",
    "ways out of order": "bad_order",
    "machines out of order": "bad_order",
    "a field more": "unknown_field",
}


def closing_vectors() -> Vectors:
    v = Vectors("closings", "What closes ports on a machine, keeps them closed, and is reported.")
    world = make_access_world()
    ada = world.trust.signers[0]
    device, other = world.machine.device, "a" * 32
    base: dict[str, Any] = {**chain_of(world.trust), "device": device}
    closing = sign_closing(world, wish(22, 8080, udp=(161,), ways=("ssh", "telnet")), 7)

    def given(raw: bytes) -> dict[str, Any]:
        return {**base, "closing": b64(raw)}

    def changed(**changes: Json) -> dict[str, Any]:
        return given(resign(closing.raw, changes, [ada]))

    v.good("ports and ways", "closing", **given(closing.raw))
    v.good("all open again", "closing", **given(sign_closing(world, wish(), 8).raw))
    named = wish(22, devices=(device, other))
    v.good("this machine among others", "closing", **given(sign_closing(world, named, 9).raw))
    v.bad("other machines", "closing", "Untrusted/another_device",
          **given(sign_closing(world, wish(22, devices=(other,)), 9).raw))  # fmt: skip
    v.bad("altered", "closing", "Untrusted/bad_signature",
          **given(alter(closing.raw, {"restore_seconds": 61})))  # fmt: skip
    v.bad("by nobody", "closing", "Untrusted/too_few_signatures",
          **given(resign(closing.raw, {}, [])))  # fmt: skip
    v.bad("by the technician", "closing", "Untrusted/too_few_signatures",
          **given(resign(closing.raw, {}, [world.technician])))  # fmt: skip
    v.bad("another owner", "closing", "Untrusted/another_owner", **changed(owner="00" * 32))
    v.bad("another epoch", "closing", "Untrusted/old_epoch", **changed(epoch=2))
    v.bad("a head", "closing", "Malformed/wrong_type", **given(world.trust.heads[-1].raw))
    ssh = {"port": 22, "protocol": "tcp"}
    for name, changes in (
        ("port 0", {"ports": [{"port": 0, "protocol": "tcp"}]}),
        ("port 65536", {"ports": [{"port": 65536, "protocol": "tcp"}]}),
        ("a port of text", {"ports": [{"port": "22", "protocol": "tcp"}]}),
        ("another protocol", {"ports": [{"port": 22, "protocol": "sctp"}]}),
        ("a port twice", {"ports": [ssh, ssh]}),
        ("ports out of order", {"ports": [{"port": 23, "protocol": "tcp"}, ssh]}),
        ("another way", {"local_access": ["serial"]}),
        ("a way twice", {"local_access": ["ssh", "ssh"]}),
        ("ways out of order", {"local_access": ["telnet", "ssh"]}),
        ("no machine", {"devices": []}),
        ("machines out of order", {"devices": ["z" * 32, "a" * 32]}),
        ("another word for all", {"devices": "every"}),
        ("a trial too short", {"restore_seconds": 59}),
        ("a trial too long", {"restore_seconds": 86_401}),
        ("serial 0", {"serial": 0}),
        ("a field more", {"at_once": True}),
    ):
        reason = _REASONS.get(name, "bad_field")
        v.bad(name, "closing", f"Malformed/{reason}", **changed(**changes))
    kept = sign_kept(world, closing.hash)
    v.good("kept", "closing.kept", **base, kept=b64(kept.raw))
    v.bad("kept by nobody", "closing.kept", "Untrusted/too_few_signatures",
          **base, kept=b64(resign(kept.raw, {}, [])))  # fmt: skip
    v.bad("a closing is no confirmation", "closing.kept", "Malformed/wrong_type",
          **base, kept=b64(closing.raw))  # fmt: skip
    _add_reports(v, world)
    return v


def _add_reports(v: Vectors, world: Any) -> None:
    machine, owner = world.machine, world.trust.owner
    report = ClosingReport(
        machine.device, owner, "ab" * 32, 7, "applied", "", (ClosedPort("tcp", 22),), ("ssh",),
        ("ssh",), ("tcp/22 sshd",), ("10.0.0.9:40000 on tcp/22",), 600, "Closed now: tcp/22.",
        NOW_MS,
    )  # fmt: skip
    raw = seal(make_report_payload(report), [machine.identity])
    key = {**public(machine.key), "owner": owner}
    v.good("report", "closing.report", report=b64(raw), **key)
    stranger = seeded_key(ES256, "stranger")
    for name, bad, refusal in (
        ("another machine's", resign(raw, {}, [stranger]), "Untrusted/wrong_signer"),
        ("about another machine", resign(raw, {"device": "a" * 32}, [machine.identity]),
         "Untrusted/another_device"),
        ("altered", alter(raw, {"outcome": "kept"}), "Untrusted/bad_signature"),
        ("another outcome", resign(raw, {"outcome": "fine"}, [machine.identity]),
         "Malformed/bad_field"),
    ):  # fmt: skip
        v.bad(f"report: {name}", "closing.report", refusal, report=b64(bad), **key)
    v.bad("report to another owner", "closing.report", "Untrusted/another_device",
          report=b64(raw), **{**key, "owner": "00" * 32})  # fmt: skip
