"""Frames with descriptors between guard and uplink, over a real socket."""

from __future__ import annotations

import asyncio
import os
import socket
import threading

import pytest

from fleetward.device.frames import Connection
from fleetward.device.port import GetBatch, GetKit, Reply, Request, TakeChannel
from fleetward.device.socket_port import SocketPort
from fleetward.trust.errors import Refused, Unreachable


class Answering:
    """Answers batches with many bytes, and channels with a pipe in which a number stands."""

    def __init__(self) -> None:
        self.count = 0

    def handle(self, request: Request, body: bytes) -> Reply:
        if isinstance(request, GetKit):
            raise Refused("No.", reason="no_kit")
        if isinstance(request, TakeChannel):
            self.count += 1
            reading, writing = os.pipe()
            os.write(writing, b"%d" % self.count)
            os.close(writing)
            return Reply(b"channel %d" % self.count, descriptor=reading)
        return Reply(body * 3)


def serve(sock: socket.socket) -> None:
    """Be guard until the other side is gone."""
    connection = Connection(sock, Answering())
    sock.setblocking(True)
    good = True
    while good:
        good = connection.read()
        while good and connection.wants_write:
            good = connection.write()
    connection.close()


def test_each_descriptor_comes_with_its_own_answer() -> None:
    async def act() -> None:
        ours, theirs = socket.socketpair()
        guard = threading.Thread(target=serve, args=(theirs,))
        guard.start()
        port = SocketPort(ours)
        asked = [
            port.ask(TakeChannel()) if number % 2 else port.ask(GetBatch(), b"x" * 300_000)
            for number in range(12)
        ]
        answers = await asyncio.gather(*asked)
        for number, answer in enumerate(answers):
            if number % 2 == 0:
                assert (len(answer.body), answer.descriptor) == (900_000, None)
                continue
            assert answer.descriptor is not None
            with os.fdopen(answer.descriptor, "rb") as pipe:
                assert answer.body == b"channel " + pipe.read()
        with pytest.raises(Refused):
            await port.ask(GetKit())
        await port.close()
        guard.join()
        with pytest.raises(Unreachable):
            await port.ask(GetBatch())

    asyncio.run(act())


def test_whoever_waits_is_told_when_guard_ends() -> None:
    async def act() -> None:
        ours, theirs = socket.socketpair()
        port = SocketPort(ours)
        waiting = asyncio.create_task(port.ask(GetBatch()))
        waking = asyncio.create_task(port.wait_wake())
        await asyncio.sleep(0.01)
        theirs.close()
        for task in (waiting, waking):
            with pytest.raises(Unreachable):
                await task
        await port.close()

    asyncio.run(act())


def test_a_question_that_nobody_waits_for_leaks_nothing() -> None:
    async def act() -> None:
        ours, theirs = socket.socketpair()
        guard = threading.Thread(target=serve, args=(theirs,))
        port = SocketPort(ours)
        waiting = asyncio.create_task(port.ask(TakeChannel()))
        await asyncio.sleep(0.01)
        waiting.cancel()
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        guard.start()
        assert (await port.ask(GetBatch(), b"a")).body == b"aaa"
        await port.close()
        guard.join()
        # Both ends are closed now, and the pipe that nobody took.
        assert len(os.listdir("/proc/self/fd")) == before - 2  # noqa: PTH208

    asyncio.run(act())
