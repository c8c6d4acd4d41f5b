"""Certificates that the listeners show, under the server CA, renewed at every start."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fleetward.runtime.files import atomic_write, make_private_directory
from fleetward.runtime.x509 import (
    Authority,
    issue_internal_certificate,
    issue_server_certificate,
    new_key,
    write_certificates,
    write_key,
)


@dataclass(frozen=True, slots=True)
class ListenerFiles:
    """Certificate chain and key files of the listeners and of the server's own bus connections."""

    server_certificate: Path
    server_key: Path
    internal_certificate: Path
    internal_key: Path


def make_listener_files(
    folder: Path, authority: Authority, names: Sequence[str], now_ms: int
) -> ListenerFiles:
    """Issue fresh certificates over fresh keys into `folder` (0700)."""
    make_private_directory(folder)
    files = ListenerFiles(
        folder / "server.pem",
        folder / "server.key",
        folder / "internal.pem",
        folder / "internal.key",
    )
    key = new_key()
    certificate = issue_server_certificate(
        authority, key.public_key(), names=names, not_before_ms=now_ms - 3_600_000
    )
    chain = write_certificates([certificate, authority.certificate])
    atomic_write(files.server_certificate, chain)
    atomic_write(files.server_key, write_key(key))
    internal_key = new_key()
    internal = issue_internal_certificate(
        authority, internal_key.public_key(), "server", not_before_ms=now_ms - 3_600_000
    )
    atomic_write(files.internal_certificate, write_certificates([internal, authority.certificate]))
    atomic_write(files.internal_key, write_key(internal_key))
    return files


def require_tls13(context: ssl.SSLContext) -> ssl.SSLContext:
    """Return the listener's context with nothing older than TLS 1.3 in it."""
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
