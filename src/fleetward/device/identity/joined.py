"""The files that say whom this machine obeys, in guard's folder.

`anchor.json` is written last when joining: with it the machine has an owner, without it none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import (
    MAX_STORED_BYTES,
    Anchor,
    OwnerView,
    read_bundle,
    restore_view,
)
from fleetward.trust.errors import Malformed, Refused, Unreachable

MAX_ANCHOR_BYTES: Final = 16 * 1024
MAX_CERTIFICATE_BYTES: Final = 64 * 1024
ANCHOR_FILE: Final = "anchor.json"


class Joined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the join string said, and when."""

    owner: str
    device: str
    policy_version: int
    policy_hash: str
    enrol: tuple[str, ...]
    bus: tuple[str, ...]
    server_ca: str
    name: str
    joined_at_ms: int

    @property
    def anchor(self) -> Anchor:
        """Where belief starts."""
        return Anchor(self.owner, self.device, self.policy_version, self.policy_hash)


class _KeptView(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    bundle: str
    lease_serial: int


class GuardFiles:
    """Guard's folder, file by file. Each is replaced as a whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def journal(self) -> Path:
        """The folder of the journal."""
        return self.folder / "journal"

    @property
    def blobs(self) -> Path:
        """The folder of inventories."""
        return self.folder / "blobs"

    @property
    def state(self) -> Path:
        """What guard remembers."""
        return self.folder / "state.json"

    @property
    def status(self) -> Path:
        """What `status` shows."""
        return self.folder / "status.json"

    @property
    def lock(self) -> Path:
        """Held by the one guard that writes here."""
        return self.folder / "lock"

    def read_joined(self) -> Joined | None:
        """Return whom this machine joined, or None. Raises `Malformed` for a damaged file."""
        try:
            data = read_bounded(self.folder / ANCHOR_FILE, MAX_ANCHOR_BYTES)
        except Unreachable as e:
            if e.reason == "file_missing":
                return None
            raise
        try:
            return msgspec.json.decode(data, type=Joined)
        except (msgspec.MsgspecError, UnicodeError) as e:
            raise _damaged(ANCHOR_FILE) from e

    def require_joined(self) -> Joined:
        """Return whom this machine joined. Raises `Refused` when it has not."""
        joined = self.read_joined()
        if joined is None:
            raise Refused(
                "This machine has not joined anybody. Get a join string from its owner and run "
                "`fleetward-agent join STRING --data DIR`.",
                reason="not_joined",
            )
        return joined

    def write_joined(self, joined: Joined) -> None:
        """Persist whom this machine obeys: the last step of joining."""
        atomic_write(self.folder / ANCHOR_FILE, msgspec.json.encode(joined))

    def read_view(self, joined: Joined) -> OwnerView:
        """Return the machine's view of its owner, verified again. Raises as `restore_view`."""
        data = read_bounded(self.folder / "view.json", 2 * MAX_STORED_BYTES)
        try:
            kept = msgspec.json.decode(data, type=_KeptView)
        except (msgspec.MsgspecError, UnicodeError) as e:
            raise _damaged("view.json") from e
        bundle = read_bundle(from_base64url(kept.bundle), max_bytes=MAX_STORED_BYTES)
        return restore_view(joined.anchor, bundle, kept.lease_serial)

    def write_view(self, view: OwnerView) -> None:
        """Persist the view. Raises `Unreachable`."""
        bundle = to_base64url(view.to_bundle().to_bytes())
        kept = _KeptView(bundle=bundle, lease_serial=view.lease_serial)
        atomic_write(self.folder / "view.json", msgspec.json.encode(kept))

    def read_certificate(self) -> str:
        """Return the certificate chain, or an empty string."""
        return self._read_text("certificate.pem")

    def write_certificate(self, pem: str) -> None:
        """Persist the certificate chain. Raises `Unreachable`."""
        atomic_write(self.folder / "certificate.pem", pem.encode("ascii"))

    def read_server_ca(self) -> str:
        """Return the server's CA certificate, or an empty string."""
        return self._read_text("server-ca.pem")

    def write_server_ca(self, pem: str) -> None:
        """Persist the server's CA certificate. Raises `Unreachable`."""
        atomic_write(self.folder / "server-ca.pem", pem.encode("ascii"))

    def _read_text(self, name: str) -> str:
        try:
            return read_bounded(self.folder / name, MAX_CERTIFICATE_BYTES).decode("ascii")
        except Unreachable as e:
            if e.reason == "file_missing":
                return ""
            raise
        except UnicodeDecodeError as e:
            raise _damaged(name) from e


def _damaged(name: str) -> Malformed:
    return Malformed(
        f"Expected {name} of guard as it was written; it is damaged. Restore it from a backup of "
        "this machine, or remove guard's folder and join again.",
        reason="guard_file_damaged",
    )
