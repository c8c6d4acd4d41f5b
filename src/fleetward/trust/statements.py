"""What a machine says about itself under its identity key: join, renewal, hello.

A statement never makes anything true; it says who speaks. The device id is the id of the identity
key, so whoever can sign is that machine, and no certificate is needed to believe it.

The **lineage** counter rises with every transport key that the identity key vouched for. Whoever
copied a machine's disk and renews makes the counters collide, and the server sees two lineages.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import Envelope, read_envelope, require_type, verify_single
from fleetward.trust.errors import Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ES256, MAX_SPKI_BYTES, PublicKey, read_key_fields, read_public_key

JOIN_TYPE: Final = "fleetward.join.v1"
RENEWAL_TYPE: Final = "fleetward.renewal.v1"
HELLO_TYPE: Final = "fleetward.hello.v1"
MAX_STATEMENT_BYTES: Final = 16 * 1024
NONCE_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """What a machine says it is when it joins. Hints for people, proof of nothing."""

    hostname: str
    model: str
    maker: str
    system: str
    simulated: bool

    def to_json(self) -> JsonObject:
        """Return the fields as they stand in the join statement."""
        return {
            "hostname": self.hostname,
            "maker": self.maker,
            "model": self.model,
            "simulated": self.simulated,
            "system": self.system,
        }


@dataclass(frozen=True, slots=True)
class Join:
    """A verified join statement."""

    device: str
    key: PublicKey
    owner: str
    invitation: str
    transport: PublicKey
    lineage: int
    facts: MachineFacts
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Renewal:
    """A verified wish for a certificate over a fresh transport key."""

    device: str
    owner: str
    transport: PublicKey
    lineage: int
    hash: str


@dataclass(frozen=True, slots=True)
class Hello:
    """A verified greeting: where the machine's journal and documents stand."""

    device: str
    owner: str
    nonce: bytes
    boot: str
    agent: str
    wall: str
    sequence: int
    journal_head: str
    policy_version: int
    roster_version: int
    head_version: int
    lease_seconds_left: int


def make_join_payload(
    key: PublicKey, owner: str, invitation: str, transport: PublicKey, lineage: int,
    facts: MachineFacts,
) -> JsonObject:  # fmt: skip
    """Return the payload of a join statement."""
    return {
        "facts": facts.to_json(),
        "invitation": invitation,
        "key": key.to_json(),
        "lineage": lineage,
        "owner": owner,
        "transport": to_base64url(transport.spki),
        "type": JOIN_TYPE,
    }


def verify_join(data: bytes) -> Join:
    """Return the join statement that its own key signed. Raises `Malformed` or `Untrusted`.

    The caller checks owner, invitation and lineage against what it knows.
    """
    envelope = read_envelope(data, max_bytes=MAX_STATEMENT_BYTES)
    require_type(envelope, JOIN_TYPE)
    fields = Fields(
        envelope.payload,
        "the join statement",
        {"facts", "invitation", "key", "lineage", "owner", "transport", "type"},
    )
    key = read_key_fields(Fields(fields.map("key"), "the key", {"key_id", "public", "suite"}))
    if key.suite != ES256:
        raise Untrusted("Expected an identity key on P-256.", reason="bad_key")
    verify_single(envelope, JOIN_TYPE, key)
    facts = Fields(
        fields.map("facts"), "the facts", {"hostname", "maker", "model", "simulated", "system"}
    )
    return Join(
        device=key.key_id,
        key=key,
        owner=fields.digest("owner"),
        invitation=fields.digest("invitation"),
        transport=_read_transport(fields),
        lineage=fields.integer("lineage", low=1),
        facts=MachineFacts(
            hostname=facts.text("hostname", most=80),
            model=facts.text("model", most=80),
            maker=facts.text("maker", most=80),
            system=facts.text("system", most=80),
            simulated=facts.boolean("simulated"),
        ),
        hash=envelope.hash,
        raw=data,
    )


def make_renewal_payload(device: str, owner: str, transport: PublicKey, lineage: int) -> JsonObject:
    """Return the payload of a renewal statement."""
    return {
        "device": device,
        "lineage": lineage,
        "owner": owner,
        "transport": to_base64url(transport.spki),
        "type": RENEWAL_TYPE,
    }


def verify_renewal(data: bytes, key: PublicKey) -> Renewal:
    """Return the renewal that `key` signed. Raises `Malformed` or `Untrusted`.

    The caller checks owner and lineage.
    """
    envelope = read_envelope(data, max_bytes=MAX_STATEMENT_BYTES)
    verify_single(envelope, RENEWAL_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the renewal statement",
        {"device", "lineage", "owner", "transport", "type"},
    )
    _check_device(fields, key)
    return Renewal(
        device=key.key_id,
        owner=fields.digest("owner"),
        transport=_read_transport(fields),
        lineage=fields.integer("lineage", low=1),
        hash=envelope.hash,
    )


def device_of_statement(data: bytes) -> str:
    """Return the device id that a renewal or hello names, before its signature is checked.

    It serves to look the key up, nothing else. Raises `Malformed`.
    """
    envelope: Envelope = read_envelope(data, max_bytes=MAX_STATEMENT_BYTES)
    return Fields(envelope.payload, "the statement", {"device"}, set(envelope.payload)).key_id(
        "device"
    )


def make_hello_payload(hello: Hello) -> JsonObject:
    """Return the payload of a greeting."""
    return {
        "agent": hello.agent,
        "boot": hello.boot,
        "device": hello.device,
        "head_version": hello.head_version,
        "journal_head": hello.journal_head,
        "lease_seconds_left": hello.lease_seconds_left,
        "nonce": to_base64url(hello.nonce),
        "owner": hello.owner,
        "policy_version": hello.policy_version,
        "roster_version": hello.roster_version,
        "sequence": hello.sequence,
        "type": HELLO_TYPE,
        "wall": hello.wall,
    }


def verify_hello(data: bytes, key: PublicKey, nonce: bytes) -> Hello:
    """Return the greeting that `key` signed over `nonce`. Raises `Malformed` or `Untrusted`.

    The caller checks the owner, and that it uses each nonce once.
    """
    envelope = read_envelope(data, max_bytes=MAX_STATEMENT_BYTES)
    verify_single(envelope, HELLO_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the greeting",
        {
            "agent",
            "boot",
            "device",
            "head_version",
            "journal_head",
            "lease_seconds_left",
            "nonce",
            "owner",
            "policy_version",
            "roster_version",
            "sequence",
            "type",
            "wall",
        },
    )
    _check_device(fields, key)
    if fields.binary("nonce", most=NONCE_BYTES) != nonce:
        raise Untrusted("The greeting answers another question.", reason="wrong_nonce")
    return Hello(
        device=key.key_id,
        owner=fields.digest("owner"),
        nonce=nonce,
        boot=fields.text("boot", most=64),
        agent=fields.text("agent", most=64),
        wall=fields.choice("wall", ("uid", "none", "simulated")),
        sequence=fields.integer("sequence"),
        journal_head=fields.digest("journal_head"),
        policy_version=fields.integer("policy_version"),
        roster_version=fields.integer("roster_version"),
        head_version=fields.integer("head_version"),
        lease_seconds_left=fields.integer("lease_seconds_left"),
    )


def _check_device(fields: Fields, key: PublicKey) -> None:
    if fields.key_id("device") != key.key_id:
        raise Untrusted("The statement names another machine than its key.", reason="bad_device")


def _read_transport(fields: Fields) -> PublicKey:
    return read_public_key(ES256, fields.binary("transport", most=MAX_SPKI_BYTES))
