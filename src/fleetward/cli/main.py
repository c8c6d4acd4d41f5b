"""`fleetward`: every command, by name. What they do is elsewhere.

Sub-commands are imported when they are called, so that the owner's tools start without the server's
libraries.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, Final

import typer
from typer.core import TyperGroup

from fleetward.cli.plain import PLAIN

COMMANDS: Final[dict[str, tuple[str, str]]] = {
    "up": ("fleetward.cli.server:up_app", "Start a control plane on this computer."),
    "down": ("fleetward.cli.server:down_app", "Stop it."),
    "login-link": ("fleetward.cli.server:link_app", "Make a link that signs you in once."),
    "backup": ("fleetward.cli.backup:backup_app", "Write an encrypted backup of a control plane."),
    "restore": ("fleetward.cli.backup:restore_app", "Restore a control plane from a backup."),
    "doctor": ("fleetward.cli.fleet:doctor_app", "Say what is not as it should be, with its cure."),
    "device": ("fleetward.cli.fleet:device_app", "List, show, confirm, quarantine machines."),
    "event": ("fleetward.cli.fleet:event_app", "List what machines reported."),
    "token": ("fleetward.cli.fleet:token_app", "Make, list and revoke API tokens."),
    "drill": ("fleetward.cli.fleet:drill_app", "Attack a machine with all that the server holds."),
    "owner": ("fleetward.cli.owner:owner_app", "What the owner signs; no server is needed."),
    "maker": ("fleetward.cli.maker:maker_app", "Be a maker: keys, products, what runs out when."),
    "release": ("fleetward.cli.release:release_app", "Build, sign, publish and carry releases."),
    "requester": ("fleetward.cli.requester:requester_app", "Be somebody who asks for sessions."),
    "request": ("fleetward.cli.access:request_app", "Ask for a session with a machine."),
    "connect": (
        "fleetward.cli.connect:connect_app",
        "Ask, wait for the owner's yes, and be there.",
    ),
    "notices": (
        "fleetward.cli.notices:notices_app",
        "Who is told when somebody asks, by e-mail or webhook.",
    ),
    "runbook": ("fleetward.cli.runbook:runbook_app", "Make and sign steps to be started so."),
    "session": ("fleetward.cli.access:session_app", "See requests and sessions."),
    "window": ("fleetward.cli.window:window_app", "See in which windows you need not ask."),
    "rollout": ("fleetward.cli.rollout:rollout_app", "Bring a release to machines in waves."),
    "recall": ("fleetward.cli.recall:recall_app", "Find machines with a fault; prove it is over."),
    "cache": ("fleetward.cli.cache:cache_app", "Keep parts of releases at a site."),
    "audit": ("fleetward.cli.audit:audit_app", "Export the record and verify it, trusting nobody."),
    "demo": ("fleetward.cli.demo:demo_app", "A control plane with this machine and a dozen more."),
    "sim": ("fleetward.cli.demo:sim_app", "Run many simulated machines in one process."),
}


class _LazyGroup(TyperGroup):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order of the list above."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import and return a command, or None."""
        if cmd_name not in COMMANDS:
            return None
        place, words = COMMANDS[cmd_name]
        module, _, name = place.partition(":")
        command: Any = typer.main.get_command(getattr(importlib.import_module(module), name))
        command.name, command.short_help = cmd_name, words
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


app: Final = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    **PLAIN,
    help="Fleetward: identity, posture and proof for connected machines.",
)


@app.callback()
def root() -> None:
    """Identity, posture and proof for connected machines, run by the people who own them."""


def main() -> None:
    """Run the command line; exit 0 done, 1 refused or failed with a reason, 2 misuse."""
    try:
        app()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped.\n")
        raise SystemExit(1) from None
