"""One download for each blob, readers that follow it, and an upstream that comes and goes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from tests.cache_world import DATA, OTHER, OTHER_SHA256, SHA256

from fleetward.gateway.updates.counts import Counts, read_counts, write_counts
from fleetward.gateway.updates.fill import (
    FIRST_PIECE_BYTES,
    LEAST_PIECE_BYTES,
    NEAR_BYTES,
    Fill,
    choose_length,
)
from fleetward.gateway.updates.filling import MISSING_SECONDS, Fills
from fleetward.gateway.updates.limits import MISSES_BURST, Ration
from fleetward.gateway.updates.settings import read_listen, read_size
from fleetward.gateway.updates.shelf import Shelf
from fleetward.gateway.updates.standing import MAX_PAUSE_SECONDS, PATIENT_SECONDS
from fleetward.gateway.updates.upstream import Got
from fleetward.runtime.blob_folder import MAX_PIECE_BYTES, BlobFolder
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable


class Upstream:
    """An upstream in this process, with a gate before each piece."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, int, int]] = []
        self.down = False
        self.gate = threading.Event()
        self.gate.set()

    def fetch(self, sha256: str, offset: int, length: int) -> Got:
        self.asked.append((sha256, offset, length))
        assert self.gate.wait(30)
        if self.down:
            raise Unreachable("It cannot be reached.", reason="upstream_unreachable")
        data = self.files.get(sha256)
        if data is None:
            raise Refused("No.", reason="part_missing")
        return Got(data[offset : offset + length], len(data))

    def cut(self) -> None:
        pass


class World:
    """Downloads into a folder, at a time that a test moves."""

    def __init__(self, folder: Path) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.counts = Counts()
        self.upstream = Upstream({SHA256: DATA, OTHER_SHA256: OTHER})
        self.shelf = Shelf(BlobFolder(folder), 10**9)
        self.fills = Fills(
            self.shelf,
            lambda: self.upstream,
            self.counts,
            say=self.said.append,
            now=lambda: self.now,
        )

    async def take(self, sha256: str) -> bytes | str:
        """Take a whole blob, or say why not."""
        try:
            total = await self.fills.find(sha256, "a")
            return await self.fills.read(sha256, 0, total, "a")
        except FleetwardError as e:
            return e.reason


def run(folder: Path, act: Callable[[World], Awaitable[None]]) -> None:
    async def whole() -> None:
        world = World(folder)
        try:
            await act(world)
        finally:
            world.upstream.gate.set()
            await world.fills.stop()

    asyncio.run(whole())


