"""The event hub: order, resumption, slow readers, many threads, and the end of a session."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from fleetward.server.web import stream
from fleetward.server.web.stream import CLIENT_QUEUE, KEPT_EVENTS, EventHub
from fleetward.trust.errors import Misuse, Unreachable

T = TypeVar("T")


def run(work: Callable[[EventHub], Awaitable[T]], hub: EventHub | None = None) -> T:
    async def bounded() -> T:
        return await asyncio.wait_for(work(hub or EventHub()), 20)

    return asyncio.run(bounded())


def identifiers(frames: bytes) -> list[str]:
    return [line[4:].decode() for line in frames.splitlines() if line.startswith(b"id: ")]


def test_events_arrive_in_order_from_any_thread() -> None:
    async def work(hub: EventHub) -> None:
        with hub.connect() as client:
            threads = [
                threading.Thread(target=hub.publish, args=("device.changed", {"n": n}))
                for n in range(20)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            received = b""
            while received.count(b"event: device.changed\n") < 20:
                received += await client.take() or b""
        numbers = [int(each.partition("-")[2]) for each in identifiers(received)]
        assert numbers == list(range(1, 21))
        assert hub.clients == 0

    run(work)


def test_a_client_that_comes_back_continues() -> None:
    async def work(hub: EventHub) -> None:
        with hub.connect() as client:
            hub.publish("a", {"n": 1})
            last = identifiers(await client.take() or b"")[-1]
        hub.publish("a", {"n": 2})
        hub.publish("a", {"n": 3})
        with hub.connect(last) as client:
            again = await client.take() or b""
        assert [each.partition("-")[2] for each in identifiers(again)] == ["2", "3"]
        assert b"lost" not in again

    run(work)


@pytest.mark.parametrize("last", ["other-1", "x", "-", "a-b", "1" * 4000, "x-" + "9" * 400])
def test_an_id_of_another_run_is_told_as_lost(last: str) -> None:
    async def work(hub: EventHub) -> bytes | None:
        hub.publish("a", {})
        with hub.connect(last) as client:
            return await client.take()

    assert run(work) == b"event: lost\ndata: {}\n\n"


def test_events_that_are_no_longer_kept_are_told_as_lost() -> None:
    async def work(hub: EventHub) -> bytes | None:
        with hub.connect() as client:
            hub.publish("a", {})
            last = identifiers(await client.take() or b"")[-1]
        for _ in range(KEPT_EVENTS + 2):
            hub.publish("a", {})
        with hub.connect(last) as client:
            return await client.take()

    assert run(work) == b"event: lost\ndata: {}\n\n"


def test_a_slow_reader_is_bounded_and_told() -> None:
    async def work(hub: EventHub) -> bytes:
        with hub.connect() as client:
            for n in range(CLIENT_QUEUE * 3):
                hub.publish("a", {"n": n})
            await asyncio.sleep(0)
            return await client.take() or b""

    frames = run(work)
    assert frames.startswith(b"event: lost\n")
    assert frames.count(b"\n\n") <= CLIENT_QUEUE + 1
    assert b'{"n":%d}' % (CLIENT_QUEUE * 3 - 1) in frames


def test_closing_ends_every_stream_and_takes_no_more() -> None:
    async def work(hub: EventHub) -> None:
        with hub.connect() as client:
            hub.publish("a", {})
            hub.close()
            assert b"event: a" in (await client.take() or b"")
            assert await client.take() is None
        with pytest.raises(Unreachable), hub.connect():
            raise AssertionError("the hub is closed")

    run(work)


def test_silence_is_a_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "HEARTBEAT_SECONDS", 0.01)

    async def work(hub: EventHub) -> bytes | None:
        with hub.connect() as client:
            return await client.take()

    assert run(work) == b": still here\n\n"


@pytest.mark.parametrize("topic", ["", "a\nb", "a b", "data: x"])
def test_a_topic_is_one_word(topic: str) -> None:
    with pytest.raises(Misuse):
        EventHub().publish(topic, {})
