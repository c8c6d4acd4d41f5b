"""Closing what is open: the owner's order, his confirmation, and what the machine says of it.

A **closing** names TCP and UDP ports, and ways of local access, that machines close against
everybody but themselves. It is the whole wanted state and no difference: what it does not name is
open. One that names nothing opens everything again.

1. A closing is signed by the threshold of the policy's role `approve`, for this owner and epoch. It
   reduces, and it can cut somebody off; who may say yes to a session as root could do the same from
   within (decision 0030).
2. It names its machines, or says `all`. One that names others is refused.
3. Serials rise within an epoch. One that is not above the highest ever taken is refused, so that
   nothing is replayed, also after it was undone. See `closing_standing`.
4. It holds on trial for `restore_seconds` of powered-on time. Without a `closing-kept`, which names
   its hash, the machine then goes back to what held before. One that opens everything cuts nobody
   off and needs none.
5. What the maker's file on the machine lists as needed stays open: a closing that names it is
   refused. That is the caller's duty, as are the lease and whether the machine is confirmed.

    >>> closing = verify_closing(data, policy, device)
    >>> closing.ports
    (ClosedPort(protocol='tcp', port=23),)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, TypeVar

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import Envelope, read_envelope, verify_single, verify_threshold
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields, require_key_id
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

CLOSING_TYPE: Final = "fleetward.closing.v1"
KEPT_TYPE: Final = "fleetward.closing-kept.v1"
REPORT_TYPE: Final = "fleetward.closing-report.v1"
ALL: Final = "all"
PROTOCOLS: Final = ("tcp", "udp")
LOCAL_ACCESS: Final = ("ssh", "telnet")
"""Ways of local access that a closing can name. A serial console is none: it is the way back."""
OUTCOMES: Final = ("applied", "kept", "restored", "refused", "undone")
MAX_CLOSING_BYTES: Final = 64 * 1024
MAX_KEPT_BYTES: Final = 8192
MAX_REPORT_BYTES: Final = 16 * 1024
"""An entry of the journal carries it in base64, and has at most 32 KiB."""
MAX_DEVICES: Final = 1000
"""Machines of one document, which every one of them is handed; a larger choice takes several."""
MAX_PORTS: Final = 128
RESTORE_SECONDS: Final = (60, 86_400)
"""Shorter, and nobody can look and confirm; longer, and a mistake lasts more than a day."""
MAX_CUT: Final = 64
"""Peers that a report names; more are a number in its words."""
MAX_LISTENING: Final = 64


@dataclass(frozen=True, slots=True, order=True)
class ClosedPort:
    """One port."""

    protocol: str
    port: int

    def to_json(self) -> JsonObject:
        """Return the port as it stands in signed documents."""
        return {"port": self.port, "protocol": self.protocol}

    def words(self) -> str:
        """Say it to a person."""
        return f"{self.protocol}/{self.port}"


_T = TypeVar("_T", ClosedPort, str)


@dataclass(frozen=True, slots=True)
class ClosingWish:
    """What the owner wants, before it is signed. No devices: all of them."""

    devices: tuple[str, ...]
    ports: tuple[ClosedPort, ...]
    local_access: tuple[str, ...]
    restore_seconds: int
    reason: str


@dataclass(frozen=True, slots=True)
class Closing:
    """A verified closing. Its hash is its id."""

    owner: str
    epoch: int
    serial: int
    devices: tuple[str, ...]
    ports: tuple[ClosedPort, ...]
    local_access: tuple[str, ...]
    restore_seconds: int
    issued_at_ms: int
    reason: str
    people: tuple[str, ...]
    hash: str
    raw: bytes

    @property
    def opens_all(self) -> bool:
        """Whether nothing is closed by it."""
        return not self.ports and not self.local_access

    def words(self) -> str:
        """Say it to a person."""
        return say_closed(self.ports, self.local_access)


@dataclass(frozen=True, slots=True)
class Kept:
    """A verified confirmation. `closing` is the hash of what is kept."""

    closing: str
    people: tuple[str, ...]
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class ClosingReport:
    """What a machine says of a closing, under its identity key.

    `closed` and `local_access` are what is closed now; `left_open` what the maker's file keeps
    open; `still_runs` the ways of local access whose program runs behind the filter; `listening`
    what waits for others beyond the machine itself, closed or not; `cut` who was connected.
    """

    device: str
    owner: str
    closing: str
    serial: int
    outcome: str
    rule: str
    closed: tuple[ClosedPort, ...]
    local_access: tuple[str, ...]
    still_runs: tuple[str, ...]
    listening: tuple[str, ...]
    cut: tuple[str, ...]
    seconds_left: int
    words: str
    at_ms: int
    hash: str = ""
    raw: bytes = b""


def say_closed(ports: Sequence[ClosedPort], local_access: Sequence[str]) -> str:
    """Return what is closed, in a person's words."""
    names = {"ssh": "SSH", "telnet": "Telnet"}
    said = [names[way] for way in local_access] + [port.words() for port in ports]
    return ", ".join(said) or "nothing (all is open again)"


