"""Attacks by an origin that lies, fails or drags, and by a server that would name one, against a
machine that installs a release: guard, and the uplink of a real machine between it and a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import ssl
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from tests.origin_world import (
    HOST,
    OUTSIDE,
    Answering,
    Asked,
    Steered,
    There,
    answer_files,
    certify,
    serving,
)
from tests.update_world import UpdateGuard, big_payload

from fleetward.device.direct import DirectPort
from fleetward.device.updates.origin import OriginClient, Patience, Piece
from fleetward.device.updates.sources import (
    LEARN_SECONDS,
    MISSING_SECONDS,
    MOST_AVOIDED,
    Sources,
)
from fleetward.device.uplink import Timing, UplinkSession
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused
from fleetward.trust.origin import Origin
from fleetward.trust.release_manifest import SEGMENT_BYTES
from fleetward.wire.identity import HelloReply, NonceReply, Refusal
from fleetward.wire.updates import MAX_PIECE_BYTES, UpdateQuestion

NAMED: Final = f"https://{HOST}/acme"
OTHER_HOST: Final = "other.example"
OTHER: Final = f"https://{OTHER_HOST}"
FAST: Final = Timing(
    beat_seconds=0.02, proof_seconds=0.5, pause_seconds=0.02, recording_seconds=0.02
)
SHORT: Final = Patience(connect_seconds=1.0, idle_seconds=0.4, whole_seconds=1.0)
CERTIFIED: Final = certify(HOST, OTHER_HOST)
INSTALLED: Final = ["accepted", "installed", "committed"]


@dataclass
class ReleaseBus:
    """What a server says over a machine's one connection; `bend` may change any answer."""

    guard: UpdateGuard
    bend: Callable[[UpdateQuestion, bytes], bytes] = lambda _, answer: answer
    beats: int = 0

    async def subscribe(self, subject: str, take: Any) -> None:
        self.take = take

    async def publish(self, subject: str, payload: bytes) -> None:
        self.beats += 1

    async def request(self, subject: str, payload: bytes, *, timeout_seconds: float) -> bytes:
        word = subject.rpartition(".")[2]
        if word == "nonce":
            return msgspec.json.encode(NonceReply(nonce=to_base64url(bytes(32))))
        if word == "hello":
            return msgspec.json.encode(HelloReply(stored=0, generation=0, state="active"))
        if word != "update":
            return msgspec.json.encode(Refusal(reason="later", message="Later."))
        question = msgspec.json.decode(payload, type=UpdateQuestion)
        return self.bend(question, msgspec.json.encode(self.guard.server.answer(question)))


@dataclass
class Play:
    """A machine whose owner names origins, a server, and time that passes fast."""

    guard: UpdateGuard
    network: Steered
    there: There
    bus: ReleaseBus = field(init=False)
    said: list[str] = field(default_factory=list)
    passed: float = 0.0
    patience: Patience | None = None
    pace: float = 0.5
    """Seconds that pass for uplink's pauses while half a second passes for guard."""

    def __post_init__(self) -> None:
        self.bus = ReleaseBus(self.guard)

    def blobs_of_server(self) -> list[UpdateQuestion]:
        return [q for q in self.guard.server.asked if q.what == "blob"]

    def run(self, until: Callable[[], bool] | None = None, seconds: float = 30) -> None:
        """Be the machine until its attempt is over, or until `until`."""
        try:
            asyncio.run(self._run(until or self._is_over, seconds))
        except TimeoutError:
            state = (self.guard.rules(), self.guard.outcomes(), self.said, self.passed)
            raise AssertionError(f"it did not end: {state}") from None

    async def _wait(self, seconds: float) -> None:
        """Wait as uplink does for a cache that is still fetching, in the time of the play."""
        until = self.passed + seconds
        while self.passed < until:
            await asyncio.sleep(0.005)

    def _is_over(self) -> bool:
        return self.guard.core.updates.memory.attempt is None and bool(self.guard.outcomes())

    async def _run(self, until: Callable[[], bool], seconds: float) -> None:
        core = self.guard.core
        port = DirectPort(core)
        core.call_on_news(port.wake)
        client = OriginClient(self.network, self.there.trust, self.patience)
        sources = Sources(
            port, client, now=lambda: self.passed, say=self.said.append, rest=self._wait
        )
        with tempfile.TemporaryDirectory() as folder:
            session = UplinkSession(port, Path(folder), FAST, sources)
            serving = asyncio.create_task(session._serve(self.bus))  # type: ignore[arg-type]
            waking = asyncio.create_task(session._pass_news_on())
            try:
                async with asyncio.timeout(seconds):
                    core.updates.talk.look_now()
                    while not until():
                        assert not serving.done(), serving.exception()
                        core.tick()
                        self.guard._let_the_installer_answer()
                        self.guard.clock.pass_ms(500)
                        self.passed += self.pace
                        await asyncio.sleep(0.005)
            finally:
                for task in (serving, waking):
                    task.cancel()
                await asyncio.gather(serving, waking, return_exceptions=True)


