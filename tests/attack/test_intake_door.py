"""Attacks on the one door through which evidence reaches the server.

Each ends with a refusal that says why, nothing of it stored, and, where somebody tried something,
an entry in the owner's ledger.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from tests.server_world import ServerWorld, server_world
from tests.trust_world import Machine, World

from fleetward.runtime.database import Database
from fleetward.runtime.files import make_private_directory
from fleetward.server.groups import MAX_GROUP
from fleetward.server.intake import MAX_OPEN_BLOBS
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Unreachable
from fleetward.trust.journal import join_batch, make_batch_header, make_entry, next_head
from fleetward.wire.subjects import Up

EVIDENCE = ("events_event", "events_batch", "events_machine")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ServerWorld]:
    database = Database.open(f"sqlite:///{tmp_path / 'state.db'}")
    with server_world(database, make_private_directory(tmp_path / "ca")) as made:
        yield made
    database.close()


@pytest.fixture
def pump(world: ServerWorld) -> Machine:
    return world.join("pump 7", preapproved=True)


def stored(world: ServerWorld) -> tuple[int, ...]:
    return tuple(world.count(table) for table in EVIDENCE)


def a_batch(machine: Machine, entries: int = 3) -> bytes:
    for _ in range(entries):
        machine.write("agent.started", {"words": "The agent started."})
    return machine.cut()


def sign_over(machine: Machine, lines: list[bytes]) -> bytes:
    """A batch whose header really is signed over these lines, whatever they are."""
    head = machine.heads[0]
    for line in lines:
        head = next_head(head, line)
    machine.heads[1:] = [head] * len(lines)
    header = make_batch_header(machine.header(1, len(lines)), machine.identity)
    return join_batch(header, lines)


def test_a_good_batch_is_stored_once_and_becomes_a_leaf(world: ServerWorld, pump: Machine) -> None:
    batch = a_batch(pump)
    before = world.house.ledger.size
    for _ in range(3):
        said = world.send(pump, Up.BATCH, batch)
        assert (said["type"], said["last"], said["head"]) == ("receipt", 3, pump.heads[3].hex())
    assert stored(world) == (3, 1, 1)
    assert world.house.ledger.size == before + 1
    assert world.deeds("intake.refused") == []


def test_another_machines_batch(world: ServerWorld, pump: Machine) -> None:
    thief = world.join("thief", preapproved=True)
    assert world.refusal(thief, Up.BATCH, a_batch(pump)) == "another_device"
    assert stored(world) == (0, 0, 0)
    assert world.reasons("intake.refused") == ["another_device"]


def test_a_batch_that_claims_another_machine_by_the_thiefs_key(
    world: ServerWorld, pump: Machine
) -> None:
    thief = world.join("thief", preapproved=True)
    pump.identity = thief.identity  # names the pump in the chain, signs as the thief
    assert world.refusal(world.machines[0], Up.BATCH, a_batch(pump)) is not None
    assert stored(world) == (0, 0, 0)


MEDDLING: dict[str, Callable[[bytes], bytes]] = {
    "signature": lambda b: b.replace(b'"signature":"', b'"signature":"A', 1),
    "signed": lambda b: b.replace(
        b'"boot":"boot-1","checkpoint"', b'"boot":"boot-2","checkpoint"', 1
    ),
    "entry": lambda b: b.replace(b"started.", b"stopped.", 1),
    "swapped": lambda b: b"\n".join([b.split(b"\n")[i] for i in (0, 2, 1, 3)]),
    "dropped": lambda b: b.rpartition(b"\n")[0],
    "doubled": lambda b: b + b"\n" + b.rpartition(b"\n")[2],
    "trailing": lambda b: b + b"\n",
    "space": lambda b: b.replace(b'{"payload"', b'{ "payload"', 1),
    "cut": lambda b: b[: len(b) // 2],
    "empty": lambda _: b"",
    "noise": lambda _: bytes(range(256)) * 8,
    "null": lambda _: b"null",
}


@pytest.mark.parametrize("name", sorted(MEDDLING))
def test_an_altered_batch(world: ServerWorld, pump: Machine, name: str) -> None:
    world.refusal(pump, Up.BATCH, MEDDLING[name](a_batch(pump)))
    assert stored(world) == (0, 0, 0)
    assert len(world.deeds("intake.refused")) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"at":1,"body":{},"boot":"b","kind":"x","kind":"y","seq":1}', "not_canonical"),
        (b'{"at":1,"body":{"a":' + b"[" * 5000 + b"]" * 5000 + b'},"boot":"b"}', "too_deep"),
        (b'{"at":1,"body":{"a":"\xff\xfe"},"boot":"b","kind":"x","seq":1}', "not_utf8"),
        (b'{"at":1,"body":{"a":1.5},"boot":"b","kind":"x","seq":1}', "float"),
        (b'{"at":1,"body":{"a":"' + b"x" * 40_000 + b'"},"boot":"b","kind":"x"}', "too_large"),
        (b'{"at":1,"body":{},"boot":"b","kind":"x","seq":2}', "bad_sequence"),
        (make_entry(1, 1, "b", "x\x00y", {}), "bad_field"),
        (make_entry(1, 1, "b", "x" * 64, {}).replace(b"x" * 64, "ä".encode() * 64), "bad_kind"),
    ],
)
def test_hostile_lines_that_are_truly_signed(
    world: ServerWorld, pump: Machine, line: bytes, reason: str
) -> None:
    assert world.refusal(pump, Up.BATCH, sign_over(pump, [line])) == reason
    assert stored(world) == (0, 0, 0)


def test_ten_megabytes(world: ServerWorld, pump: Machine) -> None:
    good = a_batch(pump)
    for payload in (good + b"x" * 10_000_000, b"x" * 10_000_000, good + b"\n" * 10_000_000):
        assert world.refusal(pump, Up.BATCH, payload) == "too_large"
    for word in (Up.HELLO, Up.PROOF, Up.BLOB, Up.DOCUMENTS):
        world.refusal(pump, word, b"[" * 10_000_000)
    assert stored(world) == (0, 0, 0)


def test_a_skipped_sequence_says_where_to_go_on(world: ServerWorld, pump: Machine) -> None:
    first, second = a_batch(pump), a_batch(pump)
    said = world.send(pump, Up.BATCH, second)
    assert (said["reason"], said["stored"]) == ("out_of_sequence", 0)
    assert world.send(pump, Up.BATCH, first)["last"] == 3
    assert world.send(pump, Up.BATCH, second)["last"] == 6
    assert world.deeds("intake.refused") == []


def test_two_histories_of_one_machine(world: ServerWorld, pump: Machine) -> None:
    world.send(pump, Up.BATCH, a_batch(pump))
    twin = Machine("twin", pump.owner, pump.identity)
    for _ in range(3):
        twin.write("agent.stopped")
    assert world.refusal(pump, Up.BATCH, twin.cut()) == "forked_journal"
    for _ in range(3):
        twin.write("agent.stopped")
    assert world.refusal(pump, Up.BATCH, twin.cut()) == "forked_journal"
    assert stored(world) == (3, 1, 1)
    assert world.reasons("intake.refused") == ["forked_journal"]


def test_another_owners_batch(world: ServerWorld, pump: Machine) -> None:
    stranger = Machine("pump 7", World.make(name="Elsewhere").owner, pump.identity)
    assert world.refusal(pump, Up.BATCH, a_batch(stranger)) == "another_owner"
    assert stored(world) == (0, 0, 0)


def test_who_waits_and_who_was_retired(world: ServerWorld, pump: Machine) -> None:
    waiting = world.join("waiting")
    batch = a_batch(waiting)
    chunk = msgspec.json.encode({"digest": "0" * 64, "offset": 0, "total": 8, "data": "eA"})
    assert world.refusal(waiting, Up.BATCH, batch) == "waiting_for_owner"
    assert world.refusal(waiting, Up.BLOB, chunk) == "waiting_for_owner"
    world.confirm(waiting, pump)
    assert world.send(waiting, Up.BATCH, batch)["type"] == "receipt"
    world.trust.retire(waiting)
    world.publish()
    assert world.refusal(waiting, Up.BATCH, a_batch(waiting)) == "retired"
    assert world.refusal(waiting, Up.BLOB, chunk) == "retired"
    assert world.refusal("a" * 32, Up.BATCH, batch) == "unknown_device"
    assert stored(world) == (3, 1, 1)


def test_greetings(world: ServerWorld, pump: Machine) -> None:
    # No nonce, a wrong nonce, another machine's nonce, a nonce that is too old.
    other = world.join("other", preapproved=True)
    assert world.refusal(pump, Up.HELLO, pump.hello(b"")) == "wrong_nonce"
    assert world.refusal(pump, Up.HELLO, pump.hello(b"n" * 32)) == "wrong_nonce"
    assert world.refusal(pump, Up.HELLO, pump.hello(world.nonce(other))) == "wrong_nonce"
    late = world.nonce(pump)
    world.clock.now += 61_000
    assert world.refusal(pump, Up.HELLO, pump.hello(late)) == "wrong_nonce"
    # A right one, and then the very same again.
    hello = pump.hello(world.nonce(pump))
    assert world.send(pump, Up.HELLO, hello) == {
        "type": "hello",
        "stored": 0,
        "generation": 1,
        "state": "active",
    }
    assert world.refusal(pump, Up.HELLO, hello) == "wrong_nonce"
    # By another key; and one that was signed for another machine.
    nonce = world.nonce(pump)
    other_hello = other.hello(nonce)
    assert world.refusal(pump, Up.HELLO, other_hello) == "wrong_signer"
    assert world.send(pump, Up.HELLO, pump.hello(nonce))["type"] == "hello"


def test_a_clock_of_1970_or_of_2036_orders_nothing(world: ServerWorld, pump: Machine) -> None:
    lines = [
        make_entry(1, 0, "b", "clock.jumped", {"words": "1970"}),
        make_entry(2, world.clock.now + 10 * 365 * 86_400_000, "b", "clock.jumped", {"words": "x"}),
        make_entry(3, -(2**53 - 1), "b", "clock.jumped", {"words": "before Christ"}),
    ]
    assert world.refusal(pump, Up.BATCH, sign_over(pump, lines)) == "bad_field"
    lines = lines[:2]
    assert world.send(pump, Up.BATCH, sign_over(pump, lines))["last"] == 2
    with world.database.read() as conn:
        rows = conn.exec_driver_sql(
            "SELECT sequence, received_at FROM events_event ORDER BY received_at, sequence"
        ).all()
    assert rows == [(1, world.clock.now), (2, world.clock.now)]


def named(world: ServerWorld, pump: Machine, body: bytes) -> str:
    """Let the machine's journal name a document; return its digest as the server wants it."""
    digest = hashlib.sha256(body).hexdigest()
    summary: dict[str, str | bool] = {"os": "Debian 12", "kernel": "6.1", "root": True}
    pump.write("posture.inventory", {"digest": digest, "size": len(body), "summary": summary})
    assert world.send(pump, Up.BATCH, pump.cut())["want"] == [digest]
    return digest


