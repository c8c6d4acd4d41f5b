"""The environment in which the set-up starts other programs.

Nothing here lowers a check. The certificates that the system trusts are named to programs that
would bring their own, and an index that was configured for pip is named to uv, which does not read
pip's configuration.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

SYSTEM_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
SYSTEM_NPM_CONFIGS: Final = (Path("/etc/npmrc"), Path("/usr/etc/npmrc"))


def build_environment(root: Path) -> dict[str, str]:
    """Copy this process's environment and fill in what is missing."""
    env = dict(os.environ)
    if not _is_usable_home(env.get("HOME", "")):
        home = root / "build" / "home"
        home.mkdir(parents=True, exist_ok=True)
        env["HOME"] = str(home)
    env["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    env["PIP_ROOT_USER_ACTION"] = "ignore"
    env["PIP_NO_INPUT"] = "1"
    env.setdefault("UV_SYSTEM_CERTS", "1")
    env["UV_NO_PROGRESS"] = "1"
    env["npm_config_update_notifier"] = "false"
    if not sys.stdout.isatty():
        env.setdefault("NO_COLOR", "1")
    if SYSTEM_CERTIFICATES.is_file():
        env.setdefault("NODE_EXTRA_CA_CERTS", str(SYSTEM_CERTIFICATES))
    return env


def name_index_to_uv(env: dict[str, str], pip: list[str]) -> dict[str, str]:
    """Give uv the index that pip is configured with, if any; never print it."""
    if "UV_DEFAULT_INDEX" in env or "UV_INDEX_URL" in env:
        return env
    asked = subprocess.run(
        [*pip, "config", "get", "global.index-url"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    index = env.get("PIP_INDEX_URL") or (asked.stdout.strip() if asked.returncode == 0 else "")
    return {**env, "UV_DEFAULT_INDEX": index} if index else env


def name_node(env: dict[str, str], folder: Path | None) -> dict[str, str]:
    """Put our own Node first on the path, with the npm configuration that the system has."""
    if folder is None:
        return env
    named = {**env, "PATH": f"{folder}{os.pathsep}{env.get('PATH', os.defpath)}"}
    for config in SYSTEM_NPM_CONFIGS:
        if config.is_file():
            named.setdefault("npm_config_globalconfig", str(config))
    return named


def _is_usable_home(home: str) -> bool:
    return bool(home) and Path(home).is_dir() and os.access(home, os.W_OK | os.X_OK)
