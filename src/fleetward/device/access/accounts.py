"""Users of this machine: who a scope's program runs as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Final

from fleetward.trust.access import RootScope, TerminalScope
from fleetward.trust.access_runbook import ROOT
from fleetward.trust.errors import Refused

SESSION_UID: Final = 64918
"""Whom a session's own process becomes; outside the ranges of Debian and systemd."""
PROGRAMS_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str

    def environment(self, term: str = "") -> dict[str, str]:
        """Return a clean environment of that user."""
        values = {
            "HOME": self.home,
            "LANG": "C.UTF-8",
            "LOGNAME": self.name,
            "PATH": PROGRAMS_PATH,
            "SHELL": self.shell,
            "USER": self.name,
        }
        return {**values, "TERM": term} if term else values


def find_account(profile: str) -> Account:
    """Return the user of a profile. Raises `Refused` when there is none, or he is root."""
    try:
        found = pwd.getpwnam(profile)
    except (KeyError, ValueError) as e:
        raise Refused(
            f"This machine has no user {profile}. Ask for another, or have it made.",
            reason="no_such_user",
        ) from e
    if found.pw_uid == 0:
        raise Refused(f"User {profile} is root here. Ask for root.", reason="user_is_root")
    return _account(found)


def own_account() -> Account:
    """Return the user that this process runs as."""
    try:
        return _account(pwd.getpwuid(os.geteuid()))
    except KeyError:
        uid = os.geteuid()
        return Account(str(uid), uid, os.getegid(), "/", "/bin/sh")


def _account(found: pwd.struct_passwd) -> Account:
    shell = found.pw_shell if os.access(found.pw_shell, os.X_OK) else "/bin/sh"
    home = found.pw_dir if found.pw_dir.startswith("/") else "/"
    return Account(found.pw_name, found.pw_uid, found.pw_gid, home, shell)


def account_named(run_as: str) -> Account:
    """Return the user that a runbook runs as. Raises `Refused` as `account_of` does."""
    return account_of(RootScope() if run_as == ROOT else TerminalScope(run_as))


def account_of(scope: TerminalScope | RootScope) -> Account:
    """Return the user of a terminal. Without root that is the agent's own and no other.

    Raises `Refused`.
    """
    root = os.geteuid() == 0
    if isinstance(scope, RootScope):
        if not root:
            raise Refused(
                "The agent does not run as root here, so it opens no terminal as root.",
                reason="no_root",
            )
        return own_account()
    account = find_account(scope.profile)
    if not root and account.uid != os.geteuid():
        raise Refused(
            f"The agent runs as {own_account().name} here and opens terminals as that user alone.",
            reason="another_user",
        )
    return account
