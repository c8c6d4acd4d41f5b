"""Works that live and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


async def run_until_first(*works: Coroutine[object, object, object]) -> None:
    """Do these at once until the first ends, and end the others. Raises what it raised."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
