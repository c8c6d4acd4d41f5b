"""The stolen server lies about what it stored, about its record, and about certificates.

A machine drops nothing that was not proven to it, follows no record that contradicts the one it
has seen, takes no certificate that is not its own, and goes nowhere else than where it was told
when it joined.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator

import msgspec
import pytest
from tests.adversary.machine import FieldMachine
from tests.adversary.stage import Stage, open_stage
from tests.adversary.thief import Thief

from fleetward.runtime import x509
from fleetward.runtime.keys import make_key
from fleetward.server.identity.issuing import IssuedCertificate
from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.generation import make_opening_payload
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import ED25519, PublicKey
from fleetward.trust.note import Checkpoint, origin_of, read_checkpoint, sign_checkpoint
from fleetward.wire.audit import ProofReply
from fleetward.wire.subjects import Up


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with open_stage(tmp_path_factory.mktemp("evidence")) as opened:
        yield opened


# --- receipts


def test_a_receipt_without_storing_drops_nothing(stage: Stage) -> None:
    """The server acknowledges everything and stores nothing; the machine keeps all of it."""

    async def act() -> None:
        async with stage.machine() as machine:
            thief, kept = stage.thief, machine.core.journal.tip.sequence

            def swallow(question: bytes, honest: bytes) -> bytes:
                header = msgspec.json.decode(question.split(b"\n", 1)[0])["payload"]
                receipt = {"type": "receipt", "last": header["last"], "head": header["head"]}
                return msgspec.json.encode(receipt)

            sql = "delete from {} where device_id = :device and {} > :kept"
            with (
                thief.answering(Up.BATCH, machine, swallow),
                thief.answering(Up.PROOF, machine, lambda q, a: REFUSAL),
            ):
                last = machine.speak()
                await machine.until(lambda: machine.core.state.acknowledged >= last, "a receipt")
                # What slipped into the store on its way through the thief's hands goes again.
                for table, column in (("events_event", "sequence"), ("events_batch", "first")):
                    thief.write(sql.format(table, column), device=machine.device, kept=kept)
                assert machine.core.outbox.unproven > 0
                machine.core.time.powered_ms = lambda: 10**15  # type: ignore[method-assign]
                assert machine.core.outbox.drop_old() == 0
                del machine.core.time.powered_ms
            assert machine.core.journal.find_ending(last) is not None

    stage.run(act)


REFUSAL = b'{"type":"refusal","reason":"later","message":"Come again."}'


@pytest.mark.parametrize(
    "changes",
    [{"last": 10**9}, {"head": "0" * 64}, {"last": 0}, {"head": ""}],
    ids=["ahead", "another head", "nothing", "no head"],
)
def test_a_receipt_for_something_else_is_refused(stage: Stage, changes: JsonObject) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before, checkpoint = machine.belief(), machine.checkpoint

            def lie(question: bytes, honest: bytes) -> bytes:
                return msgspec.json.encode({**msgspec.json.decode(honest), **changes})

            acknowledged = machine.core.state.acknowledged
            with stage.thief.answering(Up.BATCH, machine, lie):
                machine.speak()
                await stage.expect_refusal(machine, before, ("receipt", "bad_receipt"))
                assert machine.core.state.acknowledged == acknowledged
                assert machine.checkpoint == checkpoint
            await stage.expect_health(machine)

    stage.run(act)


def test_a_claim_of_more_than_there_is_is_refused_and_shown(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()

            def lie(question: bytes, honest: bytes) -> bytes:
                return msgspec.json.encode({**msgspec.json.decode(honest), "stored": 10**6})

            with stage.thief.answering(Up.HELLO, machine, lie):
                await machine.restart()
                await stage.expect_refusal(machine, before, ("receipt", "stored_ahead"))
            assert machine.core.state.record == "incomplete"
            await stage.expect_health(machine)
            assert machine.core.state.record == "intact"

    stage.run(act)


def test_a_server_that_forgets_again_and_again_fills_no_disk(stage: Stage) -> None:
    """Each loss of the store is worth an entry, but not a thousand of them in an hour."""

    async def act() -> None:
        async with stage.machine() as machine:
            place = [0]

            def lie(question: bytes, honest: bytes) -> bytes:
                place[0] += 1
                stored = 0 if place[0] % 2 else machine.core.journal.batches[-1].last
                answer = {"type": "refusal", "reason": "out_of_sequence", "message": "",
                          "stored": stored}  # fmt: skip
                return msgspec.json.encode(answer)

            with stage.thief.answering(Up.BATCH, machine, lie):
                machine.speak()
                await machine.until(lambda: machine.entries("store.lost"), "it notices")
                for _ in range(300):
                    machine.core.outbox.start_session(machine.core.journal.batches[-1].last)
                    machine.core.outbox.start_session(0)
            assert len(machine.entries("store.lost")) <= 60
            await stage.expect_health(machine)

    stage.run(act)


# --- proofs and checkpoints


def resigned(thief: Thief, reply: ProofReply, size: int, root: bytes) -> str:
    origin = origin_of(thief.estate.owner_root, reply.generation)
    return sign_checkpoint(Checkpoint(origin, size, root), thief.log_key).decode()


def checkpoint_of(reply: ProofReply) -> Checkpoint:
    return read_checkpoint(reply.checkpoint.encode()).checkpoint


def another_root(thief: Thief, reply: ProofReply) -> ProofReply:
    note = resigned(thief, reply, checkpoint_of(reply).size, bytes(32))
    return msgspec.structs.replace(reply, checkpoint=note)


def forked_ahead(thief: Thief, reply: ProofReply) -> ProofReply:
    note = resigned(thief, reply, checkpoint_of(reply).size + 9, bytes(32))
    return msgspec.structs.replace(reply, checkpoint=note)


def rolled_back(thief: Thief, reply: ProofReply) -> ProofReply:
    note = resigned(thief, reply, 1, bytes(32))
    return msgspec.structs.replace(reply, checkpoint=note, consistency=[])


def strange_key(thief: Thief, reply: ProofReply) -> ProofReply:
    state = checkpoint_of(reply)
    note = sign_checkpoint(state, make_key(ED25519)).decode()
    return msgspec.structs.replace(reply, checkpoint=note)


def another_owner(thief: Thief, reply: ProofReply) -> ProofReply:
    state = checkpoint_of(reply)
    other = Checkpoint(origin_of("0" * 64, reply.generation), state.size, state.root)
    note = sign_checkpoint(other, thief.log_key).decode()
    return msgspec.structs.replace(reply, checkpoint=note)


def wrong_path(thief: Thief, reply: ProofReply) -> ProofReply:
    lie = to_base64url(bytes(32))
    items = [msgspec.structs.replace(i, path=[lie, *i.path[1:]]) for i in reply.items]
    return msgspec.structs.replace(reply, items=items)


def wrong_place(thief: Thief, reply: ProofReply) -> ProofReply:
    items = [msgspec.structs.replace(i, index=0) for i in reply.items]
    return msgspec.structs.replace(reply, items=items)


def strange_batch(thief: Thief, reply: ProofReply) -> ProofReply:
    items = [msgspec.structs.replace(i, batch="0" * 64) for i in reply.items]
    return msgspec.structs.replace(reply, items=items)


def own_opening(thief: Thief, reply: ProofReply) -> ProofReply:
    """The thief opens a new generation himself, and names a state that hides what he removed."""
    state = checkpoint_of(reply)
    seen = SeenCheckpoint(reply.generation, 1, "0" * 64)
    policy = thief.estate.program.house.directory.require().policy
    opening = seal(make_opening_payload(policy, seen, "a restore", 1), thief.keys)
    origin = origin_of(thief.estate.owner_root, reply.generation + 1)
    note = sign_checkpoint(Checkpoint(origin, 1, state.root), thief.log_key).decode()
    return ProofReply(
        generation=reply.generation + 1, checkpoint=note, consistency=[], items=[],
        opening=to_base64url(opening),
    )  # fmt: skip


def no_opening(thief: Thief, reply: ProofReply) -> ProofReply:
    return msgspec.structs.replace(own_opening(thief, reply), opening="")


PROOFS: dict[str, tuple[Callable[[Thief, ProofReply], ProofReply], tuple[str, str]]] = {
    "a root that nothing leads to": (another_root, ("proof", "bad_consistency_proof")),
    "a longer record that nothing leads to": (forked_ahead, ("proof", "bad_consistency_proof")),
    "a strange log key": (strange_key, ("proof", "unsigned_note")),
    "another owner's log": (another_owner, ("proof", "wrong_origin")),
    "a wrong path": (wrong_path, ("proof", "bad_inclusion_proof")),
    "a wrong place": (wrong_place, ("proof", "bad_inclusion_proof")),
    "a batch that was not asked for": (strange_batch, ("proof", "not_asked")),
    "a generation that the thief opened": (own_opening, ("proof", "too_few_signatures")),
    "a generation that nobody opened": (no_opening, ("proof", "not_json")),
}


@pytest.mark.parametrize("name", PROOFS)
def test_a_false_proof_proves_nothing(stage: Stage, name: str) -> None:
    forge, refusal = PROOFS[name]

    async def act() -> None:
        async with stage.machine() as machine:
            before, checkpoint = machine.belief(), machine.checkpoint

            def lie(question: bytes, honest: bytes) -> bytes:
                reply = msgspec.json.decode(honest, type=ProofReply)
                return msgspec.json.encode(forge(stage.thief, reply))

            with stage.thief.answering(Up.PROOF, machine, lie):
                last = machine.speak()
                await stage.expect_refusal(machine, before, refusal)
                assert machine.checkpoint == checkpoint
                batch = machine.core.journal.find_after(last - 1)
                assert batch is not None
                assert batch.proof is None
            # Whether the server lies, or what carries its proof is broken, nobody can tell here.
            unproven = refusal[1] == "bad_consistency_proof"
            assert machine.core.state.record == ("unproven" if unproven else "intact")
            await stage.expect_health(machine)
            await machine.settled()
            assert machine.core.state.record == "intact"

    stage.run(act)


def test_an_older_checkpoint_is_a_loss_that_the_machine_signs(stage: Stage) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before, checkpoint = machine.belief(), machine.checkpoint

            def lie(question: bytes, honest: bytes) -> bytes:
                reply = msgspec.json.decode(honest, type=ProofReply)
                return msgspec.json.encode(rolled_back(stage.thief, reply))

            with stage.thief.answering(Up.PROOF, machine, lie):
                machine.speak()
                await machine.until(lambda: machine.entries("store.lost"), "it notices the loss")
                assert machine.checkpoint == checkpoint
                assert machine.core.outbox.unproven > 0
            assert machine.belief() == before
            await stage.expect_health(machine)

    stage.run(act)


# --- certificates


Issue = Callable[[Thief, FieldMachine, PublicKey], IssuedCertificate]


def for_another_machine(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    return thief.issue(key, "a" * 32)


def for_another_owner(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    return thief.issue(key, machine.device, owner="0" * 64)


def over_another_key(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    return thief.issue(thief.spare_key.public, machine.device)


def by_another_authority(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    now = thief.estate.clock.wall_ms()
    own = x509.make_authority("Fleetward", not_before_ms=now - 10**6, days=9, path_length=0)
    return thief.issue(key, machine.device, authority=own)


def with_a_strange_top(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    """The right fleet CA at the end of a chain that it did not begin."""
    issued = by_another_authority(thief, machine, key)
    chain = thief.estate.program.house.directory.issuing_chain()
    root = x509.write_certificates(x509.read_certificates(chain.encode())[-1:]).decode()
    return IssuedCertificate(issued.chain_pem + root, issued.serial, issued.not_after_ms)


def noise(thief: Thief, machine: FieldMachine, key: PublicKey) -> IssuedCertificate:
    text = base64.b64encode(bytes(300)).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"
    return IssuedCertificate(pem, "1", 1)


CERTIFICATES: dict[str, Issue] = {
    "another_device": for_another_machine,
    "another owner": for_another_owner,
    "wrong_transport_key": over_another_key,
    "wrong_fleet_ca": by_another_authority,
    "bad_certificate_chain": with_a_strange_top,
    "noise": noise,
}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_certificate_that_is_not_its_own_is_not_taken(stage: Stage, name: str) -> None:
    issue = CERTIFICATES[name]

    async def act() -> None:
        async with stage.machine() as machine:
            before, bundle = machine.belief(), stage.thief.honest_bundle(machine)

            def lie(key: PublicKey) -> tuple[IssuedCertificate, Bundle]:
                return issue(stage.thief, machine, key), bundle

            with stage.thief.renewing(machine, lie), pytest.raises(FleetwardError):
                await stage.thief.renew(machine)
            await machine.until(machine.refusals, "it is refused")
            subject, reason = machine.refusals()[0]
            assert subject == "certificate"
            assert reason == name or " " in name or name == "noise"
            assert machine.belief() == before
            await machine.restart()
            await stage.expect_health(machine)

    stage.run(act)


@pytest.mark.parametrize(
    ("answer", "own", "family"),
    [
        (b"HTTP/1.1 307 Go\r\nLocation: https://127.0.0.1:1/enrol/v1/renew\r\n", False, Refused),
        (b"HTTP/1.1 301 Go\r\nLocation: http://169.254.169.254/\r\n", False, Refused),
        (b"HTTP/1.1 200 OK\r\n", True, Untrusted),
    ],
    ids=["307", "301", "another TLS key"],
)
def test_enrolment_leads_nowhere_else(
    stage: Stage, answer: bytes, own: bool, family: type[FleetwardError]
) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            full = answer + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            async with stage.thief.enrolment_replaced(lambda _: full, own_certificate=own) as heard:
                with pytest.raises(family):
                    await stage.thief.renew(machine)
                assert len(heard) == (0 if own else 1)
            assert machine.belief() == before
            await stage.expect_health(machine)

    stage.run(act)


@pytest.mark.parametrize("body", [b"{}", b"[" * 50_000, b'{"certificate":1,"bundle":2}', b""])
def test_an_answer_to_a_renewal_that_is_none_is_refused(stage: Stage, body: bytes) -> None:
    async def act() -> None:
        async with stage.machine() as machine:
            before = machine.belief()
            length = str(len(body)).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + body
            async with stage.thief.enrolment_replaced(lambda _: answer):
                with pytest.raises(FleetwardError):
                    await stage.thief.renew(machine)
            await stage.expect_refusal(machine, before, ("certificate", "bad_reply"))
            await stage.expect_health(machine)

    stage.run(act)
