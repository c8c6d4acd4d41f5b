"""What keeps the programs of a session apart from the machine, and has all of them die with it.

Bubblewrap gives them name spaces of their own: of processes, so that the end of the first one ends
every other, however it tried to hide; of networks, of messages, of names; and a view of the files
in which the agent's folder is empty. It runs before the rights are given up, so that no program
inside can take the view apart again.

Out of sight are also the sockets through which somebody else would start a program for them: the
message bus, the user's service manager, containers, and the terminals of others in /tmp and /run.
What appears in /run while they run stays out of sight too.

Where there is no bubblewrap, or the kernel refuses it, the word is `none`: the programs run as the
same user, and are ended by finding every descendant. An offer says which of the two it is.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.device.access.accounts import PROGRAMS_PATH, SESSION_UID, Account, own_account
from fleetward.device.access.words import Probed
from fleetward.trust.errors import Unreachable

BUBBLEWRAP: Final = "bubblewrap"
NONE: Final = "none"
PROBE_SECONDS: Final = 5.0
_RUN: Final = Path("/run")
_RUN_OF_OTHERS: Final = frozenset(
    {
        *("containerd", "crio", "dbus", "docker", "fleetward", "incus", "k3s", "libvirt", "lxd"),
        *("podman", "screen", "snapd", "systemd", "tmux", "udev", "user"),
    }
)
"""Folders in /run that hold sockets of who starts programs for others. Sockets in /run itself are
never shown: a name that is only covered comes back when its daemon makes it anew."""
_FOLDERS_OF_OTHERS: Final = ("/var/lib/incus", "/var/lib/lxd", "/var/snap/lxd/common/lxd")
_SETTINGS: Final = ("/sys", "/proc/sys", "/proc/sysrq-trigger")
"""The kernel's own: by some of them root would have it start a program outside."""
_NOT_FOR_ROOT: Final = {
    "dac_read_search": 2,
    "sys_module": 16,
    "sys_rawio": 17,
    "sys_chroot": 18,
    "sys_ptrace": 19,
    "sys_admin": 21,
    "sys_boot": 22,
    "mknod": 27,
    "perfmon": 38,
    "bpf": 39,
}
"""Capabilities, by number, that even root inside does without: by each he could look behind the
sandbox, or take it apart."""
_LAST_CAPABILITY: Final = Path("/proc/sys/kernel/cap_last_cap")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """How programs are started. `kind` is one of the words of an offer."""

    kind: str
    hidden: tuple[str, ...]

    def command(
        self, argv: Sequence[str], account: Account, *, writable: bool, groups: bool = True
    ) -> list[str]:
        """Return what to execute so that `argv` runs apart, as `account`."""
        if self.kind == NONE:
            return list(argv)
        given = [_find("bwrap"), "--die-with-parent", "--unshare-pid", "--unshare-net"]
        given += ["--unshare-ipc", "--unshare-uts", "--bind" if writable else "--ro-bind", "/", "/"]
        given += ["--dev", "/dev", "--proc", "/proc"]
        for path in _SETTINGS:
            given += ["--ro-bind-try", path, path]
        given += ["--perms", "1777", "--tmpfs", "/tmp"]  # noqa: S108 - a private one
        given += _view_of_run("--bind-try" if writable else "--ro-bind-try")
        for folder in (*self.hidden, *_FOLDERS_OF_OTHERS):
            if Path(folder).is_dir():
                given += ["--perms", "0700", "--tmpfs", folder]
        given += ["--chdir", account.home if Path(account.home).is_dir() else "/"]
        given += self._rights(account, groups=groups)
        return [*given, *argv]

    def _rights(self, account: Account, *, groups: bool) -> list[str]:
        """Return how the rights are given up: by setpriv, once bubblewrap has built its walls.

        What bubblewrap drops of root's capabilities, root has again when he executes a program;
        only what leaves the bounding set is gone for good.
        """
        if os.geteuid() != 0:
            return ["--unshare-user", "--"]
        given = ["--cap-add", "ALL", "--", _find("setpriv"), "--inh-caps=-all", "--no-new-privs"]
        if account.uid == 0:
            return [*given, f"--bounding-set={_bounds_of_root()}", "--"]
        given += [f"--reuid={account.uid}", f"--regid={account.gid}", "--bounding-set=-all"]
        return [*given, "--init-groups" if groups else "--clear-groups", "--"]

    def become(self, account: Account, *, groups: bool = True) -> None:
        """In the child, before it executes: become `account` where bubblewrap does not do it."""
        if self.kind == NONE and os.geteuid() == 0 and account.uid != 0:
            if groups:
                os.initgroups(account.name, account.gid)
            else:
                os.setgroups([])
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        if self.kind == NONE and Path(account.home).is_dir():
            os.chdir(account.home)


def _view_of_run(bind: str) -> list[str]:
    """Return how /run is shown: the folders of services that start nothing for others."""
    if not _RUN.is_dir():
        return []
    given = ["--perms", "0755", "--tmpfs", str(_RUN)]
    for folder in sorted(_RUN.iterdir()):
        if folder.name not in _RUN_OF_OTHERS and folder.is_dir() and not folder.is_symlink():
            given += [bind, str(folder), str(folder)]
    return given


def _bounds_of_root() -> str:
    try:
        last = int(_LAST_CAPABILITY.read_text())
    except (OSError, ValueError):
        last = 63
    return ",".join(f"-cap_{number}" for number in _NOT_FOR_ROOT.values() if number <= last)


def probe(hidden: tuple[str, ...]) -> Probed:
    """Try the sandbox once, on a program that does nothing."""
    stranger = Account("session", SESSION_UID, SESSION_UID, "/", "/bin/sh")
    account = stranger if os.geteuid() == 0 else own_account()
    try:
        argv = Sandbox(BUBBLEWRAP, hidden).command(
            [_find("true")], account, writable=True, groups=False
        )
    except Unreachable as e:
        return Probed(NONE, e.message)
    try:
        done = subprocess.run(
            argv,
            env=account.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return Probed(NONE, f"Bubblewrap did not run: {e}.")
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip()[-200:]
        return Probed(NONE, f"Bubblewrap was refused by this system: {said}")
    return Probed(BUBBLEWRAP, "")


def list_children() -> list[int]:
    """Return the pids of this process's children, adopted ones too."""
    here = os.getpid()
    try:
        text = Path(f"/proc/self/task/{here}/children").read_text()
        return [int(pid) for pid in text.split()]
    except OSError:
        found = []
        for entry in os.listdir("/proc"):  # noqa: PTH208 - faster, and it is done under a deadline
            if entry.isdigit() and _parent_of(entry) == here:
                found.append(int(entry))
        return found


def kill_children(spared: Sequence[int] = ()) -> list[tuple[int, int]]:
    """Kill every child once, those of `spared` apart, and return (pid, status) of who is dead.

    Called again until there are none: the children of the dead become ours.
    """
    for pid in list_children():
        if pid not in spared:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
    return reap()


def reap() -> list[tuple[int, int]]:
    """Return (pid, status) of every child that has ended."""
    ended: list[tuple[int, int]] = []
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if pid == 0:
            return ended
        ended.append((pid, status))


def _parent_of(entry: str) -> int:
    try:
        stat = Path(f"/proc/{entry}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])


def _find(program: str) -> str:
    found = shutil.which(program, path=PROGRAMS_PATH)
    if found is None:
        names = {"bwrap": "bubblewrap", "setpriv": "util-linux"}
        raise Unreachable(
            f"The program {program} is not there; installing {names.get(program, program)} "
            "gives sessions a sandbox.",
            reason="no_sandbox_program",
        )
    return found
