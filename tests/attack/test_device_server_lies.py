"""A server that lies to a machine: forged receipts, proofs, checkpoints, documents and orders.

Whatever it says, the machine keeps its owner and its evidence, and writes down what was tried.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.trust_world import World, alter, refused
from tests.unit.device.device_world import (
    DAY_MS,
    Fleet,
    Guarded,
    SmallServer,
    begin_join,
    make_inventory,
    pushed,
)

from fleetward.device.identity.join import Joining, check_same_owner
from fleetward.device.identity.joined import GuardFiles
from fleetward.device.port import (
    GetBatch,
    GetChunk,
    GetProofRequest,
    Greet,
    TakeCertificate,
    TakeChunkReply,
    TakeGreeting,
    TakeProof,
    TakePushed,
    TakeReceipt,
    TakeServerCa,
    Vouch,
)
from fleetward.device.refusals import ENTRIES_AN_HOUR
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import document_hash, seal
from fleetward.trust.errors import FleetwardError, Malformed, Misuse, Refused, Untrusted
from fleetward.trust.generation import make_opening_payload
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import ED25519, ES256
from fleetward.wire.audit import ProofReply, Receipt
from fleetward.wire.identity import CertificateReply, HelloReply
from fleetward.wire.orders import Order


@pytest.fixture
def machine(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path / "guard", Fleet.make())


@pytest.fixture
def server(machine: Guarded) -> SmallServer:
    machine.tick()
    return SmallServer(machine.fleet, machine.core.signer.public)


def last_refusal(machine: Guarded) -> tuple[str, str, str]:
    body = machine.bodies("gate.refused")[-1]
    return str(body["what"]), str(body["reason"]), str(body["words"])


# --- documents


def test_documents_of_another_owner_are_refused_in_plain_words(machine: Guarded) -> None:
    before = machine.core.view
    with refused(Untrusted, "another_owner"):
        machine.core.handle(TakePushed(), pushed(Fleet.make("Thief").world.bundle(machine.device)))
    words = "Documents of another owner. This machine obeys Plant alone."
    assert last_refusal(machine) == ("documents", "another_owner", words)
    assert machine.core.view == before


def test_a_policy_signed_by_the_server_alone_is_refused(machine: Guarded) -> None:
    world = machine.fleet.world
    forged = seal(world.next_payload({"never_ports": []}), [make_key(ED25519)])
    bundle = replace(world.bundle(machine.device), policies=(forged,))
    with refused(Untrusted, "too_few_signatures"):
        machine.core.handle(TakePushed(), pushed(bundle))
    words = "A policy signed by nobody that this machine's owner named."
    assert last_refusal(machine) == ("policy", "too_few_signatures", words)


def test_a_false_roster_is_refused(machine: Guarded) -> None:
    world = machine.fleet.world
    bundle = world.bundle(machine.device)
    forged = replace(bundle, roster=alter(bundle.roster, {"count": 1}))
    with refused(Untrusted, "bad_signature"):
        machine.core.handle(TakePushed(), pushed(forged))
    assert last_refusal(machine)[:2] == ("roster", "bad_signature")


def test_an_older_head_is_refused_after_a_newer_one(machine: Guarded) -> None:
    world = machine.fleet.world
    old = world.bundle(machine.device)
    world.publish()
    machine.core.handle(TakePushed(), pushed(world.bundle(machine.device)))
    machine.crash()
    with refused(Untrusted, "old_head"):
        machine.core.handle(TakePushed(), pushed(old))
    assert last_refusal(machine)[1] == "old_head"


def test_code_to_run_is_refused_whoever_signed_it(machine: Guarded) -> None:
    world = machine.fleet.world
    payload = {"type": "fleetward.run.v1", "command": "id"}
    for signers, reason in (
        ([make_key(ED25519)], "order_unsigned"),
        (world.signers, "order_unknown"),
    ):
        order = Order(envelope=to_base64url(seal(payload, signers)))
        with refused(Refused, reason):
            machine.core.handle(TakePushed(), msgspec.json.encode(order))
        assert last_refusal(machine)[:2] == ("order", reason)
    assert "fleetward.run.v1" in last_refusal(machine)[2]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b'{"type":"run","command":"id"}',
        b'{"type":"reduce","what":"wipe"}',
        b'{"type":"documents","bundle":"","bundle":""}',
        b'{"type":"documents","bundle":"AA","more":1}',
        b"[" * 100_000,
        b'{"type":"documents","bundle":"' + b"A" * (1024 * 1024) + b'"}',
    ],
    ids=["empty", "bare", "bytes", "verb", "reduction", "twice", "field", "deep", "large"],
)
def test_what_is_no_message_is_dropped_and_written_down(machine: Guarded, raw: bytes) -> None:
    before = machine.core.view
    with pytest.raises(Malformed):
        machine.core.handle(TakePushed(), raw)
    assert machine.core.view == before
    assert len(machine.bodies("gate.refused")) == 1


def test_a_flood_of_equal_refusals_is_sixty_entries_and_a_count(machine: Guarded) -> None:
    machine.tick()
    for _ in range(1000):
        with pytest.raises(Malformed):
            machine.core.handle(TakePushed(), b"{}")
    assert len(machine.bodies("gate.refused")) < ENTRIES_AN_HOUR
    machine.crash_after_save()
    machine.clock.pass_ms(3_600_001)
    machine.tick()
    bodies = machine.bodies("gate.refused")
    assert len(bodies) == ENTRIES_AN_HOUR
    assert bodies[-1]["count"] == 1000 - len(bodies) + 1


def test_reductions_are_written_down_and_bounded(machine: Guarded) -> None:
    raw = b'{"type":"reduce","what":"reconnect"}'
    hints = [machine.core.handle(TakePushed(), raw).hint for _ in range(200)]
    assert hints.count("reconnect") == len(machine.bodies("gate.reduced")) < ENTRIES_AN_HOUR


def test_being_asked_to_report_costs_one_look_a_minute(machine: Guarded) -> None:
    machine.tick()
    raw = b'{"type":"reduce","what":"report_now"}'
    for _ in range(20):
        machine.core.handle(TakePushed(), raw)
        machine.tick(3)
    assert len(machine.bodies("posture.inventory")) == 2


# --- receipts


def take_batch(machine: Guarded, server: SmallServer) -> bytes:
    server.greet(machine.core)
    return machine.core.handle(GetBatch(), b"").body


@pytest.mark.parametrize(
    ("last", "head"), [(0, "00" * 32), (3, "00" * 32), (99, "00" * 32), (2, "11" * 32)]
)
def test_a_forged_receipt_ticks_nothing_off(
    machine: Guarded, server: SmallServer, last: int, head: str
) -> None:
    data = take_batch(machine, server)
    with refused(Untrusted, "bad_receipt"):
        machine.core.handle(TakeReceipt(), msgspec.json.encode(Receipt(last=last, head=head)))
    assert machine.core.state.acknowledged == 0
    assert last_refusal(machine)[:2] == ("receipt", "bad_receipt")
    server.greet(machine.core)
    assert machine.core.handle(GetBatch(), b"").body == data


def test_an_answer_to_another_question_is_refused(machine: Guarded, server: SmallServer) -> None:
    take_batch(machine, server)
    with refused(Malformed, "unexpected_answer"):
        machine.core.handle(TakeReceipt(), server.nonce_reply())


def test_a_receipt_without_proof_drops_nothing(machine: Guarded, server: SmallServer) -> None:
    server.greet(machine.core)
    server.take_all(machine.core)
    machine.clock.pass_ms(30 * DAY_MS)
    machine.core.outbox.drop_old()
    assert machine.core.outbox.unproven == machine.core.journal.tip.sequence


def test_a_server_that_asks_for_files_gets_none(machine: Guarded, server: SmallServer) -> None:
    server.wanted = ["../../../etc/shadow", "aa" * 32, "/etc/passwd"]
    server.greet(machine.core)
    server.take_all(machine.core)
    assert machine.core.handle(GetChunk(), b"").body == b""
    assert last_refusal(machine)[:2] == ("receipt", "unknown_inventory")


def test_lies_about_a_piece_of_an_inventory_do_not_hold_the_machine_up(
    machine: Guarded, server: SmallServer
) -> None:
    server.wanted = [machine.core.state.inventory]
    server.greet(machine.core)
    server.take_all(machine.core)
    digest = machine.core.state.inventory
    for offset in (2**40, 10**9, 0, 0, 0, 0):
        if not machine.core.handle(GetChunk(), b"").body:
            break
        lie = {"type": "blob", "digest": digest, "offset": offset, "complete": False}
        machine.core.handle(TakeChunkReply(), msgspec.json.encode(lie))
    assert machine.core.handle(GetChunk(), b"").body == b""


# --- the ledger


def ask_proof(machine: Guarded, server: SmallServer) -> ProofReply:
    server.greet(machine.core)
    server.take_all(machine.core)
    data = machine.core.handle(GetProofRequest(), b"").body
    return msgspec.json.decode(server.prove(data), type=ProofReply)


def lie(machine: Guarded, reply: ProofReply) -> FleetwardError:
    with pytest.raises(FleetwardError) as caught:
        machine.core.handle(TakeProof(), msgspec.json.encode(reply))
    assert machine.core.outbox.unproven > 0
    return caught.value


def change(reply: ProofReply, **fields: object) -> ProofReply:
    return msgspec.structs.replace(reply, **fields)


def test_a_proof_that_proves_nothing_is_refused(machine: Guarded, server: SmallServer) -> None:
    reply = ask_proof(machine, server)
    item = reply.items[0]
    wrong = [
        change(reply, items=[msgspec.structs.replace(item, index=0)]),
        change(reply, items=[msgspec.structs.replace(item, path=[])]),
        change(reply, items=[msgspec.structs.replace(item, batch="ab" * 32)]),
        change(reply, items=[msgspec.structs.replace(item, path=["AA"] * 65)]),
        change(reply, items=[item] * 257),
        change(reply, checkpoint=reply.checkpoint.replace("\n\n", "\n \n")),
        change(reply, generation=0),
        change(reply, generation=2),
    ]
    for one in wrong:
        lie(machine, one)
        assert last_refusal(machine)[0] == "proof"
    assert machine.core.outbox.checkpoint.size == 0
    assert machine.core.state.record == "intact"


def test_a_checkpoint_by_another_key_is_refused(machine: Guarded, server: SmallServer) -> None:
    thief = Fleet.make("Thief")
    machine.fleet.world.log, mine = thief.world.log, machine.fleet.world.log
    reply = ask_proof(machine, server)
    machine.fleet.world.log = mine
    assert lie(machine, reply).reason == "unsigned_note"


def test_a_forked_record_is_refused_for_good_and_shown(
    machine: Guarded, server: SmallServer
) -> None:
    server.serve(machine.core)
    machine.core.diary.evidence("posture.changed", {"words": "something"})
    machine.tick()
    server.leaves[0] = b"another history"
    reply = ask_proof(machine, server)
    assert lie(machine, reply).reason == "forked"
    assert last_refusal(machine)[:2] == ("checkpoint", "forked")
    machine.crash()
    status = machine.core.report()
    assert status.record.state == "contradicted"
    assert "rewritten or forked" in status.record.words
    server.leaves[0] = b"root document"
    server.serve(machine.core)
    assert machine.core.report().record.state == "contradicted"
    machine.clock.pass_ms(30 * DAY_MS)
    machine.core.outbox.drop_old()
    assert status.journal.unproven > 0


def test_a_signed_checkpoint_of_the_same_size_and_another_root_contradicts_by_itself(
    machine: Guarded, server: SmallServer
) -> None:
    server.serve(machine.core)
    note = server.note([b"another history", *server.leaves[1:]]).decode()
    machine.core.diary.evidence("posture.changed", {"words": "something"})
    machine.tick()
    reply = change(ask_proof(machine, server), checkpoint=note, consistency=[], items=[])
    assert lie(machine, reply).reason == "forked"
    assert machine.core.report().record.state == "contradicted"


def test_a_carrier_that_garbles_proofs_accuses_nobody(
    machine: Guarded, server: SmallServer
) -> None:
    """A broken uplink has all that the server signed, and not its key."""
    server.serve(machine.core)
    seen = machine.core.outbox.checkpoint
    for round_number in range(8):  # over sizes that are a power of two, and others
        machine.core.diary.evidence("posture.changed", {"words": f"something {round_number}"})
        machine.tick()
        honest = ask_proof(machine, server)
        path, noise = list(honest.consistency), to_base64url(b"\x07" * 32)
        garbled = [
            [], path[:-1], [*path, noise], ["AA"], ["!"], [noise] * 65, [*path[1:], noise],
            *([*path[:place], noise, *path[place + 1 :]] for place in range(len(path))),
        ]  # fmt: skip
        for one in garbled:
            lie(machine, change(honest, consistency=one))
            assert last_refusal(machine)[0] == "proof"
            status = machine.core.report().record
            assert status.state == "unproven"
            assert "asked again" in status.words
            assert machine.core.outbox.checkpoint == seen
        unsigned = honest.checkpoint.replace("\n", "\nx", 1)
        for text in (unsigned, "", server.note([b"x"]).decode()[:-9]):
            lie(machine, change(honest, checkpoint=text))
        # Once the proof comes through, nothing is left of it but the journal's refusals.
        machine.core.handle(TakeProof(), msgspec.json.encode(honest))
        seen = machine.core.outbox.checkpoint
        assert seen.size == len(server.leaves)
        assert machine.core.report().record.state == "intact"
    machine.tick()
    server.serve(machine.core)
    assert machine.core.outbox.unproven == 0


def test_an_older_record_is_journalled_as_lost_and_never_taken_over(
    machine: Guarded, server: SmallServer
) -> None:
    server.serve(machine.core)
    size = machine.core.outbox.checkpoint.size
    machine.core.diary.evidence("posture.changed", {"words": "something"})
    machine.tick()
    server.greet(machine.core)
    server.take_all(machine.core)
    data = machine.core.handle(GetProofRequest(), b"").body
    asked = msgspec.json.decode(data)
    asked["size"] = 0
    server.leaves = server.leaves[:1]
    reply = server.prove(msgspec.json.encode(asked))
    for _ in range(3):
        assert lie(machine, msgspec.json.decode(reply, type=ProofReply)).reason == "rolled_back"
    assert machine.core.outbox.checkpoint.size == size
    assert len(machine.bodies("store.lost")) == 1


def test_a_server_put_back_gets_again_what_it_lost(machine: Guarded, server: SmallServer) -> None:
    for place in range(5):
        machine.core.diary.evidence("posture.changed", {"words": f"{place}"})
        machine.tick()
    server.serve(machine.core)
    newest = server.stored
    server.batches, server.leaves = server.batches[:2], server.leaves[:3]
    server.greet(machine.core)
    assert machine.bodies("store.lost")[-1]["stored"] == server.stored < newest
    machine.tick()
    server.take_all(machine.core)
    assert server.stored > newest
    assert [e.sequence for b in server.batches for e in b.entries] == list(
        range(1, server.stored + 1)
    )


def test_a_new_generation_needs_the_owners_word(machine: Guarded, server: SmallServer) -> None:
    server.serve(machine.core)
    seen = machine.core.outbox.checkpoint
    world = machine.fleet.world
    known = SeenCheckpoint(1, seen.size - 1, "00" * 32)
    payload = make_opening_payload(world.policy, known, "restored", 1)
    restored = SmallServer(machine.fleet, server.key, generation=2)
    restored.batches = server.batches[:-1]
    for signers, good in (([make_key(ED25519)], False), (world.signers, True)):
        restored.opening = seal(payload, signers)
        restored.leaves = [restored.opening, *(b.header.raw for b in restored.batches)]
        machine.core.diary.evidence("posture.changed", {"words": "something"})
        machine.tick()
        restored.greet(machine.core)
        restored.take_all(machine.core)
        if not good:
            with refused(Untrusted, "too_few_signatures"):
                restored.prove_all(machine.core)
            assert machine.core.outbox.checkpoint == seen
            continue
        restored.prove_all(machine.core)
    machine.tick()
    restored.serve(machine.core)
    assert machine.core.outbox.checkpoint.generation == 2
    assert machine.core.outbox.unproven == 0
    assert any("restored" in str(b["words"]) for b in machine.bodies("store.lost"))
    machine.restart()
    assert machine.core.outbox.checkpoint.generation == 2


def test_a_machine_that_was_away_checks_an_older_opening_and_believes_no_retired_key(
    machine: Guarded, server: SmallServer
) -> None:
    server.serve(machine.core)
    seen, world = machine.core.outbox.checkpoint, machine.fleet.world
    honest = make_opening_payload(world.policy, seen, "restored", 1)
    stands = seal(honest, world.signers)
    forged = make_opening_payload(
        world.policy, SeenCheckpoint(1, 1, seen.root), "restored to nearly nothing", 1
    )
    # While the machine is away: an opening, and then a policy with new keys that stands by it.
    retired = world.rotate_keys([document_hash(honest)])
    world.publish()
    machine.core.handle(TakePushed(), pushed(world.bundle(machine.device)))
    restored = SmallServer(machine.fleet, server.key, generation=2)
    restored.batches = list(server.batches)
    for opening, good in ((seal(forged, retired), False), (stands, True)):
        restored.opening = opening
        restored.leaves = [opening, *(b.header.raw for b in restored.batches)]
        machine.core.diary.evidence("posture.changed", {"words": "something"})
        machine.tick()
        restored.greet(machine.core)
        restored.take_all(machine.core)
        if not good:
            with refused(Untrusted, "retired_policy"):
                restored.prove_all(machine.core)
            assert machine.core.outbox.checkpoint == seen
    restored.prove_all(machine.core)
    assert machine.core.outbox.checkpoint.generation == 2


def test_a_claim_of_more_than_was_written_is_refused_and_shown_until_it_is_taken_back(
    machine: Guarded, server: SmallServer
) -> None:
    machine.core.handle(Greet(), server.nonce_reply())
    boast = msgspec.json.encode(HelloReply(stored=10**6, generation=1, state="active"))
    with refused(Untrusted, "stored_ahead"):
        machine.core.handle(TakeGreeting(), boast)
    # Nobody signed that number: whoever carries it may have made it up.
    assert machine.core.report().record.state == "incomplete"
    assert last_refusal(machine)[:2] == ("receipt", "stored_ahead")
    server.serve(machine.core)
    assert machine.core.state.acknowledged > 0
    assert machine.core.report().record.state == "intact"


# --- certificates and joining


def test_a_certificate_for_another_key_or_machine_is_not_taken(machine: Guarded) -> None:
    fleet, core = machine.fleet, machine.core
    kept = core.files.read_certificate()
    transport = make_key(ES256).public
    bundle = to_base64url(fleet.world.bundle(machine.device).to_bytes())
    with refused(Misuse, "not_asked"):
        core.handle(TakeCertificate(), b"{}")
    core.handle(Vouch(), transport.spki)
    thief = Fleet.make("Thief")
    for pem in (
        fleet.issue(machine.device, make_key(ES256).public),
        fleet.issue("a" * 32, transport),
        thief.issue(machine.device, transport),
        "no certificate",
    ):
        reply = msgspec.json.encode(CertificateReply(certificate=pem, bundle=bundle))
        with pytest.raises((Untrusted, Malformed)):
            core.handle(TakeCertificate(), reply)
        assert last_refusal(machine)[0] == "certificate"
    assert core.files.read_certificate() == kept
    good = CertificateReply(certificate=fleet.issue(machine.device, transport), bundle=bundle)
    core.handle(TakeCertificate(), msgspec.json.encode(good))
    assert core.files.read_certificate() != kept
    assert machine.bodies("transport.renewed")[-1]["lineage"] == 2


def test_the_lineage_rises_on_the_disk_before_a_statement_leaves(machine: Guarded) -> None:
    seen = set()
    for _ in range(3):
        machine.core.handle(Vouch(), make_key(ES256).public.spki)
        seen.add(machine.core.state.lineage)
        machine.crash()
        assert machine.core.state.lineage == max(seen)
    assert len(seen) == 3


def test_a_server_under_another_ca_cannot_take_a_machine_in(tmp_path: Path) -> None:
    fleet, other = Fleet.make(), Fleet.make("Thief")
    machine_clock = Guarded(tmp_path / "other", fleet).clock
    joining, request = begin_join(tmp_path / "guard", fleet, machine_clock)
    with refused(Untrusted, "wrong_server_ca"):
        joining.handle(TakeServerCa(), other.server_ca_der)
    assert request
    assert GuardFiles(tmp_path / "guard").read_joined() is None


def answers_of(fleet: Fleet, world: World, request: bytes) -> dict[str, CertificateReply]:
    good = fleet.answer_join(request)
    thief = Fleet.make("Thief").world
    older = world.bundle("x" * 32)
    return {
        "another_owner": msgspec.structs.replace(
            good, bundle=to_base64url(thief.bundle("x").to_bytes())
        ),
        "policy_below_lowest": msgspec.structs.replace(
            good,
            bundle=to_base64url(
                replace(
                    older, policies=older.policies[:1], head=b"", roster=b"", lease=b""
                ).to_bytes()
            ),
        ),
        "wrong_transport_key": msgspec.structs.replace(
            good, certificate=fleet.issue("a" * 32, make_key(ES256).public)
        ),
        "certificate_malformed": msgspec.structs.replace(good, certificate="nothing"),
    }


def test_false_answers_to_joining_leave_a_machine_without_owner(tmp_path: Path) -> None:
    fleet = Fleet.make()
    clock = Guarded(tmp_path / "other", fleet).clock
    folder = tmp_path / "guard"
    joining, request = begin_join(folder, fleet, clock)
    for reason, answer in answers_of(fleet, fleet.world, request).items():
        with pytest.raises(FleetwardError) as caught:
            joining.handle(TakeCertificate(), msgspec.json.encode(answer))
        assert caught.value.reason == reason
        assert GuardFiles(folder).read_joined() is None
    joining.handle(TakeCertificate(), msgspec.json.encode(fleet.answer_join(request)))
    joined = GuardFiles(folder).require_joined()
    assert joined.owner == fleet.world.owner
    # The identity stays, and no second owner gets it.
    check_same_owner(joined, fleet.world.join_string())
    with refused(Refused, "joined_elsewhere"):
        check_same_owner(joined, Fleet.make("Thief").world.join_string())
    assert isinstance(joining, Joining)


def test_a_document_of_a_machine_is_bounded(machine: Guarded, server: SmallServer) -> None:
    machine.document = lambda: b'{"type":"fleetward.inventory.v1"' + b" " * 10
    machine.core.looking.ask()
    machine.tick()
    assert "inventory document" in machine.core.report().problem
    machine.document = lambda: make_inventory(80)
    machine.clock.pass_ms(6 * 60_000)
    machine.tick()
    assert machine.core.report().problem == ""
    server.serve(machine.core)
