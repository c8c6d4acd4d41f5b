"""`release publish --server`: a release goes to a server that stores it and believes nothing of it.

1. Blobs first, in pieces of 4 MiB, each from where the server says it is.
2. Then metadata, `timestamp.json` last, then the release. A machine never sees a release whose
   blobs are not there.

    GET  /updates/blobs/SHA256                       -> {"size", "complete"}
    PUT  /updates/blobs/SHA256?offset=N&length=TOTAL -> {"size", "complete"}
    POST /updates/metadata  {"files": [{"name", "data"}, …]}            -> {"repository"}
    POST /updates/releases  {"repository", "path", "manifest"}

A cut is no error: run it again. What the server has whole is not sent twice. The server's answers
say how far it is, and nothing that a machine would act on.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from fleetward.keyholder.api import ApiClient, decode_answer
from fleetward.keyholder.maker.blobs import BlobStore, open_plain
from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.leaving import Leaving
from fleetward.keyholder.maker.progress import Meter
from fleetward.keyholder.maker.publishing import damaged_blob
from fleetward.runtime.files import read_bounded
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable

PIECE_BYTES: Final = 4 * 1024 * 1024
_MAX_PEM_BYTES: Final = 64 * 1024
MAX_TRIES: Final = 5
"""Times that one blob is taken up again after a cut, before a person is told."""


class BlobState(msgspec.Struct, frozen=True):
    """How much of a blob the server has."""

    size: int
    complete: bool


class _Taken(msgspec.Struct, frozen=True):
    repository: str


@dataclass(frozen=True, slots=True)
class Sent:
    """What was done."""

    repository: str
    sent_bytes: int
    blobs_sent: int
    blobs_there: int


def send_release(
    client: ApiClient, desk: MakerDesk, leaving: Leaving, *, quiet: bool = False
) -> Sent:
    """Send all that a release needs. Raises `Refused`, `Unreachable`, `Malformed`."""
    store = BlobStore(desk.repository.blobs)
    total = sum(length for _, length in leaving.blobs)
    meter = Meter("Sending", total, quiet=quiet)
    sent, there = [], 0
    # 1.
    for sha256, length in leaving.blobs:
        state = _ask(client, sha256, length)
        if state.complete:
            there += 1
            meter(length)
            continue
        meter(state.size)
        _check_whole(store, sha256)
        sent.append(_send_blob(client, store, (sha256, length), state, meter))
    meter.end()
    # 2.
    repository = _send_metadata(client, leaving)
    release = {
        "repository": repository,
        "path": leaving.manifest.path,
        "manifest": to_base64url(leaving.data),
    }
    client.post("/updates/releases", release, dict[str, Any])
    return Sent(repository, sum(sent), len(sent), there)


def read_authority(path: Path) -> str:
    """Return a server's CA in PEM from a file. Raises `Malformed`."""
    try:
        text = read_bounded(path, _MAX_PEM_BYTES).decode("ascii")
    except UnicodeDecodeError as e:
        raise Malformed(f"Expected a certificate in PEM in {path}.", reason="bad_server_ca") from e
    if "BEGIN CERTIFICATE" not in text:
        raise Malformed(f"Expected a certificate in PEM in {path}.", reason="bad_server_ca")
    return text


def _send_metadata(client: ApiClient, leaving: Leaving) -> str:
    files = [{"name": name, "data": to_base64url(data)} for name, data in leaving.metadata]
    taken = client.post("/updates/metadata", {"files": files}, _Taken)
    ours = hashlib.sha256(leaving.root).hexdigest()
    if taken.repository != ours:
        raise Malformed(
            f"Expected the server to name this repository {ours[:12]}…; it named another. Do not "
            "use it: ask who runs it.",
            reason="another_repository",
        )
    return ours


def _ask(client: ApiClient, sha256: str, length: int) -> BlobState:
    return _check(client.get(_path(sha256), BlobState), length)


def _check(state: BlobState, length: int) -> BlobState:
    if not 0 <= state.size <= length or (state.complete and state.size != length):
        raise Malformed(
            f"Expected the server to have at most {length} bytes of a blob, it says {state.size}.",
            reason="bad_answer",
        )
    return state


def _check_whole(store: BlobStore, sha256: str) -> None:
    """What is damaged here is not sent, for the server to refuse at the end."""
    with store.place(sha256).open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != sha256:
            raise damaged_blob(store.place(sha256))


def _send_blob(
    client: ApiClient, store: BlobStore, blob: tuple[str, int], state: BlobState, meter: Meter
) -> int:
    """Send what is missing of a blob, and return how much that was."""
    sha256, length = blob
    tries, sent = MAX_TRIES, 0
    with open_plain(store.place(sha256)) as (descriptor, _):
        while not state.complete:
            piece = os.pread(descriptor, PIECE_BYTES, state.size)
            try:
                after = _put(client, blob, state.size, piece)
            except (Unreachable, Refused) as e:
                # Where is it really? A piece may have arrived whose answer was lost.
                after = _ask_again(client, sha256, length, e)
                if after == state and isinstance(e, Refused):
                    raise
            if after.size <= state.size and not after.complete:
                tries -= 1
                if tries <= 0:
                    raise Unreachable(
                        f"Expected the server to take more than {state.size} bytes of a blob; it "
                        "does not. Try again later: it goes on there.",
                        reason="server_stuck",
                    )
            meter(max(0, after.size - state.size))
            sent += max(0, after.size - state.size)
            state = after
    return sent


def _ask_again(client: ApiClient, sha256: str, length: int, error: FleetwardError) -> BlobState:
    try:
        return _ask(client, sha256, length)
    except FleetwardError:
        raise error from None


def _put(client: ApiClient, blob: tuple[str, int], offset: int, piece: bytes) -> BlobState:
    sha256, length = blob
    path = f"{_path(sha256)}?offset={offset}&length={length}"
    return _check(decode_answer(client.put(path, piece), BlobState), length)


def _path(sha256: str) -> str:
    return f"/updates/blobs/{sha256}"
