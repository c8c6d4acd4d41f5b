"""What a signed closing says, for showing and for carrying it to its machines.

Pure. No signature of a person is verified here, so nothing that this returns may decide about
anything but what a page shows. Only what a machine says of itself is checked against its key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.keys import PublicKey

CLOSING: Final = "closing"
KEPT: Final = "closing-kept"
REPORT: Final = "closing-report"
SIZES: Final = {CLOSING: 64 * 1024, KEPT: 8192, REPORT: 16 * 1024}
"""Bytes of an envelope at most; a machine refuses larger ones."""
OUTCOMES: Final = ("applied", "kept", "restored", "refused", "undone")
MOST: Final = 1000
_FIELDS: Final = {
    CLOSING: {
        "devices", "epoch", "issued_at", "local_access", "owner", "ports", "reason",
        "restore_seconds", "serial", "type",
    },
    KEPT: {"closing", "epoch", "issued_at", "owner", "type"},
    REPORT: {
        "at", "closed", "closing", "cut", "device", "listening", "local_access", "outcome",
        "owner", "rule", "seconds_left", "serial", "still_runs", "type", "words",
    },
}  # fmt: skip
_NAMES: Final = {"ssh": "SSH", "telnet": "Telnet"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a closing says. No devices: all. `ports` are pairs of protocol and number."""

    hash: str
    devices: tuple[str, ...]
    serial: int
    ports: tuple[tuple[str, int], ...]
    local_access: tuple[str, ...]
    restore_seconds: int
    reason: str
    issued_at_ms: int
    signers: tuple[str, ...]

    @property
    def words(self) -> str:
        """Say it to a person."""
        return say_closed(self.ports, self.local_access)


@dataclass(frozen=True, slots=True)
class Said:
    """What a machine said of a closing."""

    closing: str
    serial: int
    outcome: str
    rule: str
    closed: tuple[tuple[str, int], ...]
    local_access: tuple[str, ...]
    still_runs: tuple[str, ...]
    listening: tuple[str, ...]
    cut: tuple[str, ...]
    seconds_left: int
    words: str
    at_ms: int


def say_closed(ports: Sequence[tuple[str, int]], local_access: Sequence[str]) -> str:
    """Return what is closed, in a person's words."""
    said = [_NAMES.get(way, way) for way in local_access]
    said += [f"{protocol}/{port}" for protocol, port in ports]
    return ", ".join(said) or "nothing (all is open again)"


def read_asked(raw: bytes, owner: str) -> Asked:
    """Return what a closing says. Raises `Malformed`, or `Untrusted` for another owner."""
    envelope, fields = _open(CLOSING, raw, owner)
    devices: tuple[str, ...] = ()
    if envelope.payload["devices"] != "all":
        named = fields.texts("devices", most=MOST)
        devices = tuple(require_key_id(each, "a machine") for each in named)
        if not devices:
            raise Malformed("Expected a closing that names machines, or all.", reason="bad_field")
    return Asked(
        hash=envelope.hash,
        devices=devices,
        serial=fields.integer("serial", low=1),
        ports=_ports(fields, "ports"),
        local_access=fields.texts("local_access", most=8),
        restore_seconds=fields.integer("restore_seconds", low=60, high=86_400),
        reason=fields.text("reason", most=200),
        issued_at_ms=fields.integer("issued_at"),
        signers=tuple(signature.key_id for signature in envelope.signatures),
    )


def read_kept(raw: bytes, owner: str) -> str:
    """Return the closing that a confirmation names. Raises as the others do."""
    _, fields = _open(KEPT, raw, owner)
    return fields.digest("closing")


def verify_said(raw: bytes, key: PublicKey, owner: str) -> Said:
    """Return what the machine with this key says of a closing. Raises `Malformed`, `Untrusted`."""
    envelope, fields = _open(REPORT, raw, owner)
    # It is the machine's own word, about itself.
    verify_single(envelope, f"fleetward.{REPORT}.v1", key)
    if fields.key_id("device") != key.key_id:
        raise Untrusted("This is said of another machine.", reason="another_device")
    return _read_said(fields)


def read_said(raw: bytes, owner: str) -> Said:
    """Return what stands in a report that was verified when it came."""
    return _read_said(_open(REPORT, raw, owner)[1])


def _read_said(fields: Fields) -> Said:
    return Said(
        closing=fields.digest("closing"),
        serial=fields.integer("serial"),
        outcome=fields.choice("outcome", OUTCOMES),
        rule=fields.text("rule", most=64),
        closed=_ports(fields, "closed"),
        local_access=fields.texts("local_access", most=8),
        still_runs=fields.texts("still_runs", most=8),
        listening=fields.texts("listening", most=MOST),
        cut=fields.texts("cut", most=MOST),
        seconds_left=fields.integer("seconds_left"),
        words=fields.text("words", most=500),
        at_ms=fields.integer("at"),
    )


def _ports(fields: Fields, name: str) -> tuple[tuple[str, int], ...]:
    rows = [Fields(v, "a port", {"port", "protocol"}) for v in fields.items(name, most=MOST)]
    return tuple(
        (row.choice("protocol", ("tcp", "udp")), row.integer("port", low=1, high=65535))
        for row in rows
    )


def _open(kind: str, raw: bytes, owner: str) -> tuple[Envelope, Fields]:
    envelope = read_envelope(raw, max_bytes=SIZES[kind])
    require_type(envelope, f"fleetward.{kind}.v1")
    fields = Fields(envelope.payload, f"the {kind}", _FIELDS[kind])
    if fields.digest("owner") != owner:
        raise Untrusted(
            f"The {kind} is of another owner than this server's.", reason="another_owner"
        )
    return envelope, fields
