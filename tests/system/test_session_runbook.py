"""A signed runbook runs on a real machine: without a shell, recorded step by step, once."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.runbook_world import WORD, Hole, Maker, let_runbooks, scope_of
from tests.session_world import USER, SessionWorld, session_world, until

from fleetward.trust.runbook import ChoiceArgument, IntegerArgument, Runbook

GREP = "/usr/bin/grep"


def books(maker: Maker, world: SessionWorld) -> dict[str, Runbook]:
    """Return the runbooks of these tests."""
    return {
        "bundle": maker.sign(
            [
                ["/usr/bin/id", "-un"],
                ["/usr/bin/head", "-n", Hole("lines"), "/etc/passwd"],
                ["/usr/bin/printf", "%s|%s\\n", Hole("what"), "$(id); `id`"],
            ],
            WORD,
            IntegerArgument("lines", 1, 3),
            run_as=USER,
        ),
        "fails": maker.sign(
            [["/bin/false"], ["/usr/bin/touch", f"{world.folder}/home/never"]], run_as=USER
        ),
        "slow": maker.sign(
            [["/bin/sh", "-c", "setsid sleep 300 & nohup sleep 300 & sleep 300"]],
            run_as=USER,
            seconds=1,
        ),
        "choice": maker.sign(
            [["/bin/sleep", "300"], ["/bin/echo", Hole("how")]],
            ChoiceArgument("how", ("--all", "--some")),
            run_as=USER,
        ),
    }


def test_a_runbook_runs_once_and_its_steps_are_recorded(tmp_path: Path) -> None:
    async def act() -> None:
        async with session_world(tmp_path, start=False) as world:
            maker = Maker()
            let_runbooks(world.access, maker)
            world.access.trust.publish()
            book = books(maker, world)
            world.start_agent()
            await world.connected()
            for each in book.values():
                await world.push(each.raw)
            await until(lambda: len(world.entries("runbook.stored")) == len(book), "they are kept")
            session = await world.enter(
                scope_of(book["bundle"], what="a-b.c", lines="2"),
                scope_of(book["fails"]),
                scope_of(book["slow"]),
                scope_of(book["choice"], how="--all"),
            )
            run = await session.open(0)
            assert run.ready == {"name": "support-bundle", "version": 1, "steps": 3}
            assert await run.until_closed() == ""
            shown = run.data.decode()
            assert USER in shown and "root:x:0" in shown, shown
            assert "a-b.c|$(id); `id`" in shown, shown
            again = await session.open(0)
            assert "allowed once" in await again.until_closed()
            failed = await session.open(1)
            assert "Step 1 of 2 ended with 1" in await failed.until_closed()
            assert not (world.folder / "home" / "never").exists()
            began = time.monotonic()
            slow = await session.open(2)
            assert "1 s, is over" in await slow.until_closed()
            assert time.monotonic() - began < 4
            running = await session.open(3)
            await running.until(b"/bin/sleep 300")
            await world.stop_session(session.session)
            await world.receipt(session.session)
            await until(lambda: not world.processes("sleep"), "nothing is left", 2)
            see_marks(world, session.session)

    asyncio.run(act())


def see_marks(world: SessionWorld, session: str) -> None:
    seen = world.replay(session)
    marks = [text for _, code, text in seen if code == "m"]
    for words in (
        "stream 1: step 1 of 3: /usr/bin/id -un",
        "stream 1: step 1 of 3: exit 0",
        "stream 1: step 3 of 3: /usr/bin/printf '%s|%s\\n' a-b.c '$(id); `id`'",
        "stream 3: step 1 of 2: exit 1",
        "stream 4: runbook support-bundle: The time of the runbook, 1 s, is over. "
        "What ran was killed.",
        "stream 5: step 1 of 2: /bin/sleep 300",
    ):
        assert words in marks, (words, marks)
    output = "".join(text for _, code, text in seen if code == "o")
    assert "root:x:0" in output
    opened = world.entries("session.opened")[-1]
    scopes = opened["scopes"]
    assert isinstance(scopes, list)
    assert isinstance(scopes[0], dict) and scopes[0]["arguments"] == {"lines": "2", "what": "a-b.c"}
