"""Vectors of delegations: a session of somebody whom a requester sent, and what is none."""

from __future__ import annotations

from typing import Any

from tests.access_world import LOGS, PAGE, TERMINAL
from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust.canonical import JsonObject, from_base64url
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal
from fleetward.trust.grants.request import verify_request
from fleetward.trust.keys import ED25519


def delegation_vectors() -> Vectors:
    v = Vectors("delegations", "Whether a machine opens a session for somebody who was sent.")
    world, check = make_access_world(), "session"
    world.let_delegate()
    ana, thief = seeded_key(ED25519, "ana"), seeded_key(ED25519, "thief")
    tom, ada = world.technician, world.trust.signers[0]
    delegation = world.delegate(ana.public, TERMINAL, PAGE)
    raw = world.delegated_request(ana, delegation, TERMINAL)
    request = verify_request(raw, world.trust.policy, world.machine.device)
    offer = world.offer(request)
    grant = world.grant(request, offer)
    whole: dict[str, Any] = {
        **chain_of(world.trust),
        "device": public(world.machine.identity.public),
        "request": b64(raw),
        "offer": b64(offer.raw),
        "grant": b64(grant),
        "boot": world.boot,
        "now": NOW_MS,
        "lease": 60,
        "sandboxed": True,
    }

    def asking(sent: bytes, signer: Any = ana, **changes: Any) -> dict[str, Any]:
        told: JsonObject = {"delegation": b64(sent), **changes}
        return {**whole, "request": b64(resign(raw, told, [signer]))}

    def sending(**changes: Any) -> dict[str, Any]:
        return asking(resign(delegation, changes, [tom]))

    v.good("sent by the technician", check, **whole)
    stranger, known = "Untrusted/unknown_requester", "Untrusted/known_delegate"
    v.bad("not sent", check, stranger,
          **{**whole, "request": b64(world_request_without(world, ana))})  # fmt: skip
    v.bad("sent by himself", check, "Untrusted/wrong_signer",
          **asking(resign(delegation, {}, [ana])))  # fmt: skip
    v.bad("sent by an approver", check, "Untrusted/unknown_delegator",
          **asking(resign(delegation, {"delegator": ada.public.key_id}, [ada])))  # fmt: skip
    v.bad("another's delegation", check, stranger,
          **asking(delegation, thief, requester=thief.public.key_id))  # fmt: skip
    v.bad("the technician shows it himself", check, stranger,
          **asking(delegation, tom, requester=tom.public.key_id))  # fmt: skip
    v.bad("to an approver's key", check, known, **sending(key=ada.public.to_json()))
    v.bad("under an approver's name", check, known, **sending(person="ada"))
    for name, shown in (("capital", "Ada"), ("wide", "ad\uff41"), ("spaced", " ada"),
                        ("unseen mark", "a\u200bda"), ("unseen name", "\u3164")):  # fmt: skip
        v.bad(f"under a name that reads like one: {name}", check, known, **sending(person=shown))
    v.bad("altered", check, "Untrusted/bad_signature",
          **asking(alter(delegation, {"seconds": 900})))  # fmt: skip
    for name, change, refused in (
        ("of another owner", {"owner": "00" * 32}, "Untrusted/another_owner"),
        ("of another epoch", {"epoch": 2}, "Untrusted/old_epoch"),
        ("of 91 days", {"not_after": NOW_MS + 91 * 86_400_000}, "Untrusted/delegation_too_long"),
        ("that ends before it begins", {"not_after": 0}, "Untrusted/delegation_too_long"),
        ("for another machine", {"devices": ["a" * 32]}, "Refused/device_not_delegated"),
        ("for no machine", {"devices": []}, "Malformed/bad_field"),
        ("machines out of order", {"devices": ["b" * 32, "a" * 32]}, "Malformed/bad_field"),
        ("for another scope", {"scopes": [LOGS.to_json()]}, "Refused/scope_not_delegated"),
        ("for less time", {"seconds": 599}, "Refused/longer_than_delegated"),
        ("not yet", {"not_before": NOW_MS + 1}, "Refused/delegation_not_yet"),
        ("over too soon", {"not_after": NOW_MS + 599_999}, "Refused/delegation_over"),
        ("with a further field", {"more": 1}, "Malformed/unknown_field"),
    ):  # fmt: skip
        found = sending(**change)
        if refused.endswith(("not_yet", "delegation_over")):
            found = answered(world, found, request_bytes(found))
        v.bad(name, check, refused, **found)
    v.bad("a head in its place", check, "Malformed/unknown_field",
          **asking(world.trust.heads[-1].raw))  # fmt: skip
    return v


def world_request_without(world: Any, ana: Any) -> bytes:
    """Return a request of somebody whom nobody sent."""
    payload = {**world.request_payload(TERMINAL), "requester": ana.public.key_id}
    return seal(payload, [ana])


def request_bytes(given: dict[str, Any]) -> bytes:
    """Return the request of a vector."""
    return from_base64url(given["request"])


def answered(world: Any, given: dict[str, Any], raw: bytes) -> dict[str, Any]:
    """Return a vector whose request has an offer and a grant of its own."""
    request = verify_request(raw, world.trust.policy, world.machine.device)
    offer = world.offer(request)
    return {**given, "offer": b64(offer.raw), "grant": b64(world.grant(request, offer))}
