"""The demo's service manager, with real programs on a real port."""

from __future__ import annotations

import asyncio
import socket
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from fleetward.demo.display import write_display
from fleetward.demo.own_page import FIRST_PORT, Service, choose_port, find_release, keep
from fleetward.demo.plain_page import LOOPBACK

NOTHING = "refused"
PLAIN = "404"


@pytest.fixture
def service(tmp_path: Path) -> Service:
    port = choose_port(tmp_path / "own-port")
    return Service(tmp_path / "app" / "current", port, tmp_path / "port", tmp_path / "program.log")


def switch(service: Service, version: str, *, broken: bool = False) -> None:
    """Put a release in force, as the installer does: by a link that is replaced at once."""
    write_display(service.current.parent / version, version, broken=broken)
    link = service.current.with_name("next")
    link.symlink_to(version)
    link.replace(service.current)


def ask(service: Service) -> str:
    """Return the version that is served, or why none is."""
    try:
        url = f"http://127.0.0.1:{service.port}/healthz"
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read().decode().strip())
    except urllib.error.HTTPError as e:
        return str(e.code)
    except OSError:
        return NOTHING


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(90):
        while not await asyncio.to_thread(is_so):
            await asyncio.sleep(0.05)


def test_it_follows_the_link_and_comes_back(service: Service) -> None:
    service.current.parent.mkdir()

    async def act() -> None:
        keeping = asyncio.create_task(keep(service))
        try:
            await until(lambda: ask(service) == PLAIN)
            await until(service.port_file.exists)
            assert service.port_file.read_text() == f"{service.port}\n"
            switch(service, "1.1")
            await until(lambda: ask(service) == "1.1")
            switch(service, "1.2", broken=True)
            await until(lambda: ask(service) == NOTHING)
            await until(lambda: "beds.csv is missing" in service.log.read_text())
            switch(service, "1.1b")
            await until(lambda: ask(service) == "1.1b")
        finally:
            keeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeping
        assert ask(service) == NOTHING

    asyncio.run(act())


def test_a_release_answers_for_its_own_version_alone(service: Service) -> None:
    service.current.parent.mkdir()
    switch(service, "1.1")

    async def act() -> None:
        keeping = asyncio.create_task(keep(service))
        try:
            await until(lambda: ask(service) == "1.1")
            url = f"http://127.0.0.1:{service.port}/healthz"
            with urllib.request.urlopen(f"{url}/1.1", timeout=5) as answer:
                assert answer.status == 200
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"{url}/1.2", timeout=5)
        finally:
            keeping.cancel()
            with pytest.raises(asyncio.CancelledError):
                await keeping

    asyncio.run(act())


def test_the_port_stays_unless_somebody_took_it(tmp_path: Path) -> None:
    kept = tmp_path / "own-port"
    first = choose_port(kept)
    assert choose_port(kept) == first
    with socket.create_server((LOOPBACK, first)):
        other = choose_port(kept)
        assert other != first
    assert choose_port(kept) == other
    kept.write_text("80\n")
    assert choose_port(kept) >= FIRST_PORT


def test_without_a_link_there_is_no_release(tmp_path: Path) -> None:
    assert find_release(tmp_path / "current") == ""
    (tmp_path / "current").symlink_to("1.1")
    assert find_release(tmp_path / "current") == str(tmp_path / "1.1")
