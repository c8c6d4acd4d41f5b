"""A session on a real machine that a passkey let in: the one approver has no other key."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

from tests.session_world import (
    RequesterEnd,
    SessionWorld,
    TerminalScope,
    decode_hash,
    session_world,
    until,
)
from tests.unit.people.authenticator import USER_PRESENT
from tests.unit.trust.test_rules_of_passkeys import PasskeyWorld

from fleetward.keyholder.access.passkeys import Yes, add_yes
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.offer import Offer
from fleetward.trust.grants.request import Request
from fleetward.trust.passkey import Assertion, challenge_of


def unsigned(world: SessionWorld, request: Request, offer: Offer) -> bytes:
    """Return a grant that nobody has signed."""
    return seal(read_envelope(world.make_grant(request, offer)).payload, [])


def say_yes(world: SessionWorld, eve: PasskeyWorld, raw: bytes) -> bytes:
    """Have Eve say yes in her browser, and her program put it beside the grant."""
    envelope = read_envelope(raw)
    challenge = to_base64url(challenge_of(envelope.signed_bytes))
    said = eve.key.get({"challenge": challenge})["response"]
    assertion = Assertion(
        from_base64url(said["authenticatorData"]), from_base64url(said["clientDataJSON"])
    )
    yes = Yes(from_base64url(said["signature"]), assertion)
    return add_yes(envelope, yes, world.access.trust.policy.roles["approve"].keys)


async def denied(world: SessionWorld, session: str) -> object:
    """Return the first rule that the machine names in its signed denial."""
    await until(lambda: world.counterpart.find("denial", session), "the machine refuses")
    denial = world.counterpart.find("denial", session)
    assert denial is not None
    return denial["rule"]


def test_a_passkey_lets_one_in(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            eve = PasskeyWorld(world.access)
            eve.adopt()
            world.access.trust.publish()
            world.start_agent()
            await world.connected()
            request = world.make_request(TerminalScope(world.user))
            offer = await world.offered(request)
            grant = say_yes(world, eve, unsigned(world, request, offer))
            await world.push(grant)
            keys = (world.access.session_private, offer.session_key)
            session = RequesterEnd(world.bus, world.device, decode_hash(grant), keys)
            await session.begin()
            shell = await session.open(0)
            await shell.type("echo sum $((40+2)); exit\n")
            await shell.until(b"sum 42")
            await session.leave()
            await world.receipt(session.session)
            (opened,) = world.entries("session.opened")
            assert opened["people"] == ["eve"]

    asyncio.run(act())


def test_a_passkey_ends_a_session(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            eve = PasskeyWorld(world.access)
            eve.adopt()
            world.access.trust.publish()
            world.start_agent()
            await world.connected()
            request = world.make_request(TerminalScope(world.user))
            offer = await world.offered(request)
            grant = say_yes(world, eve, unsigned(world, request, offer))
            await world.push(grant)
            keys = (world.access.session_private, offer.session_key)
            session = RequesterEnd(world.bus, world.device, decode_hash(grant), keys)
            await session.begin()
            await session.open(0)
            policy = world.access.trust.policy
            stop = seal(make_stop_payload(policy, decode_hash(grant), "enough", 1), [])
            # From another page it ends nothing; from the owner's own, it ends the session.
            await world.push(eve.say_yes(stop, origin="http://console.localhost:8787"))
            await session.open(0)
            await world.push(eve.say_yes(stop))
            receipt = await world.receipt(session.session)
            assert (receipt["ended_by"], receipt["ended_who"]) == ("stopped", "eve")

    asyncio.run(act())


def test_a_passkey_without_its_person_opens_nothing(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            eve = PasskeyWorld(world.access)
            eve.adopt()
            world.access.trust.publish()
            world.start_agent()
            await world.connected()
            for lies, reason in (
                ({"origin": "http://owner.localhost:8788"}, "passkey_origin"),
                ({"flags": USER_PRESENT}, "passkey_unverified"),
            ):
                request = world.make_request(TerminalScope(world.user))
                offer = await world.offered(request)
                grant = replace(eve).say_yes(unsigned(world, request, offer), **lies)
                await world.push(grant)
                session = decode_hash(grant)
                assert await denied(world, session) == reason
            assert not world.entries("session.opened")

    asyncio.run(act())
