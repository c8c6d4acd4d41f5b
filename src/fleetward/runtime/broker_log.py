"""What the broker refused, read from its log: the server program never sees these connections.

    log line  ->  `classify_line`  ->  `RefusalTally`  ->  a few `BrokerRefusal`s

Equal refusals (kind, host, device, subject) within a window become one, with a count. At most so
many leave in a minute; the rest are counted in one entry of kind `suppressed`. So a flood costs a
bounded number of entries, and nothing is left out without being said.

Texts in a log line may come from an attacker. The broker quotes them; the pattern here is anchored
and takes the device's name only from the field that the broker itself fills.

A connection that the auth callout refused is in this log too (`not_admitted`), without its reason.
"""

import asyncio
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from fleetward.runtime.clock import Clock

WINDOW_MS: Final = 3_000
ENTRIES_A_MINUTE: Final = 30
KEYS_MAX: Final = 256
"""Different refusals held at once; an attacker can invent subjects without end."""
SUBJECT_CHARACTERS: Final = 200
POLL_SECONDS: Final = 0.25
READ_BYTES: Final = 256 * 1024
"""At a time, so that a flood of lines does not stop the program."""
BEHIND_BYTES: Final = 4 * 1024 * 1024
"""Further behind than this, the oldest are skipped and said to be."""


class RefusalKind(StrEnum):
    """Stable codes of what the broker refuses."""

    UNKNOWN_AUTHORITY = "unknown_authority"
    NO_CERTIFICATE = "no_certificate"
    EXPIRED = "certificate_expired"
    WRONG_OWNER = "certificate_for_another_owner"
    UNFIT_CERTIFICATE = "certificate_unfit"
    OLD_TLS = "old_tls"
    NOT_TLS = "not_tls"
    TLS_FAILED = "tls_failed"
    NOT_ADMITTED = "not_admitted"
    PUBLISH = "publish_violation"
    SUBSCRIBE = "subscribe_violation"
    TOO_LARGE = "payload_too_large"
    TOO_MANY = "too_many"
    PROTOCOL = "protocol_error"
    SLOW_READER = "slow_reader"
    SUPPRESSED = "suppressed"
    UNREAD = "log_unread"


_WORDS: Final = {
    RefusalKind.UNKNOWN_AUTHORITY: "a certificate of another CA",
    RefusalKind.NO_CERTIFICATE: "no certificate",
    RefusalKind.EXPIRED: "a certificate that has ended or not begun",
    RefusalKind.WRONG_OWNER: "a certificate that its CA may not give",
    RefusalKind.UNFIT_CERTIFICATE: "a certificate that is not one of a device",
    RefusalKind.OLD_TLS: "a TLS version before 1.3",
    RefusalKind.NOT_TLS: "something that is not TLS",
    RefusalKind.TLS_FAILED: "a TLS handshake that failed",
    RefusalKind.NOT_ADMITTED: "a connection that was not let in",
    RefusalKind.PUBLISH: "a message on a subject that is not its own",
    RefusalKind.SUBSCRIBE: "a subscription to a subject that is not its own",
    RefusalKind.TOO_LARGE: "a message of more than 1 MiB",
    RefusalKind.TOO_MANY: "more connections or subscriptions than allowed",
    RefusalKind.PROTOCOL: "bytes that are not the protocol",
    RefusalKind.SLOW_READER: "a connection that did not read what it was sent",
    RefusalKind.SUPPRESSED: "more refusals than are listed one by one",
    RefusalKind.UNREAD: "log lines that came faster than they could be read",
}

_LINE: Final = re.compile(
    r"\[\d+\] (?P<at>\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6}) \[[A-Z]{3}\] "
    r"(?P<remote>\S{1,64}):\d{1,5} - cid:\d+ - "
    r'(?P<quoted>(?:"(?:[^"\\]|\\.)*" - ){0,2})(?P<message>.*)'
)
_ADMITTED: Final = (RefusalKind.PUBLISH, RefusalKind.SUBSCRIBE, RefusalKind.TOO_LARGE)
"""Only after admission. Before it, the only quoted field is a name that the connection chose."""
_IDENTITY: Final = re.compile(r'"(?:DEVICES|QUARANTINE)/user:([a-z2-7]{32})" - $')
_SUBJECT: Final = re.compile(r'Subject "((?:[^"\\]|\\.)*)')

