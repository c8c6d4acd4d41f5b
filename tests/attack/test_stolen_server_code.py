"""The stolen server tries to have something run, and to break what reads its answers.

Whatever is pushed, and whatever is answered to any of the machine's questions, must end as a
refusal that the machine signs: no process, no file, no change, and no end of the machine.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.adversary.machine import FieldMachine, make_inventory
from tests.adversary.stage import Stage, open_stage
from tests.adversary.thief import Lie

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import seal
from fleetward.wire.orders import Documents, Order
from fleetward.wire.subjects import Up

OWNED = Path("owned-by-the-thief")
COMMAND = f"touch {OWNED.name}; id > {OWNED.name}"
DEEP = b"[" * 60_000 + b"]" * 60_000
LARGE = b'{"type":"refusal","reason":"' + b"a" * 1_000_000 + b'","message":[]}'


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("code")
    with open_stage(folder) as opened:
        os.chdir(folder)
        try:
            yield opened
        finally:
            os.chdir(before)


def signed_order(stage: Stage) -> bytes:
    payload: JsonObject = {"command": COMMAND, "issued_at": 1, "type": "fleetward.command.v1"}
    return msgspec.json.encode(Order(envelope=to_base64url(seal(payload, stage.thief.keys))))


def owners_old_signature(stage: Stage) -> bytes:
    """The owner's own head, sent as if it were an order."""
    head = stage.estate.program.house.directory.require().head
    return msgspec.json.encode(Order(envelope=to_base64url(head.raw)))


def code_in_a_bundle(stage: Stage) -> bytes:
    return msgspec.json.encode(
        Documents(bundle=to_base64url(b'{"run":"' + COMMAND.encode() + b'"}'))
    )


PUSHED: dict[str, tuple[Callable[[Stage], bytes], tuple[str, str]]] = {
    "signed with the server's keys": (signed_order, ("order", "order_unsigned")),
    "under a signature of the owner's": (owners_old_signature, ("order", "order_unknown")),
    "no envelope": (
        lambda _: msgspec.json.encode(Order(envelope=to_base64url(COMMAND.encode()))),
        ("order", "not_json"),
    ),
    "as documents": (code_in_a_bundle, ("documents", "unknown_field")),
    "a word that is none": (
        lambda _: b'{"type":"run","command":"' + COMMAND.encode() + b'"}',
        ("message", "unknown_word"),
    ),
    "a reduction that is none": (
        lambda _: b'{"type":"reduce","what":"' + COMMAND.encode() + b'"}',
        ("message", "unknown_word"),
    ),
    "a reduction with an argument": (
        lambda _: b'{"type":"reduce","what":"report_now","command":"' + COMMAND.encode() + b'"}',
        ("message", "unknown_word"),
    ),
    "an answer, unasked": (
        lambda _: b'{"type":"receipt","last":1,"head":"","want":[]}',
        ("message", "unknown_word"),
    ),
    "a word twice": (
        lambda _: b'{"type":"reduce","what":"report_now","what":"reconnect"}',
        ("message", "duplicate_key"),
    ),
    "deep nesting": (lambda _: DEEP, ("message", "unknown_word")),
    "no UTF-8": (lambda _: b'{"type":"order","envelope":"\xff"}', ("message", "unknown_word")),
    "nothing": (lambda _: b"", ("message", "unknown_word")),
}


@pytest.mark.parametrize("name", PUSHED)
def test_what_is_pushed_runs_nothing(stage: Stage, name: str) -> None:
    make, refusal = PUSHED[name]

    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            for word in ("order", "documents", "reduce", "run"):
                await stage.thief.push(machine, word, make(stage))
            await stage.expect_refusal(machine, before, refusal)
            await machine.until(lambda: machine.refusals().count(refusal) == 4, "one for each")
            assert not OWNED.exists()
            await stage.expect_health(machine)

    stage.run(act)