def chunks(digest: str, data: bytes, size: int = 500_000) -> list[bytes]:
    return [
        msgspec.json.encode(
            {
                "digest": digest,
                "offset": at,
                "total": len(data),
                "data": to_base64url(data[at : at + size]),
            }
        )
        for at in range(0, len(data), size)
    ]


def test_documents_that_are_not_what_was_named(world: ServerWorld, pump: Machine) -> None:
    digest = named(world, pump, b"an inventory")
    cases = {
        "wrong_digest": zlib.compress(b"another inventory"),
        "bad_blob": b"no zlib at all",
        "too_large": zlib.compress(b"\x00" * (256 * 1024 * 1024), 9),
    }
    for reason, data in cases.items():
        for chunk in chunks(digest, data)[:-1]:
            assert world.send(pump, Up.BLOB, chunk)["complete"] is False
        assert world.refusal(pump, Up.BLOB, chunks(digest, data)[-1]) == reason
    unasked = zlib.compress(b"nobody asked")
    refused = world.refusal(
        pump, Up.BLOB, chunks(hashlib.sha256(b"nobody asked").hexdigest(), unasked)[0]
    )
    assert refused in ("inventory_not_named", "bad_inventory", "inventory_malformed"), refused
    assert world.count("posture_inventory") == 0
    assert sorted(set(world.reasons("intake.refused"))) == sorted({*cases, refused})


