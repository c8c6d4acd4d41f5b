"""What a machine asks for, answered: one file, or a piece of one, at a time.

All of it is bytes that the machine verifies. That one is not here is an answer, and no refusal.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from sqlalchemy.engine import Connection

from fleetward.server.updates import store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import (
    choose_papers,
    decide_targets,
    digest_content,
    next_version,
)
from fleetward.server.updates.director import WORD_MS, NamedTarget
from fleetward.server.updates.pace import Pace
from fleetward.server.updates.reading import name_file
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Malformed
from fleetward.wire.updates import MAX_PIECE_BYTES, UpdateAnswer, UpdateQuestion

MAX_ROLE_CHARACTERS: Final = 64
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_ABSENT: Final = UpdateAnswer(found=False)


class Gates(Protocol):
    """What rollouts say of machines."""

    def gates_of(
        self, conn: Connection, devices: Sequence[str]
    ) -> Mapping[str, Mapping[str, bool]]:
        """Return for each machine, and each release that a rollout is about, whether it is let in.

        Machines for which none says anything are left out.
        """

    def ceiling_of(self, device: str) -> int:
        """Return how many bytes a second this machine is sent at most; 0: as many as it takes."""

    def note_offers(self, conn: Connection, fresh: Sequence[tuple[str, str]], at_ms: int) -> None:
        """Write that machines (machine, release) are told of a release for the first time."""


class UpdateDesk:
    """Answers machines. `pace` is called on the event loop, `answer` in worker threads."""

    def __init__(self, book: UpdateBook, gates: Gates) -> None:
        self._book = book
        self._gates = gates
        self._pace = Pace()
        self._lock = threading.Lock()
        self._kinds: dict[str, Callable[[str, UpdateQuestion], UpdateAnswer]] = {
            "root": self._give_root,
            "director": self._give_director,
            "image": self._give_image,
            "manifest": self._give_manifest,
            "approvals": self._give_papers,
            "blob": self._give_blob,
        }

    @property
    def signing(self) -> threading.Lock:
        """Held while words are signed and stored: no version has two words."""
        return self._lock

    def pace(self, device: str, question: UpdateQuestion) -> float:
        """Return how many seconds the answer waits. Raises `Refused` (too_often)."""
        size = min(question.length, MAX_PIECE_BYTES) if question.what == "blob" else 0
        ceiling = self._gates.ceiling_of(device) if size else 0
        return self._pace.take(device, size, ceiling, self._book.near.clock.monotonic_ms())

    def answer(self, device: str, question: UpdateQuestion) -> UpdateAnswer:
        """Return what a machine asked for. Raises `Malformed` for what nobody asks."""
        if min(question.offset, question.length, question.version) < 0:
            raise Malformed("Expected numbers from 0.", reason="bad_message")
        return self._kinds[question.what](device, question)

    def _give_root(self, _: str, asked: UpdateQuestion) -> UpdateAnswer:
        digest = _require_digest(asked.name)
        if digest == self._book.director.root_sha256:
            return _piece(self._book.director.root, asked)
        with self._book.near.database.read() as conn:
            row = store.select_root(conn, digest)
        return _ABSENT if row is None else _piece(bytes(row.body), asked)

    def _give_director(self, device: str, asked: UpdateQuestion) -> UpdateAnswer:
        if asked.name == "root":
            first = asked.version == 1
            return _piece(self._book.director.root, asked) if first else _ABSENT
        if asked.name != "targets":
            raise Malformed("The director has a root and targets.", reason="bad_message")
        [word] = self.words_to([device])
        return _ABSENT if word is None else _piece(word, asked)

    def _give_image(self, _: str, asked: UpdateQuestion) -> UpdateAnswer:
        if not 0 < len(asked.name) <= MAX_ROLE_CHARACTERS or not asked.name.isascii():
            raise Malformed("Expected the name of a role.", reason="bad_message")
        repository = self._book.repository_of(asked.product)
        with self._book.near.database.read() as conn:
            name = name_file(asked.name, asked.version)
            row = store.select_file(conn, repository, name) if repository else None
        return _ABSENT if row is None else _piece(bytes(row.body), asked)

    def _give_manifest(self, _: str, asked: UpdateQuestion) -> UpdateAnswer:
        with self._book.near.database.read() as conn:
            row = store.select_release(conn, _require_digest(asked.name))
        return _ABSENT if row is None else _piece(bytes(row.manifest), asked)

    def _give_papers(self, device: str, _: UpdateQuestion) -> UpdateAnswer:
        book = self._book
        if book.near.owner.documents is None:
            return UpdateAnswer(found=True)
        epoch, now = book.near.owner.policy.epoch, book.near.clock.wall_ms()
        known, entry = book.known, book.entries.get(device)
        chosen = choose_papers(known.approvals, known.withdrawals, entry, epoch, now)
        return UpdateAnswer(found=True, envelopes=tuple(to_base64url(raw) for raw in chosen))

    def _give_blob(self, _: str, asked: UpdateQuestion) -> UpdateAnswer:
        if asked.length > MAX_PIECE_BYTES:
            raise Malformed(
                f"Expected a piece of at most {MAX_PIECE_BYTES} bytes.", reason="too_large"
            )
        length = asked.length or MAX_PIECE_BYTES
        found = self._book.blobs.read(_require_digest(asked.name), asked.offset, length)
        if found is None:
            return _ABSENT
        return UpdateAnswer(found=True, data=to_base64url(found[0]), total=found[1])

    def words_to(self, devices: Sequence[str]) -> list[bytes | None]:
        """Return the director's word to each machine, signed anew where that is due.

        None for a machine that does not stand on the owner's roster: nobody approved it anything.
        Words are stored together and before any is handed out, so that exposure is never more than
        is shown, and no version has two words.
        """
        book, now = self._book, self._book.near.clock.wall_ms()
        entries = book.entries
        wanted = [device for device in dict.fromkeys(devices) if device in entries]
        if not wanted:
            return [None] * len(devices)
        with self._lock:
            with book.near.database.read() as conn:
                held = store.select_directed(conn, wanted)
                running = store.select_counters(conn, wanted)
                offered = store.select_offers(conn, wanted)
                gates = self._gates.gates_of(conn, wanted)
            holding, releases = book.holding(now), book.offerable()
            owner = book.near.owner.owner_id
            words: dict[str, bytes] = {}
            rows: list[dict[str, Any]] = []
            fresh: list[tuple[str, str]] = []
            for device in wanted:
                named = decide_targets(
                    releases,
                    holding,
                    entries[device],
                    gates.get(device, {}),
                    running.get(device, {}),
                )
                row = held.get(device)
                content = digest_content((owner, book.director.key_id), named)
                if row and row.content == content and now < row.signed_at + WORD_MS // 2:
                    words[device] = bytes(row.body)
                    continue
                version = next_version(int(row.version) if row else 0, now)
                targets = [NamedTarget(each.path, each.length, each.id) for each in named]
                body = book.director.sign_word((device, owner), version, now, targets)
                words[device] = body
                known = offered.get(device, set())
                fresh += [(device, each.id) for each in named if each.id not in known]
                rows.append(
                    {
                        "device_id": device,
                        "owner_id": owner,
                        "version": version,
                        "content": content,
                        "body": body,
                        "signed_at": now,
                        "expires_at": now + WORD_MS,
                    }
                )
            if rows:
                with book.near.database.write() as conn:
                    self._gates.note_offers(conn, fresh, now)
                    store.insert_offers(conn, owner, fresh, now)
                    store.replace_directed(conn, rows)
        return [words.get(device) for device in devices]


def _piece(data: bytes, asked: UpdateQuestion) -> UpdateAnswer:
    """Return a file, or the piece of it that was asked for; `total` says how long it is."""
    length = min(asked.length or MAX_PIECE_BYTES, MAX_PIECE_BYTES)
    piece = data[asked.offset : asked.offset + length]
    return UpdateAnswer(found=True, data=to_base64url(piece), total=len(data))


def _require_digest(text: str) -> str:
    if not _DIGEST.fullmatch(text):
        raise Malformed("Expected a file by its SHA-256.", reason="bad_message")
    return text
