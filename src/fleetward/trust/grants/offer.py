"""The session offer: the machine's signed answer to a request, good for this boot and one use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fleetward.trust.canonical import JsonObject, to_base64url
from fleetward.trust.envelope import read_envelope, verify_single
from fleetward.trust.errors import Malformed, Untrusted
from fleetward.trust.fields import Fields
from fleetward.trust.grants.request import SESSION_KEY_BYTES, Request
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

OFFER_TYPE: Final = "fleetward.offer.v1"
MAX_OFFER_BYTES: Final = 4096
OFFER_NONCE_BYTES: Final = 32
WALL_WORDS: Final = ("uid", "none", "simulated")
SANDBOX_WORDS: Final = ("bubblewrap", "none")


@dataclass(frozen=True, slots=True)
class Offer:
    """A verified offer. `wall` and `sandbox` say what keeps a session apart on that machine."""

    device: str
    request: str
    boot: str
    nonce: bytes
    session_key: bytes
    policy_version: int
    policy_hash: str
    wall: str
    sandbox: str
    issued_at_ms: int
    hash: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a machine says of itself in an offer."""

    boot: str
    nonce: bytes
    session_key: bytes
    wall: str
    sandbox: str
    now_ms: int


def make_offer_payload(policy: Policy, request: Request, ready: Readiness) -> JsonObject:
    """Return the payload of an offer. The nonce is fresh, and so is the session key."""
    return {
        "boot": ready.boot,
        "device": request.device,
        "epoch": policy.epoch,
        "issued_at": ready.now_ms,
        "nonce": to_base64url(ready.nonce),
        "owner": policy.owner,
        "policy": {"hash": policy.hash, "version": policy.version},
        "request": request.hash,
        "sandbox": ready.sandbox,
        "session_key": to_base64url(ready.session_key),
        "type": OFFER_TYPE,
        "wall": ready.wall,
    }


def verify_offer(data: bytes, key: PublicKey, request: Request) -> Offer:
    """Return the offer that the machine with this identity key made for `request`.

    Raises `Malformed` or `Untrusted`. That the policy it names is the newest is the caller's duty.
    """
    envelope = read_envelope(data, max_bytes=MAX_OFFER_BYTES)
    # 1. The machine signed it, alone, with the key whose hash is its id.
    verify_single(envelope, OFFER_TYPE, key)
    fields = Fields(
        envelope.payload,
        "the offer",
        {
            "boot", "device", "epoch", "issued_at", "nonce", "owner", "policy", "request",
            "sandbox", "session_key", "type", "wall",
        },
    )  # fmt: skip
    if fields.key_id("device") != key.key_id or key.key_id != request.device:
        raise Untrusted("The offer is of another machine.", reason="another_device")
    # 2. It answers this request, to this owner.
    if fields.digest("owner") != request.owner or fields.integer("epoch") != request.epoch:
        raise Untrusted("The offer is to another owner.", reason="another_owner")
    if fields.digest("request") != request.hash:
        raise Untrusted("The offer answers another request.", reason="another_request")
    # 3. The keys have their sizes.
    nonce = fields.binary("nonce", most=OFFER_NONCE_BYTES)
    session_key = fields.binary("session_key", most=SESSION_KEY_BYTES)
    if len(nonce) != OFFER_NONCE_BYTES or len(session_key) != SESSION_KEY_BYTES:
        raise Malformed("Expected a session key and a nonce of their sizes.", reason="bad_field")
    policy = Fields(fields.map("policy"), "the offer's policy", {"hash", "version"})
    return Offer(
        device=request.device,
        request=request.hash,
        boot=fields.text("boot", most=64, least=1),
        nonce=nonce,
        session_key=session_key,
        policy_version=policy.integer("version", low=1),
        policy_hash=policy.digest("hash"),
        wall=fields.choice("wall", WALL_WORDS),
        sandbox=fields.choice("sandbox", SANDBOX_WORDS),
        issued_at_ms=fields.integer("issued_at"),
        hash=envelope.hash,
        raw=data,
    )