def make_closing_payload(
    policy: Policy, wish: ClosingWish, serial: int, issued_at_ms: int
) -> JsonObject:
    """Return the payload of a closing."""
    devices: list[Json] = [*sorted(wish.devices)]
    return {
        "devices": devices or ALL,
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "local_access": [*sorted(wish.local_access)],
        "owner": policy.owner,
        "ports": [port.to_json() for port in sorted(wish.ports)],
        "reason": wish.reason,
        "restore_seconds": wish.restore_seconds,
        "serial": serial,
        "type": CLOSING_TYPE,
    }


def make_kept_payload(policy: Policy, closing: str, issued_at_ms: int) -> JsonObject:
    """Return the payload of a confirmation of the closing with this hash."""
    return {
        "closing": closing,
        "epoch": policy.epoch,
        "issued_at": issued_at_ms,
        "owner": policy.owner,
        "type": KEPT_TYPE,
    }


def make_report_payload(report: ClosingReport) -> JsonObject:
    """Return the payload of a report; `hash` and `raw` of the argument are ignored."""
    return {
        "at": report.at_ms,
        "closed": [port.to_json() for port in report.closed],
        "closing": report.closing,
        "cut": list(report.cut),
        "device": report.device,
        "listening": list(report.listening),
        "local_access": list(report.local_access),
        "outcome": report.outcome,
        "owner": report.owner,
        "rule": report.rule,
        "seconds_left": report.seconds_left,
        "serial": report.serial,
        "still_runs": list(report.still_runs),
        "type": REPORT_TYPE,
        "words": report.words,
    }


def verify_closing(data: bytes, policy: Policy, device: str) -> Closing:
    """Return the closing that this owner's people signed and that names `device`.

    Raises `Malformed` or `Untrusted`. Its serial, its lease and the maker's file remain the
    caller's duty.
    """
    closing = verify_closing_of_owner(data, policy)
    # 3. It names this machine.
    if closing.devices and device not in closing.devices:
        raise Untrusted("The closing is for other machines.", reason="another_device")
    return closing


def verify_closing_of_owner(data: bytes, policy: Policy) -> Closing:
    """Return a closing for whichever machines; for the owner's own tools. Raises as above."""
    envelope = read_envelope(data, max_bytes=MAX_CLOSING_BYTES)
    fields = Fields(
        envelope.payload if envelope.type == CLOSING_TYPE else _wrong(envelope, CLOSING_TYPE),
        "the closing",
        {
            "devices", "epoch", "issued_at", "local_access", "owner", "ports", "reason",
            "restore_seconds", "serial", "type",
        },
    )  # fmt: skip
    # 1. Of this owner, in this epoch.
    _check_subject(fields, policy, "closing")
    # 2. Enough of the people who may approve signed it.
    people = verify_threshold(envelope, CLOSING_TYPE, policy.roles["approve"])
    return Closing(
        owner=policy.owner,
        epoch=policy.epoch,
        serial=fields.integer("serial", low=1),
        devices=_read_devices(fields, envelope.payload["devices"]),
        ports=read_ports(fields, "ports"),
        local_access=_read_access(fields, "local_access"),
        restore_seconds=fields.integer(
            "restore_seconds", low=RESTORE_SECONDS[0], high=RESTORE_SECONDS[1]
        ),
        issued_at_ms=fields.integer("issued_at"),
        reason=fields.text("reason", most=200),
        people=people,
        hash=envelope.hash,
        raw=data,
    )