_MESSAGES: Final = (
    (RefusalKind.UNKNOWN_AUTHORITY, "TLS handshake error: ", "signed by unknown authority"),
    (RefusalKind.NO_CERTIFICATE, "TLS handshake error: ", "didn't provide a certificate"),
    (RefusalKind.EXPIRED, "TLS handshake error: ", "has expired or is not yet valid"),
    (RefusalKind.WRONG_OWNER, "TLS handshake error: ", "not authorized to sign for this name"),
    (RefusalKind.UNFIT_CERTIFICATE, "TLS handshake error: ", "failed to verify certificate"),
    (RefusalKind.OLD_TLS, "TLS handshake error: ", "unsupported versions"),
    (RefusalKind.NOT_TLS, "TLS handshake error: ", "does not look like a TLS handshake"),
    (RefusalKind.TLS_FAILED, "TLS handshake error: ", ""),
    (RefusalKind.TLS_FAILED, "TLS handshake timeout", ""),
    (RefusalKind.NOT_ADMITTED, "authentication error", ""),
    (RefusalKind.NOT_ADMITTED, "authorization violation", ""),
    (RefusalKind.NOT_ADMITTED, "authentication timeout", ""),
    (RefusalKind.PUBLISH, "publish violation", ""),
    (RefusalKind.SUBSCRIBE, "subscription violation", ""),
    (RefusalKind.TOO_LARGE, "maximum payload exceeded", ""),
    (RefusalKind.TOO_MANY, "maximum subscriptions exceeded", ""),
    (RefusalKind.TOO_MANY, "maximum connections exceeded", ""),
    (RefusalKind.PROTOCOL, "client parser error", ""),
    (RefusalKind.PROTOCOL, "maximum control line exceeded", ""),
    (RefusalKind.SLOW_READER, "slow consumer", ""),
)
"""Kind, how the message begins, and what it contains; the first that fits. Case is ignored."""


@dataclass(frozen=True, slots=True)
class SeenRefusal:
    """One line that says that something was refused."""

    kind: RefusalKind
    remote: str
    device_id: str
    subject: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class BrokerRefusal:
    """Refusals of one kind from one place in one window.

    `device_id` is empty unless the connection had been let in as that device; `subject` is empty
    where there was none, and is written as the broker quotes it. `remote` is a host.
    """

    kind: RefusalKind
    remote: str
    device_id: str
    subject: str
    count: int
    first_at_ms: int
    last_at_ms: int
    words: str


def classify_line(line: str) -> SeenRefusal | None:
    """What a line of the log says was refused, or None when it says something else."""
    matched = _LINE.match(line)
    if matched is None:
        return None
    message = matched["message"]
    kind = _classify_message(message.lower())
    if kind is None:
        return None
    identity = _IDENTITY.search(matched["quoted"]) if kind in _ADMITTED else None
    subject = (
        _SUBJECT.search(message) if kind in (RefusalKind.PUBLISH, RefusalKind.SUBSCRIBE) else None
    )
    at = datetime.strptime(matched["at"], "%Y/%m/%d %H:%M:%S.%f").replace(tzinfo=UTC)
    return SeenRefusal(
        kind=kind,
        remote=matched["remote"],
        device_id="" if identity is None else identity[1],
        subject="" if subject is None else subject[1][:SUBJECT_CHARACTERS],
        at_ms=int(at.timestamp() * 1000),
    )


def _classify_message(message: str) -> RefusalKind | None:
    for kind, start, inside in _MESSAGES:
        if message.startswith(start.lower()) and inside.lower() in message:
            return kind
    return None


