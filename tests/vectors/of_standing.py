"""Vectors of what was allowed ahead: the document, an entry by it, the machine's word, a stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.access_world import LOGS, RULES, TERMINAL
from tests.standing_world import HOUR_MS, WEEK_MS, Ahead
from tests.trust_world import NOW_MS, alter, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of
from tests.vectors.of_sessions import make_access_world

from fleetward.trust.access import RootScope
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.standing_state import StandingState, make_state_payload
from fleetward.trust.keys import ES256


def standing_vectors() -> Vectors:
    v = Vectors("standing", "What was allowed ahead: whether it is in force, and lets somebody in.")
    world = make_access_world()
    ahead = Ahead(world)
    ada = world.trust.signers[0]
    standing = ahead.standing()
    base: dict[str, Any] = {**chain_of(world.trust), "standing": b64(standing.raw)}
    _documents(v, ahead, base)
    request = world.request()
    offer = world.offer(request)
    whole: dict[str, Any] = {
        **base,
        "device": public(world.machine.identity.public),
        "request": b64(request.raw),
        "offer": b64(offer.raw),
        "entry": b64(ahead.entry(standing, request, offer)),
        "boot": world.boot,
        "now": NOW_MS,
        "lease": 60,
        "sandboxed": True,
        "last_used": -1,
        "signed": NOW_MS - HOUR_MS,
        "doubt": "",
        "pressed": False,
    }
    check = "standing.entry"

    def given(**changes: Any) -> dict[str, Any]:
        return {**whole, **{n: b64(c) if isinstance(c, bytes) else c for n, c in changes.items()}}

    def entered(**changes: Any) -> dict[str, Any]:
        raw = ahead.entry(standing, request, offer)
        return given(entry=resign(raw, changes, [world.technician]))

    v.good("an entry", check, **given())
    later = ahead.entry(standing, request, offer, 1)
    v.good("a later window, in its time", check,
           **given(entry=later, now=NOW_MS + WEEK_MS, last_used=0))  # fmt: skip
    v.good("at the end of a window, shorter", check, **given(now=NOW_MS + 89 * 60_000))
    v.good("pressed at a machine without a clock", check, **given(
        now=0, doubt="no source", pressed=True))  # fmt: skip
    for name, change, refused in (
        ("used", {"last_used": 0}, "Refused/window_used"),
        ("lower than one used", {"last_used": 2}, "Refused/window_used"),
        ("too early", {"now": NOW_MS - HOUR_MS, "signed": 0}, "Refused/not_yet"),
        ("too late", {"now": NOW_MS + 2 * HOUR_MS}, "Refused/expired"),
        ("a clock in doubt", {"doubt": "no source"}, "Refused/clock_untrusted"),
        ("a clock behind a signature", {"signed": NOW_MS + 1}, "Refused/clock_untrusted"),
        ("over by a signature", {"signed": NOW_MS + WEEK_MS, "pressed": True}, "Refused/expired"),
        ("past the lease", {"lease": 0}, "Refused/lease_expired"),
        ("another boot", {"boot": "boot-2"}, "Untrusted/old_boot"),
    ):
        v.bad(name, check, refused, **given(**change))
    other = "Untrusted/another_"
    for name, value in (("owner", "00" * 32), ("device", "a" * 32), ("request", "00" * 32),
                        ("offer", "00" * 32), ("standing", "00" * 32)):  # fmt: skip
        v.bad(f"another {name}", check, other + name, **entered(**{name: value}))
    v.bad("an older epoch", check, "Untrusted/old_epoch", **entered(epoch=2))
    v.bad("no such window", check, "Untrusted/no_such_window", **entered(window=4))
    v.bad("a further field", check, "Malformed/unknown_field", **entered(more=1))
    v.bad("by an approver", check, "Untrusted/wrong_signer",
          **given(entry=ahead.entry(standing, request, offer, signer=ada)))  # fmt: skip
    v.bad("altered", check, "Untrusted/bad_signature",
          **given(entry=alter(ahead.entry(standing, request, offer), {"window": 1})))  # fmt: skip
    v.bad("a grant", check, "Malformed/wrong_type", **given(entry=world.grant(request, offer)))
    v.bad("a document as a grant", "session", "Malformed/wrong_type",
          **given(grant=standing.raw))  # fmt: skip
    wider = world.request(TERMINAL, LOGS)
    offered = world.offer(wider)
    more = ahead.entry(standing, wider, offered)
    v.bad("wider", check, "Untrusted/wider_than_standing",
          **given(request=wider.raw, offer=offered.raw, entry=more))  # fmt: skip
    elsewhere = ahead.standing(devices=("b" * 32,))
    v.bad("allowed elsewhere", check, "Untrusted/device_not_allowed", **given(
        standing=elsewhere.raw, entry=ahead.entry(elsewhere, request, offer)))  # fmt: skip
    _others(v, ahead, base)
    return v


def _documents(v: Vectors, ahead: Ahead, base: dict[str, Any]) -> None:
    world, check = ahead.access, "standing"
    ada, ben = world.trust.signers
    raw = ahead.raw()

    def allowed(signers: Any = (ada,), **changes: Any) -> dict[str, Any]:
        return {**base, "standing": b64(resign(raw, changes, list(signers)))}

    v.good("in force", check, **base)
    v.good("by two people", check, **allowed((ada, ben)))
    few = "Untrusted/too_few_signatures"
    v.bad("by nobody", check, few, **allowed(()))
    v.bad("by the technician", check, few, **allowed((world.technician,)))
    v.bad("altered", check, "Untrusted/bad_signature",
          **{**base, "standing": b64(alter(raw, {"seconds": 60}))})  # fmt: skip
    v.bad("another owner", check, "Untrusted/another_owner", **allowed(owner="00" * 32))
    v.bad("an older epoch", check, "Untrusted/old_epoch", **allowed(epoch=2))
    v.bad("a stranger", check, "Untrusted/unknown_requester", **allowed(requesters=["c" * 32]))
    v.bad("too long", check, "Refused/too_long", **allowed(seconds=3601))
    root = [RootScope().to_json()]
    v.bad("root by one", check, few, **allowed(scopes=root, seconds=60))
    v.bad("root unwatched", check, "Untrusted/not_watched",
          **allowed((ada, ben), scopes=root, seconds=60))  # fmt: skip
    v.bad("another recording key", check, "Untrusted/another_recording_key",
          **allowed(recording_key="es256:AA"))  # fmt: skip
    v.bad("a further field", check, "Malformed/unknown_field", **allowed(policy=1))
    devices = sorted([world.machine.device, "b" * 32])
    v.good("two machines", check, **allowed(devices=devices))
    for name, changes in (
        ("unsorted machines", {"devices": devices[::-1]}),
        ("a machine twice", {"devices": [devices[0]] * 2}),
        ("no machine", {"devices": []}),
        ("no requester", {"requesters": []}),
        ("a short series", {"series": "AAAA"}),
        ("idle for two hours", {"idle_seconds": 7200}),
        ("without a reason", {"reason": ""}),
        ("without a zone", {"time_zone": ""}),
    ):
        v.bad(name, check, "Malformed/bad_field", **allowed(**changes))
    one = {"not_before": NOW_MS, "not_after": NOW_MS + HOUR_MS}
    day, far = 86_400_000, NOW_MS + 400 * 86_400_000
    for name, windows in (
        ("no window", []),
        ("a window of no length", [{**one, "not_after": NOW_MS}]),
        ("a window of two days", [{**one, "not_after": NOW_MS + 2 * day}]),
        ("windows that overlap", [one, {**one, "not_before": NOW_MS + 1}]),
        ("windows in disorder", [{"not_before": NOW_MS + day, "not_after": NOW_MS + 2 * day}, one]),
        ("a window behind", [{"not_before": NOW_MS - 2 * day, "not_after": NOW_MS - day}]),
        ("a window too far ahead", [{"not_before": far, "not_after": far + HOUR_MS}]),
    ):
        v.bad(name, check, "Malformed/bad_window", **allowed(windows=windows))
    v.good("windows that touch", check, **allowed(windows=[
        one, {"not_before": NOW_MS + HOUR_MS, "not_after": NOW_MS + day}]))  # fmt: skip


def _others(v: Vectors, ahead: Ahead, base: dict[str, Any]) -> None:
    world = ahead.access
    ada, ben = world.trust.signers
    machine = world.machine.identity
    said = StandingState(
        world.machine.device, world.trust.owner, "ab" * 32, "revoked", 3, "Taken back.", NOW_MS,
        "", b"",
    )  # fmt: skip
    raw, check = seal(make_state_payload(said), [machine]), "standing.state"
    word = {**public(machine.public), "owner": world.trust.owner, "word": b64(raw)}
    v.good("a machine's word", check, **word)
    for name, changed, refused in (
        ("another machine's word", resign(raw, {}, [seeded_key(ES256, "other")]),
         "Untrusted/wrong_signer"),
        ("of another machine", resign(raw, {"device": "b" * 32}, [machine]),
         "Untrusted/another_device"),
        ("to another owner", resign(raw, {"owner": "00" * 32}, [machine]),
         "Untrusted/another_device"),
        ("an unknown word", resign(raw, {"state": "lost"}, [machine]), "Malformed/bad_field"),
    ):  # fmt: skip
        v.bad(name, check, refused, **{**word, "word": b64(changed)})
    for name, stop in (
        ("taken back", ahead.revocation("ab" * 32, ben)),
        ("a plain stop", seal(
            make_stop_payload(world.trust.policy, "ab" * 32, "", NOW_MS), [ada])),
    ):  # fmt: skip
        v.good(name, "standing.stop", **{**base, "stop": b64(stop)})
    v.bad("taken back by the technician", "standing.stop", "Untrusted/wrong_signer",
          **{**base, "stop": b64(ahead.revocation("ab" * 32, world.technician))})  # fmt: skip
    odd = resign(ahead.revocation("ab" * 32), {"what": "all"}, [ada])
    v.bad("taken back otherwise", "standing.stop", "Malformed/bad_field",
          **{**base, "stop": b64(odd)})  # fmt: skip
    # What a later policy says of what was allowed before.
    standing = ahead.raw()
    rules = {**(RULES.rules or {}), "terminal": Rule(2, 3600, watched=False, allowed=("app",))}
    world.set_rules(replace(RULES, rules=rules))
    v.bad("a policy that wants two people since", "standing", "Untrusted/too_few_signatures",
          **{**chain_of(world.trust), "standing": b64(standing)})  # fmt: skip
    world.set_rules(replace(RULES, rules={"root": Rule(2, 900, watched=True)}))
    v.bad("a policy that forbids the scope since", "standing", "Refused/scope_not_in_policy",
          **{**chain_of(world.trust), "standing": b64(standing)})  # fmt: skip
