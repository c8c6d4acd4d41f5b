"""A site's cache between machines and whom it asks: real processes, real TLS, a real server.

Machines refuse loopback as an origin's address. So who resolves and connects is passed in, as in
`tests/origin_world.py`; the last test does without, in networks of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from tests.attack.test_bare_address import OnLoopback
from tests.attack.test_origin_choice import INSTALLED, Play, name_origins
from tests.cache_world import (
    LOOPBACK,
    SITE_HOST,
    UPSTREAM,
    Site,
    blob,
    caching,
    make_site,
    running,
)
from tests.closing_world import FAR, can_have_network, own_network
from tests.origin_world import OUTSIDE, Asked, Steered, There, answer_files, serving
from tests.update_world import UpdateGuard, big_payload
from typer.testing import CliRunner

from fleetward.cli.cache import cache_app
from fleetward.device.direct import DirectPort
from fleetward.device.updates.origin import OriginClient, Piece, make_context
from fleetward.device.updates.sources import Sources
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.database import Database
from fleetward.server.handlers import make_handlers
from fleetward.server.listeners import free_port
from fleetward.server.program import Program
from fleetward.server.schema.migrate import migrate
from fleetward.server.settings import Places as ServerPlaces
from fleetward.server.settings import check_host
from fleetward.server.web.caller import ON_THE_HOST, Role
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import FleetwardError
from fleetward.trust.origin import read_origin
from fleetward.wire.updates import MAX_PIECE_BYTES, UpdateQuestion


def count_asked(asked: Iterable[Asked], name: str, length: int) -> int:
    """Return how many bytes of a blob were asked for, as far as it reaches."""
    return sum(min(one.last + 1, length) - one.first for one in asked if one.path.endswith(name))


def play_machine(folder: Path, origin: str, site: Site, payload: bytes) -> Play:
    """Make a machine of its own owner, whose policy names the cache, with a release to install."""
    guard = UpdateGuard.make(folder)
    guard.release("1.1", counter=11, payload=payload)
    guard.approve()
    name_origins(guard, origin)
    network = Steered({SITE_HOST: [OUTSIDE]}, site.port)
    # It trusts no authority at all: the pin alone lets it speak with the cache.
    return Play(guard, network, There(site.port, make_context()))


def test_machines_install_a_release_of_which_the_line_carries_each_byte_once(
    tmp_path: Path,
) -> None:
    payload = big_payload(2)
    maker = UpdateGuard.make(tmp_path / "maker")
    maker.release("1.1", counter=11, payload=payload)
    files = dict(maker.server.blobs)
    with serving(UPSTREAM, answer_files(files)) as there, caching(tmp_path, there) as site:
        machines = [
            play_machine(tmp_path / f"machine-{n}", site.origin, site, payload) for n in range(3)
        ]
        with ThreadPoolExecutor(len(machines)) as pool:
            list(pool.map(lambda play: play.run(seconds=90), machines))
        for play in machines:
            assert play.guard.outcomes() == INSTALLED
            assert play.blobs_of_server() == [], "nothing of it came over the machine's line"
            assert play.said == []
        for name, data in files.items():
            assert count_asked(there.asked, name, len(data)) == len(data)
        site.stop()
        counts = site.counts()
        assert counts.fetched_bytes == sum(map(len, files.values()))
        assert counts.served_bytes >= 3 * counts.fetched_bytes
        assert counts.blobs == len(files)


def test_a_cache_with_another_key_is_asked_nothing_and_holds_nothing_up(tmp_path: Path) -> None:
    payload = big_payload(0)
    with serving(UPSTREAM, answer_files({})) as there, caching(tmp_path, there) as site:
        other = site.origin[:-64] + hashlib.sha256(b"another").hexdigest()
        play = play_machine(tmp_path / "machine", other, site, payload)
        play.run(seconds=60)
        assert play.guard.outcomes() == INSTALLED
        assert play.blobs_of_server() != []
        assert there.asked == []
        assert any("certificate" in words for words in play.said)


class SlowLine:
    """An upstream over a line of so many bytes a second."""

    def __init__(self, files: dict[str, bytes], bytes_per_second: int) -> None:
        self._honest = answer_files(files)
        self._pace = bytes_per_second
        self._lock = threading.Lock()

    def __call__(self, asked: Asked, sock: object) -> bool:
        with self._lock:
            time.sleep(asked.length / self._pace)
        # It is handed on as it came: whoever answers knows his socket.
        return self._honest(asked, sock)  # type: ignore[arg-type]


def test_many_machines_at_once_over_a_slow_line(tmp_path: Path) -> None:
    """All begin at the same time, before anything is here. None of them asks the server."""
    name, data = blob(4_000_000)
    line = SlowLine({name: data}, 800_000)
    with serving(UPSTREAM, line) as there, caching(tmp_path, there) as site:
        guard = UpdateGuard.make(tmp_path / "machine")
        name_origins(guard, site.origin)

        async def take(number: int) -> bytes:
            client = OriginClient(Steered({SITE_HOST: [OUTSIDE]}, site.port))
            sources = Sources(DirectPort(guard.core), client)
            got = bytearray()
            await asyncio.sleep(number * 0.01)
            while len(got) < len(data):
                length = min(MAX_PIECE_BYTES, len(data) - len(got))
                question = UpdateQuestion(what="blob", name=name, offset=len(got), length=length)
                answer = await sources.fetch(msgspec.json.encode(question))
                assert answer is not None, "it would have asked the server"
                got += from_base64url(json.loads(answer)["data"])
            sources.rest()
            return bytes(got)

        async def take_all() -> list[bytes]:
            return await asyncio.gather(*(take(number) for number in range(20)))

        assert asyncio.run(take_all()) == [data] * 20
        assert count_asked(there.asked, name, len(data)) == len(data)


def test_a_fleetward_server_is_asked_with_a_viewers_token(tmp_path: Path) -> None:
    name, data = blob(9_000_000)

    async def act() -> None:
        settings = OnLoopback(
            host=check_host(LOOPBACK), bus_port=free_port(), public_names=(LOOPBACK,)
        )
        program = Program(ServerPlaces(tmp_path / "server"), settings, SystemClock(), make_handlers)
        database = Database.open(f"sqlite:///{program.places.database}")
        await asyncio.to_thread(migrate, database, backup=lambda: None)
        await program.start(database)
        try:
            blobs = program.house.updates.book.blobs
            for offset in range(0, len(data), 4 * 1024 * 1024):
                piece = data[offset : offset + 4 * 1024 * 1024]
                await asyncio.to_thread(blobs.write, name, offset, len(data), piece)
            half, _ = blob(100, seed=9)
            await asyncio.to_thread(blobs.write, half, 0, 100, b"x" * 50)
            made = program.house.people.people.make_token(ON_THE_HOST, "cache", Role.VIEWER, 600)
            ca = program.authorities.server_ca_pem.encode()
            site = make_site(tmp_path, program.origin, ca, token=made.secret)
            await asyncio.to_thread(ask_all, site, name, data, half)
        finally:
            await program.stop()

    def ask_all(site: Site, name: str, data: bytes, half: str) -> None:
        with running(site):
            assert site.ask(f"/blobs/{name}")[2] == data
            assert site.ask(f"/blobs/{name}")[2] == data
            # What is half there is not there, and what nobody has neither.
            assert site.get(half, 0, 10)[0] == 404
            assert site.get("ab" * 32, 0, 10)[0] == 404
            # A token that is over shows in the status, and does not end what is here.
            (tmp_path / "token").write_text("another")
            assert site.get("cd" * 32, 0, 10)[0] == 503
            assert site.get(name, 0, 10)[2] == data[:10]
            site.stop()
            counts = site.counts()
            assert counts.fetched_bytes == len(data)
            assert "token" in counts.failure and not counts.upstream_ok
            words = (
                CliRunner().invoke(cache_app, ["status", "--data", str(site.places.folder)]).stdout
            )
            assert "does not answer now" in words and "9.0 MB" in words

    asyncio.run(act())


def test_the_commands_say_what_to_do_next(tmp_path: Path) -> None:
    run = CliRunner()
    folder = ["--data", str(tmp_path / "cache")]

    def invoke(*words: str) -> tuple[int, str]:
        result = run.invoke(cache_app, [words[0], *folder, *words[1:]])
        return result.exit_code, result.stdout + result.stderr

    code, words = invoke("status")
    assert code == 1 and "fleetward cache init" in words
    listen = ("--listen", "10.20.0.5:8443")
    for wrong in (
        ("--listen", "127.0.0.1:8443", "--upstream", "https://parts.example"),
        ("--listen", "0.0.0.0:8443", "--upstream", "https://parts.example"),
        listen,
        (*listen, "--upstream", "http://parts.example"),
        (*listen, "--server", "https://fleet.example"),
        (*listen, "--upstream", "https://parts.example", "--keep", "5"),
        (*listen, "--upstream", "https://parts.example", "--key", "k.pem"),
        (*listen, "--upstream", "https://parts.example", "--ca", "/nowhere.pem"),
    ):
        assert invoke("init", *wrong)[0] == 1
        assert not (tmp_path / "cache").exists()
    code, words = invoke("init", *listen, "--upstream", "https://parts.example/releases", "--json")
    origin = read_origin(json.loads(words)["origin"])
    assert code == 0 and origin.authority == "10.20.0.5:8443" and len(origin.pin) == 64
    assert (tmp_path / "cache" / "cache.key").stat().st_mode & 0o077 == 0
    assert invoke("init", *listen, "--upstream", "https://parts.example")[0] == 1
    code, words = invoke("status")
    assert code == 0 and "Nobody has asked it yet" in words and "policy set origins" in words
    assert json.loads(invoke("status", "--json")[1])["running"] is False
    assert invoke("clear") == (0, "It was empty.\n")


def test_a_running_cache_may_be_cleared(tmp_path: Path) -> None:
    name, data = blob(1_000_000)
    with serving(UPSTREAM, answer_files({name: data})) as there, caching(tmp_path, there) as site:
        assert site.ask(f"/blobs/{name}")[2] == data
        folder = str(site.places.folder)
        words = CliRunner().invoke(cache_app, ["clear", "--data", folder]).stdout
        assert words == "Removed 1 files of 1.0 MB.\n"
        assert site.ask(f"/blobs/{name}")[2] == data
        assert count_asked(there.asked, name, len(data)) == 2 * len(data)
        site.stop()
        assert site.counts().damaged == 0


@pytest.mark.skipif(not can_have_network(), reason="needs a network of its own")
def test_over_a_real_network_by_a_real_address(tmp_path: Path) -> None:
    """The agent's own network and addresses, and a cache on another computer of the site."""
    name, data = blob(1_500_000)
    far = f"""
import sys
from pathlib import Path
from tests.cache_world import UPSTREAM, blob, make_site, running
from tests.origin_world import answer_files, serving
from fleetward.gateway.updates.settings import read_settings
from dataclasses import replace
name, data = blob(1_500_000)
with serving(UPSTREAM, answer_files({{name: data}})) as there:
    site = make_site(Path(sys.argv[1]), f"https://127.0.0.1:{{there.port}}", UPSTREAM.authority)
    text = site.places.settings.read_text()
    text = text.replace("127.0.0.1:%d" % site.port, "{FAR}:%d" % site.port)
    text = text.replace("cache.site.example", "{FAR}")
    site.places.settings.write_text(text)
    site.reached_at = "{FAR}"
    with running(site):
        print(site.origin, flush=True)
        sys.stdin.read()
"""
    with own_network() as wire:
        there = wire.start(far, str(tmp_path))
        assert there.stdout is not None
        origin = there.stdout.readline().strip()

        async def act() -> tuple[bytes, str]:
            client = OriginClient()
            got = await client.fetch(read_origin(origin), Piece(name, 0, 300_000))
            wrong = replace(read_origin(origin), pin="0" * 64)
            with pytest.raises(FleetwardError) as caught:
                await client.fetch(wrong, Piece(name, 0, 10))
            client.close()
            return got, caught.value.reason

        try:
            assert origin.startswith(f"https://{FAR}:")
            assert asyncio.run(act()) == (data[:300_000], "origin_certificate")
        finally:
            there.communicate("", timeout=20)
