"""A TUF client over plain HTTP on loopback, for the public conformance suite. It is not shipped.

All that is judged is judged by `fleetward.trust.releases`, which the agent drives too. This program
only fetches, stores and tells the time, by the contract of the suite (its CLIENT-CLI.md).

The folder of metadata holds one file a role, without a version in its name.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

from fleetward.trust.errors import FleetwardError, Refused, Unreachable
from fleetward.trust.releases.refresh import Refresh
from fleetward.trust.releases.search import Search
from fleetward.trust.releases.steps import Change, Steps, Want
from fleetward.trust.releases.target import ArtifactCheck, Target

T = TypeVar("T")

TIMEOUT_SECONDS = 10.0
PIECE_BYTES = 64 * 1024
ABSENT = (403, 404)
"""What a repository answers for a file that it has not."""


@dataclass(frozen=True)
class Client:
    """One run of the program."""

    folder: Path
    metadata_url: str

    def refresh(self) -> Refresh:
        """Bring the four top-level roles up to date."""
        refresh = Refresh(read_file(self.folder / "root.json") or b"", int(time.time() * 1000))
        self.drive(refresh)
        return refresh

    def drive(self, steps: Steps[T]) -> T:
        """Give what is wanted until nothing is, and store what was verified."""
        while (want := steps.want) is not None:
            data = self.fetch(want)
            try:
                steps.give(data)
            finally:
                for change in steps.take_changes():
                    self.store(change)
        return steps.result

    def fetch(self, want: Want) -> bytes | None:
        """Read a kept file, or ask the repository for one."""
        if want.is_kept:
            return read_file(self.folder / want.file_name, want.max_bytes)
        with open_url(self.metadata_url + want.file_name) as answer:
            return None if answer is None else answer.read(want.max_bytes + 1)

    def store(self, change: Change) -> None:
        """Write or remove one file."""
        path = self.folder / change.file_name
        if change.data is None:
            path.unlink(missing_ok=True)
        else:
            write_file(path, change.data)


def download(client: Client, names: list[str], base_url: str, folder: Path) -> None:
    """Fetch every target, in this order, unless the file is there already."""
    trusted = client.refresh().result
    for name in names:
        target = client.drive(Search(trusted, name))
        if target is None:
            raise Refused(f"Nobody signed a target {name!r}.", reason="no_such_target")
        path = folder / quote(target.path, safe="")
        if not is_whole(path, target):
            fetch_target(base_url + target.file_name, path, target)


def fetch_target(url: str, path: Path, target: Target) -> None:
    """Download into a file beside, which takes its place when it is whole."""
    part = path.with_name(path.name + ".part")
    check = ArtifactCheck(target)
    try:
        with open_url(url) as answer, part.open("wb") as file:
            if answer is None:
                raise Unreachable(f"{url} is not there.", reason="target_absent")
            while data := answer.read(PIECE_BYTES):
                check.update(data)
                file.write(data)
        check.finish()
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def is_whole(path: Path, target: Target) -> bool:
    """Say whether a file is there that is the target."""
    check = ArtifactCheck(target)
    try:
        with path.open("rb") as file:
            while data := file.read(PIECE_BYTES):
                check.update(data)
        check.finish()
    except (OSError, FleetwardError):
        return False
    return True


@contextlib.contextmanager
def open_url(url: str) -> Iterator[http.client.HTTPResponse | None]:
    """Ask once; None when the repository has no such file. Redirects are not followed."""
    parts = urlsplit(url)
    if parts.scheme != "http" or parts.hostname not in ("127.0.0.1", "localhost"):
        raise Refused("This program speaks to loopback only.", reason="not_loopback")
    connection = http.client.HTTPConnection(
        parts.hostname, parts.port or 80, timeout=TIMEOUT_SECONDS
    )
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        if answer.status not in (200, *ABSENT):
            raise Unreachable(f"{url} answered {answer.status}.", reason="bad_status")
        yield None if answer.status in ABSENT else answer
    except (OSError, http.client.HTTPException) as e:
        raise Unreachable(f"{url} did not answer: {e}.", reason="no_answer") from e
    finally:
        connection.close()


def read_file(path: Path, max_bytes: int = -1) -> bytes | None:
    """Read a file, at most a byte more than asked for; None when it is not there."""
    try:
        with path.open("rb") as file:
            return file.read(max_bytes + 1 if max_bytes >= 0 else -1)
    except FileNotFoundError:
        return None


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that there is always the old or the new one."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tuf-client", description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir", type=Path)
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser.parse_args(arguments)


def main(arguments: list[str]) -> int:
    """Run one command; 0 when it succeeded, else 1."""
    said = read_arguments(arguments)
    client = Client(said.metadata_dir, said.metadata_url.rstrip("/") + "/")
    try:
        if said.command == "init":
            shutil.copyfile(said.root, said.metadata_dir / "root.json")
        elif said.command == "refresh":
            client.refresh()
        else:
            base_url = said.target_base_url.rstrip("/") + "/"
            download(client, said.target_name, base_url, said.target_dir)
    except (FleetwardError, OSError) as e:
        print(f"{type(e).__name__} {getattr(e, 'reason', '')}: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
