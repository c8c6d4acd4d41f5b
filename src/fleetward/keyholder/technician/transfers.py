"""Files of the machine behind the page: list, fetch, put. Nothing of it is kept on this disk.

A file is fetched by a ticket: an address that works once, for half a minute, so that the browser
itself saves the file and no secret stands in an address. It is always an attachment of unknown
type: whatever a machine calls it, no browser shows it as a page.

Names are the machine's words. What is shown of them is on one line and without bidi controls; what
is asked for is the name itself, which the machine keeps below the granted folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

import msgspec

from fleetward.keyholder.access.front_files import list_files
from fleetward.keyholder.access.streams import Stream
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.technician.model import (
    FileView,
    FolderView,
    Ticket,
    TransferList,
    TransferView,
)
from fleetward.keyholder.technician.visit import Visit
from fleetward.runtime.clock import Clock
from fleetward.trust.access import FilesScope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.wire.access import OpenStream

TOPIC: Final = "transfers"
TICKET_MS: Final = 30_000
MAX_TICKETS: Final = 16
MAX_KEPT: Final = 50
"""Transfers that the page can look back at."""
TELL_MS: Final = 300
MAX_NAME: Final = 150
"""Characters of a name that is saved; file systems take 255 bytes."""
_RESERVED: Final = frozenset('/\\:*?"<>|')


class _Size(msgspec.Struct, frozen=True):
    size: int


@dataclass(slots=True)
class Transfer:
    """One file on its way."""

    place: int
    name: str
    up: bool
    size: int
    moved: int = 0
    state: str = "begun"
    """`begun`, `moving`, `done` or `failed`."""
    trouble: str = ""
    sha256: str = ""
    id: str = field(default_factory=lambda: secrets.token_hex(8))


@dataclass(frozen=True, slots=True)
class Promised:
    """What a ticket is for: a stream that the machine has begun."""

    until_ms: int
    stream: Stream
    transfer: Transfer


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file as the browser gets it."""

    name: str
    size: int
    content: AsyncIterator[bytes]


