"""What machines say of sessions: offers, denials, receipts, openings, and pieces of recordings.

Rules, beside those of the door itself:

1. A note is an envelope of its kind, of at most 8 KiB, signed by the identity key of the machine
   that the connection names, about itself, to this server's owner.
2. The hash that it answers stands in the signed envelope; what the note says beside it is equal.
3. It belongs to a request for this machine, or to none that is known here: a server that was put
   back keeps receipts all the same. `MAX_NOTES` are kept for each.
   A note about what was allowed ahead belongs to a document that is stored here (`standing`).
4. A note becomes an entry of the owner's record, and only then is stored and answered. One that
   came before is answered again.
5. A piece belongs to the recording of a session of this machine whose grant was stored here.
6. Pieces are at most 512 KiB and follow each other without a gap; the answer says how much is
   stored, and is the same for a piece that came before.
7. A recording has at most 4 GiB, and nothing follows its end.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from fleetward.server.access import store
from fleetward.server.access.book import Book
from fleetward.server.access.decide import Fact
from fleetward.server.access.reading import OPENED, RECEIPT, Said, verify_said
from fleetward.server.access.standing import Standings
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.journal import Entry
from fleetward.wire.access import RECORDING_CHUNK_BYTES, AccessNote, RecordingChunk

MAX_NOTES: Final = 64
"""Of one machine about one request: a machine that starts again makes another offer."""
MAX_UNKNOWN_NOTES: Final = 256
"""Of one machine about nothing that is known here."""
MAX_RECORDING_BYTES: Final = 4 * 1024**3
"""A day of a busy terminal has a few hundred megabytes."""
MAX_HELD: Final = 4096
"""Recordings whose size is remembered between pieces."""
ENTRY: Final = "session.opened"
_SESSION: Final = re.compile(r"[0-9a-f]{32}([0-9a-f]{32})?")
_MAX_CHARACTERS: Final = RECORDING_CHUNK_BYTES * 4 // 3 + 4


@dataclass(slots=True)
class _Held:
    """How much of a recording is stored. `ends` says that the piece at its end is the last."""

    session: str
    device: str
    request: str
    size: int
    done: bool
    ends: bool = False

    def continues(self, chunk: RecordingChunk, data: bytes) -> bool:
        """Return whether a piece is the next one (rules 6 and 7). Raises `Refused`."""
        if chunk.offset != self.size or self.done:
            return False
        if self.size + len(data) > MAX_RECORDING_BYTES:
            raise Refused(
                f"A recording has at most {MAX_RECORDING_BYTES} bytes.", reason="too_large"
            )
        return True


class AccessDoor:
    """Takes what the door of the server has let in. Called in worker threads."""

    def __init__(self, book: Book, standings: Standings) -> None:
        self._book = book
        self._standings = standings
        self._near = book.near
        self._held: dict[str, _Held] = {}

    def take_note(self, device: str, note: AccessNote) -> None:
        """Store what a machine says of a session. Raises `Malformed`, `Untrusted`, `Refused`."""
        raw = from_base64url(note.envelope)
        if note.kind == "standing":
            self._standings.take_state(device, note.subject, raw)
            return
        # 1.
        key = self._near.machines.key_of(device)
        said = verify_said(note.kind, raw, key, self._near.owner.owner_id)
        # 2.
        if said.subject != note.subject:
            raise Untrusted("The note answers something else than it says.", reason="wrong_subject")
        with self._book.lock:
            self._take(device, said, raw)

    def take_chunks(
        self, chunks: Sequence[tuple[str, RecordingChunk]]
    ) -> list[int | FleetwardError]:
        """Store pieces of recordings (machine, piece) in one transaction.

        Return for each how many bytes of its recording are stored, or why it was refused. Raises
        `Unreachable` when the store cannot take them; then none was stored.
        """
        answers: list[int | FleetwardError] = []
        fresh: list[tuple[_Held, bytes]] = []
        with self._book.lock:
            for device, chunk in chunks:
                try:
                    data = _read_data(chunk)
                    held = self._find(device, chunk.session)
                    if held.continues(chunk, data):
                        fresh.append((replace(held, ends=chunk.done), data))
                        held.size += len(data)
                        held.done = chunk.done
                    answers.append(held.size)
                except FleetwardError as e:
                    answers.append(e)
            if fresh:
                try:
                    self._write(fresh)
                except BaseException:
                    # Whether they are stored, only the store knows: look there before the next.
                    self._held.clear()
                    raise
        return answers

    def read_entries(self, device: str, entries: Sequence[Entry]) -> None:
        """Note that a machine's journal says a session was opened."""
        for entry in entries:
            session = entry.body.get("session")
            if entry.kind == ENTRY and isinstance(session, str) and _SESSION.fullmatch(session):
                with self._book.lock:
                    self._open(device, session, entry.at_ms)

    def _take(self, device: str, said: Said, raw: bytes) -> None:
        near, now = self._near, self._book.now()
        # 3.
        request = self._request_of(device, said.subject)
        with near.database.read() as conn:
            # By what is said, not by its bytes: a machine that signs again says nothing new.
            if store.has_note(conn, said.hash):
                return
            count = store.count_notes(conn, device, request)
        if count >= (MAX_NOTES if request else MAX_UNKNOWN_NOTES):
            raise Refused(f"{count} notes about this are stored already.", reason="too_many_notes")
        # 4.
        near.ledger.append_signed(said.kind, raw, (f"device:{device}", device), now)
        fact = Fact(said.kind, said.subject, now, said.ended_at_ms, said.ended_by[:64])
        notes = [store.Note(said.hash, request, device, fact, raw)]
        if not request:
            with near.database.write() as conn:
                store.insert_note(conn, notes[0], near.owner.owner_id)
            return
        if said.kind == RECEIPT:
            notes = [*self._opening(device, request, said.subject, said.opened_at_ms), *notes]
        self._book.add(notes)

    def _open(self, device: str, session: str, said_ms: int) -> None:
        row = self._book.find_session(session)
        if row is None or row.device_id != device:
            return
        notes = self._opening(device, row.request_id, self._whole_name(session), said_ms)
        if notes:
            self._book.add(notes)

    def _opening(self, device: str, request: str, session: str, said_ms: int) -> list[store.Note]:
        """Return the note that a session was opened, where there is none yet."""
        name = hashlib.sha256(f"{OPENED} {session}".encode("ascii")).hexdigest()
        with self._near.database.read() as conn:
            if store.has_note(conn, name):
                return []
        fact = Fact(OPENED, session, self._book.now(), said_ms)
        return [store.Note(name, request, device, fact)]

    def _request_of(self, device: str, subject: str) -> str:
        """Return the request that a hash of a request or grant belongs to, or an empty string.

        Raises `Untrusted` when it is one for another machine.
        """
        with self._near.database.read() as conn:
            row = store.select_request(conn, subject) or store.select_by_session(conn, subject)
        if row is None:
            return ""
        if row.device_id != device:
            raise Untrusted(
                "The note is about a session of another machine.", reason="another_device"
            )
        return str(row.request_id)

    def _find(self, device: str, session: str) -> _Held:
        """Return how much of a recording is held. Raises `Refused` or `Untrusted` (rule 5)."""
        held = self._held.get(session)
        if held is None:
            held = self._held[session] = self._look(session)
            while len(self._held) > MAX_HELD:
                self._held.pop(next(iter(self._held)))
        if held.device != device:
            raise Untrusted("The recording is of another machine.", reason="another_device")
        return held

    def _look(self, session: str) -> _Held:
        row = self._book.find_session(session) if _SESSION.fullmatch(session) else None
        if row is None:
            raise Refused(
                "This server knows of no such session. The machine keeps its recording.",
                reason="unknown_session",
            )
        name = self._whole_name(session)
        with self._near.database.read() as conn:
            stored = store.select_recording(conn, name)
        size, done = (int(stored.size), bool(stored.done)) if stored else (0, False)
        return _Held(name, row.device_id, row.request_id, size, done)

    def _whole_name(self, session: str) -> str:
        with self._near.database.read() as conn:
            return store.select_grant_hash(conn, session)

    def _write(self, fresh: Sequence[tuple[_Held, bytes]]) -> None:
        now, owner = self._book.now(), self._near.owner.owner_id
        with self._near.database.write() as conn:
            for before, data in fresh:
                if before.size == 0 and store.select_recording(conn, before.session) is None:
                    store.insert_recording(
                        conn,
                        {
                            "session_id": before.session,
                            "owner_id": owner,
                            "device_id": before.device,
                            "request_id": before.request,
                            "size": 0,
                            "done": False,
                            "updated_at": now,
                        },
                    )
                place = (before.size, before.ends, now)
                if not store.append_piece(conn, before.session, owner, data, place):
                    raise Unreachable(
                        "A recording grew meanwhile. Send the piece again.", reason="busy"
                    )


def _read_data(chunk: RecordingChunk) -> bytes:
    if len(chunk.data) > _MAX_CHARACTERS:
        raise Malformed("Expected a piece of at most 512 KiB.", reason="too_large")
    data = from_base64url(chunk.data)
    if len(data) > RECORDING_CHUNK_BYTES or not (data or chunk.done):
        raise Malformed("Expected a piece of 1 byte to 512 KiB.", reason="too_large")
    return data
