"""Attacks on a site's cache by its disk, by ends at any moment, and by whoever fills it up."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cache_world import (
    DATA,
    OTHER,
    OTHER_SHA256,
    PIECE,
    SHA256,
    UPSTREAM,
    Site,
    blob,
    caching,
    fetch_whole,
    wait_for,
)
from tests.origin_world import Asked, answer_files, serving

from fleetward.gateway.updates.counts import Counts
from fleetward.gateway.updates.filling import Fills
from fleetward.gateway.updates.shelf import Shelf
from fleetward.gateway.updates.upstream import Got
from fleetward.runtime.blob_folder import BlobFolder
from fleetward.trust.errors import FleetwardError, Refused


@pytest.fixture(scope="module")
def site_with_blob(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("whole")
    with serving(UPSTREAM, answer_files({SHA256: DATA})) as there, caching(folder, there) as site:
        yield site


class Gate:
    """An upstream that gives so many pieces and then waits."""

    def __init__(self, files: dict[str, bytes], pieces: int) -> None:
        self._honest = answer_files(files)
        self._left = pieces
        self.opened = threading.Event()

    def __call__(self, asked: Asked, sock: ssl.SSLSocket) -> bool:
        if self._left <= 0 and not self.opened.wait(60):
            return False
        self._left -= 1
        return self._honest(asked, sock)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_ended_in_the_middle_it_goes_on_where_it_was(
    tmp_path: Path, number: signal.Signals
) -> None:
    gate = Gate({SHA256: DATA}, 2)
    with serving(UPSTREAM, gate) as there, caching(tmp_path, there) as site:
        assert site.get(SHA256, 0, PIECE)[2] == DATA[:PIECE]
        wait_for(lambda: bool(site.parts) and len(there.asked) == 3)
        wait_for(lambda: site.parts[0].stat().st_size == there.asked[2].first)
        here = site.parts[0].stat().st_size
        site.stop(number)
        gate.opened.set()
        asked = len(there.asked)
        site.start()
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        later = there.asked[asked:]
        assert later[0].first == here
        assert sum(min(a.last + 1, len(DATA)) - a.first for a in later) == len(DATA) - here


def test_ended_again_and_again_what_it_gives_is_right(tmp_path: Path) -> None:
    with (
        serving(UPSTREAM, answer_files({SHA256: DATA, OTHER_SHA256: OTHER})) as there,
        caching(tmp_path, there) as site,
    ):
        for pause in (0.0, 0.01, 0.02, 0.05):
            with contextlib.suppress(OSError, http.client.HTTPException):
                site.get(SHA256, 0, 1000)
            time.sleep(pause)
            site.stop(signal.SIGKILL)
            site.start()
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        assert fetch_whole(site, OTHER_SHA256, len(OTHER)) == OTHER
        assert site.parts == []


@pytest.mark.parametrize("longer", [True, False])
def test_a_part_that_was_damaged_while_it_was_down_is_fetched_anew(
    tmp_path: Path, *, longer: bool
) -> None:
    gate = Gate({SHA256: DATA}, 2)
    with serving(UPSTREAM, gate) as there, caching(tmp_path, there) as site:
        site.get(SHA256, 0, PIECE)
        wait_for(lambda: bool(site.parts) and len(there.asked) == 3)
        site.stop(signal.SIGKILL)
        gate.opened.set()
        # Longer than the whole: what the upstream has does not reach as far.
        length = len(DATA) + 5 if longer else site.parts[0].stat().st_size
        site.parts[0].write_bytes(b"\xee" * length)
        site.start()
        with contextlib.suppress(http.client.IncompleteRead):
            fetch_whole(site, SHA256, len(DATA))
        wait_for(lambda: not site.parts)
        assert fetch_whole(site, SHA256, len(DATA)) == DATA


def test_a_blob_that_changed_on_the_disk_is_found_at_the_start_and_fetched_anew(
    tmp_path: Path,
) -> None:
    with (
        serving(UPSTREAM, answer_files({SHA256: DATA})) as there,
        caching(tmp_path, there) as site,
    ):
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        site.stop()
        (whole,) = site.places.blobs.glob("??/*")
        whole.write_bytes(DATA[:-1] + bytes([DATA[-1] ^ 1]))
        site.start()
        wait_for(lambda: "not what it was" in site.log())
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        site.stop()
        assert site.counts().damaged == 1


def test_a_blob_that_was_cut_short_is_noticed_while_it_is_given(tmp_path: Path) -> None:
    with (
        serving(UPSTREAM, answer_files({SHA256: DATA})) as there,
        caching(tmp_path, there) as site,
    ):
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        (whole,) = site.places.blobs.glob("??/*")
        whole.write_bytes(DATA[:100])
        assert fetch_whole(site, SHA256, len(DATA)) == DATA
        # And one that somebody removed.
        whole.unlink()
        assert fetch_whole(site, SHA256, len(DATA)) == DATA


class Files:
    """An upstream in this process."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.asked: list[tuple[str, int, int]] = []

    def fetch(self, sha256: str, offset: int, length: int) -> Got:
        self.asked.append((sha256, offset, length))
        data = self.files.get(sha256)
        if data is None:
            raise Refused("No.", reason="part_missing")
        return Got(data[offset : offset + length], len(data))

    def cut(self) -> None:
        pass


