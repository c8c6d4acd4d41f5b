"""Joining, renewing and greeting."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

import msgspec

JOIN_PATH: Final = "/enrol/v1/join"
RENEW_PATH: Final = "/enrol/v1/renew"
INTRODUCTION_PATH: Final = "/enrol/v1/introduction"
MAX_ENROL_BYTES: Final = 64 * 1024
"""Bytes of a join with its invitation and join statement."""
MAX_REPLY_BYTES: Final = 1024 * 1024
"""Bytes of a reply that a machine reads at most."""


Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""A number on the wire: what every reader, of any language, holds exactly."""


class Struct(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True
):  # a base of all words on the wire
    """Frozen, keyword-only, unknown fields refused."""


class Introduction(Struct, frozen=True):
    """What a control plane says of itself to an owner, under its own server CA."""

    server_ca: str
    log_key: dict[str, str]
    issuing_request: str
    enrol: list[str]
    bus: list[str]
    owner: str


class JoinRequest(Struct, frozen=True):
    """A join statement with the invitation that it names; both base64url."""

    statement: str
    invitation: str


class RenewRequest(Struct, frozen=True):
    """A renewal statement, base64url."""

    statement: str


class CertificateReply(Struct, frozen=True):
    """A certificate chain over the transport key (PEM, device first) and a bundle (base64url)."""

    certificate: str
    bundle: str


class NonceReply(Struct, frozen=True, tag="nonce"):
    """A fresh nonce for a hello, base64url."""

    nonce: str


class HelloReply(Struct, frozen=True, tag="hello"):
    """The server knows this session. `stored` is the newest sequence that it holds, 0 for none.

    `state` is the machine's state as the server sees it: a word to show, never an order.
    """

    stored: Count
    generation: Count
    state: str


class Refusal(Struct, frozen=True, tag="refusal"):
    """The server refused. `reason` is a stable code, `message` is for a person."""

    reason: str
    message: str
    stored: Annotated[int, msgspec.Meta(ge=-1, le=2**53 - 1)] = -1
