"""The line by which a technician tells the owner his key, and the owner reads it."""

from __future__ import annotations

import shlex

from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed
from fleetward.trust.keys import SUITES, PublicKey, read_public_key

MAX_LINE_CHARACTERS = 256


def write_requester_key(key: PublicKey) -> str:
    """Return a public key as `suite:base64url`."""
    return f"{key.suite}:{to_base64url(key.spki)}"


def read_requester_key(text: str) -> PublicKey:
    """Return the key of `suite:base64url`. Raises `Malformed`."""
    suite, _, public = text.strip().partition(":")
    if suite not in SUITES or len(text) > MAX_LINE_CHARACTERS:
        raise Malformed(
            "Expected the key as `fleetward requester init` prints it, or the path of a PEM file.",
            reason="bad_key",
        )
    return read_public_key(suite, from_base64url(public))


def write_owner_command(person: str, org: str, key: PublicKey) -> str:
    """Return the one line that the owner runs to name this requester."""
    argv = ["fleetward", "owner", "policy", "requester", "add", "--person", person]
    if org:
        argv += ["--org", org]
    return shlex.join([*argv, "--key", write_requester_key(key)])
