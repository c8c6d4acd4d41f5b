"""What the API says and takes about an owner's documents."""

from __future__ import annotations

import msgspec


class OwnerDocuments(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Owner documents to store, each signed off this server; base64url but for the PEM chain.

    `policies` may repeat those that are stored. `roster` comes with all of its `entries`.
    """

    root: str
    policies: list[str]
    roster: str
    entries: list[str]
    head: str
    lease: str
    issuing_chain: str = ""


class StoredDocuments(msgspec.Struct, frozen=True, kw_only=True):
    """Owner documents as this server holds them. Verify them; do not trust the server."""

    owner_root: str
    name: str
    root: str
    policies: list[str]
    roster: str
    entries: list[str]
    head: str
    lease: str
    issuing_chain: str


class RecoverySubmitted(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A policy that recovery keys signed, base64url."""

    policy: str


class RecoveryRow(msgspec.Struct, frozen=True, kw_only=True):
    """A recovery that waits. Verify `policy`; do not trust the server.

    `earliest_at` is when a machine that heard of it at once, and was on all the time, may take it.
    """

    hash: str
    version: int
    people: list[str]
    announced_at: str
    earliest_at: str
    policy: str


class RecoveryList(msgspec.Struct, frozen=True, kw_only=True):
    """Every recovery that waits, oldest first."""

    items: list[RecoveryRow]


class DocumentsStored(msgspec.Struct, frozen=True, kw_only=True):
    """What the server now holds."""

    owner_root: str
    policy_version: int
    roster_version: int
    head_version: int
    lease_serial: int
