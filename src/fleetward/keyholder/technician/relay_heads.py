"""The heads of requests to a machine's page, and of its answers, as they may pass. Pure.

To the machine a request is one to `localhost:PORT`, from itself. To the browser an answer is one
that stays in its host: no other origin may read it, it may load nothing from elsewhere, its cookies
are for this very host, it may install nothing that outlives the session, and who opened it is out
of its reach. Hop-by-hop fields (RFC 9110, section 7.6.1) end here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from fleetward.keyholder.technician.hosts import read_host
from fleetward.keyholder.technician.locations import OwnPages
from fleetward.trust.errors import Refused, Untrusted

Fields: TypeAlias = list[tuple[bytes, bytes]]

_HOP: Final = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
_NOT_TO_MACHINE: Final = _HOP | {b"host", b"origin", b"referer", b"expect", b"forwarded"}
_NOT_TO_BROWSER: Final = _HOP | {
    *(b"service-worker-allowed", b"strict-transport-security", b"public-key-pins", b"alt-svc"),
    *(b"refresh", b"location", b"content-location", b"report-to", b"reporting-endpoints", b"nel"),
    *(b"referrer-policy", b"permissions-policy", b"origin-agent-cluster", b"sourcemap"),
    *(b"cross-origin-opener-policy", b"cross-origin-resource-policy", b"x-sourcemap"),
    *(b"content-security-policy-report-only", b"clear-site-data"),
}
_DOMAIN: Final = re.compile(rb";[ \t]*domain[ \t]*(?:=[^;]*|(?=;|\Z))", re.IGNORECASE)
_REPORTS: Final = re.compile(rb"(?<![^;,])[ \t]*report-(?:uri|to)\b[^;,]*;?", re.IGNORECASE)
"""What of a page's own policy would send its violations elsewhere (CSP, section 6.4)."""
_CHALLENGE: Final = re.compile(rb"[ \t]*(basic|bearer|digest)\b", re.IGNORECASE)
_SAFE: Final = frozenset({b"GET", b"HEAD"})
_FROM_HERE: Final = frozenset({b"same-origin", b"none"})
_DENIED: Final = (
    *("accelerometer", "bluetooth", "camera", "clipboard-read", "display-capture", "geolocation"),
    *("gyroscope", "hid", "magnetometer", "microphone", "midi", "payment", "serial", "usb"),
    *("publickey-credentials-create", "publickey-credentials-get", "local-fonts"),
)


@dataclass(frozen=True, slots=True)
class Page:
    """One web page of the machine: where it is there, and where it is shown here."""

    place: int
    port: int
    origin: str
    pages: OwnPages

    @property
    def host(self) -> str:
        """Its host here, without the port."""
        return self.origin.removeprefix("http://").rpartition(":")[0]


@dataclass(frozen=True, slots=True)
class Blocked:
    """A redirect that is not followed."""

    location: str


def check_request(
    page: Page, method: bytes, target: bytes, fields: Sequence[tuple[bytes, bytes]]
) -> None:
    """Raise `Untrusted` for a request that another page made, `Refused` for a service worker.

    Another page may send the browser here, by a link, and may do nothing else. A connection that
    began with a request for this page may not go on with one for another host.
    """
    named = [read_host(value.decode("latin-1")) for value in values_of(fields, b"host")]
    if named != [page.host] or not target.startswith(b"/"):
        raise Untrusted("Only this page of the machine is asked for here.", reason="bad_target")
    site = values_of(fields, b"sec-fetch-site")
    # A form of a page that sends no Referer has the origin "null" (Fetch, section 3.2): the browser
    # says beside it whether it is the same one.
    own = {page.origin.encode("ascii")} | ({b"null"} if site == [b"same-origin"] else set())
    if not set(values_of(fields, b"origin")) <= own:
        raise Untrusted("Another page asked for this.", reason="origin_not_allowed")
    if values_of(fields, b"service-worker"):
        raise Refused(
            "A page of a session may install nothing that outlives it.", reason="no_service_worker"
        )
    if set(site) <= _FROM_HERE:
        return
    opened = (
        values_of(fields, b"sec-fetch-mode") == [b"navigate"]
        and values_of(fields, b"sec-fetch-dest") == [b"document"]
        and method in _SAFE
    )
    if not opened:
        raise Untrusted("Another page asked for this.", reason="origin_not_allowed")


