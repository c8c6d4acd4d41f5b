"""A person with a passkey at the owner's console: what his browser says to the program."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tests.unit.people.authenticator import Authenticator
from webauthn.helpers import parse_cbor

from fleetward.trust.canonical import from_base64url, to_base64url

ORIGIN, RP_ID = "http://owner.localhost:7480", "owner.localhost"


@dataclass
class Hand:
    """One passkey in somebody's hand."""

    key: Authenticator = field(default_factory=lambda: Authenticator(ORIGIN, RP_ID))

    def make(self, begun: dict[str, Any], **lies: Any) -> dict[str, Any]:
        """Return what the page sends after navigator.credentials.create()."""
        options = {"challenge": begun["challenge"], "user": {"id": begun["user_id"]}}
        response = replace(self.key, **lies).create(options)["response"]
        attestation = parse_cbor(from_base64url(response["attestationObject"]))
        return {
            "challenge": begun["challenge"],
            "authenticator_data": to_base64url(attestation["authData"]),
            "client_data": response["clientDataJSON"],
        }

    def yes(self, challenge: str, **lies: Any) -> dict[str, Any]:
        """Return what the page sends after navigator.credentials.get()."""
        response = replace(self.key, **lies).get({"challenge": challenge})["response"]
        return {
            "authenticator_data": response["authenticatorData"],
            "client_data": response["clientDataJSON"],
            "signature": response["signature"],
        }
