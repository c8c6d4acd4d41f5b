"""How soon an owner sees what happens, and a technician what he types, over a real broker."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.requester_end import RequesterEnd
from tests.session_world import TerminalScope, decode_hash, session_world

MOST_WATCH_SECONDS = 0.3
MOST_KEYSTROKE_SECONDS = 0.020


def test_live_watch_and_keystrokes(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            await asyncio.sleep(1.0)
            began = time.monotonic()
            request = world.make_request(TerminalScope(world.user))
            offer = await world.offered(request)
            offered = time.monotonic() - began
            await asyncio.sleep(1.0)
            grant = world.make_grant(request, offer)
            began = time.monotonic()
            await world.push(grant)
            keys = (world.access.session_private, offer.session_key)
            end = RequesterEnd(world.bus, world.device, decode_hash(grant), keys)
            await asyncio.sleep(0.02)
            session = await end.begin()
            opened = time.monotonic() - began
            shell = await session.open(0)
            terminal = time.monotonic() - began
            await shell.type("stty -echo; PS1=; exec cat\n")
            await asyncio.sleep(0.5)
            shell.data.clear()
            keystrokes = []
            for number in range(200):
                began = time.monotonic()
                arrived = asyncio.Event()
                session.on_data = lambda *_, arrived=arrived: arrived.set()
                await shell.type(f"{number}\n")
                await asyncio.wait_for(arrived.wait(), 5)
                keystrokes.append(time.monotonic() - began)
                await asyncio.sleep(0.01)
            keystrokes.sort()
            watches = []
            recorded = world.counterpart.recordings[session.session]
            for _ in range(5):
                await asyncio.sleep(0.3)
                size = len(recorded)
                began = time.monotonic()
                await shell.type("watch me\n")
                while len(recorded) == size:
                    assert time.monotonic() - began < 5.0, "the owner sees it"
                    await asyncio.sleep(0.002)
                watches.append(time.monotonic() - began)
            p50, p95 = keystrokes[100], keystrokes[190]
            print(
                f"\noffer {offered * 1000:.0f} ms, grant to channel {opened * 1000:.0f} ms, to "
                f"terminal {terminal * 1000:.0f} ms; keystroke p50 {p50 * 1000:.2f} ms, p95 "
                f"{p95 * 1000:.2f} ms; watch {[round(w * 1000) for w in watches]} ms"
            )
            assert sorted(watches)[2] < MOST_WATCH_SECONDS
            assert p95 < MOST_KEYSTROKE_SECONDS

    asyncio.run(act())
