"""Updates: what a machine asks for, and what carries the answer.

The machine asks for files, one at a time, each by a name that it made itself out of verified
values; the answer is bytes, which mean nothing until guard has verified them. The server's only
word of its own is that there may be something new (`orders.Reduce`, `look_for_updates`).

- `root`: the file whose SHA-256 is `name`, which the owner's policy names.
- `director`: `name` is `root` (with `version`) or `targets`; verified by `trust.releases.director`.
- `image`: `product`, `name` (a role), `version` (0: unversioned); by `trust.releases.trusted`.
- `manifest`: `name` is its SHA-256; by the maker's metadata.
- `approvals`: all approvals and withdrawals for this machine; by `trust.release_approval`.
- `blob`: `name` is its SHA-256, with `offset` and `length`; by the manifest.
"""

from __future__ import annotations

from typing import Final, Literal

from fleetward.wire.identity import Count, Struct

MAX_PIECE_BYTES: Final = 512 * 1024
"""Bytes of one answer before base64: it stays below the broker's limit of a message."""
MAX_APPROVALS: Final = 64
"""Approvals and withdrawals of one answer."""

What = Literal["root", "director", "image", "manifest", "approvals", "blob"]


class UpdateQuestion(Struct, frozen=True):
    """One file, or a piece of it. Fields that its kind does not need are empty."""

    what: What
    product: str = ""
    name: str = ""
    version: Count = 0
    offset: Count = 0
    length: Count = 0


class UpdateAnswer(Struct, frozen=True, tag="update"):
    """The bytes, base64url; or that they are not there. For `approvals`: signed envelopes.

    `total` is the length of the whole file, where the question was for a piece.
    """

    found: bool
    data: str = ""
    total: Count = 0
    envelopes: tuple[str, ...] = ()