def verify_kept(data: bytes, policy: Policy) -> Kept:
    """Return the confirmation that this owner's people signed. Raises `Malformed`, `Untrusted`.

    That it confirms what is on trial here is for `closing_standing.keep` to say.
    """
    envelope = read_envelope(data, max_bytes=MAX_KEPT_BYTES)
    fields = Fields(
        envelope.payload if envelope.type == KEPT_TYPE else _wrong(envelope, KEPT_TYPE),
        "the confirmation",
        {"closing", "epoch", "issued_at", "owner", "type"},
    )
    _check_subject(fields, policy, "confirmation")
    people = verify_threshold(envelope, KEPT_TYPE, policy.roles["approve"])
    fields.integer("issued_at")
    return Kept(fields.digest("closing"), people, envelope.hash, data)


def verify_closing_report(data: bytes, key: PublicKey, owner: str) -> ClosingReport:
    """Return what the machine with this key said. Raises `Malformed` or `Untrusted`."""
    envelope = read_envelope(data, max_bytes=MAX_REPORT_BYTES)
    verify_single(envelope, REPORT_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the report",
        {
            "at", "closed", "closing", "cut", "device", "listening", "local_access", "outcome",
            "owner", "rule", "seconds_left", "serial", "still_runs", "type", "words",
        },
    )  # fmt: skip
    if fields.key_id("device") != key.key_id or fields.digest("owner") != owner:
        raise Untrusted("This is said of another machine or owner.", reason="another_device")
    return ClosingReport(
        device=key.key_id,
        owner=owner,
        closing=fields.digest("closing"),
        serial=fields.integer("serial"),
        outcome=fields.choice("outcome", OUTCOMES),
        rule=fields.text("rule", most=64),
        closed=read_ports(fields, "closed"),
        local_access=_read_access(fields, "local_access"),
        still_runs=_read_access(fields, "still_runs"),
        listening=fields.texts("listening", most=MAX_LISTENING),
        cut=fields.texts("cut", most=MAX_CUT),
        seconds_left=fields.integer("seconds_left", high=RESTORE_SECONDS[1]),
        words=fields.text("words", most=500),
        at_ms=fields.integer("at"),
        hash=envelope.hash,
        raw=data,
    )


def read_ports(fields: Fields, name: str) -> tuple[ClosedPort, ...]:
    """Return a list of ports in its one order, each once. Raises `Malformed`."""
    ports: list[ClosedPort] = []
    for value in fields.items(name, most=MAX_PORTS):
        row = Fields(value, "a port", {"port", "protocol"})
        ports.append(
            ClosedPort(row.choice("protocol", PROTOCOLS), row.integer("port", low=1, high=65535))
        )
    _check_ordered(ports, "ports")
    return tuple(ports)


def _read_access(fields: Fields, name: str) -> tuple[str, ...]:
    ways = fields.texts(name, most=len(LOCAL_ACCESS))
    if unknown := [way for way in ways if way not in LOCAL_ACCESS]:
        raise Malformed(
            f"Expected ways of local access of {list(LOCAL_ACCESS)}, got {unknown[0][:40]!r}.",
            reason="bad_field",
        )
    _check_ordered(list(ways), "ways of local access")
    return ways


def _read_devices(fields: Fields, value: Json) -> tuple[str, ...]:
    if value == ALL:
        return ()
    devices = [require_key_id(each, "a machine") for each in fields.texts("devices")]
    if not 1 <= len(devices) <= MAX_DEVICES:
        raise Malformed(
            f"Expected 1 to {MAX_DEVICES} machines, or {ALL!r}, got {len(devices)}.",
            reason="bad_field",
        )
    _check_ordered(devices, "machines")
    return tuple(devices)


def _check_ordered(values: Sequence[_T], what: str) -> None:
    """One set has one spelling: sorted, each once."""
    if not all(a < b for a, b in pairwise(values)):
        raise Malformed(f"Expected the {what} in order, and each once.", reason="bad_order")


def _check_subject(fields: Fields, policy: Policy, what: str) -> None:
    if fields.digest("owner") != policy.owner:
        raise Untrusted(f"The {what} is of another owner.", reason="another_owner")
    if fields.integer("epoch", low=1) != policy.epoch:
        raise Untrusted(f"The {what} is of an epoch that has passed.", reason="old_epoch")


def _wrong(envelope: Envelope, wanted: str) -> JsonObject:
    raise Malformed(f"Expected a {wanted}, got a {envelope.type}.", reason="wrong_type")