class RefusalTally:
    """Merges equal refusals and bounds how many leave. Pure: time is an argument."""

    def __init__(
        self, *, window_ms: int = WINDOW_MS, entries_a_minute: int = ENTRIES_A_MINUTE
    ) -> None:
        self._window_ms = window_ms
        self._entries_a_minute = entries_a_minute
        self._held: dict[tuple[RefusalKind, str, str, str], BrokerRefusal] = {}
        self._minute_began_ms = 0
        self._left_in_minute = entries_a_minute
        self._suppressed: BrokerRefusal | None = None

    def add(self, seen: SeenRefusal) -> None:
        """Count one refusal."""
        key = (seen.kind, seen.remote, seen.device_id, seen.subject)
        held = self._held.get(key)
        if held is None and len(self._held) >= KEYS_MAX:
            self._suppress(1, seen.at_ms, seen.at_ms)
            return
        self._held[key] = _merge(held, _first(seen))

    def take_due(self, now_ms: int, *, everything: bool = False) -> list[BrokerRefusal]:
        """Hand out the refusals whose window has passed, as many as the minute still allows.

        What the minute does not allow is handed out in one entry when the next one begins.
        """
        out: list[BrokerRefusal] = []
        if not 0 <= now_ms - self._minute_began_ms < 60_000 or everything:
            self._minute_began_ms, self._left_in_minute = now_ms, self._entries_a_minute
            if self._suppressed is not None:
                out.append(self._suppressed)
                self._suppressed = None
        for key, held in list(self._held.items()):
            if 0 <= now_ms - held.first_at_ms < self._window_ms and not everything:
                continue
            del self._held[key]
            if self._left_in_minute > 0:
                self._left_in_minute -= 1
                out.append(held)
            else:
                self._suppress(held.count, held.first_at_ms, held.last_at_ms)
        if everything and self._suppressed is not None:
            out.append(self._suppressed)
            self._suppressed = None
        return out

    def _suppress(self, count: int, first_at_ms: int, last_at_ms: int) -> None:
        more = _entry(RefusalKind.SUPPRESSED, count, first_at_ms, last_at_ms)
        self._suppressed = _merge(self._suppressed, more)


class BrokerLogFollower:
    """Reads the log as it grows and calls `on_refusal`. Starts at the present end of the file."""

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        on_refusal: Callable[[BrokerRefusal], None],
        tally: RefusalTally | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._on_refusal = on_refusal
        self._tally = tally or RefusalTally()
        self._position = _size(path)
        self._rest = b""

    async def run(self) -> None:
        """Follow until cancelled; what is held then is handed out first."""
        try:
            while True:
                read = self._read_some()
                for refusal in self._tally.take_due(self._clock.wall_ms()):
                    self._on_refusal(refusal)
                await asyncio.sleep(0 if read == READ_BYTES else POLL_SECONDS)
        finally:
            self._read_some()
            for refusal in self._tally.take_due(self._clock.wall_ms(), everything=True):
                self._on_refusal(refusal)

    def _read_some(self) -> int:
        size = _size(self._path)
        if size < self._position:  # it was moved aside: finish the old one, begin the new one
            self._take(_read(self._path.with_name(self._path.name + ".1"), self._position))
            self._position = 0
        if size - self._position > BEHIND_BYTES:
            skipped = size - BEHIND_BYTES - self._position
            now = self._clock.wall_ms()
            self._on_refusal(_entry(RefusalKind.UNREAD, skipped, now, now))
            self._position, self._rest = size - BEHIND_BYTES, b""
        chunk = _read(self._path, self._position)
        self._position += len(chunk)
        self._take(chunk)
        return len(chunk)

    def _take(self, chunk: bytes) -> None:
        *lines, rest = (self._rest + chunk).split(b"\n")
        self._rest = rest[-READ_BYTES:]
        for line in lines:
            seen = classify_line(line.decode("utf-8", errors="replace"))
            if seen is not None:
                self._tally.add(seen)


def _first(seen: SeenRefusal) -> BrokerRefusal:
    return BrokerRefusal(
        kind=seen.kind,
        remote=seen.remote,
        device_id=seen.device_id,
        subject=seen.subject,
        count=1,
        first_at_ms=seen.at_ms,
        last_at_ms=seen.at_ms,
        words=f"refused {_WORDS[seen.kind]}, from {seen.remote}",
    )


def _entry(kind: RefusalKind, count: int, first_at_ms: int, last_at_ms: int) -> BrokerRefusal:
    return BrokerRefusal(kind, "", "", "", count, first_at_ms, last_at_ms, _WORDS[kind])


def _merge(held: BrokerRefusal | None, more: BrokerRefusal) -> BrokerRefusal:
    if held is None:
        return more
    return BrokerRefusal(
        kind=held.kind,
        remote=held.remote,
        device_id=held.device_id,
        subject=held.subject,
        count=held.count + more.count,
        first_at_ms=min(held.first_at_ms, more.first_at_ms),
        last_at_ms=max(held.last_at_ms, more.last_at_ms),
        words=held.words,
    )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, position: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(position)
        return file.read(READ_BYTES)