def test_one_machine_cannot_crowd_out_the_others_transfers(
    world: ServerWorld, pump: Machine
) -> None:
    other = world.join("other", preapproved=True)
    digest = named(world, pump, b"x" * 2000)
    data = zlib.compress(b"x" * 2000, 0)
    first, second = chunks(digest, data, len(data) - 10)
    assert world.send(pump, Up.BLOB, first)["offset"] == len(data) - 10
    for number in range(MAX_OPEN_BLOBS * 2):
        world.send(other, Up.BLOB, chunks(f"{number:064x}", b"y" * 100, 50)[0])
    # The last chunk completes it: refused as no inventory, but it was all there.
    assert world.send(pump, Up.BLOB, second)["reason"] not in ("wrong_digest", "bad_blob")


@pytest.mark.parametrize(
    "asked",
    [
        {"generation": 1, "size": -1, "batches": []},
        {"generation": -1, "size": 0, "batches": []},
        {"generation": 0, "size": 5, "batches": []},
        {"generation": 1, "size": 10**6, "batches": []},
        {"generation": 9, "size": 1, "batches": []},
        {"generation": 1, "size": 1, "batches": ["x"] * 257},
        {"generation": 1, "size": 1, "batches": [1]},
        {"generation": 1, "size": 2**70, "batches": []},
        {"generation": 1, "size": 1, "batches": [], "more": True},
    ],
)
def test_strange_questions_for_proof(
    world: ServerWorld, pump: Machine, asked: dict[str, object]
) -> None:
    world.send(pump, Up.BATCH, a_batch(pump))
    reason = world.refusal(pump, Up.PROOF, json.dumps(asked).encode())
    assert reason in ("bad_message", "ledger_behind", "too_many_items")


