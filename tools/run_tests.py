"""Run every check and every test, and end with a plain summary. `make test` calls it.

A stage that fails does not stop the next: one run shows all that is wrong. The checks run in two
lanes beside each other, each stage's words kept until it ends; then the tests, line by line. The
last line printed is pytest's own closing line; the exit status is 0 only when every stage passed.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PROGRAMS: Final = ".venv/bin/"
WORKERS: Final = "3"
"""One more than two cores: half of the tests wait for a browser, a broker or a clock."""
BUDGET_SECONDS: Final = 1200
"""`make test` on two cores, after the set-up."""

CLOSING_LINE: Final = re.compile(r"=* ?(?:no tests ran|\d+ [a-z]+.*) in [\d.]+s.*")


@dataclass(frozen=True)
class Stage:
    """One command, and what it looks at in a person's words."""

    words: str
    command: tuple[str, ...]
    folder: str = "."


FOLDERS: Final = tuple(
    name for name in ("src", "tests", "bench", "tools") if any((ROOT / name).rglob("*.py"))
)
CHECKS: Final = (
    Stage("format", (PROGRAMS + "ruff", "format", "--check", "--quiet", *FOLDERS)),
    Stage("lint", (PROGRAMS + "ruff", "check", "--quiet", *FOLDERS)),
    Stage("types", (PROGRAMS + "mypy", *FOLDERS)),
    Stage("imports", (PROGRAMS + "lint-imports", "--no-logo")),
)
CONSOLE: Final = Stage("console: types and tests", ("npm", "run", "--silent", "check"), "console")
QUICK_TESTS: Final = ("tests/unit", "tests/property")


@dataclass(frozen=True)
class Outcome:
    """How a stage ended."""

    stage: Stage
    passed: bool
    seconds: float
    closing: str


def build_tests(paths: tuple[str, ...]) -> Stage:
    """Make the pytest stage; a file's tests stay together, so that they share what they start."""
    present = tuple(path for path in paths if (ROOT / path).is_dir())
    options = ("-m", "pytest", "-q", "-n", WORKERS, "--dist", "loadfile", "--color", "no")
    slowest = ("--durations", "30", "--durations-min", "8")
    return Stage("tests", (PROGRAMS + "python", *options, *slowest, *present))


def build_collecting(paths: tuple[str, ...]) -> Stage:
    """Make the stage that finds the tests once, so that workers find their modules compiled."""
    options = ("-m", "pytest", "--collect-only", "-qqq", "--color", "no")
    return Stage("tests found", (PROGRAMS + "python", *options, *paths))


def build_second_look(paths: tuple[str, ...]) -> Stage:
    """Make the stage that runs what failed once more, by itself.

    Tests that drive a real browser or wait for a real process may fail because two of them shared
    two busy cores. What fails alone too has failed; what does not is named in the summary.
    """
    present = tuple(path for path in paths if (ROOT / path).is_dir())
    options = ("-m", "pytest", "-q", "-n", "0", "--last-failed", "--color", "no")
    return Stage("what failed, once more and alone", (PROGRAMS + "python", *options, *present))


def build_test_environment() -> dict[str, str]:
    """Copy the environment, with Node and the system's administration programs on the path.

    Compiled modules are kept, whatever the environment says of that: hundreds of processes load
    the same ones.
    """
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    node = ROOT / ".venv/node/bin"
    path = [str(node)] * node.is_dir() + path
    path += [folder for folder in ("/usr/sbin", "/sbin") if folder not in path]
    env = {**os.environ, "PATH": os.pathsep.join(path)}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    if not sys.stdout.isatty():
        env.setdefault("NO_COLOR", "1")
    return env


def run_stage(stage: Stage, say: Callable[[str], None]) -> Outcome:
    """Run a stage, passing on what it prints as it comes."""
    started = time.monotonic()
    env = build_test_environment()
    closing = ""
    with subprocess.Popen(
        [str(ROOT / word) if word.startswith(PROGRAMS) else word for word in stage.command],
        cwd=ROOT / stage.folder,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            say(line)
            if CLOSING_LINE.fullmatch(line.strip()):
                closing = line.strip()
    return Outcome(stage, process.returncode == 0, time.monotonic() - started, closing)


def run_aloud(stage: Stage) -> Outcome:
    """Run a stage that has the machine for itself: its words are printed as they come."""
    print(f"\n--- {stage.words} ---", flush=True)
    return run_stage(stage, lambda line: print(line, end="", flush=True))


def run_lane(stages: tuple[Stage, ...]) -> list[Outcome]:
    """Run stages one after another beside another lane; the words of each are printed at its end.

    None of them is the tests, so none gives the closing line.
    """
    outcomes = []
    for stage in stages:
        words: list[str] = []
        outcome = run_stage(stage, words.append)
        print(f"\n--- {stage.words} ---\n{''.join(words)}", end="", flush=True)
        outcomes.append(replace(outcome, closing=""))
    return outcomes


def run_lanes(*lanes: tuple[Stage, ...]) -> list[Outcome]:
    """Run lanes beside each other; return how their stages ended, lane by lane."""
    with ThreadPoolExecutor(len(lanes)) as pool:
        return [outcome for found in pool.map(run_lane, lanes) for outcome in found]


def print_summary(outcomes: list[Outcome], seconds: float) -> None:
    """Say in a few lines how it went; pytest's closing line comes last."""
    print("\n--- summary ---")
    for outcome in outcomes:
        state = "passed" if outcome.passed else "FAILED"
        print(f"  {state}  {outcome.seconds:6.1f} s  {outcome.stage.words}")
    print(f"  {seconds:.0f} s of at most {BUDGET_SECONDS} s")
    closing = [outcome.closing for outcome in outcomes if outcome.closing]
    if closing:
        print(closing[-1], flush=True)


def main(arguments: list[str]) -> int:
    """Run all stages, or with `--quick` those that end within a minute."""
    started = time.monotonic()
    # Tests start processes under other users, who must be able to read what a test wrote for them.
    os.umask(0o022)
    is_quick = "--quick" in arguments
    tests = build_tests(QUICK_TESTS if is_quick else ("tests",))
    collecting = build_collecting(QUICK_TESTS if is_quick else ("tests",))
    outcomes = run_lanes(CHECKS, (collecting,) if is_quick else (collecting, CONSOLE))
    outcomes.append(run_aloud(tests))
    judged = outcomes
    if not is_quick and not outcomes[-1].passed and outcomes[-1].closing:
        again = run_aloud(build_second_look(("tests",)))
        judged = [*outcomes[:-1], again]
        outcomes = [*outcomes, again]
    print_summary(outcomes, time.monotonic() - started)
    return 0 if all(outcome.passed for outcome in judged) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