ANSWERS: dict[str, bytes] = {
    "noise": b"\x00\x01\x02",
    "deep": DEEP,
    "large": LARGE,
    "duplicate": b'{"type":"refusal","reason":"a","reason":"b","message":""}',
    "types": b'{"type":"receipt","last":"1","head":[],"want":{}}',
    "huge number": b'{"type":"hello","stored":1' + b"0" * 4000 + b',"generation":1,"state":""}',
    "negative": b'{"type":"hello","stored":-7,"generation":1,"state":""}',
    "a nonce of three bytes": b'{"type":"nonce","nonce":"AAAA"}',
    "another answer": b'{"type":"blob","digest":"aa","offset":1,"complete":true}',
    "code": b'{"type":"run","command":"' + COMMAND.encode() + b'"}',
}
SUBJECTS = {
    Up.NONCE: "nonce",
    Up.HELLO: "greeting",
    Up.BATCH: "receipt",
    Up.PROOF: "proof",
    Up.DOCUMENTS: "documents",
}


@pytest.mark.parametrize("word", SUBJECTS)
def test_answers_that_are_none_are_refused(stage: Stage, word: Up) -> None:
    """Every broken answer to one question, one after the other, to one machine."""

    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            for name, answer in ANSWERS.items():
                since = len(machine.refusals())
                with stage.thief.answering(word, machine, saying(answer)):
                    await provoke(machine, word)
                    await wait_refusal(machine, SUBJECTS[word], since, name)
            assert machine.belief() == before
            assert not OWNED.exists()
            await machine.restart()
            await stage.expect_health(machine)

    stage.run(act)


def saying(answer: bytes) -> Lie:
    """Return the lie that is always the same."""
    return lambda question, honest: answer


async def provoke(machine: FieldMachine, word: Up) -> None:
    """Have a machine ask the server something."""
    if word in (Up.NONCE, Up.HELLO, Up.DOCUMENTS):
        await machine.restart()
    else:
        machine.speak()


async def wait_refusal(machine: FieldMachine, subject: str, since: int, name: str) -> None:
    """Wait until the machine has signed that it refused an answer about `subject`."""
    await machine.until(
        lambda: any(what == subject for what, _ in machine.refusals()[since:]),
        f"the answer {name!r} is refused as {subject}: {machine.refusals()[since:]}",
        seconds=45.0,
    )


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b'{"type":"blob","digest":"","offset":-1,"complete":false}',
        b'{"type":"blob","digest":"..","offset":1,"complete":true}',
        b'{"type":"refusal","reason":"too_large","message":""}',
    ],
)
def test_a_broken_answer_about_an_inventory_stops_nobody(stage: Stage, answer: bytes) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            machine.document = lambda: make_inventory(80, 1000 + zlib.crc32(answer) % 50_000)
            with stage.thief.answering(Up.BLOB, machine, saying(answer)) as asked:
                machine.core.looking.ask()
                await machine.until(lambda: asked, "the inventory is asked for")
                await machine.until(lambda: not machine.core.blobs.wanted, "it gives up")
            assert machine.belief() == before
            await stage.expect_health(machine)

    stage.run(act)


@pytest.mark.parametrize(("offset", "complete"), [(2**40, False), (0, True), (0, False)])
def test_an_inventory_that_is_never_taken_stops_nobody(
    stage: Stage, offset: int, complete: bool
) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()

            def lie(question: bytes, honest: bytes) -> bytes:
                digest = msgspec.json.decode(question)["digest"]
                answer = {"type": "blob", "digest": digest, "offset": offset, "complete": complete}
                return msgspec.json.encode(answer)

            machine.document = lambda: make_inventory(1000 + abs(offset) % 1000, 7 + complete)
            with stage.thief.answering(Up.BLOB, machine, lie) as asked:
                machine.core.looking.ask()
                await machine.until(lambda: asked, "the inventory is asked for")
                await machine.until(lambda: not machine.core.blobs.wanted, "it gives up or is done")
            assert machine.belief() == before
            await stage.expect_health(machine)

    stage.run(act)


def test_the_server_can_only_hurry_a_machine(stage: Stage) -> None:
    """What is taken unsigned: report sooner, connect again. It is journalled, and bounded."""

    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            for _ in range(100):
                await stage.thief.push(machine, "reduce", b'{"type":"reduce","what":"report_now"}')
            await machine.until(lambda: machine.entries("gate.reduced"), "it is journalled")
            await stage.expect_health(machine)
            assert len(machine.entries("gate.reduced")) < 60
            looks = len(machine.entries("posture.inventory"))
            assert looks <= 3, "a hundred words, and not a hundred looks"
            assert machine.belief() == before

    stage.run(act)