def test_equal_refusals_are_one_entry_a_minute(world: ServerWorld, pump: Machine) -> None:
    for _ in range(50):
        world.refusal(pump, Up.BATCH, b"noise")
    assert world.house.intake.refused["not_json"] == 50
    assert len(world.deeds("intake.refused")) == 1
    world.clock.now += 60_000
    world.refusal(pump, Up.BATCH, b"noise")
    counts = [deed["body"]["count"] for deed in world.deeds("intake.refused")]
    assert counts == [1, 51]


def fill_up(world: ServerWorld) -> int:
    """Let the database grow no further, as on a full disk. Every connection has its own limit."""
    with world.database.read() as conn:
        pages = int(conn.exec_driver_sql("PRAGMA page_count").scalar_one())

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    sa.event.listen(world.database.engine, "connect", limit)
    world.database.engine.dispose()
    return pages


def test_a_full_disk_takes_nothing_half_and_says_so(world: ServerWorld, pump: Machine) -> None:
    for _ in range(200):
        pump.write("agent.started", {"words": "x" * 2000})
    batch = pump.cut()
    size = world.house.ledger.size
    fill_up(world)
    assert world.refusal(pump, Up.BATCH, batch) == "database_unreachable"
    assert stored(world) == (0, 0, 0)
    assert (world.house.ledger.size, world.count("audit_leaf")) == (size, size)

    # Somebody clears the disk.
    def unlimit(connection: sqlite3.Connection, *_: object) -> None:
        connection.execute("PRAGMA max_page_count=1000000")

    sa.event.listen(world.database.engine, "connect", unlimit)
    world.database.engine.dispose()
    assert world.send(pump, Up.BATCH, batch)["last"] == 200
    assert world.house.ledger.size == size + 1


