"""Uplink: the one TLS connection of a machine. It carries bytes and understands none of them.

It asks guard what to send, sends it, and hands guard what came back. It holds the transport key,
no other, and nothing that it does or fails to do changes whom the machine obeys. Pieces of parts
may come from origins that the owner's policy names (`updates.sources`), and from nobody else.

    session = UplinkSession(port, folder)
    await session.run()          # until cancelled; connects again with jitter
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from fleetward.device.carrier import Carrier
from fleetward.device.identity.transport import Transport, get_kit
from fleetward.device.port import (
    GetAccess,
    GetBatch,
    GetBeat,
    GetChunk,
    GetDocumentsRequest,
    GetProofRequest,
    GetRecording,
    GetUpdate,
    Greet,
    GuardPort,
    Kit,
    Note,
    Request,
    TakeAccessReply,
    TakeChunkReply,
    TakeDocuments,
    TakeGreeting,
    TakeProof,
    TakePushed,
    TakeReceipt,
    TakeRecordingReply,
    TakeUpdateAnswer,
)
from fleetward.device.updates.sources import Sources
from fleetward.runtime.bus import (
    Bus,
    BusEndpoint,
    BusProblem,
    DeviceProfile,
    Inbound,
    connect_bus,
    reconnect_delay_seconds,
    stay_connected,
)
from fleetward.runtime.tasks import run_until_first
from fleetward.trust.errors import FleetwardError, Refused, Unreachable, Untrusted
from fleetward.trust.invitation import split_address
from fleetward.wire.subjects import Up, down_all, up

RENEW_GAP_SECONDS: Final = 600.0
"""Renewals that fail, or that a wrong clock asks for, do not follow faster than this."""
MAX_SILENCES: Final = 3
"""Questions in a row without answer; then the connection is made anew."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How often what is done. A test makes it faster; no value turns anything off."""

    beat_seconds: float = 60.0
    proof_seconds: float = 2.0
    documents_seconds: float = 3600.0
    pause_seconds: float = 10.0
    request_seconds: float = 10.0
    recording_seconds: float = 0.25
    """What a session records is gathered for so long before it is handed over."""


@dataclass(slots=True)
class _Due:
    """When the next of each is due, in the loop's time."""

    beat: float = 0.0
    proof: float = 0.0
    documents: float = 0.0
    evidence: float = 0.0


@dataclass(slots=True)
class _Link:
    """One open connection."""

    bus: Bus
    device: str
    carrier: Carrier
    due: _Due = field(default_factory=_Due)
    silences: int = 0