async def take(fills: Fills, sha256: str) -> bytes | str:
    """Take a whole blob, or say why not."""
    try:
        total = await fills.find(sha256, "a")
        return await fills.read(sha256, 0, total, "a")
    except FleetwardError as e:
        return e.reason


def test_a_disk_without_room_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    async def act() -> None:
        files = Files({SHA256: DATA, OTHER_SHA256: OTHER})
        shelf = Shelf(BlobFolder(tmp_path / "blobs"), 10**9)
        fills = Fills(shelf, lambda: files, Counts(), say=said.append)
        assert await take(fills, OTHER_SHA256) == OTHER
        monkeypatch.setattr("fleetward.runtime.blob_folder.RESERVE_BYTES", 2**60)
        for _ in range(50):
            assert await take(fills, SHA256) == "part_missing"
        assert len(files.asked) <= 4
        # What is here is given on, and nothing went for something that does not fit.
        assert await take(fills, OTHER_SHA256) == OTHER
        await fills.stop()

    asyncio.run(act())
    assert len(said) == 1 and "room" in said[0]


def test_the_ceiling_holds_whatever_is_asked_for(tmp_path: Path) -> None:
    async def act() -> None:
        blobs = dict(blob(200_000, seed) for seed in range(30))
        files = Files(blobs | {SHA256: DATA})
        shelf = Shelf(BlobFolder(tmp_path / "blobs"), 1_000_000)
        fills = Fills(shelf, lambda: files, Counts(), wall_ms=itertools.count(10**12).__next__)
        for start in range(0, 30, 3):
            names = list(blobs)[start : start + 3]
            # One is used all the time, and stays.
            first = next(iter(blobs))
            assert await take(fills, first) == blobs[first]
            results = await asyncio.gather(*(take(fills, name) for name in names))
            assert results == [blobs[name] for name in names]
            on_disk = sum(p.stat().st_size for p in (tmp_path / "blobs").glob("??/*"))
            assert on_disk <= 1_000_000 and shelf.used_bytes <= 1_000_000
        assert await take(fills, SHA256) == "part_missing", "it is larger than the ceiling"
        assert sum(name == first for name, _, _ in files.asked) == 1
        await fills.stop()

    asyncio.run(act())


def test_files_of_others_in_the_folder_are_no_blobs(tmp_path: Path) -> None:
    folder = tmp_path / "blobs"
    (folder / "ab").mkdir(parents=True)
    (folder / "ab" / "readme").write_text("x")
    (folder / "ab" / ("ab" * 32)).symlink_to("/etc/hostname")
    shelf = Shelf(BlobFolder(folder), 10**9)
    assert shelf.names() == [] and shelf.used_bytes == 0
    with pytest.raises(FleetwardError):
        shelf.folder.read_here("ab" * 32, 0, 10)
    assert (folder / "ab" / ("ab" * 32)).is_symlink()


def test_a_second_process_on_the_folder_is_refused(site_with_blob: Site) -> None:
    words = subprocess.run(
        [sys.executable, "-m", "fleetward.gateway.updates.main", "--data",
         str(site_with_blob.places.folder)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (words.returncode, "already_running" in words.stderr) == (1, True)