def test_many_readers_and_one_download(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        taken = await asyncio.gather(*(world.take(SHA256) for _ in range(30)))
        assert taken == [DATA] * 30
        assert sum(length for _, _, length in world.upstream.asked) == len(DATA)
        assert world.counts.misses == 30 and world.counts.fetched_bytes == len(DATA)
        assert await world.take(SHA256) == DATA
        assert world.counts.hits == 1

    run(tmp_path, act)


def test_bytes_are_given_as_soon_as_they_are_here(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        total = await world.fills.find(SHA256, "a")
        assert total == len(DATA)
        world.upstream.gate.clear()
        assert await world.fills.read(SHA256, 0, 1000, "a") == DATA[:1000]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await world.fills.reach(SHA256, len(DATA), "a")
        world.upstream.gate.set()
        await world.fills.reach(SHA256, len(DATA), "a")

    run(tmp_path, act)


def test_an_upstream_that_fails_is_left_alone_and_readers_are_put_off_for_a_minute(
    tmp_path: Path,
) -> None:
    async def act(world: World) -> None:
        world.upstream.down = True
        asked_at: list[float] = []
        reasons: list[str] = []
        while world.now < 1000 + 3600:
            before = len(world.upstream.asked)
            reason = await world.take(SHA256)
            assert isinstance(reason, str)
            reasons.append(reason)
            asked_at += [world.now] if len(world.upstream.asked) > before else []
            world.now += 1
        gaps = [after - here for here, after in itertools.pairwise(asked_at)]
        assert gaps == sorted(gaps) and gaps[0] == 2 and gaps[-1] == MAX_PAUSE_SECONDS
        assert set(reasons[: int(PATIENT_SECONDS)]) == {"busy"}
        assert set(reasons[int(PATIENT_SECONDS) + 2 :]) == {"part_missing"}
        assert len(world.said) == 1 and not world.counts.upstream_ok
        world.upstream.down = False
        world.now += MAX_PAUSE_SECONDS
        assert await world.take(SHA256) == DATA
        assert len(world.said) == 2 and world.counts.upstream_ok

    run(tmp_path, act)


def test_a_part_that_was_missing_is_asked_for_again_after_a_moment(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        data = world.upstream.files.pop(SHA256)
        for _ in range(20):
            assert await world.take(SHA256) == "part_missing"
        assert len(world.upstream.asked) == 1
        world.upstream.files[SHA256] = data
        world.now += MISSING_SECONDS + 1
        assert await world.take(SHA256) == DATA
        assert world.said == []

    run(tmp_path, act)


def test_a_part_that_was_there_costs_nothing_of_the_ration(tmp_path: Path) -> None:
    ration = Ration(0.0)
    for _ in range(1000):
        assert ration.take("a", 0.0)
        ration.give_back("a")
    assert sum(ration.take("a", 0.0) for _ in range(1000)) == MISSES_BURST


def test_who_is_far_ahead_is_told_and_who_is_near_waits() -> None:
    fill = Fill(0.0)
    fill.begin(0, 0.0)
    # Nothing came yet: nobody knows how fast it is.
    assert not fill.is_far(10**9, 100.0)
    fill.note(512 * 1024)
    assert not fill.is_far(512 * 1024 + NEAR_BYTES, 100.0)
    assert fill.is_far(512 * 1024 + NEAR_BYTES + 1, 100.0)
    # A fast line comes to it soon.
    assert not fill.is_far(10_000_000, 1.0)


def test_pieces_follow_the_line() -> None:
    length = FIRST_PIECE_BYTES
    for _ in range(10):
        length = choose_length(length, 0.1)
    assert length == MAX_PIECE_BYTES
    assert choose_length(length, 2.0) == length
    for _ in range(10):
        length = choose_length(length, 9.0)
    assert length == LEAST_PIECE_BYTES


def test_what_was_used_last_stays_after_a_restart(tmp_path: Path) -> None:
    async def act(world: World) -> None:
        assert await world.take(SHA256) == DATA
        assert await world.take(OTHER_SHA256) == OTHER

    run(tmp_path, act)
    folder = BlobFolder(tmp_path)
    folder.touch(SHA256, 10**15)
    shelf = Shelf(folder, len(DATA) + len(OTHER))
    assert shelf.choose_victims("ab" * 32, 1000, ()) == [OTHER_SHA256]


def test_counts_are_kept_and_damage_of_them_is_told(tmp_path: Path) -> None:
    assert read_counts(tmp_path) == Counts()
    write_counts(tmp_path, Counts(hits=7))
    assert read_counts(tmp_path).hits == 7
    (tmp_path / "status.json").write_text("{")
    with pytest.raises(Malformed):
        read_counts(tmp_path)


@pytest.mark.parametrize(("text", "size"), [
    ("20GB", 20 * 10**9), ("100 mb", 10**8), ("100000000", 10**8), ("2TB", 2 * 10**12),
])  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "0GB", "1", "-5GB", "1.5GB", "9PB", "9999999TB", "GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(Malformed):
        read_size(text)


@pytest.mark.parametrize("text", ["", "8443", "cache:8443", "10.0.0.1", "10.0.0.1:0", "::1:80",
                                  "10.0.0.1:99999"])  # fmt: skip
def test_what_is_no_place_to_listen(text: str) -> None:
    with pytest.raises(Malformed):
        read_listen(text)


def test_places_to_listen() -> None:
    assert read_listen("10.0.0.1:8443") == ("10.0.0.1", 8443)
    assert read_listen("[fd00::5]:8443") == ("fd00::5", 8443)
