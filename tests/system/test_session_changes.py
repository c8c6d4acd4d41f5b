"""What a technician changed on a real machine, found by looks before and after his session."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.session_world import TerminalScope, session_world, until


def test_what_changed_is_in_the_receipt(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            session = await world.enter(TerminalScope(world.user))
            shell = await session.open(0)
            await shell.type("echo 'nc -l 1 &' >> ~/.bashrc; mkdir -p ~/.ssh; echo ok\n")
            await shell.until(b"ok")
            await shell.type("exit\n")
            await shell.until_closed()
            await session.leave()
            receipt = await world.receipt(session.session)
            print(receipt)
            await until(lambda: world.counterpart.entries("session.compared"), "the record has it")
            print(world.counterpart.entries("session.compared"))
            print(world.counterpart.entries("posture.changed"))

    asyncio.run(act())
