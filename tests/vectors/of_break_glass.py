"""Vectors of BREAK-GLASS: sessions that are let in by who stands in for the approvers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.trust_world import NOW_MS, key_row, payload_of, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust.access import RootScope, TcpScope, make_access
from fleetward.trust.access_rule import Rule
from fleetward.trust.break_glass import BreakGlass
from fleetward.trust.canonical import Json, JsonObject, from_base64url
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.keys import ED25519, ES256


def break_glass_vectors() -> Vectors:
    v = Vectors("break_glass", "Whether a machine lets somebody break in, before the press.")
    world, check = make_access_world(), "session"
    cleo, cleo2 = seeded_key(ED25519, "cleo"), seeded_key(ES256, "cleo again")
    dan = seeded_key(ES256, "dan")
    ada, ben = world.trust.signers
    old = payload_of(world.trust.policy.raw)["keys"]
    assert isinstance(old, list)
    rows: list[Json] = [
        *old, key_row(cleo.public, "cleo"), key_row(cleo2.public, "cleo"),
        key_row(dan.public, "dan"),
    ]  # fmt: skip
    rules = BreakGlass(
        keys=tuple(k.public.key_id for k in (cleo, cleo2, dan, world.technician)),
        threshold=2,
        seconds=1800,
        rules={
            "root": Rule(1, 900, watched=False),
            "tcp": Rule(1, 3600, watched=False, ports=((22, 22), (80, 80))),
        },
    )
    access = world.trust.policy.access
    said = make_access(replace(access, break_glass=rules))
    world.trust.next_policy({"access": said, "keys": rows})
    asked = (RootScope(), TcpScope(80, "raw"))
    request = world.request(*asked, break_glass=True)
    offer = world.offer(request)
    grant = world.grant(request, offer, None, [cleo, dan])
    whole: dict[str, Any] = {
        **chain_of(world.trust),
        "device": public(world.machine.identity.public),
        "request": b64(request.raw),
        "offer": b64(offer.raw),
        "grant": b64(grant),
        "boot": world.boot,
        "now": NOW_MS,
        "lease": 60,
        "sandboxed": True,
    }

    def given(**changes: Any) -> dict[str, Any]:
        return {**whole, **{n: b64(c) if isinstance(c, bytes) else c for n, c in changes.items()}}

    def signed(*signers: Any, **changes: Any) -> dict[str, Any]:
        return given(grant=resign(grant, changes, list(signers)))

    def without_mark(raw: bytes, *signers: Any) -> bytes:
        payload = payload_of(raw)
        del payload["break_glass"]
        return seal(payload, list(signers))

    def asking(**changes: Any) -> dict[str, Any]:
        return given(request=resign(request.raw, changes, [world.technician]))

    few = "Untrusted/too_few_signatures"
    v.good("two who stand in", check, **given())
    v.good("the other key of one of them", check, **signed(dan, cleo2))
    v.bad("one person with two keys", check, few, **signed(cleo, cleo2))
    v.bad("one of them", check, few, **signed(dan))
    v.bad("one of them and who asks", check, few, **signed(dan, world.technician))
    v.bad("the usual approvers", check, few, **signed(ada, ben))
    v.bad("a grant that does not say so", check, "Untrusted/another_kind_of_grant",
          **given(grant=without_mark(grant, cleo, dan)))  # fmt: skip
    v.bad("false", check, "Malformed/bad_field", **signed(cleo, dan, break_glass=False))
    v.bad("a request that says false", check, "Malformed/bad_field", **asking(break_glass=False))
    v.bad("a number", check, "Malformed/bad_field", **asking(break_glass=1))
    v.bad("half an hour as root", check, "Refused/too_long", **asking(seconds=901))
    v.bad("longer than all", check, "Refused/too_long", **asking(seconds=1801))
    v.bad("a terminal of every day", check, "Refused/scope_not_in_policy",
          **asking(scopes=[{"kind": "terminal", "profile": "app"}]))  # fmt: skip
    v.bad("a port that is never opened", check, "Refused/port_never",
          **asking(scopes=[TcpScope(22, "raw").to_json()]))  # fmt: skip
    normal = world.request()
    answered = world.offer(normal)
    quiet = world.grant(normal, answered, None, [cleo, dan])
    plain = {"request": normal.raw, "offer": answered.raw}
    v.bad("who stands in, for every day", check, few, **given(**plain, grant=quiet))
    v.bad("a grant that says so alone", check, "Untrusted/another_kind_of_grant",
          **given(**plain, grant=resign(quiet, {"break_glass": True}, [ada, ben])))  # fmt: skip
    v.good("the usual approvers, for every day", check,
           **given(**plain, grant=resign(quiet, {}, [ada])))  # fmt: skip
    session = world.judge(grant, request, offer).hash
    stop = make_stop_payload(world.trust.policy, session, "enough", NOW_MS)
    for name, signer in (("an approver", ada), ("who stands in", dan)):
        v.good(f"a stop by {name}", "session.stop", **given(stop=seal(stop, [signer])))
    thief = seal(stop, [world.trust.lease_signer])
    v.bad("a stop by nobody", "session.stop", "Untrusted/wrong_signer", **given(stop=thief))
    _policies(v, given, said)
    return v


def _policies(v: Vectors, given: Any, access: JsonObject) -> None:
    """Policies whose rules no machine takes."""
    whole = given()
    base = payload_of(from_base64url(whole["policies"][-1]))
    rules = access["break_glass"]
    assert isinstance(rules, dict)
    keys = rules["keys"]
    assert isinstance(keys, list)
    signers = make_access_world().trust.signers
    for name, changes, refused in (
        ("one person", {"threshold": 1}, "Malformed/bad_field"),
        ("keys of one person", {"keys": keys[:2]}, "Malformed/bad_threshold"),
        ("fewer people than it takes", {"threshold": 4}, "Malformed/bad_threshold"),
        ("a key of nobody", {"keys": [*keys, "a" * 32]}, "Malformed/bad_role"),
        ("a day", {"seconds": 86_400}, "Malformed/bad_field"),
        ("a kind that is none", {"kinds": {"dance": {}}}, "Malformed/unknown_field"),
        ("a further field", {"more": 1}, "Malformed/unknown_field"),
    ):
        altered: dict[str, Any] = {**access, "break_glass": {**rules, **changes}}
        raw = seal({**base, "access": altered}, signers)
        policies = [*whole["policies"][:-1], b64(raw)]
        v.bad(f"rules with {name}", "session", refused, **{**whole, "policies": policies})
