"""What the API says about the record."""

from __future__ import annotations

import msgspec


class RecordEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One deed or document in the owner's record."""

    index: int
    generation: int
    at: str
    kind: str
    actor: str
    subject: str
    words: str


class RecordEntries(msgspec.Struct, frozen=True, kw_only=True):
    """A page of the record, newest first."""

    items: list[RecordEntry]
    total: int
    page: int
    per_page: int


class CosignatureView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint that a witness signed."""

    witness: str
    size: int
    at: str


class CheckpointView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest checkpoint of the record."""

    generation: int
    size: int
    note: str
    as_of: str


class Cosigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A checkpoint with a witness's cosignature."""

    witness: str
    note: str


class OpeningRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What an opening must name; `needed` when this server was restored and waits for it."""

    needed: bool
    generation: int
    size: int
    root: str


class OpeningSigned(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The owner's signed opening of a new generation, base64url."""

    opening: str
