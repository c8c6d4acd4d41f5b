"""Carrying the sealed records of sessions between the bus and their processes; reading none.

A message on a session's `in` becomes one message on its socket, and back on `out`. Little is
buffered here: where the socket is full the subscription waits, where the bus is full the socket
does. When the connection to the bus ends, so do the sockets, and with them the sessions: what was
lost on the way could not be made good.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable
from typing import Final

from fleetward.device.port import GuardPort, TakeChannel
from fleetward.runtime.bus import Bus, Inbound, Subscription
from fleetward.trust.errors import FleetwardError
from fleetward.wire.access import MAX_DATA_BYTES
from fleetward.wire.subjects import check_session, session_in, session_out

MAX_MESSAGE_BYTES: Final = MAX_DATA_BYTES + 128
"""A sealed record: a frame, its head, a counter and a tag."""
RECORDS_A_TURN: Final = 8
SESSION_PENDING: Final = (4096, 24 * 1024 * 1024)
"""Messages and bytes that may wait for one session; more are dropped, which ends it."""


class Carrier:
    """The sessions of one connection to the bus."""

    def __init__(self, bus: Bus, device: str, port: GuardPort) -> None:
        self._bus = bus
        self._device = device
        self._port = port
        self._carrying: set[asyncio.Task[None]] = set()

    async def take_channels(self) -> None:
        """Take the sockets of sessions that were opened, and carry them from now on."""
        while True:
            reply = await self._port.ask(TakeChannel())
            if reply.descriptor is None:
                return
            sock = socket.socket(fileno=reply.descriptor)
            try:
                sock.setblocking(False)
                name = check_session(reply.body.decode("ascii"))
                subscription = await self._bus.subscribe(
                    session_in(self._device, name), _sender_to(sock), pending=SESSION_PENDING
                )
            except BaseException:
                sock.close()
                raise
            subject = session_out(self._device, name)
            task = asyncio.create_task(self._carry(sock, subject, subscription))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def close(self) -> None:
        """End every session of this connection."""
        tasks = list(self._carrying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _carry(self, sock: socket.socket, subject: str, subscription: Subscription) -> None:
        try:
            await self._publish(sock, subject)
        except (OSError, FleetwardError):
            return  # The session, or the connection, has ended.
        finally:
            sock.close()
            with contextlib.suppress(FleetwardError):
                await subscription.end()

    async def _publish(self, sock: socket.socket, subject: str) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(RECORDS_A_TURN):
                try:
                    record = await loop.sock_recv(sock, MAX_MESSAGE_BYTES + 1)
                except ConnectionResetError:
                    continue  # It ended with records unread; its last words come behind this.
                if not record:
                    return
                await self._bus.publish(subject, record)
            await asyncio.sleep(0)


def _sender_to(sock: socket.socket) -> Callable[[Inbound], Awaitable[None]]:
    loop = asyncio.get_running_loop()

    async def send(message: Inbound) -> None:
        if 0 < len(message.payload) <= MAX_MESSAGE_BYTES:
            # Once the session has ended this fails; what reads from the socket sees that too.
            with contextlib.suppress(OSError):
                await loop.sock_sendall(sock, message.payload)

    return send
