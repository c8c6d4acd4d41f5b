"""The cache as a process: reads its settings once, listens, and writes down how it does.

python -m fleetward.gateway.updates.main --data DIR      the same as `fleetward cache serve`
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fleetward.gateway.updates.answers import Answers
from fleetward.gateway.updates.counts import Counts, read_counts, write_counts
from fleetward.gateway.updates.door import Door, bind, make_context
from fleetward.gateway.updates.filling import Fills
from fleetward.gateway.updates.settings import (
    CacheSettings,
    Places,
    choose_upstream,
    name_origin,
    read_listen,
    read_settings,
)
from fleetward.gateway.updates.shelf import Shelf
from fleetward.runtime.blob_folder import BlobFolder
from fleetward.runtime.files import PRIVATE_FILE
from fleetward.runtime.tasks import run_until_first
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable

STATUS_SECONDS: Final = 5.0
CHECK_SECONDS: Final = 86_400.0
"""So often each blob is read again: damage of a disk is found, and mended from the upstream."""


def say(words: str) -> None:
    """Write a line for the journal of the system."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


def serve(folder: Path) -> None:
    """Run the cache of a folder until it is told to end. Raises errors of ours."""
    places = Places(folder)
    settings = read_settings(places)
    with hold_lock(places):
        asyncio.run(_serve(places, settings))


@contextlib.contextmanager
def hold_lock(places: Places) -> Iterator[None]:
    """Be the only process on this folder. Raises `Refused`."""
    descriptor = os.open(
        places.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE
    )
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            raise Refused(
                f"A cache runs on {places.folder} already.", reason="already_running"
            ) from e
        yield
    finally:
        os.close(descriptor)


def is_running(places: Places) -> bool:
    """Return whether a process holds this folder."""
    try:
        with places.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


async def _serve(places: Places, settings: CacheSettings) -> None:
    upstream = choose_upstream(settings)
    chain = settings.certificate or str(places.certificate)
    try:
        context = make_context(chain, settings.key or str(places.key))
    except OSError as e:
        raise Malformed(
            f"Expected a certificate in {chain} and its key; {e.strerror or e}.",
            reason="bad_certificate",
        ) from e
    shelf = Shelf(BlobFolder(places.blobs), settings.keep_bytes)
    counts = read_counts(places.folder)
    counts.upstream, counts.keep_bytes = upstream.text, settings.keep_bytes
    counts.started_ms, counts.upstream_ok = time.time_ns() // 1_000_000, True
    fills = Fills(shelf, upstream.open, counts, say=say)
    door = Door(bind(*read_listen(settings.listen)), context, Answers(fills, counts).talk)
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    say(f"The cache listens at {settings.listen} and asks {upstream.text}.")
    say("To have machines ask it, with whatever origins the policy names besides:")
    say(f"  fleetward owner policy set origins '{name_origin(places, settings)}'")
    try:
        await run_until_first(
            ending.wait(),
            door.serve(),
            _write_status(places, shelf, counts),
            _check_all(shelf, fills),
        )
    finally:
        await door.close()
        await fills.stop()
        _sum_up(shelf, counts)
        write_counts(places.folder, counts)


async def _write_status(places: Places, shelf: Shelf, counts: Counts) -> None:
    """Write the counts down every few seconds while they change."""
    last, failed = "", False
    while True:
        shown = repr((counts, shelf.used_bytes))
        if shown != last:
            try:
                _sum_up(shelf, counts)
                await asyncio.to_thread(write_counts, places.folder, counts)
                failed = False
            except Unreachable as e:
                if not failed:
                    say(e.message)
                failed = True
            last = repr((counts, shelf.used_bytes))
        await asyncio.sleep(STATUS_SECONDS)


def _sum_up(shelf: Shelf, counts: Counts) -> None:
    counts.blobs, counts.blobs_bytes = len(shelf.names()), shelf.used_bytes
    counts.written_ms = time.time_ns() // 1_000_000


async def _check_all(shelf: Shelf, fills: Fills) -> None:
    """Read all that is kept again, at the start and then once a day, with rests as long."""
    while True:
        for name in shelf.names():
            began = time.monotonic()
            try:
                if shelf.size(name) is not None:
                    await fills.check(name)
            except Unreachable as e:
                say(e.message)
            await asyncio.sleep(min(5.0, time.monotonic() - began))
        await asyncio.sleep(CHECK_SECONDS)


def main() -> None:
    """Run by `python -m`."""
    parser = argparse.ArgumentParser(description="Keep parts of releases near the machines.")
    parser.add_argument("--data", type=Path, required=True)
    try:
        serve(parser.parse_args().data)
    except FleetwardError as e:
        say(f"{e.message} [{e.reason}]")
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
