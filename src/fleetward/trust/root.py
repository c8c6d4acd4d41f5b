"""The owner root: the one thing that a machine starts from.

It is a small unsigned document: a name, an epoch, and the keys of the people who sign the first
policy, with their threshold. Its hash travels in the join string, on paper or on a screen, and is
the owner's id everywhere. Whoever can make a document with that hash can break SHA-256.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import Role, RoleKey, document_hash
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey, read_key_fields

ROOT_TYPE: Final = "fleetward.owner-root.v1"
MAX_ROOT_BYTES: Final = 16 * 1024
MAX_ROOT_KEYS: Final = 32


@dataclass(frozen=True, slots=True)
class OwnerRoot:
    """An owner root whose hash was the expected one. Build it by `verify_root`."""

    owner: str
    name: str
    epoch: int
    role: Role
    raw: bytes


def make_root(
    name: str, people: list[tuple[str, PublicKey]], threshold: int, created_at_ms: int
) -> bytes:
    """Return the bytes of a new owner root, epoch 1. Its hash is the owner's id."""
    keys: list[Json] = [{**key.to_json(), "person": person} for person, key in people]
    payload: JsonObject = {
        "created_at": created_at_ms,
        "epoch": 1,
        "keys": keys,
        "name": name,
        "threshold": threshold,
        "type": ROOT_TYPE,
    }
    return canonical.encode(payload)


def root_hash(data: bytes) -> str:
    """Return the hash of an owner root: the owner's id. Raises `Malformed`."""
    payload = canonical.decode_object(data, max_bytes=MAX_ROOT_BYTES)
    if payload.get("type") != ROOT_TYPE:
        raise Malformed("Expected an owner root.", reason="wrong_type")
    return document_hash(payload)


def verify_root(data: bytes, owner: str) -> OwnerRoot:
    """Return the owner root whose hash is `owner`.

    Raises `Malformed`, or `Untrusted` when it is another owner's.
    """
    # 1. The hash is the one that the machine was given.
    found = root_hash(data)
    if found != owner:
        raise Untrusted(
            f"Expected the owner {owner[:12]}…, got the root of {found[:12]}…. "
            "This machine obeys the owner whose invitation it joined with.",
            reason="another_owner",
        )
    # 2. The fields are exactly those of the format.
    fields = Fields(
        canonical.decode(data),
        "the owner root",
        {"created_at", "epoch", "keys", "name", "threshold", "type"},
    )
    fields.integer("created_at")
    # 3. Each key is well formed and stands once; the threshold can be reached by its people.
    role = read_role("root", fields.items("keys", most=MAX_ROOT_KEYS), fields.integer("threshold"))
    return OwnerRoot(
        owner=owner,
        name=fields.text("name", most=80, least=1),
        epoch=fields.integer("epoch", low=1),
        role=role,
        raw=data,
    )


def read_role(name: str, values: list[Json], threshold: int) -> Role:
    """Return a role from a list of keys with people. Raises `Malformed`."""
    keys: dict[str, RoleKey] = {}
    for value in values:
        fields = Fields(value, "a key", {"key_id", "person", "public", "suite"})
        key = read_key_fields(fields)
        if key.key_id in keys:
            raise Malformed("Expected each key once.", reason="duplicate_key")
        keys[key.key_id] = RoleKey(key=key, person=fields.text("person", most=80, least=1))
    check_threshold(name, {k.person for k in keys.values()}, threshold)
    return Role(name=name, keys=MappingProxyType(keys), threshold=threshold)


def check_threshold(name: str, people: set[str], threshold: int) -> None:
    """Return when `threshold` is at least one and can be met by these people, or raise."""
    if not 1 <= threshold <= len(people):
        raise Malformed(
            f"Expected a threshold for {name!r} of 1 to {len(people)} people, got {threshold}.",
            reason="bad_threshold",
        )