def name_origins(guard: UpdateGuard, *origins: str) -> None:
    """Have the owner's next policy name these, whatever they are."""
    world = guard.fleet.world
    roots = world.next_payload()["roots"]
    assert isinstance(roots, dict)
    roots["download_origins"] = list(origins)
    world.next_policy({"roots": roots})
    guard.confirm()


@contextlib.contextmanager
def playing(
    folder: Path, answer: Answering | None = None, *origins: str, segments: int = 2
) -> Iterator[Play]:
    """A release of some segments, and an origin that is honest unless `answer` is another."""
    guard = UpdateGuard.make(folder / "guard")
    guard.release("1.1", counter=11, payload=big_payload(segments))
    guard.approve()
    name_origins(guard, *(origins or (NAMED,)))
    honest = answer_files(guard.server.blobs, "/acme")
    with serving(CERTIFIED, answer or honest) as there:
        network = Steered({HOST: [OUTSIDE], OTHER_HOST: ["198.51.100.7"]}, there.port)
        yield Play(guard, network, there)


def test_parts_come_from_the_origin_and_are_judged_as_ever(tmp_path: Path) -> None:
    with playing(tmp_path) as play:
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.blobs_of_server() == []
        assert {asked.path.rpartition("/")[0] for asked in play.there.asked} == {"/acme/blobs"}
        assert max(asked.length for asked in play.there.asked) == MAX_PIECE_BYTES
        assert play.there.connections == 1
        assert play.said == []


def test_an_origin_that_lies_costs_one_segment_and_is_avoided(tmp_path: Path) -> None:
    def lie(asked: Asked, sock: ssl.SSLSocket) -> bool:
        sock.sendall(
            b"HTTP/1.1 206 P\r\nContent-Length: %d\r\nContent-Range: %s/*\r\n\r\n"
            % (asked.length, asked.range)
            + b"\xee" * asked.length
        )
        return True

    with playing(tmp_path, lie) as play:
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert "wrong_hash" in play.guard.rules()
        # The list of segments, a lie by itself, and one segment.
        assert sum(asked.length for asked in play.there.asked) <= SEGMENT_BYTES + MAX_PIECE_BYTES
        assert sum("nobody signed" in words for words in play.said) == 2
        wanted = sum(q.length for q in play.blobs_of_server())
        assert wanted <= play.guard.newest.parts[0].blob.length_bytes + 2 * MAX_PIECE_BYTES


def test_one_false_piece_among_the_servers_is_traced_to_who_gave_it(tmp_path: Path) -> None:
    """It gives one false piece of a segment and is silent then, so that the server seems to lie."""
    spoken: list[str] = []
    honest: list[Answering] = []

    def lie_once(asked: Asked, sock: ssl.SSLSocket) -> bool:
        if asked.length < 1000:
            return honest[0](asked, sock)
        if spoken and spoken[-1] == asked.path and asked.first % SEGMENT_BYTES:
            return False
        spoken.append(asked.path)
        sock.sendall(
            b"HTTP/1.1 206 P\r\nContent-Length: %d\r\nContent-Range: %s/*\r\n\r\n"
            % (asked.length, asked.range)
            + b"\xee" * asked.length
        )
        return True

    with playing(tmp_path, lie_once, segments=6) as play:
        play.pace = 8.0
        honest.append(answer_files(play.guard.server.blobs, "/acme"))
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.passed > 120, "its pause was over long before the end"
        assert len(spoken) == 1
        assert sum("nobody signed" in words for words in play.said) == 1


def test_a_dead_origin_is_left_alone_and_the_next_one_asked(tmp_path: Path) -> None:
    with playing(tmp_path, None, NAMED, OTHER) as play:
        play.network.dead.add("198.51.100.7")
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.blobs_of_server() == []
        assert play.network.dialled.count("198.51.100.7") <= 1 + play.passed // 30


