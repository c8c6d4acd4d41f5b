"""After every switch, to a release or back from one: the part's hook, and the place's units.

First every hook runs, then every unit is restarted: a hook prepares what the programs of the new
release find (a database's tables, a unit's file). A power cut can come between the two, so both may
happen again, and a hook has to bear that.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias

from fleetward.device.updates.installers.contract import Tell
from fleetward.device.updates.programs import PROGRAMS_PATH, Command, find_runner, run_program
from fleetward.trust.errors import Refused
from fleetward.trust.release_checks import check_path

HOOK_SECONDS: Final = 60.0
RESTART_SECONDS: Final = 90.0
SYSTEMD: Final = Path("/run/systemd/system")

Moment: TypeAlias = Literal["switched", "back"]


def run_hook(tree: Path | None, hook: str, moment: Moment, user: str, tell: Tell) -> None:
    """Run the hook in the tree that is active now. Raises `Refused` (`hook_failed`).

    Going back, the release before may have no such hook; then nothing is run.
    """
    path = tree / check_path(hook) if tree is not None else None
    if tree is None or path is None or not path.is_file():
        if moment == "back":
            return
        raise Refused(f"The release has no file {hook} to run as its hook.", reason="hook_failed")
    command = Command((str(path), moment), HOOK_SECONDS, tree, find_runner(user))
    try:
        ended = run_program(command, tell)
    except OSError as e:
        raise Refused(f"The hook {hook} cannot be run: {e.strerror}.", reason="hook_failed") from e
    if not ended.good:
        raise Refused(f"The hook {hook} {ended.why(HOOK_SECONDS)}", reason="hook_failed")


@dataclass(frozen=True, slots=True)
class Units:
    """The services of this machine. `tool` is None where systemd does not run."""

    tool: str | None

    def restart(self, unit: str, tell: Tell) -> None:
        """Restart a unit. Raises `Refused` (`restart_failed`)."""
        if self.tool is None:
            raise Refused(
                f"The place wants {unit} restarted, and systemd does not run on this machine.",
                reason="restart_failed",
            )
        ended = run_program(Command((self.tool, "restart", "--", unit), RESTART_SECONDS), tell)
        if not ended.good:
            raise Refused(
                f"Restarting {unit} {ended.why(RESTART_SECONDS)}", reason="restart_failed"
            )

    def restart_machine(self, tell: Tell) -> None:
        """Have the machine start again, in good order. Raises `Refused` (`restart_failed`)."""
        if self.tool is None:
            raise Refused(
                "The release wants the machine started again, and systemd does not run on it.",
                reason="restart_failed",
            )
        ended = run_program(Command((self.tool, "--no-block", "reboot"), RESTART_SECONDS), tell)
        if not ended.good:
            raise Refused(
                f"Starting the machine again {ended.why(RESTART_SECONDS)}", reason="restart_failed"
            )


def find_units() -> Units:
    """Return the services of this machine."""
    found = shutil.which("systemctl", path=PROGRAMS_PATH) if SYSTEMD.is_dir() else None
    return Units(found)
