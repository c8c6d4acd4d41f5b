"""Where the agent's own code lies on this machine, so that nothing replaces it unsaid.

A release that replaces the agent says so, and then only the owner's approval of that very release
lets it be installed (`trust.release_approval`, rule 4). What is looked at here finds makers who
forgot to say it. It does not bind one who hides it: a script of a package can do whatever root can.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from fleetward.device.launcher.interpreter import own_tree
from fleetward.trust.errors import Refused

AGENT_PACKAGES: Final = "fleetward"
"""How the names of the agent's own packages begin."""
_HERE: Final = Path(__file__)


def list_code_folders() -> tuple[Path, ...]:
    """Return the folders with the code that the system's package brought."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.executable).parents[1]
    folders = [
        prefix / "lib" / version / "site-packages",
        Path("/usr/lib/python3/dist-packages"),
        Path("/usr/local/lib") / version / "dist-packages",
    ]
    found = [folder / "fleetward" for folder in folders if (folder / "fleetward").is_dir()]
    own = [] if own_tree() is not None else [_HERE.parents[2]]
    return tuple(dict.fromkeys([*own, *found]))


def holds_agent(folder: Path) -> bool:
    """Say whether the agent's own code lies below a folder."""
    there = folder.resolve()
    return any(code.resolve().is_relative_to(there) for code in list_code_folders())


def not_marked(name: str, what: str) -> Refused:
    """Return the error for a part that would replace the agent, which its release does not say."""
    return Refused(
        f"Part {name} would replace the agent itself ({what}), and its release does not say so. "
        "Its maker has to build it with --replaces-agent, and the owner to approve it by its name.",
        reason="agent_not_marked",
    )
