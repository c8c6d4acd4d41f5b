"""What a browser is shown in the place of a machine's page: plain words, no script. Pure."""

from __future__ import annotations

import html
from typing import Final

from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.technician.relay_heads import Fields

_POLICY: Final = (
    b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; sandbox"
)


def refusal_page(title: str, words: str) -> bytes:
    """Return a page that says why there is none."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{_text(title)}</title></head><body><main><h1>{_text(title)}</h1>"
        f"<p>{_text(words)}</p></main></body></html>"
    ).encode()


def refusal_fields(size: int, *, over: bool = False) -> Fields:
    """Return the fields of such a page. `over`: what the session left in the browser is wiped."""
    fields: Fields = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(size).encode("ascii")),
        (b"content-security-policy", _POLICY),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if over:
        fields.append((b"clear-site-data", b'"cookies", "storage", "cache"'))
    return fields


def blocked_words(location: str) -> str:
    """Say which redirect was not followed."""
    return (
        f"It sends the browser to {one_line(location, 300)}. That is not a page of this session, "
        "so it was not followed: it could be another program of your own computer. Go back, and "
        "ask for that port in the next session if it is one of the machine's."
    )


def _text(words: str) -> str:
    return html.escape(one_line(words, 1000))
