"""Where a machine may fetch parts besides its server: origins, and addresses that they may have.

1. An origin is HTTPS, a host in lower case, perhaps a port, perhaps a folder; nothing else.
2. It is named by the owner's policy. No other string becomes one.
3. No address of this machine, of its link, of many or of nobody is connected to, in whatever form
   it is written: within IPv6, mapped, behind NAT64, 6to4 or Teredo. Addresses of a private network
   are in order, for an owner may keep his parts in his own house.

    origin = read_origin("https://parts.example/acme")
    origin.target(sha256)             # "/acme/blobs/…"
    check_address("169.254.169.254")  # Refused
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.fields import require_digest

MAX_ORIGIN_CHARACTERS: Final = 253
"""As long as a name of the domain name system may be; the pin of rule 4 comes on top."""
_PIN: Final = "#sha256="
_PIN_CHARACTERS: Final = len(_PIN) + 64
DEFAULT_PORT: Final = 443
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN: Final = re.compile(
    rf"https://(?:\[(?P<v6>[0-9a-f:.]{{2,45}})\]|(?P<name>{_LABEL}(?:\.{_LABEL})*))"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
    r"(?P<base>(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*)"
    rf"(?P<pin>{_PIN}[0-9a-f]{{64}})?"
)
"""No segment of the folder begins with a dot, so none leads upwards."""
_NAT64: Final = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))
_THIS_NETWORK: Final = ipaddress.IPv4Network("0.0.0.0/8")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Origin:
    """A place that serves a published repository. `text` is how the policy has it."""

    text: str
    host: str
    port: int
    base: str
    pin: str = ""
    """The SHA-256 of the one certificate that it is known by, or nothing (rule 4)."""

    @property
    def authority(self) -> str:
        """What stands in the field `Host`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORT else f"{host}:{self.port}"

    def target(self, sha256: str) -> str:
        """Return the path of a blob at this origin. Raises `Malformed` for what is no digest."""
        return f"{self.base}/blobs/{require_digest(sha256, 'the name of a blob')}"


def read_origin(text: str) -> Origin:
    """Return an origin as a policy names it. Raises `Malformed`, or `Refused` by its address."""
    short = len(text) <= MAX_ORIGIN_CHARACTERS + _PIN_CHARACTERS
    found = _ORIGIN.fullmatch(text) if short else None
    if (
        found is None
        or int(found["port"] or DEFAULT_PORT) > 65535
        or len(text) - len(found["pin"] or "") > MAX_ORIGIN_CHARACTERS
    ):
        raise Malformed(
            "Expected an origin as https://parts.example or https://parts.example:8443/folder, in "
            "lower case and without a slash at the end, perhaps with #sha256= and 64 hex digits of "
            f"its certificate; got {text[:80]!r}.",
            reason="bad_origin",
        )
    host = found["v6"] or found["name"]
    last = host.rpartition(".")[2]
    if found["v6"] or last.isdecimal() or last.startswith("0x"):
        # A name whose last word is a number is an address, or is read as one by some resolver.
        check_address(host)
    elif host == "localhost" or host.endswith(".localhost"):
        raise _refused(host)
    pin = (found["pin"] or "").removeprefix(_PIN)
    return Origin(text, host, int(found["port"] or DEFAULT_PORT), found["base"], pin)


def check_address(text: str) -> None:
    """Return when a machine may connect to this address to fetch parts.

    Raises `Malformed` for what is no address, `Refused` for one of rule 3. Whoever calls this
    connects to this very address, and does not ask for the name's address again.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError as e:
        raise Malformed(f"Expected an IP address, got {text[:80]!r}.", reason="bad_origin") from e
    if any(_is_refused(each) for each in (address, *_list_inner(address))):
        raise _refused(text)


def _list_inner(address: _Address) -> list[_Address]:
    """Return the IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner: list[_Address | None] = [address.ipv4_mapped, address.sixtofour]
    inner += address.teredo or ()
    if any(address in network for network in _NAT64):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in inner if each is not None]


def _is_refused(address: _Address) -> bool:
    if address.is_loopback or address.is_link_local:
        return True
    if address.is_multicast or address.is_unspecified:
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_reserved or address in _THIS_NETWORK
    if address.ipv4_mapped or any(address in network for network in _NAT64):
        return False  # What it stands for is judged beside it.
    return address.is_reserved or address.is_site_local


def _refused(text: str) -> Refused:
    return Refused(
        f"Expected an address at which a machine may fetch parts; {text[:80]} is one of the "
        "machine itself, of its link, of many or of nobody. Name a host that serves them.",
        reason="address_refused",
    )
