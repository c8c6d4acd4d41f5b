"""The one door through which evidence reaches the server.

What arrives is bytes from a machine whose id the broker checked by its certificate. Nothing is
believed because of that: every batch carries the signature of the machine's identity key, and is
stored only when it verifies and continues what is stored. The receipt goes out after the store's
commit and the ledger's. Workers are stateless between messages, so that several may serve one queue
group; the ledger has one writer.

Rules for a batch:

1. It names the machine that the subject names.
2. The machine is known, not retired, and not waiting for its owner.
3. `trust.journal.verify_batch`: signed by its identity key, for this server's owner, chain whole.
4. It continues the stored journal (`events.decide.decide_place`).
5. Stored, made a leaf of the ledger, and only then acknowledged. What an earlier start, or a
   failure, left stored without a leaf becomes one before (`leafless`).

What a machine asks for of updates is answered by `updates.answers`, in threads of its own, so that
downloads hold up nothing else; one that asks too often waits a little, or is told to come later.

Rules for what a machine says of sessions: it is known, not retired, and not waiting for its owner;
the rest stands in `access.ingest`.

A refusal answers with its reason, is counted, and the first of its kind in a minute becomes an
entry of the ledger. What is the server's own trouble (a full disk, a record that waits for its
owner) or an honest machine's (it waits, it must send again) is answered and counted alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import secrets
import zlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import msgspec

from fleetward.runtime.clock import Clock
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.groups import Groups
from fleetward.server.leafless import mend_leafless
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.errors import (
    FleetwardError,
    Malformed,
    Misuse,
    Refused,
    Unreachable,
    Untrusted,
)
from fleetward.trust.journal import Batch, Entry, read_batch_header, verify_batch
from fleetward.trust.keys import PublicKey
from fleetward.trust.statements import NONCE_BYTES, Hello, verify_hello
from fleetward.wire.access import AccessNote, AccessReply, RecordingChunk, RecordingReply
from fleetward.wire.audit import (
    MAX_BLOB_BYTES,
    MAX_PROOF_ITEMS,
    Beat,
    BlobChunk,
    BlobReply,
    ProofReply,
    ProofRequest,
    Receipt,
)
from fleetward.wire.identity import HelloReply, NonceReply, Refusal
from fleetward.wire.orders import Documents, DocumentsRequest
from fleetward.wire.subjects import Up
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

MAX_OPEN_BLOBS: Final = 64
"""Inventories in transfer at once, one of each machine, 8 MiB each at most."""
REFUSAL_EVERY_MS: Final = 60_000
"""Equal refusals of one machine become an entry once a minute; the rest are counted."""
NONCE_MS: Final = 60_000
"""A nonce is for one greeting, within a minute."""
MAX_WAITING: Final = 64
"""Machines that ask too often and wait for their answers at once; each holds a place at the door
meanwhile, of which there are four times as many."""
UNRECORDED: Final = frozenset(
    {"out_of_sequence", "waiting_for_owner", "record_waits", "unknown_session", "too_often"}
)
"""Refusals that happen to honest machines."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_KIND: Final = re.compile(r"[a-z0-9_.-]{1,64}")
_log: Final = logging.getLogger(__name__)

_T = TypeVar("_T")


class Machines(Protocol):
    """What the door needs to know of machines."""

    def key_of(self, device: str) -> PublicKey: ...

    def state_of(self, device: str) -> str: ...

    def greet(self, hello: Hello) -> str: ...

    def see(self, device: str) -> None: ...


class Owner(Protocol):
    """What the door needs of the owner's documents."""

    @property
    def owner_id(self) -> str: ...

    def bundle(self, device: str, policy_version: int = 0) -> Bundle: ...


class Placed(Protocol):
    """What became of a batch in the store."""

    @property
    def batch(self) -> Batch: ...

    @property
    def last(self) -> int: ...

    @property
    def fresh(self) -> bool: ...

    @property
    def error(self) -> FleetwardError | None: ...


class Store(Protocol):
    """Where entries go."""

    def store_batches(self, group: Sequence[Batch], at_ms: int) -> Sequence[Placed]: ...

    def last_of(self, device: str, owner: str) -> int: ...

    def headers_of(self, device: str, hashes: Sequence[str]) -> list[tuple[str, bytes]]: ...

    def newest_batches(self) -> list[tuple[str, int, str]]: ...

    def batches_before(
        self, device: str, first: int, most: int
    ) -> list[tuple[int, str, bytes]]: ...


