"""Where a piece of a part is fetched: from an origin that the owner's policy names, or the server.

Part of uplink. Guard asks one piece after another and judges what comes; this only chooses whom to
ask. Origins come first, out of guard's kit and from nowhere else. One that fails is left alone for
a pause that grows; one whose bytes guard did not take is not asked for that blob again for an hour.
One that is still fetching the part itself is waited for, a minute at most since it last gave
something. The one that answered last is asked first: of the caches of many sites that one policy
names, a machine finds its own and stays with it. So nobody who fails or lies costs more than a
bounded time and one segment, and the server is asked when no origin has answered.

    sources = Sources(port)
    answer = await sources.fetch(question)       # None: ask the server
    sources.hear(hint)                           # what guard said of the answer
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from fleetward.device.identity.transport import get_kit
from fleetward.device.port import GuardPort
from fleetward.device.updates.origin import OriginClient, Piece
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.origin import Origin, read_origin
from fleetward.wire.updates import MAX_PIECE_BYTES, UpdateAnswer, UpdateQuestion

LEARN_SECONDS: Final = 60.0
"""So soon an origin that the owner took out of the policy is asked no more."""
FIRST_PAUSE_SECONDS: Final = 30.0
MAX_PAUSE_SECONDS: Final = 3600.0
AVOID_SECONDS: Final = 3600.0
MISSING_SECONDS: Final = 600.0
"""An origin that has not got a blob yet may get it."""
BUSY_SECONDS: Final = 60.0
"""So long in a row an origin may say that it is still fetching; then it has failed."""
BUSY_PAUSE_SECONDS: Final = 2.0
MOST_TRIES: Final = 2
"""Origins that are asked for one piece before the server is."""
MOST_AVOIDED: Final = 256
SEGMENT_PIECES: Final = 8
"""Pieces of one segment: guard judges them together."""


@dataclass(slots=True)
class _Standing:
    """How an origin has done: the pause after its last failure, and when it is over."""

    pause_seconds: float = 0.0
    until: float = 0.0
    busy_since: float | None = None
    """When it first said that it is still fetching, since it last gave something."""


class Sources:
    """Chooses whom to ask. `say` is called with a sentence when an origin fails, and comes back."""

    def __init__(
        self,
        port: GuardPort,
        client: OriginClient | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        say: Callable[[str], None] = lambda _: None,
        rest: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._port = port
        self._client = client or OriginClient()
        self._now = now
        self._say = say
        self._sleep = rest
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._named: tuple[str, ...] = ()
        self._origins: list[Origin] = []
        self._learnt = -LEARN_SECONDS
        self._standings: dict[str, _Standing] = {}
        self._avoided: dict[tuple[str, str], float] = {}
        self._last: Piece | None = None
        self._givers: deque[str] = deque(maxlen=SEGMENT_PIECES)
        self._doubted = False

    async def fetch(self, question: bytes) -> bytes | None:
        """Return an answer for guard, or None when the server is to be asked.

        Raises `Unreachable` (`guard_gone`); whatever is wrong with an origin is no error here.
        """
        piece = _read_piece(question)
        if piece is None:
            return None
        await self._learn()
        self._blame(piece)
        data = await self._try_each(piece)
        self._last = piece
        if data is None:
            self._givers.append("")
            return None
        return msgspec.json.encode(UpdateAnswer(found=True, data=to_base64url(data)))

    def hear(self, hint: str) -> None:
        """Note what guard said of the last answer, until it asks for a piece again."""
        self._doubted = self._doubted or hint == "pause"

    def rest(self) -> None:
        """There is nothing to ask for now: keep no connection."""
        self._client.close()

    # --- whom to ask

    async def _learn(self) -> None:
        """Have the origins of the policy from guard, in an order of this machine's own."""
        if self._now() - self._learnt < LEARN_SECONDS:
            return
        named = (await get_kit(self._port)).origins
        self._learnt = self._now()
        if named == self._named:
            return
        last = self._origins[0].text if self._origins else ""
        self._named, self._origins = named, []
        for text in named:
            try:
                self._origins.append(read_origin(text))
            except (Malformed, Refused) as e:
                self._say(f"An origin of the owner's policy is not asked. {e.message}")
        self._random.shuffle(self._origins)
        self._origins.sort(key=lambda origin: origin.text != last)
        self._standings = {o.text: self._standings.get(o.text, _Standing()) for o in self._origins}
        self._client.close()

    async def _try_each(self, piece: Piece) -> bytes | None:
        now, tried = self._now(), 0
        for origin in list(self._origins):
            paused = self._standings[origin.text].until > now
            if paused or self._avoided.get((origin.text, piece.name), 0.0) > now:
                continue
            try:
                data = await self._ask(origin, piece)
            except FleetwardError as e:
                self._take_failure(origin, piece, e)
            else:
                self._take_success(origin)
                return data
            tried += 1
            if tried == MOST_TRIES:
                break
        return None

    async def _ask(self, origin: Origin, piece: Piece) -> bytes:
        """Ask one origin, again while it is still fetching these bytes itself.

        Raises as `OriginClient.fetch`.
        """
        while True:
            try:
                return await self._client.fetch(origin, piece)
            except Unreachable as e:
                if e.reason != "origin_busy" or self._has_waited(origin):
                    raise
            await self._sleep(BUSY_PAUSE_SECONDS)

    def _has_waited(self, origin: Origin) -> bool:
        """Return whether an origin that is busy has been so for as long as it may."""
        standing, now = self._standings[origin.text], self._now()
        if standing.busy_since is None:
            standing.busy_since = now
        return now - standing.busy_since >= BUSY_SECONDS

    def _take_success(self, origin: Origin) -> None:
        self._givers.append(origin.text)
        if self._origins[0] != origin:
            self._origins.remove(origin)
            self._origins.insert(0, origin)
        standing = self._standings[origin.text]
        standing.busy_since = None
        if standing.pause_seconds:
            self._say(f"{origin.text} answers again.")
            standing.pause_seconds = standing.until = 0.0

    def _take_failure(self, origin: Origin, piece: Piece, error: FleetwardError) -> None:
        if error.reason == "part_missing":
            self._say(f"{origin.text} has not got {piece.name[:16]}…; others are asked for it.")
            self._avoid(origin.text, piece.name, MISSING_SECONDS)
            return
        standing = self._standings[origin.text]
        standing.busy_since = None
        if not standing.pause_seconds:
            self._say(f"{origin.text} gives no parts: {error.message} Others are asked instead.")
        grown = max(FIRST_PAUSE_SECONDS, standing.pause_seconds * 2)
        standing.pause_seconds = min(MAX_PAUSE_SECONDS, grown)
        standing.until = self._now() + standing.pause_seconds

    # --- lies

    def _blame(self, piece: Piece) -> None:
        """See whether guard has thrown away what it had of a segment, and avoid who gave it.

        Guard asks for the same bytes again when it did not take them. Pieces of a segment are
        judged together, so everybody who gave one of them is avoided for this blob.
        """
        last, doubted, self._doubted = self._last, self._doubted, False
        if last is None or last.name != piece.name:
            self._givers.clear()
            return
        again = piece.offset < last.offset
        same = piece.offset == last.offset and self._givers and self._givers[-1]
        if doubted and (again or same):
            for text in sorted(set(self._givers) - {""}):
                self._say(f"{text} gave bytes of a part that nobody signed. Others are asked.")
                self._avoid(text, piece.name, AVOID_SECONDS)
        if again or same:
            self._givers.clear()

    def _avoid(self, text: str, name: str, seconds: float) -> None:
        self._avoided.pop((text, name), None)
        while len(self._avoided) >= MOST_AVOIDED:
            del self._avoided[next(iter(self._avoided))]
        self._avoided[text, name] = self._now() + seconds


def _read_piece(question: bytes) -> Piece | None:
    """Return the piece that guard asks for, or None for what only the server answers."""
    asked = msgspec.json.decode(question, type=UpdateQuestion)
    if asked.what != "blob" or not 0 < asked.length <= MAX_PIECE_BYTES:
        return None
    return Piece(asked.name, asked.offset, asked.length)