def test_without_any_origin_that_answers_the_server_is_asked(tmp_path: Path) -> None:
    many = [f"https://o{n}.example" for n in range(31)]
    with playing(tmp_path, None, NAMED, *many, segments=0) as play:
        play.network.dead.add(OUTSIDE)
        play.run()
        assert play.guard.outcomes() == INSTALLED
        # Two of them for one piece at most, of names that do not exist too.
        assert len(play.network.resolved) <= 2 * len(play.blobs_of_server())
        assert play.blobs_of_server() != []
        assert all("gives no parts" in words for words in play.said)


def test_pauses_grow_and_end_where_it_answers_again(tmp_path: Path) -> None:
    async def act(play: Play) -> None:
        port = DirectPort(play.guard.core)
        client = OriginClient(play.network, play.there.trust)
        now = 0.0
        sources = Sources(port, client, now=lambda: now, say=play.said.append)
        blob = play.guard.newest.parts[0].blob
        question = msgspec.json.encode(
            UpdateQuestion(what="blob", name=blob.sha256, offset=0, length=1000)
        )
        play.network.dead.add(OUTSIDE)
        tries = []
        while now < 86_400:
            before = len(play.network.dialled)
            assert await sources.fetch(question) is None
            sources.hear("again")
            tries += [now] if len(play.network.dialled) > before else []
            now += 10
        gaps = [after - before for before, after in itertools.pairwise(tries)]
        assert gaps[0] == 30 and gaps[-1] == 3600 and gaps == sorted(gaps)
        assert len(play.said) == 1
        play.network.dead.clear()
        now += 3600
        assert await sources.fetch(question) is not None
        assert len(play.said) == 2
        sources.rest()

    with playing(tmp_path) as play:
        asyncio.run(act(play))


