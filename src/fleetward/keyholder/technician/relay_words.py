"""What a browser is shown in the place of a machine's page: plain words, no script."""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.technician.relay_heads import Fields
from fleetward.runtime.http.headers import make_nonce

_STYLE: Final = (
    "body{margin:0;font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:36em;margin:12vh auto;padding:0 20px;overflow-wrap:anywhere}"
    "h1{font-size:1.6em;line-height:1.2}p{opacity:.85}"
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A page that says why there is none, and its head."""

    body: bytes
    fields: Fields


def make_refusal(title: str, words: str, *, over: bool = False) -> Refusal:
    """Return such a page. `over`: what the session left in the browser is wiped with it."""
    nonce = make_nonce()
    body = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{_text(title)}</title>'
        f'<style nonce="{nonce}">{_STYLE}</style></head>'
        f"<body><main><h1>{_text(title)}</h1><p>{_text(words)}</p></main></body></html>"
    ).encode()
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'none'; sandbox"
    )
    fields: Fields = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode("ascii")),
        (b"content-security-policy", policy.encode("ascii")),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"cache-control", b"no-store"),
        (b"connection", b"close"),
    ]
    if over:
        fields.append((b"clear-site-data", b'"cookies", "storage", "cache"'))
    return Refusal(body, fields)


def blocked_words(location: str) -> str:
    """Say which redirect was not followed."""
    return (
        f"It sends the browser to {one_line(location, 300)}. That is not a page of this session, "
        "so it was not followed: it could be another program of your own computer. Go back, and "
        "ask for that port in the next session if it is one of the machine's."
    )


def _text(words: str) -> str:
    return html.escape(one_line(words, 1000))