def to_machine(page: Page, fields: Sequence[tuple[bytes, bytes]], *, upgrade: bool) -> Fields:
    """Return the fields of a request as the machine gets them."""
    dropped = _NOT_TO_MACHINE | _named_hop(fields)
    own = f"localhost:{page.port}".encode("ascii")
    sent: Fields = [(b"host", own)]
    if values_of(fields, b"origin"):
        sent.append((b"origin", b"http://" + own))
    if values_of(fields, b"sec-fetch-site") == [b"same-origin"]:
        sent.append((b"referer", b"http://" + own + b"/"))
    sent += [(name, value) for name, value in fields if name not in dropped]
    if upgrade:
        sent += [(b"connection", b"Upgrade")]
        sent += [(b"upgrade", value) for value in values_of(fields, b"upgrade")]
        return sent
    if values_of(fields, b"transfer-encoding"):
        sent.append((b"transfer-encoding", b"chunked"))
    sent.append((b"connection", b"close"))
    return sent


def to_browser(page: Page, fields: Sequence[tuple[bytes, bytes]]) -> Fields | Blocked:
    """Return the fields of an answer as the browser gets them, or what it must not follow."""
    sent = pass_fields(fields)
    for value in values_of(fields, b"location"):
        location = value.decode("utf-8", "replace")
        followed = page.pages.judge(location)
        if followed is None:
            return Blocked(location)
        sent.append((b"location", followed.encode("utf-8")))
    return sent + confine(page)


def pass_fields(fields: Sequence[tuple[bytes, bytes]]) -> Fields:
    """Return those fields of an answer that pass, as they may."""
    dropped = _NOT_TO_BROWSER | _named_hop(fields)
    sent: Fields = []
    for name, value in fields:
        if name in dropped or name.startswith(b"access-control-"):
            continue
        if name == b"set-cookie":
            value = _DOMAIN.sub(b"", value)
        elif name == b"content-security-policy":
            value = _REPORTS.sub(b"", value)
        elif name == b"www-authenticate" and not _CHALLENGE.match(value):
            continue
        sent.append((name, value))
    return sent


def confine(page: Page) -> Fields:
    """Return the fields that keep a page in its host."""
    host = page.origin.removeprefix("http://")
    policy = "; ".join(
        [
            "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
            f"connect-src 'self' ws://{host} data: blob:",
            "frame-ancestors 'self'",
            "base-uri 'self'",
            "form-action 'self'",
            "object-src 'none'",
        ]
    )
    denied = ", ".join(f"{feature}=()" for feature in _DENIED)
    return [
        (b"content-security-policy", policy.encode("ascii")),
        (b"referrer-policy", b"no-referrer"),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"cross-origin-resource-policy", b"same-origin"),
        (b"origin-agent-cluster", b"?1"),
        (b"x-dns-prefetch-control", b"off"),
        (b"permissions-policy", denied.encode("ascii")),
    ]


def values_of(fields: Iterable[tuple[bytes, bytes]], wanted: bytes) -> list[bytes]:
    """Return the values of one field."""
    return [value for name, value in fields if name == wanted]


def wants_upgrade(fields: Sequence[tuple[bytes, bytes]]) -> bool:
    """Say whether a request asks for another protocol, as WebSocket does."""
    return bool(values_of(fields, b"upgrade")) and b"upgrade" in _named_hop(fields)


def _named_hop(fields: Sequence[tuple[bytes, bytes]]) -> set[bytes]:
    """Return the fields that Connection names as for this hop only."""
    named = b",".join(values_of(fields, b"connection")).lower().split(b",")
    return {name.strip() for name in named if name.strip()}
