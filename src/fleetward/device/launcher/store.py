"""The launcher's file: what runs, and whether it is on trial. Only root, or who runs guard, writes.

    DATA/launcher/state.json     this file; everybody may read it, as uplink has to
    DATA/launcher/spare          room for one more, for when the disk is full
    DATA/agent/releases/SHA256/  the code of a release (`device/updates/installers/releases`)

A file that is missing means that the package's own code runs. One that cannot be understood means
the same: a machine without its agent would be worse than one with an old agent.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, fields
from pathlib import Path
from typing import Final

from fleetward.device.launcher.decide import FACTORY, PHASES, State
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.trust.errors import FleetwardError, Unreachable

MAX_BYTES: Final = 16 * 1024
SPARE_BYTES: Final = 4096
"""More than twice the longest state; a block of most file systems."""
_DIGITS: Final = frozenset("0123456789abcdef")


def state_path(data: Path) -> Path:
    """Return where the state of an agent's data folder is."""
    return data / "launcher" / "state.json"


def agent_folder(data: Path) -> Path:
    """Return where the agent's releases are."""
    return data / "agent"


def find_tree(data: Path, release: str) -> Path | None:
    """Return the folder with the code of a release; None for the package's own, or when it is not
    there whole."""
    if release == FACTORY:
        return None
    releases = agent_folder(data) / "releases"
    try:
        whole = (releases / f".{release}.whole").is_file() and (releases / release).is_dir()
    except OSError:
        whole = False
    return releases / release if whole else None


def read_state(data: Path) -> State:
    """Return the state; that of a machine which never had another agent when there is none."""
    try:
        found = json.loads(read_bounded(state_path(data), MAX_BYTES))
        return _read(found) if isinstance(found, dict) else State()
    except (FleetwardError, ValueError, RecursionError):
        return State()


def write_state(data: Path, state: State) -> None:
    """Have it on the disk. Raises `Unreachable`."""
    path = state_path(data)
    if not path.parent.is_dir():
        path.parent.mkdir(mode=0o755, exist_ok=True)
        path.parent.chmod(0o755)
        sync_directory(data)
    atomic_write(path, _pack(state), 0o644)
    spare = _spare_path(data)
    if not spare.exists():
        with contextlib.suppress(Unreachable):
            atomic_write(spare, b" " * SPARE_BYTES, 0o644)


def write_last_state(data: Path, state: State) -> None:
    """Have it on a disk that takes no new file: in the room that was held for it.

    That is there once, and again when the disk takes a state. Raises `Unreachable`.
    """
    content, spare = _pack(state).ljust(SPARE_BYTES), _spare_path(data)
    try:
        descriptor = os.open(spare, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as file:
            if len(content) != SPARE_BYTES or os.fstat(descriptor).st_size != SPARE_BYTES:
                raise OSError("too little room was held")
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        spare.replace(state_path(data))
        sync_directory(spare.parent)
    except OSError as e:
        words = f"Expected room for the launcher's state on the disk: {e}. Make some."
        raise Unreachable(words, reason="disk_refused") from e


def _spare_path(data: Path) -> Path:
    return state_path(data).with_name("spare")


def _pack(state: State) -> bytes:
    return json.dumps(asdict(state), sort_keys=True).encode()


def _read(found: dict[str, object]) -> State:
    """Return what these fields say; unknown ones are a later version's. Raises `ValueError`."""
    default = State()
    values = {field.name: found.get(field.name, getattr(default, field.name))
              for field in fields(State)}  # fmt: skip
    for name, value in values.items():
        if type(value) is not type(getattr(default, name)):
            raise ValueError(name)
    state = State(**values)  # type: ignore[arg-type]  # each has the type of its default, see above
    releases = (state.active, state.previous, state.wanted, state.ended_release)
    if state.phase not in PHASES or not all(is_release(each) for each in releases):
        raise ValueError(state.phase)
    if (state.phase == "settled") != (state.wanted == ""):
        raise ValueError(state.wanted)
    return state


def is_release(text: str) -> bool:
    """Say whether this names a release, or the package's own code."""
    return text == FACTORY or (len(text) == 64 and _DIGITS.issuperset(text))