class BatchLedger(Protocol):
    """Where batches become leaves."""

    generation: int

    def require_open(self) -> None: ...

    def append_batches(
        self, batches: Sequence[tuple[str, str, bytes]], repeated: Collection[str], at_ms: int
    ) -> None: ...

    def recorded(self, references: Sequence[str]) -> set[str]: ...

    def lacking(self, references: Sequence[str]) -> list[str]: ...

    def prove(self, asked: ProofRequest) -> ProofReply: ...


class EvidenceSink(Protocol):
    """A capability that reads entries, and the documents that they name by digest."""

    def take_groups(self, groups: Sequence[tuple[str, str, Sequence[Entry]]]) -> list[list[str]]:
        """Read entries of machines (device, owner, entries), all or none of them.

        They come more than once when a batch came again. Returns the documents wanted of each.
        """

    def take_document(self, device: str, owner: str, digest: str, body: bytes) -> None:
        """Take a document whose digest is right. Raises `Malformed`."""


class SessionDoor(Protocol):
    """The capability that keeps what machines say of sessions."""

    def take_note(self, device: str, note: AccessNote) -> None: ...

    def take_chunks(
        self, chunks: Sequence[tuple[str, RecordingChunk]]
    ) -> list[int | FleetwardError]: ...


class UpdateAnswers(Protocol):
    """The capability that answers what machines ask of updates."""

    def pace(self, device: str, question: UpdateQuestion) -> float: ...

    def words_to(self, devices: Sequence[str]) -> list[bytes | None]: ...

    def answer(self, device: str, question: UpdateQuestion) -> UpdateAnswer: ...


@dataclass(frozen=True)
class Rooms:
    """Everything that the door hands on to."""

    machines: Machines
    owner: Owner
    store: Store
    ledger: BatchLedger
    sink: EvidenceSink
    deeds: DeedRecorder
    clock: Clock
    sessions: SessionDoor
    updates: UpdateAnswers


