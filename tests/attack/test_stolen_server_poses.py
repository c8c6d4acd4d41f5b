"""The thief poses as a machine, with a certificate that he issued himself and rows to match.

The server can be fooled about who is connected: whoever owns it owns that answer. What a machine
has said is another matter: without its identity key nothing is stored in its name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
from tests.adversary.machine import FieldMachine
from tests.adversary.stage import Stage, open_stage

from fleetward.runtime.bus import Bus, BusEndpoint, DeviceProfile, connect_bus
from fleetward.runtime.keys import FileSigner, make_key, to_pkcs8
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Unreachable
from fleetward.trust.journal import (
    NO_CHECKPOINT,
    BatchHeader,
    join_batch,
    make_batch_header,
    make_entry,
    next_head,
)
from fleetward.trust.keys import ES256
from fleetward.trust.statements import Hello, make_hello_payload
from fleetward.wire.subjects import Up, up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("poses")) as opened:
        yield opened


@contextlib.asynccontextmanager
async def posing(stage: Stage, machine: FieldMachine) -> AsyncIterator[Bus]:
    """Connect in a machine's name: a certificate of the thief's, and its serial in the database."""
    key = make_key(ES256)
    issued = stage.thief.issue(key.public, machine.device)
    folder = stage.estate.folder / f"pose-{machine.name}"
    folder.mkdir()
    (folder / "key.pem").write_bytes(to_pkcs8(key))
    (folder / "chain.pem").write_text(issued.chain_pem)
    stage.thief.write(
        "update identity_device set serial = :serial where device_id = :device",
        serial=issued.serial,
        device=machine.device,
    )
    endpoint = BusEndpoint(
        host="127.0.0.1",
        port=stage.estate.settings.bus_port,
        server_ca_pem=stage.estate.program.authorities.server_ca_pem,
        certificate_file=folder / "chain.pem",
        key_file=folder / "key.pem",
    )
    profile = DeviceProfile(machine.device)
    async with await connect_bus(endpoint, profile, on_problem=lambda p: None) as bus:
        yield bus


def stored(stage: Stage, machine: FieldMachine) -> list[tuple[int, bytes]]:
    rows = stage.thief.rows(
        "select sequence, body from events_event where device_id = :device order by sequence",
        device=machine.device,
    )
    return [(row.sequence, bytes(row.body)) for row in rows]


def make_batch(machine: FieldMachine, signer: FileSigner) -> bytes:
    """Return the batch that would follow what the machine has said, by another key."""
    tip = machine.core.journal.tip
    body = {"words": "All is well.", "what": "socket.closed"}
    entry = make_entry(tip.sequence + 1, 1, "boot-1", "posture.changed", body)
    header = BatchHeader(
        device=machine.device,
        owner=machine.core.joined.owner,
        boot="boot-1",
        first=tip.sequence + 1,
        last=tip.sequence + 1,
        previous=tip.head.hex(),
        head=next_head(tip.head, entry).hex(),
        checkpoint=NO_CHECKPOINT,
        hash="",
        raw=b"",
    )
    return join_batch(make_batch_header(header, signer), [entry])


def make_hello(machine: FieldMachine, nonce: bytes, signer: FileSigner) -> bytes:
    hello = Hello(
        device=machine.device,
        owner=machine.core.joined.owner,
        nonce=nonce,
        boot="boot-1",
        agent="0",
        wall="uid",
        sequence=1,
        journal_head="0" * 64,
        policy_version=1,
        roster_version=1,
        head_version=1,
        lease_seconds_left=1,
    )
    return seal(make_hello_payload(hello), [signer])


def test_without_the_identity_key_nothing_is_stored_in_a_machines_name(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before, said = machine.belief(), stored(stage, machine)
            wall = stage.thief.rows(
                "select wall, agent from identity_device where device_id = :d", d=machine.device
            )
            await machine.stop()
            async with posing(stage, machine) as bus:

                async def ask(word: Up, payload: bytes) -> dict[str, object]:
                    answer = await bus.request(up(machine.device, word), payload, timeout_seconds=5)
                    decoded: dict[str, object] = msgspec.json.decode(answer)
                    return decoded

                nonce = await ask(Up.NONCE, b"")
                for signer in (make_key(ES256), *stage.thief.keys):
                    greeted = await ask(
                        Up.HELLO,
                        make_hello(machine, from_base64url(str(nonce["nonce"])), signer),
                    )
                    answered = await ask(Up.BATCH, make_batch(machine, signer))
                    assert {greeted["type"], answered["type"]} == {"refusal"}
                # Its own words, again: known, and no second time in the store.
                old = machine.core.journal.read_batch(machine.core.journal.batches[0])
                assert (await ask(Up.BATCH, old))["type"] == "receipt"
            assert stored(stage, machine) == said
            assert wall == stage.thief.rows(
                "select wall, agent from identity_device where device_id = :d", d=machine.device
            )
            # And each attempt is in the record.
            tried = stage.thief.rows(
                "select body from audit_leaf where kind = 'intake.refused' and subject = :subject",
                subject=f"device:{machine.device}",
            )
            assert tried
            # The machine itself comes back by its identity key, with all that it was.
            machine.start()
            await machine.until(lambda: machine.core.connection.state != "connected", "a new guard")
            assert machine.belief().view == before.view

    stage.run(act)


def test_a_pose_reaches_no_other_machine(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine() as victim, stage.machine() as posed:
            said = stored(stage, victim)
            await posed.stop()
            async with posing(stage, posed) as bus:
                heard: list[bytes] = []

                async def listen(message: object) -> None:
                    heard.append(repr(message).encode())

                with contextlib.suppress(Unreachable):
                    await bus.subscribe(f"fw.{victim.device}.>", listen)
                for word in (Up.BATCH, Up.HELLO, Up.BEAT):
                    with pytest.raises(Unreachable):
                        await bus.request(up(victim.device, word), b"{}", timeout_seconds=1)
                old = victim.core.journal.read_batch(victim.core.journal.batches[0])
                answer = await bus.request(up(posed.device, Up.BATCH), old, timeout_seconds=5)
                assert msgspec.json.decode(answer)["reason"] == "another_device"
                victim.speak()
                await victim.settled()
                await asyncio.sleep(0.2)
                assert not heard
            now = stored(stage, victim)
            assert now[: len(said)] == said
            assert [sequence for sequence, _ in now] == list(range(1, len(now) + 1))

    stage.run(act)
