"""Whoever answers a machine about releases costs it bounded time, memory, disk and talk.

The attacker has the server with the director's key, or an approval that anybody may copy; he
answers at once and without end, with garbage, with what is true and too long, or never.
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace

import msgspec
import pytest
from tests.adversary.update_watch import (
    data_of,
    file_of,
    machine_with_a_release,
    names_rule,
    nothing_changes,
)
from tests.trust_world import NOW_MS, strange_signature
from tests.update_world import DAY_MS, PRODUCT, UpdateGuard, big_payload, make_manifest
from tuf.api.metadata import Metadata, TargetFile

from fleetward.device.port import GetUpdate, TakePushed, TakeUpdateAnswer
from fleetward.device.updates import memory as remembered
from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.keys import ED25519
from fleetward.trust.release_approval import MAX_APPROVAL_BYTES, make_withdrawal_payload
from fleetward.trust.release_manifest import (
    SEGMENT_BYTES,
    Part,
    list_segments,
    make_blob,
    read_manifest,
    write_manifest,
)
from fleetward.trust.selector import Selector
from fleetward.wire.orders import Reduce
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

HOUR_MS = 3_600_000
NUDGE = msgspec.json.encode(Reduce(what="look_for_updates"))


@pytest.fixture
def guard() -> Iterator[UpdateGuard]:
    with machine_with_a_release() as guard:
        yield guard


def pad(raw: bytes, salt: int) -> bytes:
    """Return an approval with signatures that nobody asks for: as long as it may be."""
    whole = canonical.decode_object(raw)
    signatures = whole["signatures"]
    assert isinstance(signatures, list)
    for n in range(12):
        one = strange_signature(make_key(ED25519), f"{salt} {n}".encode())
        signatures.append(
            {
                **one,
                "suite": "webauthn",
                "authenticator_data": to_base64url(b"a" * 900),
                "client_data": to_base64url(bytes([salt % 256]) * 2800),
            }
        )
    data = canonical.encode(whole)
    assert 0.8 * MAX_APPROVAL_BYTES < len(data) <= MAX_APPROVAL_BYTES
    return data


def test_no_approval_makes_a_machine_forget(guard: UpdateGuard) -> None:
    """Approvals are public: copies that are as long as can be fill what guard remembers, a file
    that is too long is read as damaged, and what was withdrawn and held would be forgotten."""
    manifest = guard.release("1.1", 11)
    approval = guard.approve()
    guard.withdraw(approval)
    real = list(guard.server.approvals)
    for number in range(70):
        payload_of_one = guard.approve(reason=f"{number}")
        assert payload_of_one
    many = [pad(raw, n) for n, raw in enumerate(guard.server.approvals[len(real) :])]
    for first in range(0, len(many), 10):
        guard.server.approvals = [*real, *many[first : first + 10]]
        guard.look()
    guard.server.directed = []
    guard.core.updates.memory.attempt = None
    guard.core.updates._save()
    size = (guard.folder / "updates" / "memory.json").stat().st_size
    assert size < remembered.MAX_BYTES // 2
    kept = dict(guard.core.updates.memory.held)
    guard.crash()
    assert not guard.bodies("update.memory_damaged")
    assert guard.core.updates.memory.held == kept
    assert approval in guard.core.updates.memory.withdrawn
    assert manifest.hash in guard.core.updates.memory.known


def test_what_is_remembered_stays_below_its_bound(guard: UpdateGuard) -> None:
    """Every table at its bound at once, and the largest manifest: the file is read again."""
    memory = guard.core.updates.memory
    for n in range(2000):
        memory.known[f"{n:064x}"] = memory.numbers[f"{n:064x}"] = 2**53 - 1
        memory.refused[f"{PRODUCT}/{n:0500}"] = "r" * 64
        memory.failed[f"{n:064x}"] = [f"{m:064x}" for m in range(40)]
        memory.withdraw(f"{n:064x}", NOW_MS, NOW_MS)
    memory.approvals = [b"x" * remembered.MAX_APPROVALS_BYTES]
    guard.core.updates._save()
    size = (guard.folder / "updates" / "memory.json").stat().st_size
    # A manifest has 256 KiB, and what is held of thirty products about as much.
    assert size + 4 * 256 * 1024 < remembered.MAX_BYTES


@pytest.mark.parametrize("padded", [False, True])
def test_copies_of_one_approval_push_no_other_out(guard: UpdateGuard, padded: bool) -> None:
    guard.release("1.1", 11)
    guard.approve(selector=Selector(groups=("ward",)))
    guard.look()
    assert "approved_for_others" in names_rule(guard)
    ours = guard.server.approvals[-1]
    guard.approve(make_manifest("9.9", 99, b"x"))
    other = guard.server.approvals[-1]
    copies = [pad(other, n) for n in range(10)] if padded else [other] * 64
    for _ in range(8):
        guard.server.approvals = list(copies)
        guard.look()
    assert ours in guard.core.updates.memory.approvals
    guard.server.approvals = []
    guard.confirm(groups=("ward",))
    guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_approvals_that_are_over_push_none_out_that_holds(guard: UpdateGuard) -> None:
    """The owner's history is long, and the server hands over the oldest."""
    guard.release("1.1", 11)
    guard.approve(selector=Selector(groups=("ward",)))
    guard.look()
    ours = guard.server.approvals[-1]
    for number in range(130):
        until_ms = NOW_MS - 1000 + number if number < 65 else NOW_MS + DAY_MS
        name = guard.approve(at_ms=NOW_MS + number, reason=f"{number}", not_after_ms=until_ms)
        if number >= 65:
            guard.withdraw(name)
    rest = guard.server.approvals[2:]
    for first in range(0, len(rest), 64):
        guard.server.approvals = rest[first : first + 64]
        guard.look()
    assert ours in guard.core.updates.memory.approvals