def test_a_part_that_an_origin_has_not_got_is_had_from_the_server(tmp_path: Path) -> None:
    with playing(tmp_path, answer_files({})) as play:
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert len(play.there.asked) <= 2 * (1 + play.passed // MISSING_SECONDS)
        assert len(play.said) == len(play.there.asked)
        assert all("has not got" in words for words in play.said)


def busy(asked: Asked, sock: ssl.SSLSocket) -> bool:
    """Say that it is still fetching, as a cache does."""
    del asked
    sock.sendall(b"HTTP/1.1 503 Later\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n")
    return False


def test_a_cache_that_is_still_fetching_is_waited_for(tmp_path: Path) -> None:
    """It has each piece at the third question. The server is not asked for one of them."""
    tried: dict[tuple[str, int], int] = {}
    honest: list[Answering] = []

    def answer(asked: Asked, sock: ssl.SSLSocket) -> bool:
        place = (asked.path, asked.first)
        tried[place] = tried.get(place, 0) + 1
        return honest[0](asked, sock) if tried[place] > 2 else busy(asked, sock)

    with playing(tmp_path, answer) as play:
        honest.append(answer_files(play.guard.server.blobs, "/acme"))
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.blobs_of_server() == []
        assert play.said == []


def test_a_cache_that_is_always_fetching_holds_up_no_release(tmp_path: Path) -> None:
    with playing(tmp_path, busy) as play:
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.blobs_of_server() != []
        # After a minute it has failed, and is left alone like any that fails.
        assert sum("gives no parts" in words for words in play.said) == 1


def test_what_a_busy_origin_costs_is_a_minute_for_each_pause(tmp_path: Path) -> None:
    async def act(play: Play) -> None:
        now = 0.0

        async def pass_time(seconds: float) -> None:
            nonlocal now
            now += seconds

        client = OriginClient(play.network, play.there.trust)
        port = DirectPort(play.guard.core)
        sources = Sources(port, client, now=lambda: now, say=play.said.append, rest=pass_time)
        blob = play.guard.newest.parts[0].blob
        question = msgspec.json.encode(
            UpdateQuestion(what="blob", name=blob.sha256, offset=0, length=1000)
        )
        waited = 0.0
        while now < 86_400:
            began = now
            assert await sources.fetch(question) is None
            waited += now - began
            now += 10
        # 30 s, a minute, two, and so on up to an hour lie between two tries.
        assert 60 <= waited <= 60 * (8 + 24)
        sources.rest()

    with playing(tmp_path, busy) as play:
        asyncio.run(act(play))


def test_the_cache_of_ones_own_site_is_found_and_kept(tmp_path: Path) -> None:
    """One policy names the caches of many sites; from here only one of them answers."""
    many = [f"https://cache-{n}.example" for n in range(20)]

    async def act(play: Play) -> None:
        now = 0.0
        client = OriginClient(play.network, play.there.trust)
        sources = Sources(DirectPort(play.guard.core), client, now=lambda: now)
        blob = play.guard.newest.parts[0].blob
        question = msgspec.json.encode(
            UpdateQuestion(what="blob", name=blob.sha256, offset=0, length=1000)
        )
        for _ in range(11):
            if await sources.fetch(question) is not None:
                break
        before = len(play.network.resolved)
        for _ in range(500):
            now += 30
            assert await sources.fetch(question) is not None
        # It goes on to ask this one, though the pauses of all others are over again and again.
        assert set(play.network.resolved[before:]) <= {HOST}
        sources.rest()

    with playing(tmp_path, None, NAMED, *many) as play:
        asyncio.run(act(play))


@pytest.mark.parametrize("named", [
    f"http://{HOST}/acme", "http://169.254.169.254", "https://169.254.169.254",
    "https://127.0.0.1:8443", "https://localhost", "https://[::ffff:127.0.0.1]", "file:///etc",
    f"https://{HOST}@127.0.0.1", f"https://{HOST}/../x", f"https://{HOST} /x", "//x", "x",
])  # fmt: skip
def test_what_is_no_origin_in_a_policy_is_not_asked(tmp_path: Path, named: str) -> None:
    with playing(tmp_path, None, named, segments=0) as play:
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.network.resolved == play.network.dialled == []
        assert len(play.said) == 1 and "is not asked" in play.said[0]


@pytest.mark.parametrize("bend", [
    lambda answer: answer[:-1] + b',"origins":["https://parts.example/acme"]}',
    lambda answer: answer[:-1] + b',"location":"https://parts.example/acme"}',
    lambda _: msgspec.json.encode(Refusal(reason="moved", message="https://parts.example/acme")),
    lambda _: b"HTTP/1.1 302 Found\r\nLocation: https://parts.example/acme\r\n\r\n",
])  # fmt: skip
def test_no_word_of_the_server_makes_uplink_ask_anybody(
    tmp_path: Path, bend: Callable[[bytes], bytes]
) -> None:
    with playing(tmp_path) as play:
        name_origins(play.guard)
        count = 0

        def answer(question: UpdateQuestion, honest: bytes) -> bytes:
            nonlocal count
            if question.what != "blob":
                return honest
            count += 1
            return bend(honest) if count < 4 else honest

        play.bus.bend = answer
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert count >= 4
        assert play.network.resolved == play.network.dialled == []
        assert play.there.connections == 0


def test_an_origin_that_the_owner_takes_out_is_asked_no_more(tmp_path: Path) -> None:
    with playing(tmp_path, segments=5) as play:
        taken_out: list[tuple[float, int]] = []

        def take_out() -> bool:
            if not taken_out and len(play.there.asked) >= 4:
                name_origins(play.guard)
                taken_out.append((play.passed, 0))
                play.passed += LEARN_SECONDS
                taken_out.append((play.passed, len(play.there.asked)))
            return play._is_over()

        play.run(take_out)
        assert play.guard.outcomes() == INSTALLED
        # One more may have been on its way.
        assert len(play.there.asked) <= taken_out[1][1] + 1
        assert play.blobs_of_server() != []


def test_an_origin_that_drags_holds_up_neither_heartbeat_nor_release(tmp_path: Path) -> None:
    def stall(asked: Asked, sock: ssl.SSLSocket) -> bool:
        with contextlib.suppress(OSError):
            sock.recv(1)
        return False

    with playing(tmp_path, stall, segments=0) as play:
        play.patience = SHORT
        play.run(lambda: bool(play.there.asked))
        beats = play.bus.beats
        play.run()
        assert play.guard.outcomes() == INSTALLED
        assert play.bus.beats >= beats + 5
        assert any("too long" in words for words in play.said)


class Lacking(OriginClient):
    """An origin that has nothing."""

    async def fetch(self, origin: Origin, piece: Piece) -> bytes:
        raise Refused("It has not got this part.", reason="part_missing")


def test_what_is_remembered_of_origins_is_bounded(tmp_path: Path) -> None:
    async def act(guard: UpdateGuard) -> None:
        sources = Sources(DirectPort(guard.core), Lacking(), now=lambda: 0.0)
        for number in range(1000):
            question = UpdateQuestion(what="blob", name=f"{number:064x}", offset=0, length=100)
            assert await sources.fetch(msgspec.json.encode(question)) is None
        assert len(sources._avoided) == MOST_AVOIDED

    guard = UpdateGuard.make(tmp_path / "guard")
    name_origins(guard, NAMED, OTHER)
    asyncio.run(act(guard))
