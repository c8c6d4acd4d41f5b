"""What a machine says of a release, under its identity key, at every step that counts.

    accepted ──▶ installed ──▶ committed
        │            └──▶ rolled_back
        ├──▶ failed       nothing was changed, or all of it was put back
    refused               the three opinions do not meet, and by which rule

A report names what runs now and the highest counter committed of every product, so that nobody has
to believe a list of the server's. It is an envelope of its own inside an entry of the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.envelope import read_envelope, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import PublicKey

REPORT_TYPE: Final = "fleetward.update-report.v1"
KEEPINGS: Final = ("doubted", "file", "tpm")
"""How a machine keeps the highest counters: in a file alone, bound to its TPM, or so that they are
in doubt. A report says it unless it is `file`, as builds before it did."""
OUTCOMES: Final = ("accepted", "refused", "installed", "committed", "rolled_back", "failed")
ENDS: Final = frozenset({"refused", "committed", "rolled_back", "failed"})
"""Outcomes after which nothing more is said of this attempt."""
FAILURES: Final = frozenset({"rolled_back", "failed"})
MAX_REPORT_BYTES: Final = 16 * 1024
"""An entry of the journal carries it in base64, and has at most 32 KiB."""
MAX_PRODUCTS: Final = 32
MAX_SLOTS: Final = 32
MAX_FINDINGS: Final = 16
MAX_FINDING_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Installed:
    """What runs of one product, and the highest counter that was ever committed."""

    product: str
    version: str
    counter: int
    release: str
    floor: int
    """Below it nothing is installed any more."""


@dataclass(frozen=True, slots=True)
class Slot:
    """A place and the SHA-256 of the part that is active in it."""

    place: str
    active: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One health check, and how it ended."""

    check: str
    good: bool
    words: str


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """A report. `release` is the SHA-256 of the manifest; `attempt` counts from 1 for each."""

    device: str
    owner: str
    product: str
    version: str
    counter: int
    release: str
    approval: str
    attempt: int
    outcome: str
    rule: str
    words: str
    slots: tuple[Slot, ...]
    installed: tuple[Installed, ...]
    findings: tuple[Finding, ...]
    at_ms: int
    simulated: bool = False
    counters: str = "file"
    hash: str = ""
    raw: bytes = b""


def make_report_payload(report: UpdateReport) -> JsonObject:
    """Return the payload of a report; `hash` and `raw` of the argument are ignored."""
    said: JsonObject = {} if report.counters == "file" else {"counters": report.counters}
    return {
        **said,
        "approval": report.approval,
        "at": report.at_ms,
        "attempt": report.attempt,
        "counter": report.counter,
        "device": report.device,
        "findings": [{"check": f.check, "good": f.good, "words": f.words} for f in report.findings],
        "installed": [
            {
                "counter": each.counter,
                "floor": each.floor,
                "product": each.product,
                "release": each.release,
                "version": each.version,
            }
            for each in report.installed
        ],
        "outcome": report.outcome,
        "owner": report.owner,
        "product": report.product,
        "release": report.release,
        "rule": report.rule,
        "simulated": report.simulated,
        "slots": [{"active": slot.active, "place": slot.place} for slot in report.slots],
        "type": REPORT_TYPE,
        "version": report.version,
        "words": report.words,
    }


def verify_report(data: bytes, key: PublicKey, owner: str) -> UpdateReport:
    """Return the report that the machine with this identity key signed for this owner.

    Raises `Malformed` or `Untrusted`. It is what the machine says, and not what is so.
    """
    envelope = read_envelope(data, max_bytes=MAX_REPORT_BYTES)
    verify_single(envelope, REPORT_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the report",
        {
            "approval", "at", "attempt", "counter", "device", "findings", "installed", "outcome",
            "owner", "product", "release", "rule", "simulated", "slots", "type", "version",
            "words",
        },
        {"counters"},
    )  # fmt: skip
    if fields.key_id("device") != key.key_id or fields.digest("owner") != owner:
        raise Untrusted("The report is of another machine or owner.", reason="another_device")
    return UpdateReport(
        device=key.key_id,
        owner=owner,
        product=fields.text("product", most=48),
        version=fields.text("version", most=64),
        counter=fields.integer("counter"),
        release=_digest_or_nothing(fields, "release"),
        approval=_digest_or_nothing(fields, "approval"),
        attempt=fields.integer("attempt"),
        outcome=fields.choice("outcome", OUTCOMES),
        rule=fields.text("rule", most=64),
        words=fields.text("words", most=1000),
        slots=tuple(_read_slot(each) for each in fields.items("slots", most=MAX_SLOTS)),
        installed=_read_all(fields.items("installed", most=MAX_PRODUCTS)),
        findings=tuple(_read_finding(e) for e in fields.items("findings", most=MAX_FINDINGS)),
        at_ms=fields.integer("at"),
        simulated=fields.boolean("simulated"),
        counters=_read_counters(fields),
        hash=envelope.hash,
        raw=data,
    )


def _digest_or_nothing(fields: Fields, name: str) -> str:
    return fields.digest(name) if fields.text(name, most=64) else ""


def _read_counters(fields: Fields) -> str:
    """What says nothing says `file`, so that there is one way to say it."""
    said = tuple(each for each in KEEPINGS if each != "file")
    return fields.choice("counters", said) if fields.has("counters") else "file"


def _read_slot(value: Json) -> Slot:
    fields = Fields(value, "a slot", {"active", "place"})
    return Slot(fields.text("place", most=64), _digest_or_nothing(fields, "active"))


def _read_finding(value: Json) -> Finding:
    fields = Fields(value, "a finding", {"check", "good", "words"})
    return Finding(
        fields.text("check", most=MAX_FINDING_CHARACTERS),
        fields.boolean("good"),
        fields.text("words", most=MAX_FINDING_CHARACTERS),
    )


def _read_all(values: Sequence[Json]) -> tuple[Installed, ...]:
    read = tuple(_read_installed(value) for value in values)
    if len({each.product for each in read}) != len(read):
        raise Malformed("Expected each product once.", reason="bad_field")
    return read


def _read_installed(value: Json) -> Installed:
    fields = Fields(
        value, "an installed release", {"counter", "floor", "product", "release", "version"}
    )
    return Installed(
        product=fields.text("product", most=48, least=1),
        version=fields.text("version", most=64),
        counter=fields.integer("counter"),
        release=_digest_or_nothing(fields, "release"),
        floor=fields.integer("floor"),
    )
