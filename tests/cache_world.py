"""A site's cache as a real process, over real TLS on loopback, and machines-like clients of it.

with serving(certify("127.0.0.1"), answer_files(files)) as there, caching(folder, there) as site:
    status, fields, body = site.get(sha256, 0, 65536)
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.origin_world import Certified, There, certify

from fleetward.gateway.updates.counts import Counts, read_counts
from fleetward.gateway.updates.settings import (
    CacheSettings,
    Places,
    init_cache,
    name_origin,
    read_settings,
)
from fleetward.runtime.clock import SystemClock
from fleetward.server.listeners import free_port

LOOPBACK = "127.0.0.1"
SITE_HOST = "cache.site.example"
UPSTREAM = certify(LOOPBACK)
KEEP_BYTES = 10**9


def blob(size: int, seed: int = 0) -> tuple[str, bytes]:
    """Return a blob that no compression and no repetition makes smaller, and its name."""
    data = b"".join(
        hashlib.sha256(b"%d %d" % (seed, n)).digest() for n in range((size + 31) // 32)
    )[:size]
    return hashlib.sha256(data).hexdigest(), data


PIECE = 512 * 1024
SHA256, DATA = blob(3_000_000)
OTHER_SHA256, OTHER = blob(700_000, seed=1)


@dataclass
class Site:
    """A cache that runs, and how to ask it."""

    places: Places
    port: int
    process: subprocess.Popen[bytes] | None = None
    reached_at: str = LOOPBACK

    def start(self) -> None:
        """Start the process and wait until it listens."""
        with (self.places.folder / "words").open("ab") as words:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "fleetward.gateway.updates.main", "--data",
                 str(self.places.folder)],
                stdout=words, stderr=words,
            )  # fmt: skip
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log()
            with contextlib.suppress(OSError):
                self.connect().close()
                return
            time.sleep(0.02)
        raise AssertionError(f"it did not start: {self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the process and wait for its end."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(20)

    def log(self) -> str:
        """What it said so far."""
        return (self.places.folder / "words").read_text()

    def connect(self, seconds: float = 30) -> ssl.SSLSocket:
        """Return a connection that expects the very certificate of the cache."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        raw = socket.create_connection((self.reached_at, self.port), seconds)
        try:
            return context.wrap_socket(raw)
        except BaseException:
            raw.close()
            raise

    def ask(
        self, path: str, fields: dict[str, str] | None = None, method: str = "GET"
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask once, over a connection of its own."""
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=60)
        connection.sock = self.connect()
        try:
            connection.request(method, path, headers=fields or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, sha256: str, offset: int, length: int) -> tuple[int, dict[str, str], bytes]:
        """Ask for a piece as a machine does."""
        return self.ask(f"/blobs/{sha256}", {"Range": f"bytes={offset}-{offset + length - 1}"})

    def peak_kib(self) -> int:
        """The most memory that it had so far."""
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0])

    def counts(self) -> Counts:
        """What it wrote down last."""
        return read_counts(self.places.folder)

    @property
    def origin(self) -> str:
        """What the owner's policy is to name."""
        return name_origin(self.places, read_settings(self.places))

    @property
    def parts(self) -> list[Path]:
        """Files that are on their way."""
        return sorted(self.places.blobs.glob("??/*.part"))


def make_site(
    folder: Path, upstream: str, authority: bytes, *, keep_bytes: int = KEEP_BYTES, token: str = ""
) -> Site:
    """Make a cache as `fleetward cache init` does."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, port = folder / "upstream-ca.pem", free_port()
    ca.write_bytes(authority)
    token_file = folder / "token"
    if token:
        descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, token.encode())
        os.close(descriptor)
    settings = CacheSettings(
        listen=f"{LOOPBACK}:{port}",
        host=SITE_HOST,
        upstream="" if token else upstream,
        server=upstream if token else "",
        token_file=str(token_file) if token else "",
        ca_file=str(ca),
        keep_bytes=keep_bytes,
    )
    places = Places(folder / "cache")
    init_cache(places, settings, SystemClock().wall_ms())
    return Site(places, port)


@contextlib.contextmanager
def caching(
    folder: Path, there: There, *, certified: Certified = UPSTREAM, keep_bytes: int = KEEP_BYTES
) -> Iterator[Site]:
    """Run a cache of an origin on loopback."""
    site = make_site(
        folder, f"https://{LOOPBACK}:{there.port}", certified.authority, keep_bytes=keep_bytes
    )
    with running(site):
        yield site


@contextlib.contextmanager
def running(site: Site) -> Iterator[Site]:
    """Run a cache until the end."""
    site.start()
    try:
        yield site
    finally:
        assert site.process is not None
        if site.process.poll() is None:
            site.stop()


def wait_for(true: Callable[[], bool], seconds: float = 30) -> None:
    """Return when something is true."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fetch_whole(site: Site, sha256: str, length: int) -> bytes | int:
    """Take a blob as a machine does, piece by piece; return it, or the status that ended it."""
    data = b""
    deadline = time.monotonic() + 60
    while len(data) < length:
        status, _, body = site.get(sha256, len(data), min(PIECE, length - len(data)))
        if status == 503 and time.monotonic() < deadline:
            time.sleep(0.2)
            continue
        if status != 206:
            return status
        data += body
    return data