# --- the journal


def test_a_director_who_names_anything_floods_no_journal(guard: UpdateGuard) -> None:
    """Sixteen names that nobody released, other ones each minute."""
    for minute in range(12):
        files = [file_of(make_manifest(f"{minute}.{n}", 1, b"x")) for n in range(16)]
        guard.server.directed = files
        guard.clock.pass_ms(60_000)
        with contextlib.suppress(FleetwardError):
            guard.core.handle(TakePushed(), NUDGE)
        guard.core.tick()
        guard.carry()
    refused = [e for e in guard.entries() if str(e["kind"]) in ("update.refused", "gate.refused")]
    assert len([e for e in refused if e["kind"] == "update.refused"]) < 60
    assert len(refused) <= 2 * 60
    assert len(guard.core.updates.memory.refused) <= remembered.MOST_REMEMBERED
    # Nothing is lost in silence: the rest is counted.
    guard.clock.pass_ms(HOUR_MS)
    guard.core.tick()
    assert sum(int(str(b["count"])) for b in guard.bodies("gate.refused") if "count" in b) > 200


def test_a_director_who_changes_his_mind_makes_a_machine_begin_seldom(guard: UpdateGuard) -> None:
    """He names what is approved, and names it no more, as often as the machine asks."""
    manifest = guard.release("1.1", 11, big_payload(1))
    guard.approve()
    before, started = len(guard.reports()), guard.installer.started
    for second in range(3600):
        guard.clock.pass_ms(1000)
        if second % 30 == 0:
            with contextlib.suppress(FleetwardError):
                guard.core.handle(TakePushed(), NUDGE)
        attempt = guard.core.updates.memory.attempt
        guard.server.directed = [] if attempt is not None else [file_of(manifest)]
        if second % 5 == 0 or attempt is not None:
            guard.core.tick()
            guard._let_the_installer_answer()
            guard.carry(4)
    assert len(guard.reports()) - before <= 60 + 4
    assert guard.installer.started - started <= 2 * 60 + 4


# --- talk


