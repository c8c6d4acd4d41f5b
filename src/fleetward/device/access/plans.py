"""What the runbooks of a session do, on its way from guard to the attendant.

It may be longer than a word between the two (`words`), so it travels as a descriptor of memory
that is sealed: nobody writes to it any more. The attendant believes guard and nobody else.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from typing import Final

import msgspec

from fleetward.trust.access_runbook import Plan
from fleetward.trust.errors import Malformed

MAX_PLANS_BYTES: Final = 32 * 1024 * 1024
"""Eight runbooks in which the longest value stands in every place are 17 MiB."""
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

_reader: Final[msgspec.json.Decoder[dict[int, Plan]]] = msgspec.json.Decoder(dict[int, Plan])


def write_plans(plans: Mapping[int, Plan]) -> int:
    """Return a descriptor of these plans. Raises `OSError`."""
    descriptor = os.memfd_create("plans", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        rest = memoryview(msgspec.json.encode(dict(plans)))
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_plans(descriptor: int) -> dict[int, Plan]:
    """Return the plans of a descriptor, and close it. Raises `Malformed` or `OSError`."""
    try:
        data = os.pread(descriptor, MAX_PLANS_BYTES, 0)
    finally:
        os.close(descriptor)
    try:
        return _reader.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError) as e:
        raise Malformed(f"Expected what runbooks do: {e}", reason="unknown_word") from e