class Intake:
    """Answers what machines say. `handle` is called on one event loop."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._nonces: dict[str, tuple[bytes, int]] = {}
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="intake")
        self._batches = Groups(self._store_group, self._writer, "store batches")
        self._pieces = Groups(self._store_pieces, self._writer, "store recordings")
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="intake-read")
        self._fetchers = ThreadPoolExecutor(4, thread_name_prefix="intake-update")
        self._words = Groups(self._give_words, self._fetchers, "direct machines")
        self._waiting = 0
        self._blobs: dict[str, tuple[str, bytearray]] = {}
        self._last_refusal: dict[tuple[str, str], int] = {}
        self._leafless = True
        self._asking: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.stored = 0

    @property
    def asking(self) -> int:
        """How many machines wait for an answer now; one that asks much counts as one, and one that
        is only let wait for its pace does not count."""
        return len(self._asking)

    async def handle(self, device: str, word: Up, payload: bytes) -> bytes | None:
        """Return the answer to one message; a refusal is an answer too."""
        self._asking[device] += 1
        try:
            return await self._dispatch(device, word, payload)
        except Misuse:
            raise
        except FleetwardError as e:
            return await self._refuse(device, e)
        finally:
            self._forget_asking(device)

    def _forget_asking(self, device: str) -> None:
        self._asking[device] -= 1
        if not self._asking[device]:
            del self._asking[device]

    def close(self) -> None:
        """Finish what is being written and take no more."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._fetchers.shutdown(wait=True)

    async def _dispatch(self, device: str, word: Up, payload: bytes) -> bytes | None:
        if word is Up.BATCH:
            return await self._batches.join(device, payload)
        if word is Up.RECORDING:
            return await self._pieces.join(device, payload)
        if word is Up.BEAT:
            _decode(payload, Beat)
            self._rooms.machines.see(device)
            return None
        if word is Up.UPDATE:
            return await self._answer_update(device, _decode(payload, UpdateQuestion))
        loop = asyncio.get_running_loop()
        if word is Up.NONCE:
            return msgspec.json.encode(NonceReply(nonce=to_base64url(self._nonce(device))))
        if word is Up.HELLO:
            return await loop.run_in_executor(self._readers, self._greet, device, payload)
        if word is Up.PROOF:
            return await loop.run_in_executor(self._readers, self._prove, device, payload)
        if word is Up.DOCUMENTS:
            return await loop.run_in_executor(self._readers, self._documents, device, payload)
        take = self._take_note if word is Up.ACCESS else self._take_chunk
        return await loop.run_in_executor(self._writer, take, device, payload)

    def _store_group(self, work: Sequence[tuple[str, bytes]]) -> list[bytes | FleetwardError]:
        self._rooms.ledger.require_open()
        self._mend()
        answers: list[bytes | FleetwardError] = []
        verified: dict[int, Batch] = {}
        for place, (device, payload) in enumerate(work):
            answers.append(b"")
            try:
                verified[place] = self._verify(device, payload)
            except FleetwardError as e:
                answers[place] = e
        now = self._rooms.clock.wall_ms()
        self._leafless = True
        placed = self._rooms.store.store_batches(list(verified.values()), now)
        good = [p for p in placed if p.error is None]
        self._rooms.ledger.append_batches(
            [(p.batch.header.device, p.batch.header.hash, p.batch.header.raw) for p in good],
            {p.batch.header.hash for p in good if not p.fresh},
            now,
        )
        self._leafless = False
        receipts = iter(self._receipts(good))
        for place, result in zip(verified, placed, strict=True):
            answers[place] = result.error or next(receipts)
        return answers

    def _mend(self) -> None:
        """Make leaves of what was stored without one. In the writer's thread."""
        if self._leafless:
            mended = mend_leafless(
                self._rooms.store, self._rooms.ledger, self._rooms.clock.wall_ms()
            )
            self._leafless = False
            if mended:
                _log.warning("%d batches that were stored became leaves of the record", mended)

    def _give_leaves(self, device: str, stored: Sequence[tuple[str, bytes]]) -> None:
        """Give stored batches of a machine leaves in this generation. In the writer's thread."""
        self._mend()
        self._rooms.ledger.append_batches(
            [(device, digest, raw) for digest, raw in stored],
            {digest for digest, _ in stored},
            self._rooms.clock.wall_ms(),
        )

    def _verify(self, device: str, payload: bytes) -> Batch:
        # Rule 2.
        self._require_admitted(device)
        # Rules 1 and 3: the key is that of the machine that the subject names.
        try:
            batch = verify_batch(
                payload, self._rooms.machines.key_of(device), self._rooms.owner.owner_id
            )
        except Untrusted:
            _require_device(device, payload)
            raise
        for entry in batch.entries:
            if not _KIND.fullmatch(entry.kind):
                raise Malformed("Expected a kind of entry in plain letters.", reason="bad_kind")
        return batch

    def _require_admitted(self, device: str) -> None:
        state = self._rooms.machines.state_of(device)
        if state == "retired":
            raise Refused("This machine was retired by its owner.", reason="retired")
        if state == "pending":
            raise Refused(
                "This machine waits for its owner to confirm it. It keeps its evidence until then.",
                reason="waiting_for_owner",
            )

    def _receipts(self, good: Sequence[Placed]) -> list[bytes | FleetwardError]:
        """Return the receipts of batches that are stored, after their entries were read."""
        # Also for a batch that came again: the first time may have ended before this.
        groups = [(p.batch.header.device, p.batch.header.owner, p.batch.entries) for p in good]
        try:
            wanted: Sequence[list[str] | FleetwardError] = self._rooms.sink.take_groups(groups)
        except FleetwardError:
            wanted = [self._read_alone(group) for group in groups]
        return [
            want if isinstance(want, FleetwardError) else self._receipt(placed, want)
            for placed, want in zip(good, wanted, strict=True)
        ]

    def _read_alone(self, group: tuple[str, str, Sequence[Entry]]) -> list[str] | FleetwardError:
        try:
            return self._rooms.sink.take_groups([group])[0]
        except (Malformed, Refused) as e:
            # The evidence is stored as it is; only the view of it lacks what cannot be read.
            self.refused[e.reason] += 1
            _log.warning("what %s said could not be read: %s", group[0], e.message)
            return []
        except FleetwardError as e:
            return e

    def _receipt(self, placed: Placed, wanted: Sequence[str]) -> bytes:
        header = placed.batch.header
        if placed.fresh:
            self.stored += len(placed.batch.entries)
        self._rooms.machines.see(header.device)
        return msgspec.json.encode(Receipt(last=header.last, head=header.head, want=tuple(wanted)))

    def _greet(self, device: str, payload: bytes) -> bytes:
        key = self._rooms.machines.key_of(device)
        hello = self._check_nonce(device, payload, key)
        if hello.device != device:
            raise Untrusted("The greeting is of another machine.", reason="another_device")
        if hello.owner != self._rooms.owner.owner_id:
            raise Untrusted("The machine obeys another owner.", reason="another_owner")
        state = self._rooms.machines.greet(hello)
        return msgspec.json.encode(
            HelloReply(
                stored=self._rooms.store.last_of(device, hello.owner),
                generation=self._rooms.ledger.generation,
                state=state,
            )
        )

    def _prove(self, device: str, payload: bytes) -> bytes:
        asked = _decode(payload, ProofRequest)
        if len(asked.batches) > MAX_PROOF_ITEMS:
            raise Malformed(f"Expected at most {MAX_PROOF_ITEMS} batches.", reason="too_many_items")
        if not all(_DIGEST.fullmatch(digest) for digest in asked.batches):
            raise Malformed("Expected batches by their hashes.", reason="bad_message")
        lacking = self._rooms.ledger.lacking(asked.batches)
        stored = self._rooms.store.headers_of(device, lacking) if lacking else []
        if stored:
            # Not here: what has no leaf gets it in the writer's thread, in its order.
            self._writer.submit(self._give_leaves, device, stored).result()
        return msgspec.json.encode(self._rooms.ledger.prove(asked))

    def _documents(self, device: str, payload: bytes) -> bytes:
        asked = _decode(payload, DocumentsRequest)
        if asked.policy_version < 0:
            raise Malformed("Expected a version from 0.", reason="bad_message")
        bundle = self._rooms.owner.bundle(device, asked.policy_version)
        return msgspec.json.encode(Documents(bundle=to_base64url(bundle.to_bytes())))

    async def _answer_update(self, device: str, asked: UpdateQuestion) -> bytes:
        wait_seconds = self._rooms.updates.pace(device, asked)
        if wait_seconds > 0:
            if self._waiting >= MAX_WAITING:
                raise Refused("Many machines wait. Ask again in a while.", reason="too_often")
            self._waiting += 1
            self._forget_asking(device)
            try:
                await asyncio.sleep(wait_seconds)
            finally:
                self._asking[device] += 1
                self._waiting -= 1
        if asked.what == "director" and asked.name == "targets":
            return await self._words.join(device, b"")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._fetchers, self._fetch, device, asked)

    def _give_words(self, work: Sequence[tuple[str, bytes]]) -> list[bytes | FleetwardError]:
        """Answer machines that ask for the director's word, signed and stored together."""
        answers: list[bytes | FleetwardError] = []
        for device, _ in work:
            try:
                self._require_admitted(device)
                answers.append(b"")
            except FleetwardError as e:
                answers.append(e)
        good = [n for n, answer in enumerate(answers) if answer == b""]
        words = self._rooms.updates.words_to([work[n][0] for n in good])
        for n, word in zip(good, words, strict=True):
            said = UpdateAnswer(found=False)
            if word is not None:
                said = UpdateAnswer(found=True, data=to_base64url(word), total=len(word))
            answers[n] = msgspec.json.encode(said)
        return answers

    def _fetch(self, device: str, asked: UpdateQuestion) -> bytes:
        self._require_admitted(device)
        return msgspec.json.encode(self._rooms.updates.answer(device, asked))

    def _take_chunk(self, device: str, payload: bytes) -> bytes:
        chunk = _decode(payload, BlobChunk)
        self._require_admitted(device)
        if not 0 < chunk.total <= MAX_BLOB_BYTES or not _DIGEST.fullmatch(chunk.digest):
            raise Malformed("Expected a document of at most 8 MiB.", reason="too_large")
        if chunk.offset == 0:
            self._blobs.pop(device, None)
            self._blobs[device] = (chunk.digest, bytearray())
            while len(self._blobs) > MAX_OPEN_BLOBS:
                self._blobs.pop(next(iter(self._blobs)))
        digest, held = self._blobs.get(device, ("", bytearray()))
        if digest != chunk.digest or len(held) != chunk.offset:
            offset = len(held) if digest == chunk.digest else 0
            return _blob_reply(chunk.digest, offset, complete=False)
        held.extend(from_base64url(chunk.data))
        if len(held) < chunk.total:
            return _blob_reply(chunk.digest, len(held), complete=False)
        del self._blobs[device]
        body = _inflate(bytes(held[: chunk.total]))
        if hashlib.sha256(body).hexdigest() != chunk.digest:
            raise Untrusted("The document is not the one that was named.", reason="wrong_digest")
        self._rooms.sink.take_document(device, self._rooms.owner.owner_id, chunk.digest, body)
        return _blob_reply(chunk.digest, chunk.total, complete=True)

    def _take_note(self, device: str, payload: bytes) -> bytes:
        note = _decode(payload, AccessNote)
        self._require_admitted(device)
        self._rooms.sessions.take_note(device, note)
        return msgspec.json.encode(AccessReply(subject=note.subject))

    def _store_pieces(self, work: Sequence[tuple[str, bytes]]) -> list[bytes | FleetwardError]:
        answers: list[bytes | FleetwardError] = [b""] * len(work)
        good: dict[int, tuple[str, RecordingChunk]] = {}
        for place, (device, payload) in enumerate(work):
            try:
                chunk = _decode(payload, RecordingChunk)
                self._require_admitted(device)
                good[place] = (device, chunk)
            except FleetwardError as e:
                answers[place] = e
        sizes = self._rooms.sessions.take_chunks(list(good.values()))
        for (place, (_, chunk)), size in zip(good.items(), sizes, strict=True):
            answers[place] = (
                size
                if isinstance(size, FleetwardError)
                else msgspec.json.encode(RecordingReply(session=chunk.session, size=size))
            )
        return answers

    async def _refuse(self, device: str, error: FleetwardError) -> bytes:
        self.refused[error.reason] += 1
        stored = -1
        loop = asyncio.get_running_loop()
        if error.reason == "out_of_sequence":
            stored = await loop.run_in_executor(
                self._readers, self._rooms.store.last_of, device, self._rooms.owner.owner_id
            )
        elif error.reason not in UNRECORDED and not isinstance(error, Unreachable):
            try:
                await loop.run_in_executor(self._readers, self._record_refusal, device, error)
            except FleetwardError as e:
                # The machine is refused all the same.
                _log.warning("the refusal of %s could not be recorded: %s", device, e.message)
        return msgspec.json.encode(
            Refusal(reason=error.reason, message=error.message[:500], stored=stored)
        )

    def _record_refusal(self, device: str, error: FleetwardError) -> None:
        now = self._rooms.clock.wall_ms()
        key = (device, error.reason)
        if now - self._last_refusal.get(key, -REFUSAL_EVERY_MS) < REFUSAL_EVERY_MS:
            return
        self._last_refusal[key] = now
        body: Mapping[str, str | int] = {
            "reason": error.reason,
            "words": error.message[:500],
            "count": self.refused[error.reason],
        }
        self._rooms.deeds.record(
            Deed(
                kind="intake.refused",
                actor=f"device:{device}",
                subject=f"device:{device}",
                owner_id=self._rooms.owner.owner_id,
                body=body,
                at_ms=now,
            )
        )

    def _nonce(self, device: str) -> bytes:
        """Return a nonce for one greeting; a later one takes its place."""
        nonce = secrets.token_bytes(NONCE_BYTES)
        self._nonces[device] = (nonce, self._rooms.clock.wall_ms())
        return nonce

    def _check_nonce(self, device: str, payload: bytes, key: PublicKey) -> Hello:
        nonce, made_ms = self._nonces.get(device, (b"", 0))
        hello = verify_hello(payload, key, nonce)
        # Used up, whatever comes of it; a greeting that was not signed does not use it up.
        self._nonces.pop(device, None)
        if not 0 <= self._rooms.clock.wall_ms() - made_ms <= NONCE_MS:
            raise Untrusted("The greeting came too late. Ask for a nonce.", reason="wrong_nonce")
        return hello


def _require_device(device: str, payload: bytes) -> None:
    """Say plainly when a batch that does not verify is another machine's."""
    header, _ = read_batch_header(payload.split(b"\n", 1)[0])
    if header.device != device:
        raise Untrusted(
            "The batch is of another machine than the connection.", reason="another_device"
        )


def _decode(payload: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a {kind.__name__}: {e}", reason="bad_message") from e


def _blob_reply(digest: str, offset: int, *, complete: bool) -> bytes:
    return msgspec.json.encode(BlobReply(digest=digest, offset=offset, complete=complete))


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj()
    try:
        body = inflater.decompress(data, MAX_BLOB_BYTES + 1)
    except zlib.error as e:
        raise Malformed("Expected a document in zlib's format.", reason="bad_blob") from e
    if not inflater.eof or len(body) > MAX_BLOB_BYTES:
        raise Malformed("Expected a whole document of at most 8 MiB.", reason="too_large")
    return body
