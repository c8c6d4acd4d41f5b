"""One look at a machine, as it is kept until it is compared with the next one.

`facts` are rows by kind and name: whatever has another value later has changed. `folders` are the
entries of folders that were walked through. A folder in `partial` was not listed to its end, and
nothing is said of what is missing in it.
"""

from __future__ import annotations

import zlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from fleetward.trust.errors import Malformed

MAX_LOOK_BYTES: Final = 24 * 1024 * 1024
"""Of one look before compression: forty thousand files of long names stay below it."""
MAX_PACKED_BYTES: Final = 8 * 1024 * 1024
MAX_ROWS: Final = 20_000
"""Of one kind."""
MAX_TEXT: Final = 512

Text = Annotated[str, Meta(max_length=1024)]
Row = Annotated[tuple[Text, ...], Meta(max_length=8)]
Rows = Annotated[dict[Text, Row], Meta(max_length=MAX_ROWS)]
Big = int


class FileState(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One entry of a folder. `content` is a digest of a small file, `*` where it was being
    written, and otherwise empty."""

    mode: Big
    uid: Big
    gid: Big
    size: Big
    mtime_ns: Big
    ctime_ns: Big
    inode: Big
    content: Annotated[str, Meta(max_length=32)] = ""


class Snapshot(Struct, frozen=True, forbid_unknown_fields=True):
    """The whole look. Times are left to whoever keeps it."""

    root: bool
    facts: dict[str, Rows]
    folders: dict[Text, dict[Text, FileState]]
    partial: list[Text] = []
    unseen: list[Text] = []
    """What could not be looked at, in a person's words."""


_decoder: Final = msgspec.msgpack.Decoder(Snapshot)


def pack_snapshot(snapshot: Snapshot) -> bytes:
    """Return the look as compressed bytes."""
    return zlib.compress(msgspec.msgpack.encode(snapshot), 1)


def unpack_snapshot(packed: bytes) -> Snapshot:
    """Return the look that these bytes are. Raises `Malformed`; the bytes are not trusted."""
    if len(packed) > MAX_PACKED_BYTES:
        raise Malformed("Expected a look of at most 8 MiB.", reason="look_too_large")
    inflater = zlib.decompressobj()
    try:
        plain = inflater.decompress(packed, MAX_LOOK_BYTES + 1)
        if not inflater.eof or len(plain) > MAX_LOOK_BYTES or inflater.unused_data:
            raise Malformed("Expected a whole look of at most 24 MiB.", reason="look_too_large")
        return _decoder.decode(plain)
    except (zlib.error, msgspec.MsgspecError, UnicodeError, RecursionError) as e:
        raise Malformed(f"Expected a look at a machine: {e}.", reason="look_malformed") from e
