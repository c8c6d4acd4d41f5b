"""Having each blob fetched once, whoever asks: readers follow the one download.

1. A blob is asked for once at a time, from where its file ends, one piece after another. So a
   process that was killed goes on where it was.
2. A reader gets bytes as soon as they are here. They are not verified then: the machine verifies
   every segment, and trusts a cache with nothing. The file gets its name by its hash alone.
3. One whose bytes have another hash is thrown away, and not asked for again for an hour.
4. An upstream that fails is left alone for a pause that grows. Until it has failed for a minute
   readers are put off; then they are told that the part is not here, and ask elsewhere.
5. A reader far ahead of the download is told so too, and asks elsewhere for now.

    total = await fills.find(sha256, group)
    await fills.reach(sha256, end, group)
    data = await fills.read(sha256, offset, length, group)

All raise `Refused` (`part_missing`) and `Unreachable` (`busy`); the caller bounds their time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from fleetward.gateway.updates.counts import Counts
from fleetward.gateway.updates.fill import FIRST_PIECE_BYTES, Fill, choose_length
from fleetward.gateway.updates.limits import Ration, Unasked
from fleetward.gateway.updates.shelf import Shelf
from fleetward.gateway.updates.standing import Standing, missing
from fleetward.gateway.updates.upstream import Got
from fleetward.runtime.blob_folder import MAX_PIECE_BYTES
from fleetward.trust.errors import FleetwardError, Malformed, Unreachable, Untrusted
from fleetward.trust.release_manifest import MAX_BLOB_BYTES

MOST_FILLS: Final = 4
"""Downloads at once: they share one slow line."""
MOST_WAITING: Final = 64
PIECE_SECONDS: Final = 120.0
"""For one piece, so that an upstream of one byte at a time does not take for ever."""
WANTED_SECONDS: Final = 120.0
"""A download that nobody asked for since ends. The next question goes on with it."""
MISSING_SECONDS: Final = 60.0
LIAR_SECONDS: Final = 3600.0

_T = TypeVar("_T")


class Asking(Protocol):
    """A line to an upstream."""

    def fetch(self, sha256: str, offset: int, length: int) -> Got:
        """Return bytes of a blob."""

    def cut(self) -> None:
        """End it, from any thread."""


class Fills:
    """All downloads. Used from one event loop; disk and upstream have threads of their own."""

    def __init__(
        self,
        shelf: Shelf,
        open_line: Callable[[], Asking],
        counts: Counts,
        *,
        say: Callable[[str], None] = lambda _: None,
        now: Callable[[], float] = time.monotonic,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._shelf = shelf
        self._open = open_line
        self._counts = counts
        self._say = say
        self._now = now
        self._wall_ms = wall_ms
        self._fills: dict[str, Fill] = {}
        self._slots = asyncio.Semaphore(MOST_FILLS)
        self._asking = ThreadPoolExecutor(MOST_FILLS, "asking")
        self._disk = ThreadPoolExecutor(8, "disk")
        self._ration = Ration(now())
        self._unasked = Unasked()
        self._standing = Standing(counts, say)
        self._full = False

    async def find(self, sha256: str, group: str) -> int:
        """Return how long a blob is, as soon as that is known."""
        size = self._shelf.size(sha256)
        if size is not None:
            self._counts.hits += 1
            return size
        fill = self._join(sha256, group)
        self._counts.misses += 1
        while fill.total is None:
            _raise_problem(fill)
            await fill.wait()
        return fill.total

    async def reach(self, sha256: str, end: int, group: str) -> None:
        """Return when a blob is here up to this place."""
        while self._shelf.size(sha256) is None:
            fill = self._join(sha256, group)
            if fill.received >= end:
                return
            if fill.is_far(end, self._now()):
                raise missing()
            _raise_problem(fill)
            await fill.wait()

    async def read(self, sha256: str, offset: int, length: int, group: str) -> bytes:
        """Return these bytes of a blob, as soon as they are here. They end within it."""
        while True:
            fill = self._fills.get(sha256)
            if fill is not None:
                fill.wanted_at = self._now()
            if fill is None or fill.received >= offset + length:
                data = await self._read_here(sha256, offset, length)
                if data is not None:
                    return data
                fill = self._fills.get(sha256) or self._join(sha256, group)
            _raise_problem(fill)
            await fill.wait()

    async def check(self, sha256: str) -> None:
        """Read a blob from the disk again; throw it away where it is not what it was.

        Raises `Unreachable` when the disk says no.
        """
        digest, offset, data = hashlib.sha256(), 0, b"more"
        while data:
            found = await asyncio.to_thread(
                self._shelf.folder.read, sha256, offset, MAX_PIECE_BYTES
            )
            if found is None:
                return
            data = found[0]
            offset += len(data)
            await asyncio.to_thread(digest.update, data)
        if digest.hexdigest() != sha256 and self._shelf.size(sha256) is not None:
            await self._throw_away(sha256)

    async def stop(self) -> None:
        """End all downloads; what came stays."""
        tasks = [fill.task for fill in self._fills.values() if fill.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asking.shutdown(wait=False, cancel_futures=True)
        self._disk.shutdown(wait=False, cancel_futures=True)

    # --- reading

    async def _read_here(self, sha256: str, offset: int, length: int) -> bytes | None:
        data = await self._on_disk(self._shelf.folder.read_here, sha256, offset, length)
        if data is not None and len(data) == length:
            now_ms = self._wall_ms()
            if self._shelf.use(sha256, now_ms):
                await self._on_disk(self._shelf.folder.touch, sha256, now_ms)
            return data
        if data is None:
            self._shelf.drop(sha256)  # Somebody cleared the folder.
        elif self._shelf.size(sha256) is not None:
            await self._throw_away(sha256)
        return None

    async def _throw_away(self, sha256: str) -> None:
        self._counts.damaged += 1
        self._say(f"{sha256[:16]}… is not what it was on the disk. It is fetched anew.")
        self._shelf.drop(sha256)
        await self._on_disk(self._shelf.folder.forget, sha256)

    # --- downloads

    def _join(self, sha256: str, group: str) -> Fill:
        """Return the download of a blob, which begins now where there was none."""
        now = self._now()
        fill = self._fills.get(sha256)
        if fill is None:
            if self._unasked.has(sha256, now):
                raise missing()
            if self._standing.is_paused(now):
                raise self._standing.put_off(now)
            if len(self._fills) >= MOST_WAITING or not self._ration.take(group, now):
                raise Unreachable("Too much is asked for at once.", reason="busy")
            fill = self._fills[sha256] = Fill(now)
            fill.task = asyncio.create_task(self._run(sha256, fill, group))
        fill.wanted_at = now
        return fill

    async def _run(self, sha256: str, fill: Fill, group: str) -> None:
        line = self._open()
        try:
            async with self._slots:
                await self._fetch_all(sha256, fill, line, group)
        except FleetwardError as e:
            fill.problem = self._judge(sha256, e)
        except asyncio.CancelledError:
            fill.problem = Unreachable("The cache stops.", reason="busy")
            raise
        finally:
            line.cut()
            if self._fills.get(sha256) is fill:
                del self._fills[sha256]
            if self._shelf.size(sha256) is None:
                self._shelf.note_part(sha256)
            if fill.problem is None and self._shelf.size(sha256) is None:
                fill.problem = Unreachable("Nobody waited for it.", reason="busy")
            fill.tell()

    async def _fetch_all(self, sha256: str, fill: Fill, line: Asking, group: str) -> None:
        folder = self._shelf.folder
        fill.begin((await self._on_disk(folder.size, sha256)).received, self._now())
        resumed, length = fill.received > 0, FIRST_PIECE_BYTES
        while self._now() - fill.wanted_at < WANTED_SECONDS:
            began = self._now()
            try:
                got = await self._ask(line, sha256, fill.received, length)
            except Malformed as e:
                if e.reason != "part_shorter" or not fill.received:
                    raise
                await self._on_disk(folder.forget, sha256)
                fill.begin(0, self._now())
                continue
            if fill.total is None:
                await self._make_room(sha256, got.total, fill)
                fill.total = got.total
                self._ration.give_back(group)
                self._standing.take_answer()
                self._full = False
            elif fill.total != got.total:
                raise Malformed("It changed how long a part is.", reason="upstream_answer")
            self._counts.fetched_bytes += len(got.data)
            try:
                state = await self._on_disk(
                    folder.write, sha256, fill.received, got.total, got.data
                )
            except Untrusted:
                if not resumed:
                    raise
                # What lay here from before may have been it, and not the upstream.
                resumed = False
                fill.begin(0, self._now())
                self._counts.damaged += 1
                continue
            if state.complete:
                self._shelf.note_whole(sha256)
                fill.note(got.total)
                return
            fill.note(state.received)
            length = choose_length(length, self._now() - began)
            length = min(length, got.total - fill.received)

    async def _ask(self, line: Asking, sha256: str, offset: int, length: int) -> Got:
        asked = asyncio.get_running_loop().run_in_executor(
            self._asking, line.fetch, sha256, offset, length
        )
        try:
            async with asyncio.timeout(PIECE_SECONDS):
                return await asyncio.shield(asked)
        except TimeoutError as e:
            raise Unreachable("It takes too long to answer.", reason="upstream_slow") from e
        finally:
            if not asked.done():
                line.cut()
                await asyncio.wait([asked], timeout=1.0)
            if asked.done() and not asked.cancelled():
                asked.exception()

    async def _make_room(self, sha256: str, total: int, fill: Fill) -> None:
        """Have room for the whole before its first piece is written."""
        if not 0 < total <= MAX_BLOB_BYTES or fill.received >= total:
            await self._on_disk(self._shelf.folder.forget, sha256)
            raise Malformed(f"It says {total} bytes of a part.", reason="upstream_answer")
        victims = self._shelf.choose_victims(sha256, total, self._fills.keys())
        self._shelf.reserve(sha256, total, self._wall_ms())
        for name in victims:
            self._shelf.drop(name)
            await self._on_disk(self._shelf.folder.forget, name)

    # --- how it went

    def _judge(self, sha256: str, error: FleetwardError) -> FleetwardError:
        """Note what went wrong; return what readers are told."""
        now = self._now()
        if error.reason == "part_missing":
            self._standing.take_answer()
            self._unasked.add(sha256, now + MISSING_SECONDS)
            return missing()
        if isinstance(error, Untrusted) and error.reason == "wrong_digest":
            self._counts.damaged += 1
            self._say(f"The upstream's bytes of {sha256[:16]}… are another's. Thrown away.")
            self._unasked.add(sha256, now + LIAR_SECONDS)
            return missing()
        if error.reason in ("disk_full", "disk_refused", "too_large"):
            if not self._full:
                self._say(f"A part is not kept. {error.message}")
            self._full = True
            self._unasked.add(sha256, now + MISSING_SECONDS)
            return missing()
        return self._standing.take_failure(error, now, self._wall_ms())

    async def _on_disk(self, act: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, act, *args)


def _raise_problem(fill: Fill) -> None:
    if fill.problem is not None:
        raise fill.problem
