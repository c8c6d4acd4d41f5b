"""The headers that every answer carries, errors and unknown addresses included.

The policy has no inline script, no script from elsewhere, and no string that becomes a script:
Trusted Types with one policy, `default`, which the console's own code defines. Styles need the
nonce of the page that they are in. Violations are reported to `REPORT_PATH`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.types import Message, Scope

REPORT_PATH: Final = "/csp-report"
NONCE_BYTES: Final = 16

_PERMISSIONS: Final = ", ".join(
    [
        *(
            f"{feature}=()"
            for feature in (
                "accelerometer",
                "browsing-topics",
                "camera",
                "display-capture",
                "geolocation",
                "gyroscope",
                "magnetometer",
                "microphone",
                "midi",
                "payment",
                "usb",
            )
        ),
        *(
            f"{feature}=(self)"
            for feature in (
                "clipboard-write",
                "publickey-credentials-create",
                "publickey-credentials-get",
            )
        ),
    ]
)


def content_policy(style_nonce: str | None = None) -> str:
    """Return the Content-Security-Policy, with the nonce of one page's styles if given."""
    style = "'self'" if style_nonce is None else f"'self' 'nonce-{style_nonce}'"
    return "; ".join(
        [
            "default-src 'none'",
            "script-src 'self'",
            f"style-src {style}",
            "connect-src 'self'",
            "img-src 'self' data:",
            "font-src 'self'",
            "manifest-src 'self'",
            "require-trusted-types-for 'script'",
            "trusted-types default",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            f"report-uri {REPORT_PATH}",
        ]
    )


SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": content_policy(),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": _PERMISSIONS,
    "Cache-Control": "no-store",
}


def make_nonce() -> str:
    """Return a fresh nonce for the styles of one page."""
    return secrets.token_urlsafe(NONCE_BYTES)


async def add_security_headers(message: Message, _scope: Scope) -> None:
    """`before_send` hook: add each header that the answer does not carry already."""
    if message["type"] != "http.response.start":
        return
    headers = MutableScopeHeaders.from_message(message)
    for name, value in SECURITY_HEADERS.items():
        headers.setdefault(name, value)
