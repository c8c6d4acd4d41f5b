"""Inventories and comparisons on the disk, handed over piece by piece when the server asks."""

from __future__ import annotations

import hashlib
import re
import zlib
from pathlib import Path
from typing import Final

from fleetward.device.state import GuardState
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Untrusted
from fleetward.wire.audit import BLOB_CHUNK_BYTES, MAX_BLOB_BYTES, BlobChunk, BlobReply

KEPT_BLOBS: Final = 6
KEPT_COMPARISONS: Final = 16
"""Of sessions; each is wanted once, soon after it was named."""
KEPT_NAMES: Final = 256
"""Digests of inventories that newer ones have replaced: the server may still ask for them."""
MAX_WANTS: Final = 16
MAX_STALLS: Final = 5
"""Answers without progress before an inventory is given up; the next one is offered again."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


class Blobs:
    """Content-addressed documents. A digest of the server's becomes a path only when it is ours."""

    def __init__(self, folder: Path, state: GuardState) -> None:
        self._folder = make_private_directory(folder)
        self._state = state
        self._names = [p.name for p in sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime)]
        self._names = [n for n in self._names if _DIGEST.fullmatch(n)]
        self._sending = ("", b"")
        self._offset = 0
        self._stalls = 0

    def keep(self, document: bytes) -> str:
        """Store a document and return its digest. Raises `Unreachable`."""
        digest = hashlib.sha256(document).hexdigest()
        if digest in self._names:
            self._names.remove(digest)
        else:
            atomic_write(self._folder / digest, document)
        self._names.append(digest)
        self._forget_old()
        return digest

    def keep_comparison(self, document: bytes) -> str:
        """Store what changed during a session and return its digest. Raises `Unreachable`."""
        digest = self.keep(document)
        others = [name for name in self._state.comparisons if name != digest]
        self._state.comparisons = [*others, digest][-KEPT_COMPARISONS:]
        return digest

    def read(self, digest: str) -> bytes:
        """Return a document that is kept. Raises `Unreachable`, or `Malformed` when damaged."""
        if digest not in self._names:
            raise Untrusted("That inventory is not of this machine.", reason="unknown_inventory")
        return read_bounded(self._folder / digest, MAX_BLOB_BYTES)

    def want(self, digests: tuple[str, ...]) -> int:
        """Note what the server wants, as far as it is ours; return how many never were.

        One that a newer inventory has replaced is passed over: the newer one is asked for too.
        """
        strange = 0
        for digest in digests:
            if digest in self._names:
                if digest not in self._state.wants:
                    self._state.wants = [*self._state.wants, digest][-MAX_WANTS:]
            elif digest not in self._state.forgotten:
                strange += 1
        return strange

    @property
    def wanted(self) -> int:
        """How many documents wait to be handed over."""
        return len(self._state.wants)

    def next_chunk(self) -> BlobChunk | None:
        """Return the next piece to send, or None when nothing is wanted."""
        while self._state.wants:
            digest = self._state.wants[0]
            # The server keeps the newest only; an older one would be refused there.
            stale = digest != self._state.inventory and digest not in self._state.comparisons
            if stale or (self._sending[0] != digest and not self._load(digest)):
                self._give_up()
                continue
            data = self._sending[1]
            piece = data[self._offset : self._offset + BLOB_CHUNK_BYTES]
            return BlobChunk(
                digest=digest, offset=self._offset, total=len(data), data=to_base64url(piece)
            )
        return None

    def take_reply(self, reply: BlobReply) -> None:
        """Go on where the server is. Raises `Untrusted` when it speaks of something else."""
        if not self._state.wants or reply.digest != self._sending[0]:
            raise Untrusted("The answer is about another inventory.", reason="unknown_inventory")
        if reply.complete:
            self._give_up()
            return
        if not self._offset < reply.offset < len(self._sending[1]):
            self._stall()
        self._offset = min(max(0, reply.offset), len(self._sending[1]))

    def take_refusal(self) -> None:
        """The server did not take a piece."""
        self._stall()

    def _stall(self) -> None:
        self._stalls += 1
        if self._stalls >= MAX_STALLS:
            self._give_up()

    def _give_up(self) -> None:
        self._state.wants = self._state.wants[1:]
        self._sending, self._offset, self._stalls = ("", b""), 0, 0

    def _load(self, digest: str) -> bool:
        try:
            self._sending = (digest, zlib.compress(self.read(digest), 6))
        except FleetwardError:
            return False
        self._offset = self._stalls = 0
        return True

    def _forget_old(self) -> None:
        spare = [n for n in self._names if n not in self._state.wants][:-KEPT_BLOBS]
        for name in spare:
            if name != self._state.inventory and name not in self._state.comparisons:
                (self._folder / name).unlink(missing_ok=True)
                self._names.remove(name)
                self._state.forgotten = [*self._state.forgotten, name][-KEPT_NAMES:]