class Transfers:
    """The files of a visit."""

    def __init__(self, visit: Visit, clock: Clock) -> None:
        self._visit = visit
        self._clock = clock
        self._tickets: OrderedDict[str, Promised] = OrderedDict()
        self._known: OrderedDict[str, Transfer] = OrderedDict()
        self._moved: dict[str, int] = {}
        self._told_ms = 0

    @property
    def busy(self) -> bool:
        """Whether a file is on its way: one at a time."""
        return any(each.state == "moving" for each in self._known.values())

    async def list_folder(self, place: int, path: str) -> FolderView:
        """Return what is in a folder. Raises `Refused` with the machine's words."""
        self._require_scope(place)
        rows = await list_files(self._visit.require_link(), place, path)
        items = [
            FileView(
                name=row.name,
                shown=one_line(row.name, 255),
                kind=one_line(row.kind, 10),
                size=row.size,
                modified=row.modified,
            )
            for row in rows
            if _is_name(row.name)
        ]
        items.sort(key=lambda item: (item.kind != "folder", item.name))
        return FolderView(path=one_line(path, 4096), items=items, odd=len(rows) - len(items))

    async def promise(self, place: int, path: str) -> Ticket:
        """Have the machine begin a file; return the address that fetches it. Raises `Refused`."""
        self._require_scope(place)
        self._require_free()
        link = self._visit.require_link()
        await self._drop_old_tickets()
        stream = await link.open_stream(place, OpenStream(verb="get", path=path.strip("/")))
        size = _read_size(await stream.wait_ready())
        transfer = Transfer(place, save_name(path), up=False, size=size)
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = Promised(self._clock.monotonic_ms() + TICKET_MS, stream, transfer)
        while len(self._tickets) > MAX_TICKETS:
            _, oldest = self._tickets.popitem(last=False)
            await _let_go(oldest.stream)
        return Ticket(address=f"/download/{ticket}", name=transfer.name, size=size)

    async def redeem(self, ticket: str) -> Fetched:
        """Return the file of a ticket, once. Raises `Refused` for another or an old one."""
        await self._drop_old_tickets()
        promised = self._tickets.pop(ticket, None)
        if promised is None:
            raise Refused(
                "This address worked once, or half a minute is over. Fetch the file again.",
                reason="ticket_not_found",
            )
        self._keep(promised.transfer)
        content = self._send_on(promised.stream, promised.transfer)
        return Fetched(promised.transfer.name, promised.transfer.size, content)

    async def put(
        self, place: int, path: str, size: int, content: AsyncIterable[bytes]
    ) -> TransferView:
        """Put what comes at a path of the machine. Raises `Refused` with the machine's words."""
        scope = self._require_scope(place)
        if scope.mode != "write":
            raise Refused("The owner gave reading of files, not writing.", reason="not_granted")
        self._require_free()
        link = self._visit.require_link()
        transfer = Transfer(place, save_name(path), up=True, size=size)
        self._keep(transfer)
        try:
            wanted = OpenStream(verb="put", path=path.strip("/"), size=size)
            stream = await link.open_stream(place, wanted)
            try:
                await stream.wait_ready()
                await self._take_in(stream, transfer, content)
            except BaseException:
                await _let_go(stream)
                raise
        except FleetwardError as e:
            self._settle(transfer, e.message)
            raise
        except BaseException:
            self._settle(transfer, "The page stopped sending.")
            raise
        self._settle(transfer, "")
        return show_transfer(transfer)

    def show(self) -> TransferList:
        """Return the transfers, newest first."""
        items = [show_transfer(each) for each in reversed(self._known.values())]
        return TransferList(items=items, moved=dict(self._moved))

    async def _take_in(
        self, stream: Stream, transfer: Transfer, content: AsyncIterable[bytes]
    ) -> None:
        digest = hashlib.sha256()
        transfer.state = "moving"
        async for data in content:
            if data:
                digest.update(data)
                await stream.send(data)
                self._count(transfer, len(data))
            if transfer.moved > transfer.size:
                break
        if transfer.moved != transfer.size:
            raise Unreachable("The page stopped sending.", reason="file_cut_off")
        await stream.end()
        if words := one_line(await stream.wait_closed()):
            raise Refused(words, reason="file_refused")
        transfer.sha256 = digest.hexdigest()

    async def _send_on(self, stream: Stream, transfer: Transfer) -> AsyncIterator[bytes]:
        digest = hashlib.sha256()
        trouble = "The browser stopped taking it."
        transfer.state = "moving"
        try:
            while data := await stream.receive():
                digest.update(data)
                self._count(transfer, len(data))
                if transfer.moved > transfer.size:
                    break
                yield data
            if transfer.moved == transfer.size:
                words = one_line(await stream.wait_closed())
                trouble, transfer.sha256 = words, "" if words else digest.hexdigest()
            else:
                trouble = one_line(stream.words) or "It changed meanwhile. Fetch it again."
        except FleetwardError as e:
            trouble = e.message
        finally:
            self._settle(transfer, trouble)
            await asyncio.shield(_let_go(stream))

    def _count(self, transfer: Transfer, size: int) -> None:
        transfer.moved += size
        key = str(transfer.place)
        self._moved[key] = self._moved.get(key, 0) + size
        now = self._clock.monotonic_ms()
        if now - self._told_ms >= TELL_MS:
            self._told_ms = now
            self._visit.changes.tell(TOPIC)

    def _settle(self, transfer: Transfer, trouble: str) -> None:
        transfer.state = "failed" if trouble else "done"
        transfer.trouble = one_line(trouble)
        self._visit.changes.tell(TOPIC)

    def _keep(self, transfer: Transfer) -> None:
        self._known[transfer.id] = transfer
        while len(self._known) > MAX_KEPT:
            self._known.popitem(last=False)
        self._visit.changes.tell(TOPIC)

    async def _drop_old_tickets(self) -> None:
        now = self._clock.monotonic_ms()
        old = [ticket for ticket, each in self._tickets.items() if each.until_ms < now]
        for ticket in old:
            await _let_go(self._tickets.pop(ticket).stream)

    def _require_free(self) -> None:
        if self.busy:
            raise Refused("A file is on its way; wait for its end.", reason="transfer_busy")

    def _require_scope(self, place: int) -> FilesScope:
        scopes = self._visit.require_link().scopes
        scope = scopes[place] if place < len(scopes) else None
        if not isinstance(scope, FilesScope):
            raise Refused("This session has no files there.", reason="not_granted")
        return scope


def show_transfer(transfer: Transfer) -> TransferView:
    """Return a transfer as the page shows it."""
    return TransferView(
        id=transfer.id,
        name=one_line(transfer.name),
        up=transfer.up,
        moved=transfer.moved,
        size=transfer.size,
        state=transfer.state,
        trouble=transfer.trouble,
        sha256=transfer.sha256,
    )


def save_name(path: str) -> str:
    """Return the name under which a file is saved: the last step of what was asked for.

    Nothing in it leads anywhere, is hidden by its first letter, or is drawn otherwise than read.
    """
    last = path.rstrip("/").rpartition("/")[2]
    plain = "".join("_" if c in _RESERVED else c for c in one_line(last, MAX_NAME))
    return plain.lstrip(". ").rstrip(". ") or "file"


def write_disposition(name: str) -> str:
    """Return the Content-Disposition that saves a file under this name (RFC 6266, RFC 8187)."""
    plain = "".join(c if c.isascii() and c not in '"\\%;' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _is_name(name: str) -> bool:
    return bool(name) and "/" not in name and "\0" not in name and name not in (".", "..")


def _read_size(data: bytes) -> int:
    try:
        size = msgspec.json.decode(data, type=_Size).size
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected the size of a file; {e}.", reason="bad_answer") from e
    if size < 0:
        raise Malformed("Expected the size of a file, got a negative one.", reason="bad_answer")
    return size


async def _let_go(stream: Stream) -> None:
    with contextlib.suppress(FleetwardError):
        await stream.close()
