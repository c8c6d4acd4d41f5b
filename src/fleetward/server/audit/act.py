"""Appending to the ledger, and proving from it. One writer per owner; thread-safe."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from sqlalchemy.engine import Connection

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.runtime.keys import FileSigner
from fleetward.server.audit import store
from fleetward.server.audit.decide import (
    Leaf,
    make_batch_leaf,
    make_deed_leaf,
    make_document_leaf,
    make_session_leaf,
)
from fleetward.server.audit.tree import Tree
from fleetward.server.deeds import Deed
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.generation import Opening
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.merkle import hash_leaf
from fleetward.trust.note import Checkpoint, origin_of, sign_checkpoint
from fleetward.trust.tiles import MAX_LEAF_BYTES
from fleetward.wire.audit import ProofItem, ProofReply, ProofRequest

ASKED_AT_ONCE: Final = 500
"""References in one question to the database, which bounds how many values a question has."""
FRESH_MS: Final = 1000
"""A checkpoint that is younger and covers what is asked for serves again: signing it costs a write
to the disk, and a fleet asks for its proofs at once."""


class Ledger:
    """The owner's ledger in its newest generation.

    The tree in memory follows the store and never leads it: whenever a write fails, it is thrown
    away and read again before the next use, so that no checkpoint covers a leaf that is not stored.
    """

    def __init__(self, database: Database, log_key: FileSigner, clock: Clock) -> None:
        self._database = database
        self._log_key = log_key
        self._clock = clock
        self._lock = threading.RLock()
        self._listeners: list[Callable[[], None]] = []
        self._signed = (-1, b"", 0)
        with database.read() as conn:
            self.owner_id, self.generation, self._closed = store.select_generation(conn)
        self._loaded: Tree | None = self._load_tree()
        if self.generation and not self._closed:
            self._absorb_early()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call `listener` after every append."""
        self._listeners.append(listener)

    @property
    def size(self) -> int:
        """How many leaves the newest generation has."""
        with self._lock:
            return self._tree.size

    @property
    def waiting_for_owner(self) -> bool:
        """Whether this server was restored and the owner has not opened a new generation yet."""
        return self._closed

    def record(self, deed: Deed) -> int:
        """Store a deed durably and return its leaf's index. Raises `Unreachable`, `Refused`.

        Before an owner has come, deeds have no ledger to stand in; they are kept and become its
        first leaves (index -1 is returned).
        """
        leaf = make_deed_leaf(deed, deed.owner_id or self.owner_id, secrets.token_hex(8))
        return self.append([leaf])[0]

    def append_document(self, owner_id: str, kind: str, raw: bytes, at_ms: int) -> None:
        """Make an owner's document a leaf; the owner root opens the first generation.

        Raises `Refused` for the document of another owner than the one whose record this is.
        """
        with self._lock:
            if self.owner_id not in ("", owner_id):
                raise Refused(
                    "This record was begun for another owner. Start a server of your own for a "
                    "new owner.",
                    reason="another_owner",
                )
            if self.generation == 0 and kind == "root":
                self._open_first(owner_id, at_ms)
            leaf = make_document_leaf(kind, raw, owner_id, at_ms)
            with self._database.read() as conn:
                known = store.select_references(
                    conn, self.owner_id, self.generation, [leaf.reference]
                )
            if not known:
                self.append([leaf])

    def append_signed(self, kind: str, raw: bytes, by: tuple[str, str], at_ms: int) -> None:
        """Make a signed document of a session a leaf, once.

        `by` is who brought it, and the machine. Raises `Unreachable`, or `Refused` while the
        record waits for its owner, and for one that no export could hold.
        """
        if len(raw) > MAX_LEAF_BYTES:
            raise Refused(
                f"An entry of the record has at most {MAX_LEAF_BYTES} bytes; this has {len(raw)}. "
                "Sign it for fewer machines at once.",
                reason="too_large",
            )
        with self._lock:
            self.require_open()
            leaf = make_session_leaf(kind, raw, by, at_ms)
            with self._database.read() as conn:
                known = store.select_references(
                    conn, self.owner_id, self.generation, [leaf.reference]
                )
            if not known:
                self.append([leaf])

    def append_batches(
        self, batches: Sequence[tuple[str, str, bytes]], repeated: Collection[str], at_ms: int
    ) -> None:
        """Make batches (device, hash, header) leaves.

        Those whose hash is among `repeated` may be leaves already, and are then passed over. The
        others were stored as events a moment ago for the first time, which comes before.
        """
        with self._lock:
            self.require_open()
            known: Mapping[str, int] = {}
            if repeated:
                with self._database.read() as conn:
                    known = store.select_references(
                        conn, self.owner_id, self.generation, list(repeated)
                    )
            once = {digest: (device, raw) for device, digest, raw in batches}
            fresh = [
                make_batch_leaf(device, digest, raw, at_ms)
                for digest, (device, raw) in once.items()
                if digest not in known
            ]
            if fresh:
                self.append(fresh)

    def recorded(self, references: Sequence[str]) -> set[str]:
        """Return which of these references have a leaf, in this generation or one before."""
        found: set[str] = set()
        with self._database.read() as conn:
            for at in range(0, len(references), ASKED_AT_ONCE):
                asked = references[at : at + ASKED_AT_ONCE]
                found |= set(store.select_references(conn, self.owner_id, None, asked))
        return found

    def lacking(self, references: Sequence[str]) -> list[str]:
        """Return those of these references that have no leaf in the newest generation."""
        with self._database.read() as conn:
            known = store.select_references(conn, self.owner_id, self.generation, references)
        return [reference for reference in references if reference not in known]

    def place_of(self, reference: str) -> int | None:
        """Return the index of the leaf with this reference in the newest generation, or None."""
        with self._database.read() as conn:
            found = store.select_references(conn, self.owner_id, self.generation, [reference])
        return found.get(reference)

    def places_of(self, references: Sequence[str]) -> dict[str, tuple[int, int]]:
        """Return generation and index of the leaves with these references, of any generation."""
        found: dict[str, tuple[int, int]] = {}
        with self._database.read() as conn:
            for at in range(0, len(references), ASKED_AT_ONCE):
                asked = references[at : at + ASKED_AT_ONCE]
                found |= store.select_places(conn, self.owner_id, asked)
        return found

    def require_open(self) -> None:
        """Return when evidence can become leaves. Raises `Refused` after a restore."""
        if self._closed:
            raise Refused(
                "This server was restored and its owner has not opened the record again. "
                "Machines keep their evidence until then.",
                reason="record_waits",
            )

    def append(self, new: Sequence[Leaf]) -> list[int]:
        """Append leaves in one transaction and return their indices.

        Raises `Unreachable` when the store cannot take them; then none was taken.
        """
        with self._lock:
            if self.generation == 0 or self._closed:
                return self._keep_early(new)
            with self._unless_it_fails(), self._database.write() as conn:
                indices = self._append(conn, new)
        for listener in self._listeners:
            listener()
        return indices

    def checkpoint(self) -> tuple[int, bytes]:
        """Return size and signed note of a checkpoint over everything that was appended.

        Raises `Refused` before there is an owner.
        """
        with self._lock:
            if self.generation == 0:
                raise Refused(
                    "The record begins when the owner comes: `fleetward owner init`.",
                    reason="no_owner",
                )
            if self._signed[0] != self._tree.size:
                size, now = self._tree.size, self._clock.wall_ms()
                origin = origin_of(self.owner_id, self.generation)
                note = sign_checkpoint(Checkpoint(origin, size, self._tree.root()), self._log_key)
                with self._database.write() as conn:
                    store.write_checkpoint(conn, self.owner_id, self.generation, size, (note, now))
                self._signed = (size, note, now)
            return self._signed[:2]

    def prove(self, asked: ProofRequest) -> ProofReply:
        """Answer a machine: a checkpoint, consistency with what it knew, and its batches' places.

        Raises `Malformed`, or `Refused` when the machine knows more than this ledger holds.
        """
        if asked.generation < 0 or asked.size < 0 or (asked.size and not asked.generation):
            raise Malformed("Expected a checkpoint, or none at all.", reason="bad_message")
        with self._lock:
            newer = 0 < asked.generation < self.generation
            opening = b""
            with self._database.read() as conn:
                if newer:
                    opening = store.select_opening(conn, self.owner_id, self.generation)
                places = store.select_references(
                    conn, self.owner_id, self.generation, asked.batches
                )
            size, note = self._checkpoint_over(
                max(0 if newer else asked.size, *(i + 1 for i in places.values()), 1)
            )
            if asked.generation > self.generation or (not newer and asked.size > size):
                raise Refused(
                    "This server's record is older than what the machine knows: it was restored "
                    "from a backup. Its owner restores it by `fleetward restore` and opens the "
                    "record again by `fleetward owner restore-open`.",
                    reason="ledger_behind",
                )
            known = 0 if newer else asked.size
            return ProofReply(
                generation=self.generation,
                checkpoint=note.decode("utf-8"),
                consistency=[to_base64url(h) for h in self._tree.consistency(known, size)],
                items=[
                    ProofItem(
                        batch=batch,
                        index=index,
                        path=[to_base64url(h) for h in self._tree.inclusion(index, size)],
                    )
                    for batch, index in places.items()
                ],
                opening=to_base64url(opening),
                opening_path=tuple(to_base64url(h) for h in self._tree.inclusion(0, size))
                if newer
                else (),
            )

    def root_at(self, size: int) -> bytes:
        """Return the root that the tree had with `size` leaves."""
        with self._lock:
            return self._tree.root_at(size)

    def last_known(self) -> SeenCheckpoint:
        """Return the newest state of the newest generation, for an opening to name.

        Its checkpoint is signed and kept, so that an export holds what the opening names.
        """
        with self._lock:
            if self.generation:
                self.checkpoint()
            return SeenCheckpoint(self.generation, self._tree.size, self._tree.root().hex())

    def open_generation(self, opening: Opening, at_ms: int) -> None:
        """Begin the generation that the owner opened. Raises `Refused` when it is not the next."""
        with self._lock:
            if not self._closed:
                raise Refused(
                    "This server was not restored: its record goes on as it is.",
                    reason="not_restored",
                )
            if opening.last_known != self.last_known():
                raise Refused(
                    "The opening names another checkpoint than this server's newest.",
                    reason="wrong_opening",
                )
            first = make_document_leaf("generation", opening.raw, self.owner_id, at_ms)
            self._begin(self.owner_id, opening.generation, opening.raw, first)
            self._absorb_early()

    def _open_first(self, owner_id: str, at_ms: int) -> None:
        with self._database.write() as conn:
            store.insert_generation(conn, owner_id, 1, b"", at_ms)
        self.owner_id, self.generation = owner_id, 1
        self._loaded, self._signed = None, (-1, b"", 0)
        self._absorb_early()

    def _begin(self, owner_id: str, generation: int, opening: bytes, first: Leaf) -> None:
        """Begin a generation with its first leaf: both in one transaction, or neither."""
        before = (self.generation, self._closed)
        try:
            with self._unless_it_fails(), self._database.write() as conn:
                store.insert_generation(conn, owner_id, generation, opening, first.at_ms)
                self.generation, self._closed = generation, False
                self._loaded, self._signed = Tree(0, self._read_tile), (-1, b"", 0)
                self._append(conn, [first])
        except BaseException:
            self.generation, self._closed = before
            raise

    def _append(self, conn: Connection, new: Sequence[Leaf]) -> list[int]:
        first = self._tree.size
        changed = self._tree.append(hash_leaf(leaf.body) for leaf in new)
        store.insert_leaves(
            conn, self._database, self.owner_id, self.generation, list(enumerate(new, first))
        )
        store.upsert_tiles(
            conn,
            self._database,
            [
                {
                    "owner_id": self.owner_id,
                    "generation": self.generation,
                    "level": level,
                    "position": position,
                    "hashes": tile,
                }
                for (level, position), tile in changed.items()
            ],
        )
        return list(range(first, first + len(new)))

    @contextmanager
    def _unless_it_fails(self) -> Iterator[None]:
        """Throw the tree away when the block fails: whether its leaves are stored, only the store
        knows."""
        try:
            yield
        except BaseException:
            self._loaded = None
            raise

    def _checkpoint_over(self, least: int) -> tuple[int, bytes]:
        size, note, at_ms = self._signed
        if least <= size and 0 <= self._clock.wall_ms() - at_ms < FRESH_MS:
            return size, note
        return self.checkpoint()

    def _keep_early(self, new: Sequence[Leaf]) -> list[int]:
        """Keep deeds that came before the owner, as leaves of generation 0, which nobody signs."""
        with self._database.write() as conn:
            first = store.count_leaves(conn, "", 0)
            known = store.select_references(conn, "", 0, [leaf.reference for leaf in new])
            kept = [leaf for leaf in new if leaf.reference not in known]
            store.insert_leaves(conn, self._database, "", 0, list(enumerate(kept, first)))
        return [-1] * len(new)

    def _absorb_early(self) -> None:
        """Make deeds that waited for this generation its leaves. Safe to repeat after a crash."""
        with self._database.read() as conn:
            rows = store.select_early(conn)
            known = store.select_references(
                conn, self.owner_id, self.generation, [r.reference for r in rows]
            )
        early = [
            Leaf(r.kind, r.actor, r.subject, r.reference, r.at, r.body)
            for r in rows
            if r.reference not in known
        ]
        if early:
            self.append(early)
        if rows:
            with self._database.write() as conn:
                store.delete_early(conn)

    @property
    def _tree(self) -> Tree:
        if self._loaded is None:
            self._loaded = self._load_tree()
        return self._loaded

    def _load_tree(self) -> Tree:
        with self._database.read() as conn:
            size = store.count_leaves(conn, self.owner_id, self.generation)
        return Tree(size if self.generation else 0, self._read_tile)

    def _read_tile(self, level: int, position: int) -> bytes:
        with self._database.read() as conn:
            return store.select_tile(conn, self.owner_id, self.generation, level, position)