def spend(guard: UpdateGuard, hours: int, *, nudged: bool = True, step_ms: int = 30_000) -> int:
    """Let time pass with an uplink that asks whenever it may; return how many questions came."""
    before = len(guard.server.asked)
    for _ in range(hours * HOUR_MS // step_ms):
        guard.clock.pass_ms(step_ms)
        if nudged:
            with contextlib.suppress(FleetwardError):
                guard.core.handle(TakePushed(), NUDGE)
        guard.core.tick()
        guard._let_the_installer_answer()
        guard.carry(200)
    return len(guard.server.asked) - before


def garbage(_question: UpdateQuestion, _honest: UpdateAnswer) -> UpdateAnswer:
    return data_of(b"garbage")


def test_garbage_is_not_asked_for_again_and_again(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    guard.server.lies["director"] = garbage
    assert spend(guard, 12) <= 60


def test_garbage_in_the_place_of_parts_is_not_fetched_for_ever(guard: UpdateGuard) -> None:
    """Each piece has the right length; only the segment shows that it is not what was signed."""
    payload = big_payload(1)
    guard.release("1.1", 11, payload)
    guard.approve()
    segments = guard.newest.parts[0].blob.segments

    def lies(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        return honest if question.name == segments else data_of(b"j" * question.length)

    guard.server.lies["blob"] = lies
    guard.server.asked.clear()
    spend(guard, 3)
    fetched = sum(q.length for q in guard.server.asked if q.what == "blob")
    assert fetched <= 24 * SEGMENT_BYTES
    stage = guard.folder / "updates" / "stage"
    assert sum(p.stat().st_size for p in stage.iterdir()) <= SEGMENT_BYTES
    assert "wrong_hash" in names_rule(guard)


@pytest.mark.parametrize("kind", ["look", "blob"])
def test_a_server_that_never_answers_is_asked_seldom(guard: UpdateGuard, kind: str) -> None:
    """Uplink gives a question up after some seconds, and asks guard again."""
    if kind == "blob":
        guard.release("1.1", 11, big_payload(1))
        guard.approve()
        guard.look()
        guard.core.tick()
        guard._let_the_installer_answer()
    asked = 0
    for _ in range(6 * 3600 // 20):
        guard.clock.pass_ms(20_000)
        guard.core.tick()
        asked += bool(guard.core.handle(GetUpdate(), b"").body)
    assert asked <= 180
    # And it goes on when the server is back.
    guard.run(4000, 10_000)
    if kind == "blob":
        assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_a_look_that_never_ends_is_broken_off(guard: UpdateGuard) -> None:
    """Roots without end, each of them signed, by a director who holds his root's key."""
    metadata = Metadata.from_bytes(guard.director.root)
    metadata.signed.unrecognized_fields["x-much"] = "y" * 400_000
    served = 0

    def serve(question: UpdateQuestion, honest: UpdateAnswer) -> UpdateAnswer:
        nonlocal served
        if question.name != "root":
            return honest
        metadata.signed.version = question.version
        metadata.sign(guard.director.key)
        data = metadata.to_bytes()
        served += len(data)
        return data_of(data)

    guard.server.lies["director"] = serve
    with nothing_changes(guard):
        guard.look()
    assert served < 70 * 1024 * 1024
    assert not guard.core.updates.talk.running
    assert "no end" in guard.core.updates.talk.problem


# --- bytes


def break_up(source: random.Random, data: bytes) -> bytes:
    """Return what is left of honest bytes in hostile hands."""
    how = source.randrange(6)
    if not data or how == 0:
        return source.randbytes(source.randrange(200))
    at = source.randrange(len(data))
    if how == 1:
        return data[:at]
    if how == 2:
        return data[:at] + bytes([data[at] ^ 1 << source.randrange(8)]) + data[at + 1 :]
    if how == 3:
        return data[:at] + data[at:] * 2
    if how == 4:
        return data.replace(b"1", b"99999999999999999999", 1)
    return (
        data[:at]
        + source.choice((b"\xed\xa0\x80", b"\0", b"\\ud800", b"null", b"[[[["))
        + data[at:]
    )


@pytest.mark.parametrize("seed", range(8))
def test_no_bytes_end_guard_or_stop_what_comes_after(guard: UpdateGuard, seed: int) -> None:
    """Every answer of thirty looks is broken in some way: raw, or inside its encoding."""
    source = random.Random(seed)
    for number in range(30):
        guard.release(f"1.{number + 1}", 11 + number)
        if source.random() < 0.5:
            guard.approve()
        guard.core.updates.talk.look_now()
        for _ in range(40):
            question = guard.core.handle(GetUpdate(), b"").body
            if not question:
                break
            honest = guard.server.answer(msgspec.json.decode(question, type=UpdateQuestion))
            body = msgspec.json.encode(honest)
            if source.random() < 0.3:
                data = break_up(source, canonical.from_base64url(honest.data))
                body = msgspec.json.encode(data_of(data))
            elif source.random() < 0.15:
                body = break_up(source, body)
            try:
                guard.core.handle(TakeUpdateAnswer(), body)
            except FleetwardError as e:
                assert e.reason != "guard_bug"
        guard.core.tick()
    guard.core.updates.memory.attempt = None
    guard.server.lies.clear()
    guard.clock.pass_ms(2 * HOUR_MS)
    manifest = guard.release("2.0", 100)
    guard.approve()
    for _ in range(3):
        guard.run()
    assert guard.core.updates.memory.held[PRODUCT].release == manifest.hash


@pytest.mark.parametrize("what", ["root", "director", "image", "manifest", "approvals", "blob"])
@pytest.mark.parametrize("how", ["absent", "refusal", "nothing", "too_much", "another_word"])
def test_a_server_that_does_not_answer_well(guard: UpdateGuard, what: str, how: str) -> None:
    """404, 503, nothing, more than a message may have, and an answer to something else."""
    words = {
        "absent": msgspec.json.encode(UpdateAnswer(found=False)),
        "refusal": b'{"type":"refusal","reason":"busy","message":"503"}',
        "nothing": b"",
        "too_much": b" " * (1024 * 1024 + 1),
        "another_word": b'{"type":"nonce","nonce":"AAAA"}',
    }
    if what == "root":
        shutil.rmtree(guard.folder / "updates" / "metadata")
    guard.release("1.1", 11)
    guard.approve()
    guard.core.updates.talk.look_now()
    with nothing_changes(guard):
        for _ in range(60):
            guard.core.tick()
            guard._let_the_installer_answer()
            guard.clock.pass_ms(1000)
            raw = guard.core.handle(GetUpdate(), b"").body
            if not raw:
                continue
            question = msgspec.json.decode(raw, type=UpdateQuestion)
            honest = msgspec.json.encode(guard.server.answer(question))
            body = words[how] if question.what == what else honest
            with contextlib.suppress(FleetwardError):
                guard.core.handle(TakeUpdateAnswer(), body)
    guard.clock.pass_ms(DAY_MS // 4)
    for _ in range(3):
        guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_an_answer_that_comes_late_is_no_answer_to_something_else(guard: UpdateGuard) -> None:
    """A look falls due while a piece is on its way: the piece is no root of the director's."""
    guard.release("1.1", 11, big_payload(1))
    guard.approve()
    guard.look()
    guard.core.tick()
    guard._let_the_installer_answer()
    guard.carry(2)
    raw = guard.core.handle(GetUpdate(), b"").body
    piece = msgspec.json.decode(raw, type=UpdateQuestion)
    assert piece.what == "blob"
    guard.core.updates.talk.look_now()
    guard.core.tick()
    assert guard.core.updates.talk.running or guard.core.updates.talk.due
    guard.core.handle(TakeUpdateAnswer(), msgspec.json.encode(guard.server.answer(piece)))
    assert not guard.rules()
    guard.go_on()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"


def test_a_stranger_withdraws_nothing(guard: UpdateGuard) -> None:
    guard.release("1.1", 11)
    approval = guard.approve()
    payload = make_withdrawal_payload(guard.fleet.world.policy, approval, "", NOW_MS)
    guard.server.approvals.append(seal(payload, [make_key(ED25519)]))
    guard.run()
    assert guard.core.updates.memory.held[PRODUCT].version == "1.1"
    assert "too_few_signatures" in names_rule(guard)


@pytest.mark.parametrize("how", ["two lengths", "two lists", "a list that is a part"])
def test_no_release_is_fetched_without_end(how: str) -> None:
    """A product's key names one file twice, differently: what is fetched for one part undoes what
    was fetched for the other."""
    payload = big_payload(1)
    blob = make_blob(payload)
    listed = list_segments(payload)
    other = {
        "two lengths": replace(blob, length_bytes=blob.length_bytes - 1),
        "two lists": replace(blob, segments="ab" * 32),
        "a list that is a part": make_blob(listed),
    }[how]
    parts = (
        Part("aaa", "directory", "aaa", other, (), 1, 1),
        Part("app", "directory", "app", blob, (), 1, 1),
    )
    honest = make_manifest("1.1", 11, payload)
    with pytest.raises(Malformed) as caught:
        read_manifest(write_manifest(replace(honest, parts=parts)))
    assert caught.value.reason == "bad_blob"


def test_a_makers_files_that_are_withheld_hold_up_no_other_maker(guard: UpdateGuard) -> None:
    """The director names two products, and the server has nothing of the first one's maker."""
    world = guard.fleet.world
    roots = world.next_payload()["roots"]
    assert isinstance(roots, dict) and isinstance(roots["makers"], dict)
    roots["makers"]["alarm"] = "ab" * 32
    world.next_policy({"roots": roots})
    guard.confirm()
    before = len(guard.outcomes())
    guard.release("1.1", 11)
    guard.approve()
    other = TargetFile.from_data("alarm/2.0/release.json", b"{}", ["sha256"])
    guard.server.directed.insert(0, other)
    guard.run()
    assert guard.outcomes()[before:] == ["accepted", "installed", "committed"]
    guard.server.directed = [other]
    guard.run()
    assert guard.outcomes()[before:] == ["accepted", "installed", "committed"]
