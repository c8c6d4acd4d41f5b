"""What changed on a real machine while technicians were inside, end to end over a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from tests.session_world import (
    RequesterEnd,
    RootScope,
    SessionWorld,
    TerminalScope,
    session_world,
    until,
)

CRON = Path(f"/etc/cron.d/fleetward-test-{os.getpid()}")
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHUk0o8mPzMnQ7oJk2dPzq8kq9l1l8pQ1m0n8vW9yW1u eve"
AS_USER = (
    "echo 'x &' >> ~/.bashrc; mkdir -p ~/.ssh ~/.config/systemd/user; "
    f"echo '{KEY}' >> ~/.ssh/authorized_keys; "
    "printf '[Service]\\nExecStart=/bin/x\\n' > ~/.config/systemd/user/x.service; echo do''ne\n"
)
OF_USER = {"shell_start_changed", "new_key", "new_service"}


async def compared(world: SessionWorld, session: str) -> dict[str, Any]:
    """Wait for a receipt; return the entry of the journal that it names."""
    receipt = await world.receipt(session)
    assert "changes" in receipt, receipt
    entries = [e for e in world.entries("session.compared") if e["session"] == session]
    assert entries[-1]["digest"] == receipt["changes"]
    assert entries[-1]["findings"] == receipt["findings"]
    return dict(entries[-1])


def rules(world: SessionWorld, session: str) -> set[str]:
    """Return the rules of a session's findings about what this test touched."""
    events = [e for e in world.entries("posture.changed")
              if str(e["key"]).startswith(f"session/{session[:32]}/")]  # fmt: skip
    ours = (str(world.folder), str(CRON), world.user, "x.service")
    said = [e for e in events if any(o in str(e["words"]) + str(e["after"]) for o in ours)]
    return {str(e["what"]).removeprefix("session.") for e in said}


async def run_and_leave(session: RequesterEnd, line: str) -> None:
    """Run a line in a terminal, and go."""
    shell = await session.open(0)
    await shell.type(line)
    await shell.until(b"done")
    await session.leave()


def test_what_was_left_behind_is_found(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path) as world:
            # 1. Nobody touches anything.
            session = await world.enter(TerminalScope(world.user))
            await run_and_leave(session, "unset HISTFILE; echo do''ne\n")
            await compared(world, session.session)
            assert rules(world, session.session) == set()
            # 2. Two at once: what one of them did, both name; nobody is said to have done it.
            first = await world.enter(TerminalScope(world.user))
            second = await world.enter(RootScope() if world.as_root else TerminalScope(world.user))
            await run_and_leave(first, AS_USER)
            await compared(world, first.session)
            as_root = f"echo '0 0 31 2 * root true' > {CRON}; echo do''ne\n"
            await run_and_leave(second, as_root if world.as_root else "echo do''ne\n")
            await compared(world, second.session)
            assert rules(world, first.session) == OF_USER
            cron = {"new_cron_entry"} if world.as_root else set()
            assert rules(world, second.session) == OF_USER | cron
            # 3. The agent is killed while somebody is inside.
            third = await world.enter(TerminalScope(world.user))
            shell = await third.open(0)
            await shell.type("echo 'y &' >> ~/.profile; echo do''ne\n")
            await shell.until(b"done")
            (guard,) = world.processes("fleetward.device.guard_main")
            os.kill(guard, signal.SIGKILL)
            await until(
                lambda: world.counterpart.find("receipt", third.session), "it says how it ended", 30
            )
            receipt = world.counterpart.find("receipt", third.session)
            assert receipt is not None and receipt["ended_by"] == "restarted"
            assert receipt.get("findings"), receipt
            assert "shell_start_changed" in rules(world, third.session)

    try:
        asyncio.run(act())
    finally:
        CRON.unlink(missing_ok=True)
