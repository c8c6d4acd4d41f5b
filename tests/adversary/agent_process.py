"""The agent as a real program, in processes of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from asyncio.subprocess import Process
from typing import Final

AGENT: Final = (sys.executable, "-I", "-m", "fleetward.device.cli")


async def start_agent(*arguments: str) -> Process:
    """Start `fleetward-agent` with these arguments."""
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    return await asyncio.create_subprocess_exec(
        *AGENT, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )


async def finish(process: Process) -> None:
    """Wait for its end, which must be a good one."""
    _, problem = await process.communicate()
    assert process.returncode == 0, problem.decode()
