"""The installer `agent`: code of the agent, beside the package's, and a word to the launcher.

    DATA/agent/releases/SHA256/    the code of a release (`releases`)
    DATA/launcher/state.json       which one runs, and how a trial stands (`launcher.store`)

Switching asks the launcher to try it, and nothing else: who runs now goes on running until the
launcher starts the other. What becomes of the trial, the launcher decides, and guard reads. The
package's own code is no release, has no digest, and is never written to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleetward.device.launcher.decide import ask, settle
from fleetward.device.launcher.store import agent_folder, read_state, write_state
from fleetward.device.updates.installer_words import PartWord, Patch
from fleetward.device.updates.installers.contract import (
    Found,
    Source,
    Tell,
    not_active,
    not_written,
    nothing_before,
)
from fleetward.device.updates.installers.releases import CURRENT, PREVIOUS, Releases
from fleetward.trust.errors import Malformed, Refused

MAIN: Final = Path("fleetward/device/guard_main.py")
LAUNCHED: Final = Path("fleetward/device/launcher/vitals.py")
"""A release without it could not say that it is healthy."""


class _Code(Releases):
    """The releases of the agent. Which one is active, no link says here, but the launcher's file:
    what is asked for or tried counts as active."""

    def __init__(self, data: Path) -> None:
        super().__init__(agent_folder(data))
        self._data = data

    def read(self, name: str = CURRENT) -> str:
        """Return which one is active, or was before it."""
        state = read_state(self._data)
        return state.previous if name == PREVIOUS else state.wanted or state.active


class AgentInstaller:
    """The one place of this kind."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._releases = _Code(data)

    def survey(self, part: PartWord) -> Found:
        """Say what is there."""
        releases = self._releases
        releases.check_ours()
        active = releases.read()
        written = active != part.sha256 and releases.has(part.sha256)
        is_source = releases.has_archive(active)
        return Found(active, written, releases.needed_bytes(part), releases.path, is_source)

    def write(self, part: PartWord, source: Source, tell: Tell) -> None:
        """Unpack it, beside the others."""
        self._releases.put(part, source, tell)
        self._look_at_code(part, tell)

    def patch(self, part: PartWord, delta: Source, word: Patch, tell: Tell) -> None:
        """The same, out of the archive of what is active, or of nothing."""
        self._releases.patch(part, delta, word, tell)
        self._look_at_code(part, tell)

    def switch(self, part: PartWord, tell: Tell) -> None:
        """Ask the launcher for it, unless it knows of it."""
        tell(0)
        if not self._releases.has(part.sha256):
            raise not_written(part)
        state = read_state(self._data)
        if part.sha256 in (state.wanted, state.active):
            return
        trial = part.trial
        if trial is None:
            raise Malformed(
                f"Part {part.name} replaces the agent, and the plan does not say how it is tried.",
                reason="no_trial",
            )
        times = (trial.within_seconds * 1000, trial.steady_seconds * 1000)
        write_state(self._data, ask(state, part.sha256, times, connects=trial.connects))

    def commit(self, part: PartWord, tell: Tell) -> None:
        """Keep it, the one before, and the launcher's last resort; drop every other."""
        state = read_state(self._data)
        if state.phase != "settled" or state.active != part.sha256:
            raise not_active(part)
        self._releases.keep({state.active, state.previous}, part.sha256, tell)

    def back(self, part: PartWord, tell: Tell) -> None:
        """Have what was before be settled, without a trial."""
        tell(0)
        if part.before and not self._releases.has(part.before):
            raise nothing_before(part)
        state = read_state(self._data)
        if part.sha256 in (state.wanted, state.active) and part.sha256 != part.before:
            write_state(self._data, settle(state, part.before))

    def clear(self, part: PartWord, tell: Tell) -> None:
        """Drop it, unless it is asked for, settled, or kept."""
        state = read_state(self._data)
        if part.sha256 not in (state.wanted, state.active, state.previous, part.before):
            self._releases.drop(part.sha256, tell)

    def waits_restart(self) -> bool:
        """What is active runs with the next start of the agent, and not of the machine."""
        return False

    def tree(self) -> Path | None:
        """Return the folder with the code that is settled; None for the package's own."""
        active = read_state(self._data).active
        return self._releases.tree_of(active) if active else None

    def _look_at_code(self, part: PartWord, tell: Tell) -> None:
        """Return when it looks like an agent; else drop the part. Raises `Refused`."""
        tree = self._releases.tree_of(part.sha256)
        if (tree / MAIN).is_file() and (tree / LAUNCHED).is_file():
            return
        self._releases.drop(part.sha256, tell)
        raise Refused(
            f"Part {part.name} is to be the agent, and {MAIN} or {LAUNCHED} is not in it. Its "
            "maker has to build it by pip install --target.",
            reason="not_an_agent",
        )
