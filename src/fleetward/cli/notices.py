"""`fleetward notices …`: who is told when somebody asks, and whether that works."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from fleetward.cli.plain import PLAIN
from fleetward.keyholder.speak import emit, refusals
from fleetward.trust.errors import Refused

notices_app = typer.Typer(
    help="Who is told when somebody asks, by e-mail or webhook.", no_args_is_help=True, **PLAIN
)

Data = Annotated[Path, typer.Option("--data", help="The control plane's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
TIMEOUT_SECONDS = 300


@notices_app.command("show")
def show(data: Data, as_json: AsJson = False) -> None:
    """Show who is told, when, and how. Addresses are not shown: they may hold passwords.

    fleetward notices show --data ~/fleetward
    """
    with refusals():
        _tell(_run(data), as_json)


@notices_app.command("test")
def test(data: Data, as_json: AsJson = False) -> None:
    """Send everybody in notices.toml a trial message now.

    fleetward notices test --data ~/fleetward
    """
    with refusals():
        told = _run(data, "--send")
        _tell(told, as_json)
        if not all(r["good"] for step in told["steps"] for r in step["to"]):
            raise Refused(
                "Not everybody could be told. Look at the addresses in notices.toml, and whether "
                "this computer reaches them.",
                reason="not_told",
            )


def _run(data: Path, *more: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "fleetward.server.notices_main", "--data", str(data), *more],
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_SECONDS,
    )
    lines = done.stdout.splitlines()
    if not lines:
        words = done.stderr.strip().splitlines()
        raise Refused(words[-1] if words else "Nothing was said.", reason="bad_notices")
    told: dict[str, Any] = json.loads(lines[-1])
    return told


def _tell(told: dict[str, Any], as_json: bool) -> None:
    lines = []
    for step in told["steps"]:
        after = step["after_seconds"]
        when = (
            "At once" if not after else f"After {after // 60} min" if after >= 60 else f"{after} s"
        )
        bad = "could not be told" if told["sent"] else "no address that can be used"
        names = [f"{r['name']} ({r['channel'] if r['good'] else bad})" for r in step["to"]]
        lines.append(f"{when}: {', '.join(names)}")
    nobody = "Nobody is told. Write notices.toml in the data folder: docs/operate/notices.md"
    emit(told, as_json, "\n".join(lines) or nobody)