def test_the_ledger_lost_after_the_events_were_stored(
    world: ServerWorld, pump: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, size = a_batch(pump), world.house.ledger.size

    def gone(*_: object) -> None:
        raise Unreachable("the disk went away", reason="database_unreachable")

    with monkeypatch.context() as patch:
        patch.setattr("fleetward.server.audit.store.upsert_tiles", gone)
        assert world.refusal(pump, Up.BATCH, batch) == "database_unreachable"
    # No receipt, no leaf, and the tree in memory has not run ahead of the store.
    assert (world.house.ledger.size, world.count("audit_leaf")) == (size, size)
    assert world.send(pump, Up.BATCH, batch)["last"] == 3
    assert world.house.ledger.size == size + 1
    root = world.house.ledger.root_at(size + 1)
    world.restart()
    assert world.house.ledger.root_at(size + 1) == root


def test_a_batch_in_one_group_with_a_poisoned_one(world: ServerWorld, pump: Machine) -> None:
    others = [world.join(f"other {n}", preapproved=True) for n in range(8)]
    batches = [(m, a_batch(m)) for m in others]

    async def together() -> list[dict[str, object]]:
        sends = [(pump, b"noise"), *batches, batches[0], (pump, batches[1][1])]
        return [
            msgspec.json.decode(answer or b"null")
            for answer in await asyncio.gather(
                *(world.house.intake.handle(m.device, Up.BATCH, b) for m, b in sends)
            )
        ]

    said = asyncio.run(together())
    assert [s["type"] for s in said] == ["refusal", *["receipt"] * 9, "refusal"]
    assert stored(world) == (24, 8, 8)


def test_who_comes_first_does_not_wait_for_all_who_follow(
    world: ServerWorld, pump: Machine
) -> None:
    other = world.join("other", preapproved=True)
    mine = a_batch(pump)
    theirs = [a_batch(other, 1) for _ in range(MAX_GROUP * 2)]

    async def under_load() -> int:
        handle = world.house.intake.handle
        first = asyncio.create_task(handle(pump.device, Up.BATCH, mine))
        rest = [asyncio.create_task(handle(other.device, Up.BATCH, b)) for b in theirs]
        await first
        answered = sum(task.done() for task in rest)
        await asyncio.gather(*rest)
        return answered

    assert asyncio.run(under_load()) < len(theirs)
    assert world.count("events_batch") == len(theirs) + 1


def test_noise_never_gets_past_the_parser(world: ServerWorld, pump: Machine) -> None:
    noise = [b"", b"\n", b"{}", b"[]", b"null", b"\x00" * 100, b'{"a":' * 2000, b"\xff" * 50, b"1"]
    for word in (Up.BATCH, Up.HELLO, Up.PROOF, Up.BLOB, Up.DOCUMENTS):
        for payload in noise:
            world.refusal(pump, word, payload)
    assert stored(world) == (0, 0, 0)


def test_a_machine_is_not_told_of_a_policy_that_is_before_the_first(
    world: ServerWorld, pump: Machine
) -> None:
    asked = {"policy_version": -1, "head_version": 0, "roster_version": 0}
    assert world.refusal(pump, Up.DOCUMENTS, json.dumps(asked).encode()) == "bad_message"
