"""What came says, for keeping it in its place and for showing it: approvals, and TUF's files.

Pure, and of form alone. No signature is verified here, so nothing that this returns may decide
about anything but where a thing is kept, what a page shows, and what a machine is told of, which
judges it by itself.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, unquote

from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.release_approval import (
    APPROVAL_TYPE,
    MAX_APPROVAL_BYTES,
    MAX_WAIT_SECONDS,
    MAX_WITHDRAWAL_BYTES,
    STANDING_TYPE,
    WITHDRAWAL_TYPE,
)
from fleetward.trust.release_manifest import check_product, check_version
from fleetward.trust.selector import Selector, read_selector
from fleetward.trust.update_windows import read_windows

APPROVAL: Final = "approval"
STANDING: Final = "standing"
WITHDRAWAL: Final = "withdrawal"
KINDS: Final = {APPROVAL_TYPE: APPROVAL, STANDING_TYPE: STANDING, WITHDRAWAL_TYPE: WITHDRAWAL}
RECORDED: Final = {kind: f"release-{kind}" for kind in KINDS.values()}
"""Under which kind each becomes an entry of the owner's record."""
_COMMON: Final = {"epoch", "issued_at", "owner", "reason", "type"}
_TERMS: Final = _COMMON | {"not_after", "not_before", "product", "selector", "windows"}
_FIELDS: Final = {
    APPROVAL: _TERMS | {"agent", "counter", "release", "version"},
    STANDING: _TERMS | {"wait_seconds"},
    WITHDRAWAL: _COMMON | {"approval"},
}
_FILE: Final = re.compile(r"(?:([1-9][0-9]{0,14})\.)?([A-Za-z0-9_.~%-]{1,192})\.json")
TIMESTAMP: Final = "timestamp.json"
FIRST_ROOT: Final = "1.root.json"
MAX_FILE_BYTES: Final = 2 * 1024 * 1024
"""Bytes of one file of metadata: as much as a machine takes of a targets file."""
_TOP: Final = ("root", "timestamp", "snapshot", "targets")


@dataclass(frozen=True, slots=True)
class Paper:
    """What an approval or withdrawal says. `copy` is the SHA-256 of these very bytes."""

    kind: str
    approval: str
    copy: str
    epoch: int
    issued_at_ms: int
    reason: str
    signers: tuple[str, ...]
    raw: bytes
    product: str = ""
    release: str = ""
    version: str = ""
    agent: bool = False
    wait_seconds: int = 0
    selector: Selector = field(default_factory=Selector)
    not_before_ms: int = 0
    not_after_ms: int = 0
    windows: int = 0
    withdraws: str = ""


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A file of a maker's repository. `version` is that which stands in it."""

    name: str
    role: str
    version: int
    body: bytes
    sha256: str
    snapshot: int = 0
    """Of a timestamp: the version of the snapshot that it names."""


def read_paper(raw: bytes, owner: str) -> Paper:
    """Return what an approval or withdrawal says. Raises `Malformed`, or `Untrusted` for another
    owner's."""
    envelope = read_envelope(raw, max_bytes=MAX_APPROVAL_BYTES)
    kind = KINDS.get(envelope.type)
    if kind is None:
        raise Malformed(
            f"Expected an approval or a withdrawal, got a {envelope.type}.", reason="wrong_type"
        )
    if kind == WITHDRAWAL and len(raw) > MAX_WITHDRAWAL_BYTES:
        raise Malformed(
            f"Expected a withdrawal of at most {MAX_WITHDRAWAL_BYTES} bytes.", reason="too_large"
        )
    fields = Fields(envelope.payload, f"the {kind}", _FIELDS[kind])
    if fields.digest("owner") != owner:
        raise Untrusted(
            f"The {kind} is of another owner than this server's.", reason="another_owner"
        )
    said: dict[str, Any] = {
        "kind": kind,
        "approval": envelope.hash,
        "copy": hashlib.sha256(raw).hexdigest(),
        "epoch": fields.integer("epoch", low=1),
        "issued_at_ms": fields.integer("issued_at"),
        "reason": fields.text("reason", most=200),
        "signers": tuple(signature.key_id for signature in envelope.signatures),
        "raw": raw,
    }
    if kind == WITHDRAWAL:
        return Paper(**said, withdraws=fields.digest("approval"))
    said |= {
        "product": check_product(fields.text("product")),
        "selector": read_selector(envelope.payload["selector"]),
        "not_before_ms": fields.integer("not_before"),
        "not_after_ms": fields.integer("not_after"),
        "windows": len(read_windows(fields.items("windows"))),
    }
    if kind == STANDING:
        return Paper(**said, wait_seconds=fields.integer("wait_seconds", high=MAX_WAIT_SECONDS))
    return Paper(
        **said,
        release=fields.digest("release"),
        version=check_version(fields.text("version")),
        agent=fields.boolean("agent"),
    )


def name_file(role: str, version: int) -> str:
    """Return the name of a role's file; version 0: the one without a version in its name."""
    quoted = quote(role, safe="~")
    return f"{version}.{quoted}.json" if version else f"{quoted}.json"


def read_metadata_file(name: str, body: bytes) -> MetadataFile:
    """Return a file of TUF metadata, by its name and by what it says of itself. Raises `Malformed`.

    Nothing is demanded of it but that it is what its name says.
    """
    found = _FILE.fullmatch(name)
    if found is None or (found[1] is None) != (name == TIMESTAMP):
        raise Malformed(
            f"Expected a file as 3.kiosk.json, or timestamp.json; got {name[:80]!r}.",
            reason="bad_file_name",
        )
    if len(body) > MAX_FILE_BYTES:
        raise Malformed(
            f"Expected at most {MAX_FILE_BYTES} bytes of {name}, got {len(body)}.",
            reason="too_large",
        )
    role = unquote(found[2])
    signed = _read_signed(name, body)
    kind, version = signed.get("_type"), signed.get("version")
    wanted = role if role in _TOP else "targets"
    if kind != wanted or type(version) is not int or not 0 < version < 2**53:
        raise Malformed(f"Expected {name} to be {wanted} with a version.", reason="bad_metadata")
    if found[1] is not None and int(found[1]) != version:
        raise Malformed(f"{name} says that its version is {version}.", reason="bad_metadata")
    snapshot = _read_snapshot(signed) if role == "timestamp" else 0
    return MetadataFile(name, role, version, body, hashlib.sha256(body).hexdigest(), snapshot)


def _read_signed(name: str, body: bytes) -> dict[str, Any]:
    try:
        signed = json.loads(body.decode("utf-8"))["signed"]
        if not isinstance(signed, dict):
            raise TypeError("no object")
    except (ValueError, TypeError, KeyError, RecursionError) as e:
        raise Malformed(f"Expected {name} to be TUF metadata.", reason="bad_metadata") from e
    return signed


def _read_snapshot(signed: dict[str, Any]) -> int:
    try:
        version = signed["meta"]["snapshot.json"]["version"]
    except (TypeError, KeyError) as e:
        raise Malformed("The timestamp names no snapshot.", reason="bad_metadata") from e
    if type(version) is not int or version < 1:
        raise Malformed("The timestamp names no snapshot.", reason="bad_metadata")
    return version
