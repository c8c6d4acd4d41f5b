"""The settings of a cache: one folder with everything in it.

DIR/cache.toml        settings, as `fleetward cache init` writes them
DIR/cache.pem, .key   the certificate that the owner's policy names, and its key
DIR/blobs/            what it keeps
DIR/status.json       what `fleetward cache status` shows
DIR/lock              held while it runs
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from fleetward.gateway.updates.shelf import MIN_KEEP_BYTES
from fleetward.gateway.updates.upstream import Upstream, read_upstream
from fleetward.runtime import x509
from fleetward.runtime.config import MAX_CONFIG_BYTES, between, load_config
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import Malformed, Refused, Unreachable
from fleetward.trust.origin import read_origin

CERTIFICATE_DAYS: Final = 3650
"""The policy names this very certificate, so that its dates mean nothing to a machine."""
DEFAULT_KEEP_BYTES: Final = 20_000_000_000
_LISTEN: Final = re.compile(r"(?:\[([0-9a-f:.]{2,45})\]|([0-9.]{7,15})):([1-9][0-9]{0,4})")
_SIZE: Final = re.compile(r"([1-9][0-9]{0,14})(B|KB|MB|GB|TB)?")
_UNITS: Final = {None: 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


@dataclass(frozen=True, slots=True)
class CacheSettings:
    """What `cache.toml` says."""

    listen: str = ""
    """The address and port to listen at: 10.20.0.5:8443."""
    host: str = ""
    """What machines call it, where that is not the address to listen at."""
    upstream: str = ""
    """A web server with a published repository: https://parts.example/releases."""
    server: str = ""
    """A Fleetward server, instead: https://fleet.example:8443."""
    token_file: str = ""
    """A file (0600) with a token for it; `viewer` is enough."""
    ca_file: str = ""
    """Certificates that whoever is asked is verified by, instead of the system's."""
    certificate: str = ""
    key: str = ""
    """A certificate of your own that machines' systems accept, instead of the named one."""
    keep_bytes: int = between(DEFAULT_KEEP_BYTES, MIN_KEEP_BYTES, 10**15)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the files of a cache are."""

    folder: Path

    @property
    def settings(self) -> Path:
        """What `init` wrote."""
        return self.folder / "cache.toml"

    @property
    def certificate(self) -> Path:
        """The certificate that the policy names."""
        return self.folder / "cache.pem"

    @property
    def key(self) -> Path:
        """Its key."""
        return self.folder / "cache.key"

    @property
    def blobs(self) -> Path:
        """What is kept."""
        return self.folder / "blobs"

    @property
    def lock(self) -> Path:
        """Held while it runs."""
        return self.folder / "lock"


def init_cache(places: Places, settings: CacheSettings, now_ms: int) -> None:
    """Write the settings, and a key with its certificate unless others are named.

    Raises `Refused` where a cache is, `Malformed` for settings that no cache could run by, and as
    `choose_upstream`.
    """
    check_settings(settings)
    choose_upstream(settings)
    if places.settings.exists():
        raise Refused(
            f"There is a cache at {places.folder} already. Change {places.settings}, or name "
            "another folder.",
            reason="cache_exists",
        )
    make_private_directory(places.folder)
    if not settings.certificate:
        key, host = x509.new_key(), name_host(settings)
        made = x509.make_authority(
            "Fleetward site cache",
            not_before_ms=now_ms - 86_400_000,
            days=CERTIFICATE_DAYS + 1,
            path_length=0,
        )
        shown = x509.issue_server_certificate(
            made,
            key.public_key(),
            names=(host,),
            not_before_ms=now_ms - 86_400_000,
            days=CERTIFICATE_DAYS,
        )
        atomic_write(places.key, x509.write_key(key))
        atomic_write(places.certificate, x509.write_certificates([shown]))
    lines = [f"{f.name} = {_write(getattr(settings, f.name))}" for f in fields(settings)]
    atomic_write(places.settings, ("\n".join(lines) + "\n").encode())


def read_settings(places: Places) -> CacheSettings:
    """Return what `cache.toml` says. Raises `Refused`, `Malformed`."""
    try:
        content = read_bounded(places.settings, MAX_CONFIG_BYTES)
    except Unreachable as e:
        raise Refused(
            f"There is no cache at {places.folder} yet. Make one: fleetward cache init --data "
            f"{places.folder} --listen ADDRESS:8443 --upstream https://parts.example/releases",
            reason="no_cache",
        ) from e
    settings = load_config(CacheSettings, content)
    check_settings(settings)
    return settings


def check_settings(settings: CacheSettings) -> None:
    """Return when a cache can run by these. Raises `Malformed`."""
    host, _ = read_listen(settings.listen)
    if host in ("0.0.0.0", "::") and not settings.host:  # noqa: S104 - it is not bound here
        raise Malformed(
            "Expected what machines call this computer (--host), since it listens everywhere.",
            reason="no_host",
        )
    # What no machine would ask is told here, and not found out at the site.
    read_origin(_write_origin(settings))
    if bool(settings.upstream) == bool(settings.server):
        raise Malformed(
            "Expected either a web server to ask (--upstream URL) or a Fleetward server "
            "(--server URL --token-file F).",
            reason="no_upstream",
        )
    if bool(settings.server) != bool(settings.token_file):
        raise Malformed(
            "A Fleetward server is asked with a token in a file, and nobody else is: --server "
            "and --token-file go together.",
            reason="no_token",
        )
    if bool(settings.certificate) != bool(settings.key):
        raise Malformed("Expected a certificate and its key.", reason="no_key")


def read_listen(text: str) -> tuple[str, int]:
    """Return address and port. Raises `Malformed`."""
    found = _LISTEN.fullmatch(text)
    if found is None or int(found[3]) > 65535:
        raise Malformed(
            f"Expected an address and a port to listen at, as 10.20.0.5:8443; got {text[:60]!r}.",
            reason="bad_listen",
        )
    return found[1] or found[2], int(found[3])


def read_size(text: str) -> int:
    """Return bytes, of 20GB and the like. Raises `Malformed`."""
    found = _SIZE.fullmatch(text.upper().replace(" ", ""))
    size = int(found[1]) * _UNITS[found[2]] if found is not None else 0
    if not MIN_KEEP_BYTES <= size <= 10**15:
        raise Malformed(
            f"Expected how much to keep, as 20GB, and at least {MIN_KEEP_BYTES} bytes; got "
            f"{text[:40]!r}.",
            reason="bad_size",
        )
    return size


def name_host(settings: CacheSettings) -> str:
    """Return what machines call the cache."""
    return settings.host or read_listen(settings.listen)[0]


def name_origin(places: Places, settings: CacheSettings) -> str:
    """Return the origin that the owner's policy is to name. Raises as `read_bounded`."""
    origin = _write_origin(settings)
    if settings.certificate:
        return origin
    pem = read_bounded(places.certificate, x509.MAX_PEM_BYTES).decode("ascii", errors="replace")
    try:
        der = ssl.PEM_cert_to_DER_cert(pem)
    except ValueError as e:
        raise Malformed(
            f"Expected a certificate in {places.certificate}.", reason="bad_certificate"
        ) from e
    return f"{origin}#sha256={hashlib.sha256(der).hexdigest()}"


def choose_upstream(settings: CacheSettings) -> Upstream:
    """Return whom the settings have asked. Raises as `read_upstream`."""
    ca = Path(settings.ca_file) if settings.ca_file else None
    token = Path(settings.token_file) if settings.token_file else None
    return read_upstream(settings.server or settings.upstream, ca, token)


def _write_origin(settings: CacheSettings) -> str:
    host, (_, port) = name_host(settings), read_listen(settings.listen)
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _write(value: str | int) -> str:
    """Return a value as TOML has it: its basic strings are those of JSON."""
    return json.dumps(value)
