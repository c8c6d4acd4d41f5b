"""The journal through histories of writing, cutting, crashing and damage.

A model server takes every batch in order, as the real one does, and refuses a second spelling of
anything: whatever happens to the disk, the machine must never sign two histories.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetward.device.audit.journal import Journal, LastCut, open_journal
from fleetward.device.audit.segments import SEGMENT_BYTES, Chain, Proof, Tip
from fleetward.device.audit.verify import verify_journal
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import JsonObject
from fleetward.trust.errors import Malformed
from fleetward.trust.journal import NO_CHECKPOINT, BatchHeader, make_batch_header, verify_batch
from fleetward.trust.keys import ES256

OWNER = "ab" * 32
SIGNER = make_key(ES256)
CHAIN = Chain(SIGNER.public, OWNER)


def sign(first: int, last: int, previous: str, head: str) -> bytes:
    header = BatchHeader(
        SIGNER.public.key_id, OWNER, "boot", first, last, previous, head, NO_CHECKPOINT, "", b""
    )
    return make_batch_header(header, SIGNER)


class Machine:
    """A journal, what the guard around it remembers, and everything that ever left it."""

    def __init__(self, folder: Path, segment_bytes: int = SEGMENT_BYTES) -> None:
        self.folder = folder
        self.segment_bytes = segment_bytes
        self.last_cut: LastCut | None = None
        self.left: dict[int, bytes] = {}
        self.durable = 0
        self.count = 0
        self.journal: Journal
        self.open()

    def open(self) -> None:
        self.journal, self.damage = open_journal(
            self.folder, CHAIN, self.last_cut, self.segment_bytes
        )

    def write(self, *, durable: bool) -> None:
        self.count += 1
        body: JsonObject = {"n": self.count, "words": "w" * (self.count % 50)}
        self.journal.append((self.count, "boot"), "test.entry", body, durable=durable)
        if durable:
            self.durable = self.journal.tip.sequence

    def cut(self) -> None:
        cut = self.journal.cut(sign)
        if cut is not None:
            self.last_cut = cut
            self.durable = cut.sequence

    def send_all(self) -> None:
        """Let every batch leave, and compare it with what left before."""
        for batch in self.journal.batches:
            try:
                data = self.journal.read_batch(batch)
            except Malformed:
                continue
            verified = verify_batch(data, SIGNER.public, OWNER)
            assert self.left.setdefault(batch.first, data) == data, "signed twice"
            assert verified.header.hash == batch.hash

    def check_chain(self) -> None:
        """All that ever left is one chain, without a sequence that stands twice."""
        head, last = None, 0
        for first in sorted(self.left):
            header = verify_batch(self.left[first], SIGNER.public, OWNER).header
            assert header.first > last, "a sequence was used twice"
            if header.first == last + 1 and head is not None:
                assert header.previous == head
            head, last = header.head, header.last

    def crash(self, keep: float) -> None:
        """Lose an arbitrary part of what was not synced. The disk keeps a prefix."""
        path = self.newest()
        if path is None:
            return
        data = path.read_bytes()
        synced = self.journal._size if not self.journal._unsynced else self.synced_bytes(data)
        path.write_bytes(data[: synced + int((len(data) - synced) * keep)])

    def synced_bytes(self, data: bytes) -> int:
        """Return how many bytes hold the entries that were promised to be durable."""
        offset = 0
        for line in data.splitlines(keepends=True):
            if line.startswith(b'{"at"'):
                sequence = int(line.rsplit(b'"seq":', 1)[1].rstrip(b"}\n"))
                if sequence > self.durable:
                    break
            offset += len(line)
        return offset

    def newest(self) -> Path | None:
        paths = sorted(self.folder.glob("*.entries"))
        return paths[-1] if paths else None


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(1, 7)),
        st.tuples(st.just("order"), st.just(1)),
        st.tuples(st.just("cut"), st.just(1)),
        st.tuples(st.just("send"), st.just(1)),
        st.tuples(st.just("crash"), st.floats(0, 1)),
        st.tuples(st.just("reopen"), st.just(1)),
    ),
    max_size=40,
)


def play(machine: Machine, steps: list[tuple[str, float]]) -> None:
    for what, amount in steps:
        if what == "write":
            for _ in range(int(amount)):
                machine.write(durable=False)
        elif what == "order":
            machine.write(durable=True)
        elif what == "cut":
            machine.cut()
        elif what == "send":
            machine.send_all()
        elif what == "crash":
            machine.crash(amount)
            machine.open()
        else:
            machine.journal.close()
            machine.open()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, segment_bytes=st.sampled_from([600, 3000, 10**6]))
def test_a_crash_loses_nothing_that_was_promised(
    steps: list[tuple[str, float]], segment_bytes: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name) / "journal", segment_bytes)
        play(machine, steps)
        machine.open()
        assert machine.journal.tip.sequence >= machine.durable
        machine.cut()
        machine.send_all()
        machine.check_chain()
        # Without damage every sequence left, in one unbroken chain from the start.
        covered = [
            s
            for first in sorted(machine.left)
            for s in range(first, first + machine.left[first].count(b"\n"))
        ]
        assert covered == list(range(1, machine.journal.tip.sequence + 1))
        verdict = verify_journal(machine.folder, CHAIN, cut_tip(machine))
        assert verdict.ok, verdict.first_bad


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, place=st.floats(0, 1), garbage=st.binary(max_size=40), after=STEPS)
def test_a_cut_off_end_never_makes_two_histories(
    steps: list[tuple[str, float]], place: float, garbage: bytes, after: list[tuple[str, float]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name) / "journal")
        play(machine, steps)
        machine.send_all()
        tip = machine.journal.tip.sequence
        path = machine.newest()
        if path is not None:
            data = path.read_bytes()
            kept = data[: int(len(data) * place)] + garbage
            path.write_bytes(kept)
            machine.open()
            if kept != data:
                signed = machine.last_cut.sequence if machine.last_cut else 0
                assert signed <= machine.journal.tip.sequence <= tip
        machine.durable = 0
        play(machine, after)
        machine.open()
        machine.cut()
        machine.send_all()
        machine.check_chain()


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, place=st.floats(0, 1), flip=st.integers(1, 255))
def test_an_altered_byte_is_found_and_the_machine_goes_on(
    steps: list[tuple[str, float]], place: float, flip: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name) / "journal")
        play(machine, [*steps, ("write", 3), ("cut", 1), ("send", 1)])
        path = machine.newest()
        assert path is not None
        data = bytearray(path.read_bytes())
        data[int((len(data) - 1) * place)] ^= flip
        path.write_bytes(data)
        verdict = verify_journal(machine.folder, CHAIN, cut_tip(machine))
        assert not verdict.ok
        assert verdict.first_bad is not None
        assert verdict.first_bad.sequence <= machine.journal.tip.sequence + 1
        machine.open()
        play(machine, [("write", 2), ("cut", 1), ("send", 1)])
        machine.check_chain()


def cut_tip(machine: Machine) -> Tip | None:
    cut = machine.last_cut
    return Tip(cut.sequence, cut.head) if cut else None


@settings(max_examples=20, deadline=None)
@given(places=st.lists(st.integers(0, 10**6), max_size=5), at=st.integers(0, 10**12))
def test_remembered_proofs_come_back_and_torn_ones_are_forgotten(
    places: list[int], at: int
) -> None:
    with tempfile.TemporaryDirectory() as name:
        machine = Machine(Path(name) / "journal")
        for _ in places:
            machine.write(durable=False)
            machine.cut()
        proven = [
            (b, Proof(1, i, at)) for b, i in zip(machine.journal.batches, places, strict=True)
        ]
        machine.journal.note_proofs(proven)
        for path in machine.folder.glob("*.proofs"):
            path.write_bytes(path.read_bytes() + b'{"at":1,"batch"')
        machine.open()
        assert [b.proof for b in machine.journal.batches] == [p for _, p in proven]
