"""Vectors of sessions: a request, the machine's offer, the owner's grant, and what is none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.access_world import FILES, LOGS, PAGE, RULES, TERMINAL, AccessWorld
from tests.trust_world import NOW_MS, World, alter, key_row, payload_of, resign
from tests.vectors.making import Vectors, public, seeded_key
from tests.vectors.of_owners import chain_of

from fleetward.runtime.keys import FileSigner
from fleetward.trust.access import RootScope, Scope, TcpScope, TerminalScope
from fleetward.trust.canonical import JsonObject
from fleetward.trust.canonical import to_base64url as b64
from fleetward.trust.envelope import Envelope, Signature, add_assertion, read_envelope, seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.passkey import WEBAUTHN, Assertion, challenge_of


def make_access_world() -> AccessWorld:
    """Return an owner, a technician and a machine, the same ones every time."""
    trust = World.make(("ada", "ben"), name="Sessions", new_key=seeded_key)
    machine = trust.machine()
    recording = seeded_key(ES256, "recording")
    world = AccessWorld(
        trust,
        seeded_key(ED25519, "technician"),
        FileSigner(recording.private),  # type: ignore[attr-defined]  # a SeededSigner
        machine,
        chance=seeded_chance(),
    )
    world.set_rules(RULES)
    trust.confirm(machine)
    return world


def session_vectors() -> Vectors:
    v = Vectors("sessions", "Whether a machine opens a session: request, offer, grant, moment.")
    world, check = make_access_world(), "session"
    ada, ben = world.trust.signers
    asked: tuple[Scope, ...] = (TERMINAL, PAGE, LOGS, FILES)
    request = world.request(*asked)
    offer = world.offer(request)
    grant = world.grant(request, offer)
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

    def granted(**changes: Any) -> dict[str, Any]:
        return given(grant=resign(grant, changes, [ada]))

    def asking(**changes: Any) -> dict[str, Any]:
        return given(request=resign(request.raw, changes, [world.technician]))

    v.good("all that was asked for", check, **given())
    v.good("one of it, shorter", check, **granted(scopes=[TERMINAL.to_json()], seconds=1))
    v.good("two people", check, **given(grant=resign(grant, {}, [ada, ben])))
    few, other = "Untrusted/too_few_signatures", "Untrusted/another_"
    v.bad("nobody", check, few, **given(grant=resign(grant, {}, [])))
    v.bad("the technician", check, few, **given(grant=resign(grant, {}, [world.technician])))
    v.bad("altered", check, "Untrusted/bad_signature", **given(grant=alter(grant, {"seconds": 5})))
    v.bad("a head", check, "Malformed/wrong_type", **given(grant=world.trust.heads[-1].raw))
    for name, value in (("owner", "00" * 32), ("device", "a" * 32), ("request", "00" * 32),
                        ("offer", "00" * 32), ("recording_key", "es256:AA")):  # fmt: skip
        v.bad(f"another {name}", check, other + name, **granted(**{name: value}))
    v.bad("an older policy", check, f"{other}policy",
          **granted(policy={"hash": world.trust.policies[0].hash, "version": 1}))  # fmt: skip
    v.bad("an older epoch", check, "Untrusted/old_epoch", **granted(epoch=2))
    root = [RootScope().to_json()]
    v.bad("more than asked", check, "Untrusted/wider_than_request", **granted(scopes=root))
    v.bad("longer", check, "Untrusted/longer_than_request", **granted(seconds=601))
    v.bad("no scope", check, "Malformed/bad_scope", **granted(scopes=[]))
    v.bad("a further field", check, "Malformed/unknown_field", **granted(extra=1))
    v.bad("idle for two hours", check, "Malformed/bad_field", **granted(idle_seconds=7200))
    for name, change, refused in (
        ("another boot", {"boot": "boot-2"}, "Untrusted/old_boot"),
        ("too early", {"now": NOW_MS - 1001}, "Refused/not_yet"),
        ("too late", {"now": NOW_MS + 3_600_000}, "Refused/expired"),
        ("past the lease", {"lease": 0}, "Refused/lease_expired"),
    ):
        v.bad(name, check, refused, **given(**change))
    v.bad("asked by an approver", check, "Untrusted/unknown_requester",
          **asking(requester=ada.public.key_id))  # fmt: skip
    v.bad("a session key put in", check, "Untrusted/bad_signature",
          **given(request=alter(request.raw, {"session_key": "A" * 43})))  # fmt: skip
    v.bad("asked of another machine", check, f"{other}device", **asking(device="a" * 32))
    scopes: list[tuple[Scope, str]] = [
        (TcpScope(22, "raw"), "Refused/port_never"),
        (TcpScope(7999, "raw"), "Refused/scope_not_allowed"),
        (TerminalScope("other"), "Refused/scope_not_allowed"),
        (replace(FILES, root="/srv/apple"), "Refused/scope_not_allowed"),
    ]
    for scope, refused in scopes:
        v.bad(f"asked for {scope.words()}", check, refused, **asking(scopes=[scope.to_json()]))
    v.bad("asked for a day", check, "Refused/too_long", **asking(seconds=86_400))
    v.bad("files of a way up", check, "Malformed/bad_scope",
          **asking(scopes=[{**FILES.to_json(), "root": "/srv/app/.."}]))  # fmt: skip
    stranger = seeded_key(ES256, "another machine")
    v.bad("another machine's offer", check, "Untrusted/wrong_signer",
          **given(offer=resign(offer.raw, {}, [stranger])))  # fmt: skip
    second = world.offer(world.request())
    v.bad("an offer to another request", check, f"{other}request", **given(offer=second.raw))
    session = world.judge(grant, request, offer).hash
    for name, signer in (("approver", ben), ("technician", world.technician)):
        stop = seal(make_stop_payload(world.trust.policy, session, "enough", NOW_MS), [signer])
        v.good(f"a stop by the {name}", "session.stop", **given(stop=stop))
    wrong = seal(make_stop_payload(world.trust.policy, request.hash, "", NOW_MS), [ada])
    v.bad("a stop of another", "session.stop", "Untrusted/another_session", **given(stop=wrong))
    thief = resign(wrong, {"subject": session}, [world.trust.lease_signer])
    v.bad("a stop by nobody", "session.stop", "Untrusted/wrong_signer", **given(stop=thief))
    _passkeys(v, world, given)
    return v


ORIGIN, RP_ID = "http://owner.localhost:8787", "owner.localhost"


def _passkeys(v: Vectors, world: AccessWorld, given: Any) -> None:
    """The same session under the next policy, which a passkey approves."""
    key = seeded_key(ES256, "passkey")
    plain = key_row(key.public, "eve")
    row: JsonObject = {**plain, "suite": WEBAUTHN, "rp_id": RP_ID, "origins": [ORIGIN]}
    payload = payload_of(world.trust.policy.raw)
    keys, roles = payload["keys"], payload["roles"]
    assert isinstance(keys, list) and isinstance(roles, dict)
    roles["approve"] = {"keys": [row["key_id"]], "threshold": 1}
    world.trust.next_policy({"keys": [*keys, row], "roles": roles})
    request = world.request()
    offer = world.offer(request)
    grant = read_envelope(world.grant(request, offer, signers=[]))

    def yes(
        origin: str = ORIGIN, rp_id: str = RP_ID, flags: int = 5, to: Envelope = grant, **said: Any
    ) -> bytes:
        challenge = b64(challenge_of(to.signed_bytes))
        told = {"type": "webauthn.get", "challenge": challenge, "origin": origin, **said}
        client = json.dumps(told).encode()
        data = hashlib.sha256(rp_id.encode()).digest() + bytes([flags, 0, 0, 0, 0])
        value = key.sign(data + hashlib.sha256(client).digest())
        return add_assertion(
            to, Signature(key.public.key_id, WEBAUTHN, value, Assertion(data, client))
        )

    def case(grant: bytes, **more: bytes) -> dict[str, Any]:
        papers = {"request": request.raw, "offer": offer.raw, "grant": grant, **more}
        return {**given(**papers), **chain_of(world.trust)}

    v.good("a passkey", "session", **case(yes(crossOrigin=False)))
    for name, raw, refused in (
        ("at another port", yes("http://owner.localhost:8788"), "Untrusted/passkey_origin"),
        ("of another site", yes(rp_id="console.localhost"), "Untrusted/passkey_rp_id"),
        ("without the person", yes(flags=1), "Untrusted/passkey_unverified"),
        ("in a frame", yes(crossOrigin=True), "Untrusted/passkey_framed"),
        ("for another document", yes(challenge="AAAA"), "Untrusted/passkey_challenge"),
        ("at its making", yes(type="webauthn.create"), "Untrusted/passkey_type"),
        ("as a plain key", resign(grant.raw, {}, [key]), "Untrusted/bad_suite"),
    ):
        v.bad(f"a passkey {name}", "session", refused, **case(raw))
    let_in = yes()
    payload = make_stop_payload(world.trust.policy, grant.hash, "enough", NOW_MS)
    stop = read_envelope(seal(payload, []))
    v.good("a stop by a passkey", "session.stop", **case(let_in, stop=yes(to=stop)))
    elsewhere = yes("http://owner.localhost:8788", to=stop)
    v.bad("a stop by a passkey at another port", "session.stop", "Untrusted/passkey_origin",
          **case(let_in, stop=elsewhere))  # fmt: skip
    v.bad("a stop by a passkey's yes", "session.stop", "Untrusted/passkey_challenge",
          **case(let_in, stop=_moved(let_in, stop)))  # fmt: skip


def _moved(signed: bytes, to: Envelope) -> bytes:
    """Put a passkey's signature beside another document."""
    return add_assertion(to, read_envelope(signed).signatures[0])


def seeded_chance() -> Callable[[int], bytes]:
    """Return a source of bytes that gives the same ones every time."""
    count = 0

    def take(size: int) -> bytes:
        nonlocal count
        count += 1
        return hashlib.sha256(b"fleetward vectors\x00chance %d" % count).digest()[:size]

    return take
