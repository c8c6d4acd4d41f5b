"""Five commands of TPM 2.0, for values that the TPM keeps over every start (NV indices).

The numbers are those of the TCG's Trusted Platform Module Library, Parts 2 and 3. Values are
authorized by the empty password: whoever can speak to the TPM may use them, which is root. What the
TPM answers is bounded, compared with what was asked, and trusted no further.

    line = DeviceLine(Path("/dev/tpmrm0"))
    public = read_public(line, 0x01B70001)      # None: not defined
"""

from __future__ import annotations

import os
import select
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from fleetward.trust.errors import Malformed, Unreachable

ANSWER_MS: Final = 20_000
"""How long a TPM may think. Defining a value took a discrete one up to two seconds."""
MAX_ANSWER_BYTES: Final = 4096
MOST_TRIES: Final = 20
PAUSE_SECONDS: Final = 0.05

COUNTER: Final = 0x0204_0014
"""TPMA_NV: a counter, written and read by its own (empty) password, without lock-out."""
ORDINARY: Final = 0x0204_0004
"""TPMA_NV: bytes, written and read likewise."""
WRITTEN: Final = 0x2000_0000
"""TPMA_NV: it has a value. The only attribute that the TPM sets by itself here."""

_NO_SESSIONS, _SESSIONS = 0x8001, 0x8002
_OWNER: Final = 0x4000_0001
_NV_DEFINE_SPACE, _NV_INCREMENT, _NV_WRITE, _NV_READ, _NV_READ_PUBLIC = (
    0x12A, 0x134, 0x137, 0x14E, 0x169,
)  # fmt: skip
_SHA256: Final = 0x000B
_HEADER: Final = struct.Struct(">HII")
_EMPTY_PASSWORD: Final = struct.pack(">IHBH", 0x4000_0009, 0, 1, 0)
_LATER: Final = frozenset({0x908, 0x90A, 0x920, 0x922})
"""TPM_RC_YIELDED, TESTING, NV_RATE, RETRY: the same command is sent again."""
_NO_HANDLE: Final = 0x8B
"""TPM_RC_HANDLE, without the number of the handle that it is about."""


class Line(Protocol):
    """Something that a TPM answers on."""

    def exchange(self, command: bytes) -> bytes:
        """Send one command; return the whole answer. Raises `Unreachable`."""


class DeviceLine:
    """The kernel's device for a TPM with a resource manager. Opened for each command alone, so that
    guard holds nothing of it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def exchange(self, command: bytes) -> bytes:
        """Send one command; return the whole answer. Raises `Unreachable`."""
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            raise _silent(f"{self._path}: {e.strerror}") from e
        try:
            os.write(descriptor, command)
            waiting = select.poll()
            waiting.register(descriptor, select.POLLIN)
            if not waiting.poll(ANSWER_MS):
                raise _silent("it does not answer")
            return os.read(descriptor, MAX_ANSWER_BYTES)
        except OSError as e:
            raise _silent(str(e.strerror)) from e
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Public:
    """What a value is: its attributes without `WRITTEN`, its size, whether it has been written."""

    attributes: int
    size_bytes: int
    written: bool


def read_public(line: Line, index: int) -> Public | None:
    """Return what a value is, or None where there is none. Raises `Unreachable`, `Malformed`."""
    code, answer = _call(line, _NV_READ_PUBLIC, struct.pack(">I", index), b"", sessions=False)
    if code & 0xBF == _NO_HANDLE:
        return None
    _require_good(code)
    try:
        _, found, _, attributes, policy = struct.unpack_from(">HIHIH", answer)
        (size_bytes,) = struct.unpack_from(">H", answer, 14 + policy)
    except struct.error as e:
        raise _garbled() from e
    if found != index:
        raise _garbled()
    return Public(attributes & ~WRITTEN, size_bytes, bool(attributes & WRITTEN))


def define(line: Line, index: int, attributes: int, size_bytes: int) -> None:
    """Make a value, by the owner's (empty) password. Raises `Unreachable`."""
    public = struct.pack(">IHIHH", index, _SHA256, attributes, 0, size_bytes)
    parameters = struct.pack(">HH", 0, len(public)) + public
    code, _ = _call(line, _NV_DEFINE_SPACE, struct.pack(">I", _OWNER), parameters)
    _require_good(code)


def increment(line: Line, index: int) -> None:
    """Raise a counter by one. Raises `Unreachable`."""
    _require_good(_call(line, _NV_INCREMENT, _by_itself(index), b"")[0])


def write(line: Line, index: int, data: bytes) -> None:
    """Write the whole of a value. Raises `Unreachable`."""
    parameters = struct.pack(">H", len(data)) + data + struct.pack(">H", 0)
    _require_good(_call(line, _NV_WRITE, _by_itself(index), parameters)[0])


def read(line: Line, index: int, size_bytes: int) -> bytes:
    """Return the whole of a value. Raises `Unreachable`, `Malformed`."""
    code, answer = _call(line, _NV_READ, _by_itself(index), struct.pack(">HH", size_bytes, 0))
    _require_good(code)
    data = answer[6 : 6 + size_bytes]
    # The size of the parameters stands before them, and the session's acknowledgement behind.
    if len(data) != size_bytes or answer[:6] != struct.pack(">IH", size_bytes + 2, size_bytes):
        raise _garbled()
    return data


def _by_itself(index: int) -> bytes:
    """A value is authorized by its own password."""
    return struct.pack(">II", index, index)


def _call(
    line: Line, command: int, handles: bytes, parameters: bytes, *, sessions: bool = True
) -> tuple[int, bytes]:
    """Return the code of the answer, and what stands behind the header."""
    area = struct.pack(">I", len(_EMPTY_PASSWORD)) + _EMPTY_PASSWORD if sessions else b""
    body = handles + area + parameters
    tag = _SESSIONS if sessions else _NO_SESSIONS
    sent = _HEADER.pack(tag, _HEADER.size + len(body), command) + body
    for _ in range(MOST_TRIES):
        answer = line.exchange(sent)
        if len(answer) < _HEADER.size:
            raise _garbled()
        _, size, code = _HEADER.unpack_from(answer)
        if size != len(answer):
            raise _garbled()
        if code not in _LATER:
            return code, answer[_HEADER.size :]
        time.sleep(PAUSE_SECONDS)
    raise _silent("it is busy with something else")


def _require_good(code: int) -> None:
    if code != 0:
        raise Unreachable(
            f"The TPM refused, with code 0x{code:03X}. Where somebody gave its owner a password, "
            "or its memory is full, counters stay in a file.",
            reason="tpm_refused",
        )


def _silent(words: str) -> Unreachable:
    return Unreachable(f"The TPM cannot be spoken to: {words}.", reason="tpm_silent")


def _garbled() -> Malformed:
    return Malformed("The TPM answered what is no answer to the question.", reason="tpm_garbled")
