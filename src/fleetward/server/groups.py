"""Storing what many machines say in groups: a commit costs as much for one message as for sixty.

Who speaks alone waits for nobody. While many speak, a group waits a moment to become as large as
the one before it. Each sender gets his own answer, or his own refusal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Final

from fleetward.trust.errors import FleetwardError

MAX_GROUP: Final = 256
"""Messages that are stored together."""
MAX_GROUP_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a group, whatever its messages' number: what is in work must fit into memory."""
GATHER_SECONDS: Final = 0.008
"""How long a group waits to become as large as the one before it."""

StoreGroup = Callable[[Sequence[tuple[str, bytes]]], "list[bytes | FleetwardError]"]
"""Stores messages (machine, payload) together and returns what to answer to each."""


class Groups:
    """Gathers messages and hands them to `store` in one worker thread. For one event loop."""

    def __init__(self, store: StoreGroup, writer: Executor, name: str) -> None:
        self._store = store
        self._writer = writer
        self._name = name
        self._waiting: list[tuple[str, bytes, asyncio.Future[bytes]]] = []
        self._draining: asyncio.Task[None] | None = None
        self._last = 0

    async def join(self, device: str, payload: bytes) -> bytes:
        """Store a message with others and return the answer to it. Raises what became of it."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((device, payload, future))
        # A task of its own: whoever came first must not wait for everybody who comes after.
        if self._draining is None or self._draining.done():
            self._draining = asyncio.create_task(self._drain(), name=self._name)
        return await future

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            if self._last > 1 and len(self._waiting) < self._last:
                await asyncio.sleep(GATHER_SECONDS)
            group = self._take()
            self._last = len(group)
            work = [(device, payload) for device, payload, _ in group]
            try:
                answers = await loop.run_in_executor(self._writer, self._store, work)
            except Exception as e:  # noqa: BLE001 - the boundary of a group: each sender learns of it
                for _, _, future in group:
                    if not future.done():
                        future.set_exception(e)
                continue
            for (_, _, future), answer in zip(group, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, FleetwardError):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _take(self) -> list[tuple[str, bytes, asyncio.Future[bytes]]]:
        count, size = 0, 0
        for _, payload, _ in self._waiting[:MAX_GROUP]:
            size += len(payload)
            if count and size > MAX_GROUP_BYTES:
                break
            count += 1
        group, self._waiting = self._waiting[:count], self._waiting[count:]
        return group
