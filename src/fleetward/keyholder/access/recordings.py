"""Reading a recording that the server stores blind: opened here, checked piece by piece.

1. The header names the owner, the machine and the session that were asked for; no other will do.
2. The content key opens with the owner's recording key alone.
3. Each record is the next of the chain: nothing dropped, moved or altered between them.
4. At the end, number and head are those of the machine's signed receipt (`compare_receipt`).

A recording may grow while it is read; a record of which only a part has come waits for the rest.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.runtime.recording import (
    MAX_HEADER_BYTES,
    MAX_RECORD_BYTES,
    Header,
    Opener,
    open_content_key,
    read_header,
    read_records,
)
from fleetward.trust.errors import Malformed, Misuse, Untrusted
from fleetward.trust.grants.report import Receipt
from fleetward.trust.keys import Signer

MAX_RECORDING_BYTES: Final = 64 * 1024**3
"""Bytes of one recording: a day of a full line."""
CODES: Final = ("o", "i", "r", "m")
_LENGTH_BYTES: Final = 4


class Event(NamedTuple):
    """One line of a recording: seconds since its begin, what it is, and its text."""

    at: float
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose recording is wanted: one session of one machine of one owner."""

    owner: str
    device: str
    session: str


def subject_of(case: Case) -> Subject:
    """Return whose recording belongs to a case. Raises `Malformed` before there is a session."""
    if case.grant is None:
        raise Malformed("There was no session, so there is no recording.", reason="no_session")
    return Subject(case.request.owner, case.request.device, case.grant.hash)


def recording_key(signer: Signer) -> ec.EllipticCurvePrivateKey:
    """Return the private recording key of an owner's folder."""
    private = getattr(signer, "private", None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise Misuse("The recording key is on P-256.", reason="wrong_suite")
    return private


class RecordingReader:
    """Takes a recording's bytes as they come, and gives its events."""

    def __init__(self, subject: Subject, private: ec.EllipticCurvePrivateKey) -> None:
        self._subject = subject
        self._private = private
        self._rest = b""
        self._opener: Opener | None = None
        self.header: Header | None = None
        self.heads: Final[list[bytes]] = []
        """The chain's head after each record: `heads[n]` after n of them."""

    @property
    def records(self) -> int:
        """How many records were read."""
        return max(len(self.heads) - 1, 0)

    @property
    def cut_off(self) -> bool:
        """Whether bytes are left that make no whole record."""
        return bool(self._rest)

    def feed(self, data: bytes) -> list[Event]:
        """Return the events of the records that are whole now. Raises as the steps above say."""
        self._rest += data
        if self._opener is None and not self._begin():
            return []
        whole = _whole_records(self._rest)
        source, self._rest = io.BytesIO(self._rest[:whole]), self._rest[whole:]
        events: list[Event] = []
        for record in read_records(source):
            events += self._open(record)
        return events

    def _begin(self) -> bool:
        end = self._rest.find(b"\n") + 1
        if not end:
            if len(self._rest) > MAX_HEADER_BYTES:
                raise Malformed("Expected a recording's header.", reason="bad_recording")
            return False
        # 1.
        header = read_header(io.BytesIO(self._rest[:end]))
        if Subject(header.owner, header.device, header.session) != self._subject:
            raise Untrusted(
                "The server shows the recording of another session.", reason="another_session"
            )
        # 2.
        self._opener = Opener(header, open_content_key(header, self._private))
        self.header = header
        self.heads.append(self._opener.head)
        self._rest = self._rest[end:]
        return True

    def _open(self, record: bytes) -> list[Event]:
        if self._opener is None:
            raise Misuse("A record came before its header.", reason="no_header")
        # 3.
        lines = self._opener.open(record)
        self.heads.append(self._opener.head)
        return [_read_line(line) for line in lines.split(b"\n") if line]


def fetch_recording(api: AccessApi, session: str, into: BinaryIO) -> bool:
    """Copy all that the server holds of a recording. Return whether it says that it is complete."""
    offset = 0
    while True:
        piece = api.recording(session, offset)
        into.write(piece.data)
        offset += len(piece.data)
        if offset > MAX_RECORDING_BYTES:
            raise Malformed("The recording is longer than one can be.", reason="answer_too_large")
        if offset >= piece.size or not piece.data:
            return piece.done and offset >= piece.size


def read_file(reader: RecordingReader, source: BinaryIO, step: int = 1 << 20) -> Iterator[Event]:
    """Yield the events of a recording in a file."""
    while data := source.read(step):
        yield from reader.feed(data)


def compare_receipt(reader: RecordingReader, receipt: Receipt | None) -> tuple[str, str]:
    """Return `whole`, `open`, `short` or `false`, and the words for it (step 4)."""
    if receipt is None:
        return "open", "The machine has not signed its end: it may still be running, or be off."
    if reader.header is None or reader.records < receipt.records:
        return "short", (
            f"The server has {reader.records} of {receipt.records} records: it has not all, or "
            "withholds the rest."
        )
    if reader.heads[receipt.records].hex() != receipt.recording_head:
        return "false", "Its end is not the one that the machine signed."
    if reader.records > receipt.records or reader.cut_off:
        return "false", "It has more than the machine signed."
    return "whole", f"All {receipt.records} records are there, as the machine signed them."


def _whole_records(data: bytes) -> int:
    """Return how many bytes at the beginning make whole records."""
    place = 0
    while len(data) - place >= _LENGTH_BYTES:
        length = int.from_bytes(data[place : place + _LENGTH_BYTES], "big")
        if length > MAX_RECORD_BYTES + 16:
            return len(data)  # `read_records` refuses it with its own words
        if len(data) - place - _LENGTH_BYTES < length:
            break
        place += _LENGTH_BYTES + length
    return place


def _read_line(line: bytes) -> Event:
    try:
        event = Event(*msgspec.json.decode(line, type=tuple[float, str, str]))
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected a line of a recording; {e}.", reason="bad_recording") from e
    if event.code not in CODES or not 0 <= event.at < 10**9:
        raise Malformed("Expected a line of a recording.", reason="bad_recording")
    return event
