"""A number in the TPM that only rises, and beside it a key that is not on the disk.

A counter of a TPM cannot be set, and one that is removed and made again begins above all that the
TPM ever counted (Part 3, TPM2_NV_Increment). So a number that was passed never comes back. The key
is for whoever keeps a file that names the number: nobody without this TPM can write such a file.

Both belong to one device id: another folder on the same machine has others.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from fleetward.device.hardware import tpm
from fleetward.trust.errors import Refused

KEY_BYTES: Final = 32
NUMBER_BYTES: Final = 8
_FIRST_INDEX: Final = 0x01A0_0000
"""Handles of the TPM's owner begin at 0x01800000; of these 2^20 each device id has two."""
_INDICES: Final = 1 << 19


@dataclass(frozen=True, slots=True)
class Reading:
    """The number as it stands, and the key."""

    number: int
    key: bytes


class TpmCounter:
    """One machine's number and key. Every method raises `Unreachable` when the TPM does not do its
    part, and `Refused` when what lies at its place is something else."""

    def __init__(self, line: tpm.Line, device: str) -> None:
        self._line = line
        place = int.from_bytes(hashlib.sha256(device.encode()).digest()[:4], "big") % _INDICES
        self._number = _FIRST_INDEX + 2 * place
        self._key = self._number + 1

    def read(self) -> Reading | None:
        """Return number and key, or None where no key was kept yet."""
        if not self._is_there(self._key, tpm.ORDINARY, KEY_BYTES):
            return None
        key = tpm.read(self._line, self._key, KEY_BYTES)
        if not self._is_there(self._number, tpm.COUNTER, NUMBER_BYTES):
            return Reading(0, key)
        return Reading(self._read_number(), key)

    def prepare(self) -> int:
        """Have a number, and return it. Nothing is bound to it before `keep_key`."""
        if not self._is_there(self._number, tpm.COUNTER, NUMBER_BYTES):
            self._define(self._number, tpm.COUNTER, NUMBER_BYTES)
            tpm.increment(self._line, self._number)
        return self._read_number()

    def keep_key(self, key: bytes) -> None:
        """Keep the key; from then on `read` returns it."""
        self._define(self._key, tpm.ORDINARY, KEY_BYTES)
        tpm.write(self._line, self._key, key)

    def increment(self) -> int:
        """Raise the number by one, and return it."""
        tpm.increment(self._line, self._number)
        return self._read_number()

    def _define(self, index: int, attributes: int, size_bytes: int) -> None:
        """Make a value unless it was made and never written."""
        if tpm.read_public(self._line, index) is None:
            tpm.define(self._line, index, attributes, size_bytes)

    def _is_there(self, index: int, attributes: int, size_bytes: int) -> bool:
        """Whether a value was written. One of another kind could be set back."""
        public = tpm.read_public(self._line, index)
        if public is None:
            return False
        if (public.attributes, public.size_bytes) != (attributes, size_bytes):
            raise Refused(
                f"At 0x{index:08X} the TPM has something else than a counter of this agent. "
                "Whoever put it there removes it with `tpm2_nvundefine`.",
                reason="tpm_other_value",
            )
        return public.written

    def _read_number(self) -> int:
        number: int = struct.unpack(">Q", tpm.read(self._line, self._number, NUMBER_BYTES))[0]
        return number
