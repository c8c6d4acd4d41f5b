"""How one of our modules is started: out of the package, or out of a release of the agent.

A release is whole: it brings every package that it needs. So its interpreter sees the standard
library and its folder, and neither the package's own code nor other packages of the system.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

_BOOT: Final = (
    "import runpy, sys; tree, module = sys.argv[1:3]; del sys.argv[1:3]; sys.path.insert(0, tree); "
    "runpy.run_module(module, run_name='__main__', alter_sys=True)"
)
_HERE: Final = Path(__file__)


def module_argv(module: str, tree: Path | None) -> list[str]:
    """Return what to execute for a module of the package, or of the release in `tree`.

    No environment, no current folder and no folder of a user has a say (`-I`). A release is never
    written to, not even with compiled code (`-B`), and sees no other packages (`-S`).
    """
    if tree is None:
        return [sys.executable, "-I", "-m", module]
    return [sys.executable, "-I", "-S", "-B", "-c", _BOOT, str(tree), module]


def own_tree() -> Path | None:
    """Return the folder of the release that this very code is of; None for the package's own."""
    tree = _HERE.parents[3]
    return tree if sys.flags.no_site and tree.parent.name == "releases" else None


def own_release() -> str:
    """Return the SHA-256 by which the release is named that this code is of; nothing for none."""
    tree = own_tree()
    return tree.name if tree is not None else ""
