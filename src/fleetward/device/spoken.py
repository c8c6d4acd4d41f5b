"""Reading a word that one process of this machine says to another."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from fleetward.trust.errors import Malformed

_T = TypeVar("_T")


def decode_word(decoder: msgspec.json.Decoder[_T], data: bytes) -> _T:
    """Return a word of the decoder's list. Raises `Malformed` for everything else."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a word of the list: {e}", reason="unknown_word") from e
