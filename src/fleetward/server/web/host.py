"""Whoever can read the server's own data directory: the command line on this host.

Each start of the server makes a new secret and writes it to a 0600 file. Who reads that file could
as well read the database, so it gives nothing new; it ends with the server.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from fleetward.server.web.caller import ON_THE_HOST, Authenticator, Caller

HOST_PREFIX: Final = "fwh_"
SECRET_BYTES: Final = 32


def make_host_secret() -> str:
    """Return a fresh secret for this start."""
    return HOST_PREFIX + secrets.token_urlsafe(SECRET_BYTES)


class HostAuthenticator:
    """Knows the secret of this start, and leaves everything else to `inner`."""

    def __init__(self, inner: Authenticator, secret: str) -> None:
        self._inner = inner
        self._secret = secret.encode("ascii")

    def authenticate(self, bearer: str, address: str) -> Caller:
        """Return who calls. Raises as the inner authenticator does."""
        if hmac.compare_digest(bearer.encode("utf-8", "replace"), self._secret):
            return ON_THE_HOST
        return self._inner.authenticate(bearer, address)
