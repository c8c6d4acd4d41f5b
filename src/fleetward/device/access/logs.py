"""The journal of a systemd unit, read by journalctl in the sandbox."""

from __future__ import annotations

import grp
import os
import shutil
from typing import Final

from fleetward.device.access.accounts import SESSION_UID, Account, own_account
from fleetward.device.access.sandbox import Sandbox
from fleetward.device.access.terminal import Program, start_child
from fleetward.trust.access import LogsScope
from fleetward.trust.access_rule import ANY
from fleetward.trust.errors import Unreachable

JOURNALCTL: Final = "journalctl"
JOURNAL_GROUP: Final = "systemd-journal"
MOST_LINES: Final = 100_000


def start_logs(sandbox: Sandbox, scope: LogsScope, lines: int, *, follow: bool) -> Program:
    """Start reading. Raises `Unreachable` where this machine has no such journal, or `OSError`."""
    program = shutil.which(JOURNALCTL, path="/usr/bin:/bin")
    if program is None:
        raise Unreachable(
            "This machine has no journalctl, so there are no logs of units. Ask for files instead.",
            reason="no_journal",
        )
    argv = [program, "--no-pager", "--quiet", "--output=short-iso"]
    argv += [f"--lines={min(lines, MOST_LINES)}"]
    argv += ["--follow"] if follow else []
    argv += [] if scope.unit == ANY else [f"--unit={scope.unit}"]
    account = _reader()
    command = sandbox.command(argv, account, writable=False, groups=False)
    ours, theirs = os.pipe()
    nothing = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)

    def take_pipes() -> None:
        os.setsid()
        for source, number in ((nothing, 0), (theirs, 1), (theirs, 2)):
            os.dup2(source, number)
        sandbox.become(account, groups=False)

    try:
        return Program(start_child(command, account.environment(), take_pipes), ours)
    except OSError:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
        os.close(nothing)


def _reader() -> Account:
    """Return a user who can read the journal and nothing else of it."""
    if os.geteuid() != 0:
        return own_account()
    try:
        group = grp.getgrnam(JOURNAL_GROUP).gr_gid
    except KeyError as e:
        raise Unreachable(
            f"This machine has no group {JOURNAL_GROUP}, by which its journal is read.",
            reason="no_journal",
        ) from e
    return Account("session", SESSION_UID, group, "/", "/bin/sh")
