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
    data = await fills.read(sha256, offset, length)

Both raise `Refused` (`part_missing`) and `Unreachable` (`busy`); the caller bounds their time.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from fleetward.gateway.updates.counts import Counts
from fleetward.gateway.updates.limits import Ration, Unasked
from fleetward.gateway.updates.shelf import Shelf
from fleetward.gateway.updates.upstream import Got
from fleetward.runtime.blob_folder import MAX_PIECE_BYTES
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_manifest import MAX_BLOB_BYTES

MOST_FILLS: Final = 4
"""Downloads at once: they share one slow line."""
MOST_WAITING: Final = 64
FIRST_PIECE_BYTES: Final = 512 * 1024
LEAST_PIECE_BYTES: Final = 128 * 1024
QUICK_SECONDS: Final = 1.0
SLOW_SECONDS: Final = 3.0
"""A piece that takes longer makes the next one smaller: readers see its bytes when all are here."""
PIECE_SECONDS: Final = 120.0
"""For one piece, so that an upstream of one byte at a time does not take for ever."""
WANTED_SECONDS: Final = 120.0
"""A download that nobody asked for since ends. The next question goes on with it."""
NEAR_BYTES: Final = 1024 * 1024
"""Who asks for the next piece or two waits, however slow the line is just now."""
FAR_SECONDS: Final = 30.0
"""A reader who would wait longer than this asks elsewhere."""
FIRST_PAUSE_SECONDS: Final = 2.0
MAX_PAUSE_SECONDS: Final = 300.0
PATIENT_SECONDS: Final = 60.0
MISSING_SECONDS: Final = 60.0
LIAR_SECONDS: Final = 3600.0

_T = TypeVar("_T")


class Asking(Protocol):
    """A line to an upstream."""

    def fetch(self, sha256: str, offset: int, length: int) -> Got:
        """Return bytes of a blob."""

    def cut(self) -> None:
        """End it, from any thread."""


class Fill:
    """One download that is under way."""

    def __init__(self, now: float) -> None:
        self.total: int | None = None
        self.received = 0
        self.problem: FleetwardError | None = None
        self.task: asyncio.Task[None] | None = None
        self.wanted_at = now
        self._begun = (now, 0)
        self._changed = asyncio.Event()

    async def wait(self) -> None:
        """Return after the next change."""
        await self._changed.wait()

    def tell(self) -> None:
        """Wake those who wait."""
        self._changed.set()
        self._changed = asyncio.Event()

    def begin(self, received: int, now: float) -> None:
        """Note how much is here at the start: the pace is counted from there."""
        self.received, self._begun = received, (now, received)

    def note(self, received: int) -> None:
        """Note how much is here."""
        self.received = received
        self.tell()

    def is_far(self, end: int, now: float) -> bool:
        """Return whether the download needs long to come to this place, by its pace so far."""
        came, passed = self.received - self._begun[1], now - self._begun[0]
        if came <= 0 or end - self.received <= NEAR_BYTES:
            return False
        return end - self.received > came / max(passed, 0.001) * FAR_SECONDS


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
        self._pause = 0.0
        self._until = 0.0
        self._failing_since: float | None = None
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
                raise _missing()
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
                raise _missing()
            if now < self._until:
                raise self._put_off()
            if len(self._fills) >= MOST_WAITING or not self._ration.take(group, now):
                raise Unreachable("Too much is asked for at once.", reason="busy")
            fill = self._fills[sha256] = Fill(now)
            fill.task = asyncio.create_task(self._run(sha256, fill, group))
        fill.wanted_at = now
        return fill

    def _put_off(self) -> FleetwardError:
        since = self._failing_since
        if since is not None and self._now() - since > PATIENT_SECONDS:
            return _missing()
        return Unreachable("The upstream does not answer just now.", reason="busy")

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
                self._take_answer()
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

    def _take_answer(self) -> None:
        self._pause = self._until = 0.0
        self._full = False
        if self._failing_since is not None:
            self._failing_since = None
            self._counts.upstream_ok = True
            self._say("The upstream answers again.")

    def _judge(self, sha256: str, error: FleetwardError) -> FleetwardError:
        """Note what went wrong; return what readers are told."""
        now = self._now()
        if error.reason == "part_missing":
            self._take_answer()
            self._unasked.add(sha256, now + MISSING_SECONDS)
            return _missing()
        if isinstance(error, Untrusted) and error.reason == "wrong_digest":
            self._counts.damaged += 1
            self._say(f"The upstream's bytes of {sha256[:16]}… are another's. Thrown away.")
            self._unasked.add(sha256, now + LIAR_SECONDS)
            return _missing()
        if error.reason in ("disk_full", "disk_refused", "too_large"):
            if not self._full:
                self._say(f"A part is not kept. {error.message}")
            self._full = True
            self._unasked.add(sha256, now + MISSING_SECONDS)
            return _missing()
        self._pause = min(MAX_PAUSE_SECONDS, max(FIRST_PAUSE_SECONDS, self._pause * 2))
        self._until = now + self._pause
        self._counts.failure, self._counts.failure_ms = error.message, self._wall_ms()
        if self._failing_since is None:
            self._failing_since = now
            self._counts.upstream_ok = False
            self._say(f"The upstream gives nothing. {error.message} It is asked again.")
        return self._put_off()

    async def _on_disk(self, act: Callable[..., _T], *args: object) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, act, *args)


def choose_length(length: int, took_seconds: float) -> int:
    """Return how long the next piece is to be: long ones for a fast line, short for a slow one."""
    if took_seconds < QUICK_SECONDS:
        return min(MAX_PIECE_BYTES, length * 2)
    if took_seconds > SLOW_SECONDS:
        return max(LEAST_PIECE_BYTES, length // 2)
    return length


def _raise_problem(fill: Fill) -> None:
    if fill.problem is not None:
        raise fill.problem


def _missing() -> Refused:
    return Refused("This part is not here.", reason="part_missing")
