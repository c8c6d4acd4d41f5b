"""What a thief of the server has of updates: the director's key, and all that was published.

The drill is that thief. While he lies to a machine, its questions for the director's word are
answered by one that he signed; everything else is answered as ever. Nothing here gets round the
machine, which judges the answer.

A false word uses up a version of its own, so that the true word after it is the newer one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fleetward.server.updates import store
from fleetward.server.updates.answers import UpdateDesk
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import MAX_DIRECTED, Release, next_version
from fleetward.server.updates.director import WORD_MS, NamedTarget
from fleetward.trust.roster import RosterEntry
from fleetward.wire.updates import UpdateAnswer, UpdateQuestion

FALSE: Final = "false"
"""In the place of the digest of what a word says: the next true word is signed anew."""


@dataclass(frozen=True, slots=True)
class Published:
    """A release that was published here and that its maker may release, for one machine."""

    product: str
    version: str
    path: str
    length: int
    sha256: str
    counter: int
    approved: bool
    """Whether its owner ever approved it for this machine, also if that is over."""


@dataclass(frozen=True, slots=True)
class Loot:
    """What a thief finds. Without a director that the owner's policy names, no machine asks."""

    directs: bool
    releases: tuple[Published, ...]
    floors: Mapping[str, int]
    """By product, the highest counter that the machine says it committed."""


class RobbedDesk:
    """Answers machines as `UpdateDesk` does, but for those that are lied to."""

    def __init__(self, book: UpdateBook, desk: UpdateDesk) -> None:
        self._book = book
        self._desk = desk
        self._false: dict[str, bytes] = {}

    def pace(self, device: str, question: UpdateQuestion) -> float:
        """See `UpdateDesk.pace`."""
        return self._desk.pace(device, question)

    def answer(self, device: str, question: UpdateQuestion) -> UpdateAnswer:
        """See `UpdateDesk.answer`."""
        return self._desk.answer(device, question)

    def words_to(self, devices: Sequence[str]) -> list[bytes | None]:
        """Return the director's word to each machine; to one that is lied to, the false one."""
        words = self._desk.words_to(devices)
        return [self._false.get(device, word) for device, word in zip(devices, words, strict=True)]

    def find_loot(self, device: str) -> Loot:
        """Return what there is to lie with."""
        book = self._book
        entry, owner = book.entries.get(device), book.near.owner
        if owner.documents is None or entry is None:
            return Loot(directs=False, releases=(), floors={})
        with book.near.database.read() as conn:
            floors = {
                state.product: int(state.floor) for state in store.select_states(conn, device)
            }
        return Loot(
            directs=owner.policy.roots.director == book.director.root_sha256,
            releases=tuple(
                self._publish(each, entry) for each in book.offerable() if each.fits(entry)
            ),
            floors=floors,
        )

    def lie(self, device: str, named: Sequence[tuple[str, int, str]]) -> None:
        """Answer a machine by a word that names these besides what is true: path, length, hash."""
        book, now = self._book, self._book.near.clock.wall_ms()
        [word] = self._desk.words_to([device])
        true = _read_targets(word)
        targets = {each.path: each for each in (NamedTarget(*each) for each in named)}
        room = MAX_DIRECTED - len(targets)
        kept = [each for each in true if each.path not in targets][:room]
        owner = book.near.owner.owner_id
        with self._desk.signing, book.near.database.write() as conn:
            row = store.select_directed(conn, [device]).get(device)
            version = next_version(int(row.version) if row is not None else 0, now)
            body = book.director.sign_word(
                (device, owner), version, now, [*kept, *targets.values()]
            )
            values = {
                "device_id": device,
                "owner_id": owner,
                "version": version,
                "content": FALSE,
                "body": body,
                "signed_at": now,
                "expires_at": now + WORD_MS,
            }
            store.replace_directed(conn, [values])
        self._false[device] = body

    def be_true(self, device: str) -> None:
        """Lie no more."""
        self._false.pop(device, None)

    def _publish(self, release: Release, entry: RosterEntry) -> Published:
        approved = any(
            paper.product == release.product
            and paper.release in ("", release.id)
            and paper.selector.selects(entry)
            for paper in self._book.known.approvals
        )
        return Published(
            product=release.product,
            version=release.version,
            path=release.path,
            length=release.length,
            sha256=release.id,
            counter=release.counter,
            approved=approved,
        )


def _read_targets(word: bytes | None) -> list[NamedTarget]:
    """Return what a word of our own names."""
    if word is None:
        return []
    targets: dict[str, Any] = json.loads(word)["signed"]["targets"]
    return [
        NamedTarget(path, said["length"], said["hashes"]["sha256"])
        for path, said in targets.items()
    ]
