"""A terminal on a real machine, end to end over a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.session_world import TerminalScope, session_world, until


def test_a_terminal_from_the_request_to_the_receipt(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user))
            assert session.ready is not None
            shell = await session.open(0, columns=100, rows=30)
            assert shell.closed is None, shell.closed
            await shell.type("stty size; id -un; echo sum $((40+2))\n")
            await shell.until(b"30 100")
            await shell.until(world.user.encode())
            await shell.until(b"sum 42")
            await shell.resize(132, 50)
            await shell.type("stty size\n")
            await shell.until(b"50 132")
            await shell.type("exit 3\n")
            assert await shell.until_closed() == "exit 3"
            await session.leave()
            receipt = await world.receipt(session.session)
            assert receipt["ended_by"] == "closed"
            lines = world.replay(session.session)
            shown = "".join(text for _, code, text in lines if code == "o")
            assert "sum 42" in shown
            assert ("r", "132x50") in [(code, text) for _, code, text in lines]
            assert world.replayed == (receipt["recording_head"], receipt["records"])
            await until(lambda: world.counterpart.entries("session.ended"), "the record has it")

    asyncio.run(act())
