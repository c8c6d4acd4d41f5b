"""The listener for machines that have no certificate: introduce, join, renew.

HTTPS under the server CA, TLS 1.3, no client certificate: whoever asks proves possession of a key
by the statement that he signed with it. Nothing else is served here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from litestar import Litestar, get, post
from litestar.params import JSONBody

from fleetward.runtime.http.decoding import StrictRequest
from fleetward.runtime.http.problems import answer_problem
from fleetward.server.identity.act import Devices
from fleetward.server.identity.issuing import IssuedCertificate
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.wire.identity import (
    INTRODUCTION_PATH,
    JOIN_PATH,
    MAX_ENROL_BYTES,
    RENEW_PATH,
    CertificateReply,
    Introduction,
    JoinRequest,
    RenewRequest,
)

_JOIN: Final = JOIN_PATH
_RENEW: Final = RENEW_PATH


def create_enrol_app(devices: Devices, introduce: Callable[[], Introduction]) -> Litestar:
    """Return the application of the enrolment listener."""

    @get(INTRODUCTION_PATH, sync_to_thread=True)
    def show_introduction() -> Introduction:
        """Say who this server is: its CA, log key, issuing request and addresses."""
        return introduce()

    @post(_JOIN, sync_to_thread=True, status_code=200)
    def join(data: JSONBody[JoinRequest]) -> CertificateReply:
        """Take a machine in that shows an invitation."""
        return _reply(
            *devices.join(from_base64url(data.statement), from_base64url(data.invitation))
        )

    @post(_RENEW, sync_to_thread=True, status_code=200)
    def renew(data: JSONBody[RenewRequest]) -> CertificateReply:
        """Issue a certificate for a fresh transport key of a known machine."""
        return _reply(*devices.renew(from_base64url(data.statement)))

    return Litestar(
        [show_introduction, join, renew],
        request_class=StrictRequest,
        request_max_body_size=MAX_ENROL_BYTES,
        exception_handlers={Exception: answer_problem},
        openapi_config=None,
        logging_config=None,
        debug=False,
        pdb_on_exception=False,
    )


def _reply(issued: IssuedCertificate, bundle: Bundle) -> CertificateReply:
    return CertificateReply(certificate=issued.chain_pem, bundle=to_base64url(bundle.to_bytes()))
