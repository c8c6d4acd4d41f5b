"""Running a program for a moment: a hook, a health command, a tool of the system.

It gets no input, an environment of a few names, a session of its own and a bound of time; when it
has ended, or its time is over, everything in its process group is killed. No shell is involved.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from fleetward.device.updates.installer_words import clean
from fleetward.device.updates.installers.contract import Tell
from fleetward.trust.errors import Refused

PROGRAMS_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KEPT_BYTES: Final = 4096
"""Of what it says, the last."""
SHOWN_CHARACTERS: Final = 200
_POLL_SECONDS: Final = 1.0
_PIPE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Runner:
    """Whom a program runs as; without a user as whoever this is."""

    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    name: str = ""
    home: str = "/"


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments, for at most so many seconds.

    `inherits` are descriptors that it gets. Of what it says, the last `kept_bytes` are kept, and
    their last lines returned; with `whole` all of them, as they came, for reading.
    """

    argv: Sequence[str]
    seconds: float
    cwd: Path = Path("/")
    runner: Runner = Runner()
    inherits: tuple[int, ...] = ()
    kept_bytes: int = KEPT_BYTES
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: its exit code, negative for a signal, None when its time was over. `words` are
    the last lines that it said."""

    code: int | None
    words: str

    @property
    def good(self) -> bool:
        """Whether it ended well."""
        return self.code == 0

    def why(self, seconds: float) -> str:
        """Say how it failed."""
        how = f"took longer than {seconds:.0f} s" if self.code is None else f"ended {self.code}"
        return f"{how}: {self.words}" if self.words else how


def find_runner(user: str) -> Runner:
    """Return whom a place's programs run as. Raises `Refused`."""
    if not user:
        return Runner()
    try:
        found = pwd.getpwnam(user)
    except KeyError as e:
        raise Refused(
            f"The places of this machine name the user {user}, who does not exist. Its maker has "
            "to make that user.",
            reason="no_such_user",
        ) from e
    if found.pw_uid == os.geteuid():
        return Runner(name=user, home=found.pw_dir)
    if os.geteuid() != 0:
        raise Refused(
            f"The agent does not run as root, and cannot run anything as {user}. Install it with "
            "`sudo fleetward-agent install`.",
            reason="no_root",
        )
    groups = tuple(os.getgrouplist(user, found.pw_gid))
    return Runner(found.pw_uid, found.pw_gid, groups, user, found.pw_dir)


def run_program(command: Command, tell: Tell) -> Ended:
    """Run a program and return how it ended. Raises `OSError` when it cannot be started."""
    runner = command.runner
    environment = {"HOME": runner.home, "LC_ALL": "C.UTF-8", "PATH": PROGRAMS_PATH}
    if runner.name:
        environment |= {"LOGNAME": runner.name, "USER": runner.name}
    child = subprocess.Popen(
        list(command.argv),
        cwd=command.cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        umask=0o022,
        user=runner.uid,
        group=runner.gid,
        extra_groups=None if runner.uid is None else runner.groups,
        pass_fds=command.inherits,
    )
    with child:
        assert child.stdout is not None
        said, ended = _follow(child, child.stdout, command, tell)
        # Its process group lives as long as its own end was not taken, so the number is still its.
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            child.kill()
        code = child.wait()
    words = said.decode("utf-8", "replace") if command.whole else last_words(said)
    return Ended(code if ended else None, words)


def last_words(said: bytes) -> str:
    """Return the last lines of what a program said, to be shown."""
    lines = [clean(line).strip() for line in said.decode("utf-8", "replace").splitlines()]
    return " / ".join(line for line in lines if line)[-SHOWN_CHARACTERS:]


def _follow(
    child: subprocess.Popen[bytes], pipe: IO[bytes], command: Command, tell: Tell
) -> tuple[bytes, bool]:
    """Read what it says until it has ended; return that, and whether it ended by itself."""
    said = bytearray()
    most, deadline = command.kept_bytes, time.monotonic() + command.seconds
    process = os.pidfd_open(child.pid)
    try:
        waiting = select.poll()
        waiting.register(pipe, select.POLLIN)
        waiting.register(process, select.POLLIN)
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                return bytes(said), False
            ready = {number for number, _ in waiting.poll(min(left, _POLL_SECONDS) * 1000)}
            tell(0)
            if pipe.fileno() in ready:
                block = os.read(pipe.fileno(), _PIPE_BYTES)
                said += block
                del said[:-most]
                if not block:
                    waiting.unregister(pipe)
            # What it left running may hold the pipe for ever; a pipe holds no more than one read.
            if process in ready:
                os.set_blocking(pipe.fileno(), False)
                with contextlib.suppress(BlockingIOError):
                    said += os.read(pipe.fileno(), _PIPE_BYTES)
                    del said[:-most]
                return bytes(said), True
    finally:
        os.close(process)