class UplinkSession:
    """Keeps one machine connected. `folder` holds its transport key and is its own."""

    def __init__(
        self,
        port: GuardPort,
        folder: Path,
        timing: Timing | None = None,
        sources: Sources | None = None,
    ) -> None:
        self._port = port
        self._sources = sources or Sources(port)
        self._transport = Transport(folder)
        self._timing = timing or Timing()
        self._random = random.Random()  # noqa: S311 - spreads load, keeps no secret
        self._news = asyncio.Event()
        self._recorded = asyncio.Event()
        self._released = asyncio.Event()
        self._link: _Link | None = None
        self._leave = False
        self._turn = 0
        self._renewed_at = -RENEW_GAP_SECONDS
        self._distrusted = False

    async def run(self) -> None:
        """Stay connected until cancelled, or until guard is gone (`Unreachable`, `guard_gone`)."""
        waking = asyncio.create_task(self._pass_news_on())
        staying = asyncio.create_task(
            stay_connected(
                self._connect,
                self._serve,
                delay_seconds=self._delay_seconds,
                on_failure=_end_without_guard,
            )
        )
        try:
            await asyncio.wait({waking, staying}, return_when=asyncio.FIRST_COMPLETED)
            for task in (waking, staying):
                if task.done():
                    task.result()
        finally:
            for task in (waking, staying):
                task.cancel()
            await asyncio.gather(waking, staying, return_exceptions=True)

    # --- connecting

    def _delay_seconds(self, failures: int) -> float:
        return reconnect_delay_seconds(failures, self._random.random()) if failures else 0.1

    async def _connect(self) -> Bus:
        try:
            return await self._connect_once()
        except FleetwardError as e:
            self._distrusted = isinstance(e, Refused)
            turned_away = isinstance(e, Refused | Untrusted)
            await self._note("refused" if turned_away else "disconnected", e.message)
            raise

    async def _connect_once(self) -> Bus:
        kit = await self._renew_if_due(await get_kit(self._port))
        self._transport.write_certificate(kit)
        host, port = split_address(kit.bus[self._turn % len(kit.bus)])
        self._turn += 1
        endpoint = BusEndpoint(
            host=host,
            port=port,
            server_ca_pem=kit.server_ca_pem,
            certificate_file=self._transport.certificate_file,
            key_file=self._transport.key_file,
        )
        return await connect_bus(endpoint, DeviceProfile(kit.device), on_problem=_ignore)

    async def _renew_if_due(self, kit: Kit) -> Kit:
        usable = self._transport.matches(kit)
        now = asyncio.get_running_loop().time()
        wanted = kit.renew or self._distrusted
        if usable and not (wanted and now - self._renewed_at >= RENEW_GAP_SECONDS):
            return kit
        self._renewed_at = now
        try:
            await self._transport.enrol(self._port, kit)
        except FleetwardError:
            if not usable:
                raise
            return kit  # The old certificate may still do; renewal is tried again.
        return await get_kit(self._port)

    # --- one connection

    async def _serve(self, bus: Bus) -> None:
        kit = await get_kit(self._port)
        link = self._link = _Link(bus, kit.device, Carrier(bus, kit.device, self._port))
        self._leave = False
        words = ""
        try:
            await bus.subscribe(down_all(kit.device), self._take_pushed)
            await self._greet(link)
            self._distrusted = False
            await link.carrier.take_channels()
            await run_until_first(
                self._work(link), self._carry_recordings(link), self._carry_releases(link)
            )
        except FleetwardError as e:
            words = e.message
            raise
        finally:
            self._link = None
            self._sources.rest()
            await link.carrier.close()
            await self._note("disconnected", words)

    async def _greet(self, link: _Link) -> None:
        nonce = await self._request(link, Up.NONCE, b"")
        hello = await self._port.ask(Greet(), nonce)
        answer = await self._request(link, Up.HELLO, hello.body)
        await self._port.ask(TakeGreeting(), answer)

    async def _work(self, link: _Link) -> None:
        loop = asyncio.get_running_loop()
        link.due.beat = loop.time() + self._timing.beat_seconds * self._random.random()
        while not self._leave:
            if self._news.is_set():
                self._news.clear()
                link.due.evidence = 0.0
                # A press at the machine opens a session without a word of the server.
                await link.carrier.take_channels()
            await self._do_due(link, loop.time())
            wait = min(link.due.beat, link.due.proof, link.due.documents, link.due.evidence)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), max(0.01, wait - loop.time()))

    async def _carry_recordings(self, link: _Link) -> None:
        """Hand recordings over as they grow: this is how an owner watches."""
        loop = asyncio.get_running_loop()
        pause = 0.0
        while not self._leave:
            self._recorded.clear()
            hint = await self._repeat(link, GetRecording(), Up.RECORDING, TakeRecordingReply())
            pause = self._timing.pause_seconds if hint == "pause" else self._timing.beat_seconds
            if hint == "pause":
                await asyncio.sleep(pause)
                continue
            until = loop.time() + pause
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._recorded.wait(), until - loop.time())
                await asyncio.sleep(self._timing.recording_seconds)

    async def _carry_releases(self, link: _Link) -> None:
        """Carry questions about releases and their answers, as fast as they are given."""
        while not self._leave:
            self._released.clear()
            hint = await self._repeat(link, GetUpdate(), Up.UPDATE, TakeUpdateAnswer())
            self._sources.hear(hint)
            pause = self._timing.pause_seconds if hint == "pause" else self._timing.beat_seconds
            if hint == "pause":
                await asyncio.sleep(pause)
                continue
            self._sources.rest()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._released.wait(), pause)

    async def _do_due(self, link: _Link, now: float) -> None:
        due, timing = link.due, self._timing
        if now >= due.documents:
            due.documents = now + timing.documents_seconds * (0.9 + 0.2 * self._random.random())
            hint = await self._exchange(link, GetDocumentsRequest(), Up.DOCUMENTS, TakeDocuments())
            due.evidence = 0.0 if hint == "again" else due.evidence
        if now >= due.evidence:
            paused = await self._send_all(link)
            due.evidence = now + (timing.pause_seconds if paused else timing.beat_seconds)
            due.proof = min(due.proof, now + timing.proof_seconds)
        if now >= due.proof:
            hint = await self._repeat(link, GetProofRequest(), Up.PROOF, TakeProof())
            pauses = {"idle": timing.beat_seconds, "pause": timing.pause_seconds}
            due.proof = now + pauses.get(hint, timing.proof_seconds)
        if now >= due.beat:
            due.beat = now + timing.beat_seconds * (0.9 + 0.2 * self._random.random())
            await self._beat(link)

    async def _send_all(self, link: _Link) -> bool:
        """Send notes, batches, inventories; return whether the server asked to wait."""
        notes = await self._repeat(link, GetAccess(), Up.ACCESS, TakeAccessReply())
        batches = await self._repeat(link, GetBatch(), Up.BATCH, TakeReceipt())
        if batches == "hello":
            await self._greet(link)
            batches = await self._repeat(link, GetBatch(), Up.BATCH, TakeReceipt())
        chunks = await self._repeat(link, GetChunk(), Up.BLOB, TakeChunkReply())
        return "pause" in (notes, batches, chunks)

    async def _repeat(self, link: _Link, get: Request, word: Up, take: Request) -> str:
        """Exchange while there is something; return the hint that ended it, or `idle`."""
        while (hint := await self._exchange(link, get, word, take)) == "again":
            if self._leave:
                return ""
        return hint

    async def _exchange(self, link: _Link, get: Request, word: Up, take: Request) -> str:
        """Ask guard what to say, say it, and hand the answer to guard.

        Returns guard's hint, or `idle` when there is nothing to say.
        """
        question = await self._port.ask(get)
        if not question.body:
            return "idle"
        try:
            answer = await self._find_answer(link, word, question.body)
            return (await self._port.ask(take, answer)).hint
        except Unreachable as e:
            if e.reason == "guard_gone" or link.silences >= MAX_SILENCES:
                raise
            link.silences += 1
            return "pause"
        except FleetwardError:
            return "pause"  # Guard has recorded what was wrong with the answer.

    async def _find_answer(self, link: _Link, word: Up, question: bytes) -> bytes:
        """Have an answer from an origin of the owner's where there is one, else from the server."""
        part = await self._sources.fetch(question) if word is Up.UPDATE else None
        if part is not None:
            return part
        answer = await self._request(link, word, question)
        link.silences = 0
        return answer

    async def _beat(self, link: _Link) -> None:
        beat = await self._port.ask(GetBeat())
        await link.bus.publish(up(link.device, Up.BEAT), beat.body)
        if beat.hint == "renew":
            await self._renew_if_due(await get_kit(self._port))

    async def _take_pushed(self, message: Inbound) -> None:
        try:
            hint = (await self._port.ask(TakePushed(), message.payload)).hint
        except FleetwardError as e:
            if e.reason == "guard_gone":
                raise
            return  # Guard has recorded the refusal.
        self._leave = self._leave or hint == "reconnect"
        if hint == "channel" and self._link is not None:
            await self._link.carrier.take_channels()
        if hint:
            self._news.set()
            self._released.set()

    async def _request(self, link: _Link, word: Up, payload: bytes) -> bytes:
        return await link.bus.request(
            up(link.device, word), payload, timeout_seconds=self._timing.request_seconds
        )

    async def _note(self, event: Literal["disconnected", "refused"], words: str) -> None:
        """Tell guard how the connection stands; its failure would hide the error that led here."""
        with contextlib.suppress(FleetwardError):
            await self._port.ask(Note(event=event, words=words[:500]))

    async def _pass_news_on(self) -> None:
        while True:
            await self._port.wait_wake()
            self._news.set()
            self._recorded.set()
            self._released.set()


def _ignore(problem: BusProblem) -> None:
    """The broker's complaints show in its own log, and here as answers that do not come."""
    del problem


def _end_without_guard(error: FleetwardError) -> None:
    if error.reason == "guard_gone":
        raise error
