"""`fleetward-agent update`: look now, apply a bundle, show how releases stand."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.status import Status, UpdateStatus, is_running, read_last_words
from fleetward.device.updates.bundle import (
    BUNDLE_FILE,
    INCOMING,
    LOOK_FILE,
    BundleOutcome,
    open_bundle,
    read_outcome,
)
from fleetward.device.updates.surroundings import free_bytes
from fleetward.runtime.files import make_private_directory, sync_directory
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Unreachable
from fleetward.trust.update_report import ENDS

PAUSE_SECONDS: Final = 0.2
CHECK_SECONDS: Final = 90.0
"""How long `check` waits for the answer: two looks are at least a minute apart."""
SILENT_SECONDS: Final = 60.0
"""How long a bundle may lie there before the agent says anything of it."""
CHANGE_SECONDS: Final = 90.0
"""How long nobody may answer while one agent makes room for another."""
ROOM_BYTES: Final = 64 * 1024 * 1024
"""What a copied bundle leaves on the disk for the agent itself."""
_COPY_BYTES: Final = 1024 * 1024


def run_status(data: Path, *, as_json: bool) -> int:
    """Show what is installed and what is under way."""
    status = read_last_words(data / "guard")
    if as_json:
        _print(status.updates)
    else:
        _show(status.updates, running=is_running(data / "guard"))
    return 0


def run_check(data: Path, *, as_json: bool) -> int:
    """Have the agent ask the server for releases, and wait for what it learns.

    Raises `Refused` when no agent runs, `Unreachable` when it learns nothing in time.
    """
    folder = _require_running(data)
    incoming = make_private_directory(folder / "updates" / INCOMING)
    before = read_last_words(folder).updates.looked_at_ms
    (incoming / LOOK_FILE).touch(mode=0o600)
    found = _await(folder, lambda s: s.updates.looked_at_ms > before, CHECK_SECONDS)
    if found is None:
        now = read_last_words(folder).updates
        words = now.problem or now.missing or "The server has not answered."
        raise Unreachable(f"{words} Try again later.", reason="not_looked")
    if as_json:
        _print(found.updates)
    else:
        _show(found.updates, running=True)
    return 0


def run_bundle(data: Path, file: Path, *, as_json: bool) -> int:
    """Hand a bundle to the agent and follow it to its end; return 0 when it was committed.

    Raises `Refused` when no agent runs, or another bundle is under way, `Malformed` for a file that
    is no bundle.
    """
    folder = _require_running(data)
    incoming = make_private_directory(folder / "updates" / INCOMING)
    place = incoming / BUNDLE_FILE
    if place.exists():
        raise Refused(
            "Another bundle is under way. `fleetward-agent update status` shows it; wait for its "
            "end.",
            reason="bundle_under_way",
        )
    before = read_outcome(incoming)
    _copy(file, place)
    outcome = _follow(folder, incoming, before)
    if as_json:
        _print(outcome)
    good = outcome.state == "committed"
    _say(outcome.words or ("Installed." if good else "Not installed."))
    if outcome.rule:
        _say(f"[{outcome.rule}]")
    return 0 if good else 1


def _copy(source: Path, target: Path) -> None:
    """Copy a bundle beside its place and move it there whole.

    Raises `Malformed`, `Refused`, `Unreachable`.
    """
    partial = target.with_name(".bundle.part")
    try:
        file, index = open_bundle(source)
        with file:
            if free_bytes(target.parent) < index.total_bytes + ROOM_BYTES:
                raise Refused(
                    f"{(index.total_bytes + ROOM_BYTES) // 1_000_000 + 1} MB are needed on the "
                    "disk of the agent's folder.",
                    reason="disk_full",
                )
            file.seek(0)
            with open(partial, "wb", opener=_open_private) as copy:
                shutil.copyfileobj(file, copy, _COPY_BYTES)
                copy.flush()
                os.fsync(copy.fileno())
        partial.replace(target)
        sync_directory(target.parent)
    except OSError as e:
        raise Unreachable(
            f"The bundle could not be copied into the agent's folder: {e.strerror}.",
            reason="disk_refused",
        ) from e
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _follow(folder: Path, incoming: Path, before: BundleOutcome | None) -> BundleOutcome:
    said = ""
    silent_until = time.monotonic() + SILENT_SECONDS
    change_until = 0.0
    while True:
        outcome = read_outcome(incoming)
        if outcome is not None and outcome != before:
            if outcome.state in ENDS:
                return outcome
            words = read_last_words(folder).updates.words
            line = f"… {outcome.phase or 'read'} {outcome.percent} %  {words}".rstrip()
            if line != said:
                said = line
                _say(line)
        elif time.monotonic() > silent_until:
            raise Unreachable(
                "The agent has not read the bundle. `fleetward-agent status` says how it is.",
                reason="bundle_not_read",
            )
        if is_running(folder):
            change_until = time.monotonic() + CHANGE_SECONDS
        elif not _changes(folder) or time.monotonic() > change_until:
            raise Unreachable(
                "The agent has stopped. It goes on with the bundle when it is started again.",
                reason="agent_stopped",
            )
        time.sleep(PAUSE_SECONDS)


def _changes(folder: Path) -> bool:
    """Say whether one agent makes room for another, so that none may run for a moment."""
    with contextlib.suppress(FleetwardError):
        return read_last_words(folder).updates.phase == "proving"
    return False


def _await(folder: Path, good: Callable[[Status], bool], seconds: float) -> Status | None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(Malformed):
            status = read_last_words(folder)
            if good(status):
                return status
        time.sleep(PAUSE_SECONDS)
    return None


def _require_running(data: Path) -> Path:
    folder = data / "guard"
    if not is_running(folder):
        raise Refused(
            f"The agent is not running. Start it: fleetward-agent run --data {data}",
            reason="agent_stopped",
        )
    return folder


def _show(updates: UpdateStatus, *, running: bool) -> None:
    agent = updates.agent
    known = (
        f"release {agent.release[:16]}" if agent.release else "as the system's package brought it"
    )
    sys.stdout.write(f"the agent {agent.version}, {known}\n")
    if agent.trial != "settled" or agent.last:
        said = f"{agent.trial} {agent.last} {agent.last_words}"
        sys.stdout.write(f"  trial    {' '.join(said.split())}\n")
    for each in updates.installed:
        sys.stdout.write(f"{each.product:<24} {each.version:<16} counter {each.counter}\n")
    if not updates.installed:
        sys.stdout.write("No release was installed yet.\n")
    if updates.release:
        said = f"{updates.release}: {updates.phase}, {updates.words}".rstrip(", ")
        sys.stdout.write(f"under way  {said} ({updates.percent} %)\n")
    if updates.last:
        sys.stdout.write(f"last       {updates.last}\n")
    sys.stdout.write(f"counters   {_describe_counters(updates)}\n")
    for words in (updates.missing, updates.problem):
        if words:
            sys.stdout.write(f"note       {words}\n")
    if not running:
        sys.stdout.write("The agent is not running.\n")


def _describe_counters(updates: UpdateStatus) -> str:
    """Say how the highest counters are kept."""
    if updates.counters == "tpm":
        return "bound to the TPM"
    if updates.counters == "doubted":
        return f"in doubt: {updates.counters_words}"
    return f"in a file (weak): {updates.counters_words}".rstrip(": ")


def _print(value: object) -> None:
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")


def _say(words: str) -> None:
    sys.stderr.write(words + "\n")


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
