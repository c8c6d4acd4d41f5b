"""The agent never listens: not before, not while, and not after it joins and runs.

Real processes of the agent, looked at through the kernel: every descriptor of every process is
compared with the kernel's socket tables, for TCP and UDP, of both families. `ss` is asked too where
it is there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.adversary.agent_process import finish, start_agent
from tests.adversary.estate import Estate, open_estate
from tests.adversary.processes import family_of, open_doors, sockets_of


def ask_ss(root: int) -> list[str]:
    """Return what `ss -lntup` shows of these processes; nothing where there is no ss."""
    if shutil.which("ss") is None:
        return []
    shown = subprocess.run(["ss", "-lntup"], capture_output=True, text=True, check=True).stdout
    family = {f"pid={pid}," for pid in family_of(root)}
    return [line for line in shown.splitlines() if any(pid in line for pid in family)]


async def watch(process: asyncio.subprocess.Process, done: asyncio.Event) -> tuple[int, set[int]]:
    """Look at the agent's processes until told; return how often, and how many there were."""
    looks, pids = 0, set()
    while not done.is_set():
        if process.returncode is not None:
            break
        doors = await asyncio.to_thread(open_doors, process.pid)
        assert not doors, doors
        pids |= set(family_of(process.pid))
        looks += 1
        if looks % 10 == 1:
            assert not await asyncio.to_thread(ask_ss, process.pid)
        await asyncio.sleep(0.05)
    return looks, pids


def test_the_agent_listens_nowhere(tmp_path: Path) -> None:
    async def act() -> None:
        async with open_estate(tmp_path) as estate:
            data = tmp_path / "machine"
            # Before, and while it joins.
            invited = await asyncio.to_thread(estate.desk.invite, "Hall", 1, 600, preapproved=True)
            joining = await start_agent("join", invited.join, "--data", str(data))
            done = asyncio.Event()
            watching = asyncio.create_task(watch(joining, done))
            await finish(joining)
            await watching
            # While it runs, reports, and answers what the server pushes.
            running = await start_agent("run", "--data", str(data))
            watching = asyncio.create_task(watch(running, done))
            try:
                await reports(estate)
                await asyncio.sleep(3.0)
                assert any(
                    seen.table.startswith("tcp")
                    for pid in family_of(running.pid)
                    for seen in sockets_of(pid)
                ), "the one connection is there, so looking works"
            finally:
                done.set()
                looks, pids = await watching
                running.send_signal(signal.SIGTERM)
                await finish(running)
            assert looks >= 5
            assert len(pids) >= 3, "guard, uplink and what keeps them"
            # And after.
            assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    asyncio.run(act())


async def reports(estate: Estate) -> None:
    """Wait until the machine's first words are in the store."""
    deadline = asyncio.get_running_loop().time() + 60
    while estate.program.house.intake.stored == 0:
        assert asyncio.get_running_loop().time() < deadline, "the machine reports"
        await asyncio.sleep(0.1)


def test_a_look_would_see_a_door(tmp_path: Path) -> None:
    """The test's own eyes: a process that does listen is seen, on TCP and on UDP."""
    code = (
        "import socket,sys; a=socket.create_server(('127.0.0.1',0));"
        "b=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM); b.bind(('::1',0));"
        "print('ready',flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-I", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        child.stdout.readline()
        tables = {seen.table for seen in open_doors(os.getpid())}
        child.stdin.close()
    assert {"tcp", "udp6"} <= tables
