"""The one way out: journal entries become signed batches, and stay until the ledger has them.

1. A batch is cut at 100 entries, at 256 KB, or after a second, with an answer to an order at
   once; its header is signed once.
2. What goes next is what follows the sequence that the server says it has stored.
3. A receipt counts when it names the end of a batch and the head that this machine signed.
4. A batch counts as proven by an inclusion proof under a checkpoint that extends the machine's.
5. Proven batches are kept seven days more, for a server that comes back from a backup.
6. A server that went back is journalled (`store.lost`) and gets again what it lacks.
7. A record of which signatures show that it contradicts the one that this machine has seen is
   refused, for good and visibly. What a broken carrier could have caused (a proof that leads
   nowhere, a number that nobody signed) is refused, shown, and forgotten when it is made good.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.device.audit.diary import Diary
from fleetward.device.audit.journal import Journal, LastCut
from fleetward.device.audit.proofs import Proven, lost_by_opening, verify_ledger_reply
from fleetward.device.audit.segments import CutBatch, Proof
from fleetward.device.refusals import Refusals
from fleetward.device.state import GuardState, KeptCheckpoint, KeptCut, KeptFloor
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable, Untrusted
from fleetward.trust.journal import (
    NO_CHECKPOINT,
    BatchHeader,
    SeenCheckpoint,
    make_batch_header,
)
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy
from fleetward.wire.audit import MAX_PROOF_ITEMS, ProofReply, ProofRequest, Receipt
from fleetward.wire.identity import Refusal

BATCH_ENTRIES: Final = 100
BATCH_BYTES: Final = 256 * 1024
BATCH_AGE_MS: Final = 1000
KEEP_PROVEN_MS: Final = 7 * 86_400_000
STORE_LOST: Final = "store.lost"
INTACT: Final = "intact"
CONTRADICTED: Final = "contradicted"
INCOMPLETE: Final = "incomplete"
UNPROVEN: Final = "unproven"


@dataclass(frozen=True, slots=True)
class Writer:
    """What signing a batch needs."""

    signer: Signer
    owner: str
    device: str


class Outbox:
    """Cuts, hands out, and ticks off batches. Part of guard's single thread.

    `save` persists the state and raises `Unreachable` when the disk says no.
    """

    def __init__(
        self,
        journal: Journal,
        diary: Diary,
        refusals: Refusals,
        kept: tuple[GuardState, Callable[[], None]],
        writer: Writer,
        time: Timekeeper,
    ) -> None:
        self._journal = journal
        self._diary = diary
        self._refusals = refusals
        self._state, self._save = kept
        self._writer = writer
        self._time = time
        self._uncut_since_ms: int | None = None
        self._sent_through: int | None = None
        self._in_flight: CutBatch | None = None
        self._refused_at: int | None = None
        self._forget_lost_proofs()
        diary.call_after_each(self._note_entry)

    # --- cutting

    @property
    def checkpoint(self) -> SeenCheckpoint:
        """The newest checkpoint that was verified."""
        kept = self._state.checkpoint
        return SeenCheckpoint(kept.generation, kept.size, kept.root) if kept else NO_CHECKPOINT

    def cut_when_due(self) -> None:
        """Cut what is waiting for a second or longer. Raises `Unreachable`."""
        if self._journal.uncut_count == 0:
            self._uncut_since_ms = None
            return
        now = self._time.powered_ms()
        if self._uncut_since_ms is None:
            self._uncut_since_ms = now
        if now - self._uncut_since_ms >= BATCH_AGE_MS:
            self.cut()

    def cut(self) -> None:
        """Cut whatever is waiting. Raises `Unreachable`."""
        last = self._journal.cut(self._sign)
        self._uncut_since_ms = None
        if last is not None:
            self._state.last_cut = KeptCut(
                last.sequence, last.head.hex(), to_base64url(last.header)
            )
            self._save()

    def _note_entry(self, order: bool) -> None:  # noqa: FBT001 - called by the diary
        now = self._time.powered_ms()
        if self._uncut_since_ms is None:
            self._uncut_since_ms = now
        if order:
            # Somebody waits for the answer to an order: it goes out with the next tick.
            self._uncut_since_ms = now - BATCH_AGE_MS
        many = self._journal.uncut_count >= BATCH_ENTRIES
        if many or self._journal.uncut_bytes >= BATCH_BYTES:
            try:
                self.cut()
            except Unreachable:
                return  # The entries are safe; the next tick tries again.

    def _sign(self, first: int, last: int, previous: str, head: str) -> bytes:
        header = BatchHeader(
            device=self._writer.device,
            owner=self._writer.owner,
            boot=self._time.boot,
            first=first,
            last=last,
            previous=previous,
            head=head,
            checkpoint=self.checkpoint,
            hash="",
            raw=b"",
        )
        return make_batch_header(header, self._writer.signer)

    # --- sending

    def start_session(self, stored: int) -> None:
        """The server knows this machine and has stored up to `stored`.

        Raises `Untrusted` when it says that it has what this machine never wrote.
        """
        newest = self._journal.batches[-1].last if self._journal.batches else 0
        if stored > newest:
            words = (
                f"The server says that it holds entry {stored} of this machine, whose journal "
                f"ends at {newest}: this machine was set back, or the server is wrong."
            )
            self._refusals.refuse("receipt", "stored_ahead", words)
            self._mark(INCOMPLETE, words)
            raise Untrusted(words, reason="stored_ahead")
        if stored < self._state.acknowledged:
            self._note_lost(
                f"The server had stored entry {self._state.acknowledged} and now has {stored}. "
                "This machine sends again what it kept.",
                {"acknowledged": self._state.acknowledged, "stored": stored},
            )
            # What the store lacks is kept until it is proven anew.
            for batch in self._journal.batches:
                batch.proof = None if batch.last > stored else batch.proof
        self._state.acknowledged = stored
        self._sent_through = stored
        self._in_flight = None
        self._refused_at = None

    def end_session(self) -> None:
        """The connection is gone; the next one starts with what the server says."""
        self._sent_through = self._in_flight = None

    def next_batch(self) -> bytes:
        """Return the next batch to send, or nothing when all was sent or there is no session."""
        if self._sent_through is None:
            return b""
        batch = self._journal.find_after(self._sent_through)
        if batch is None:
            return b""
        try:
            data = self._journal.read_batch(batch)
        except Malformed as e:
            self._mark(INCOMPLETE, f"Entries {batch.first} to {batch.last} are damaged: {e}")
            return b""
        self._in_flight = batch
        return data

    def take_receipt(self, receipt: Receipt) -> tuple[str, ...]:
        """Tick off what the store has; return the digests of inventories that it wants.

        Raises `Untrusted` for a receipt that does not fit what was sent.
        """
        batch = self._journal.find_ending(receipt.last)
        sent = self._in_flight
        if batch is None or sent is None or batch.head != receipt.head or batch.last < sent.last:
            words = "A receipt for something that this machine did not send."
            self._refusals.refuse("receipt", "bad_receipt", words)
            raise Untrusted(words, reason="bad_receipt")
        self._state.acknowledged = self._sent_through = batch.last
        self._in_flight = self._refused_at = None
        if self._state.record == INCOMPLETE:
            self._state.record, self._state.record_words = INTACT, ""
        return receipt.want

    def take_refusal(self, refusal: Refusal) -> str:
        """Return what to do next: `again`, `hello` or `pause`."""
        self._in_flight = None
        if refusal.reason == "unknown_session":
            self.end_session()
            return "hello"
        if refusal.reason != "out_of_sequence" or refusal.stored < 0:
            return "pause"
        # A server that says one thing and then another gets no faster an answer than one that
        # says the same twice.
        twice, stuck = self._refused_at is not None, refusal.stored == self._refused_at
        try:
            self.start_session(refusal.stored)
        except Untrusted:
            return "pause"
        self._refused_at = refusal.stored
        if stuck:
            oldest = self._journal.batches[0].first if self._journal.batches else 0
            self._mark(
                INCOMPLETE,
                f"The server lacks what follows entry {refusal.stored}, and this machine "
                f"keeps entries from {oldest} on only.",
            )
        return "pause" if twice else "again"

    # --- proving

    def proof_request(self) -> ProofRequest | None:
        """Return what to ask the ledger, or None when nothing that was stored is unproven."""
        pending = self._pending()
        if not pending:
            return None
        seen = self.checkpoint
        return ProofRequest(
            generation=seen.generation, size=seen.size, batches=[b.hash for b in pending]
        )

    def take_proof(self, reply: ProofReply, policies: Sequence[Policy]) -> int:
        """Tick off what the ledger proves; return how many batches that was.

        Raises `Malformed` or `Untrusted`, recorded, when the reply is not believed.
        """
        pending = {b.hash: b for b in self._pending()}
        headers = {h: self._journal.read_header(b) for h, b in pending.items()}
        try:
            proven = verify_ledger_reply(reply, self.checkpoint, policies, headers)
        except (Malformed, Untrusted) as e:
            self._refuse_proof(reply, e)
            raise
        self._succeed(proven)
        at = self._time.powered_ms()
        generation = proven.checkpoint.generation
        places = [(pending[h], Proof(generation, i, at)) for h, i in proven.places.items()]
        self._journal.note_proofs(places)
        return len(places)

    def drop_old(self) -> int:
        """Drop what was proven more than seven powered-on days ago."""
        return self._journal.drop_proven_before(self._time.powered_ms() - KEEP_PROVEN_MS)

    @property
    def unproven(self) -> int:
        """Entries that the ledger was not yet proven to hold."""
        proven = sum(b.last - b.first + 1 for b in self._journal.batches if b.proof)
        held = self._journal.batches[0].first if self._journal.batches else 1
        return self._journal.tip.sequence - held + 1 - proven

    def is_proven(self, sequence: int) -> bool:
        """Return whether the ledger was proven to hold an entry; dropped ones were."""
        batches = self._journal.batches
        if not batches or sequence > batches[-1].last:
            return False
        batch = self._journal.find_after(sequence - 1)
        return sequence < batches[0].first or (batch is not None and batch.proof is not None)

    def _pending(self) -> list[CutBatch]:
        stored = self._state.acknowledged
        pending = [b for b in self._journal.batches if b.proof is None and b.last <= stored]
        return pending[:MAX_PROOF_ITEMS]

    def _refuse_proof(self, reply: ProofReply, error: FleetwardError) -> None:
        if error.reason == "forked":
            self._contradict(
                "checkpoint",
                "forked",
                "The server shows a record that does not continue the one that this machine "
                "has seen: the record was rewritten or forked.",
            )
        elif error.reason == "rolled_back":
            shown = KeptFloor(reply.generation, self.checkpoint.size)
            if self._state.rolled_back != shown:
                self._state.rolled_back = shown
                self._note_lost(
                    "The server shows an older record than this machine has seen.",
                    {"generation": reply.generation, "seen": self.checkpoint.size},
                )
        else:
            words = f"{error.message} Nothing was dropped."
            self._refusals.refuse("proof", error.reason, words)
            if error.reason == "bad_consistency_proof":
                self._mark(
                    UNPROVEN,
                    "The server shows a newer record and has not proven that it continues the one "
                    "that this machine has seen: the record was rewritten, or what carries the "
                    "proof is broken. It is asked again.",
                )

    def _succeed(self, proven: Proven) -> None:
        seen = self.checkpoint
        if proven.opening is not None:
            known = proven.opening.last_known
            if lost_by_opening(proven.opening, seen):
                self._note_lost(
                    f"The record was restored to entry {known.size}; this machine had seen "
                    f"{seen.size}. It sends again what it kept.",
                    {"known": known.size, "seen": seen.size, "generation": seen.generation},
                )
            self._state.floors.append(KeptFloor(known.generation, known.size))
            self._forget_lost_proofs()
        new = proven.checkpoint
        self._state.checkpoint = KeptCheckpoint(new.generation, new.size, new.root)
        self._state.checkpoint_at_ms = self._time.wall_ms()
        self._state.rolled_back = None
        if self._state.record == UNPROVEN:
            self._state.record, self._state.record_words = INTACT, ""
        self._save()

    def _forget_lost_proofs(self) -> None:
        """Proofs of leaves that a restored ledger has lost count no more."""
        floors = {f.generation: f.size for f in self._state.floors}
        for batch in self._journal.batches:
            proof = batch.proof
            if proof is not None and proof.index >= floors.get(proof.generation, proof.index + 1):
                batch.proof = None

    # --- saying what is wrong

    def _note_lost(self, words: str, numbers: dict[str, int]) -> None:
        if not self._refusals.has_room(STORE_LOST, "record", "went_back", words):
            return
        try:
            self._diary.order(STORE_LOST, {**numbers, "words": words})
        except Unreachable:
            self._state.lost_to_full_disk += 1

    def _contradict(self, what: str, reason: str, words: str) -> None:
        self._refusals.refuse(what, reason, words)
        self._state.record, self._state.record_words = CONTRADICTED, words
        self._save()

    def _mark(self, state: str, words: str) -> None:
        """Show what may still be made good; it hides nothing that is shown already.

        It is not worth a write of its own: where it lasts, it is noticed again.
        """
        if self._state.record == INTACT:
            self._state.record, self._state.record_words = state, words


def kept_cut(state: GuardState) -> LastCut | None:
    """Return the newest batch that the state remembers, for opening the journal."""
    kept = state.last_cut
    if kept is None:
        return None
    return LastCut(kept.sequence, bytes.fromhex(kept.head), from_base64url(kept.header))
