"""One child process that is kept alive, watched, and never outlives us.

The child dies with its parent (`PR_SET_PDEATHSIG`), writes to a log file of bounded size, gets an
empty environment, is started again with growing pauses, and is stopped by SIGTERM, then SIGKILL.
The death signal is set by a few lines of Python that then become the child: setting it between
fork and exec would run our code in a copy of a process with threads.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.runtime.files import make_private_directory
from fleetward.trust.errors import Misuse, Unreachable

LOG_BYTES: Final = 8 * 1024 * 1024
"""A log file is moved aside to `NAME.1` when it grows past this; so two of them is the bound."""
LOG_CHECK_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 10.0
STEADY_SECONDS: Final = 30.0
"""A child that lived this long starts again without a pause that grew."""
PROBE_EVERY_SECONDS: Final = 0.05

_BECOME: Final = """\
import ctypes, os, signal, sys
if ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0) != 0 or os.getppid() != int(sys.argv[1]):
    os._exit(71)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """What to run. `argv[0]` is an absolute path."""

    name: str
    argv: tuple[str, ...]
    log_path: Path
    log_bytes: int = LOG_BYTES
    ready_seconds: float = 10.0
    stop_seconds: float = 5.0


class Supervised:
    """Keeps one child running between `start` and `stop`.

    `probe` says whether the child is ready for work; it may raise `Unreachable`, which means no.
    `on_change` is told in words of every start, every death and every failure to become ready.
    """

    def __init__(
        self,
        spec: ChildSpec,
        *,
        probe: Callable[[], Awaitable[bool]],
        on_change: Callable[[str], None],
    ) -> None:
        self._spec = spec
        self._probe = probe
        self._on_change = on_change
        self._process: asyncio.subprocess.Process | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = False
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The pid of the living child, or None."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start the child and return when it is ready.

        Raises `Unreachable` when it dies or is not ready in time; nothing is left running then.
        """
        if self._keeper is not None:
            raise Misuse(f"{self._spec.name} is already started", reason="started_twice")
        self._stopping = False
        try:
            await self._spawn()
            await self._wait_ready()
        except BaseException:
            await self._end_process()
            raise
        self._keeper = asyncio.create_task(self._keep(), name=f"keep {self._spec.name}")

    async def stop(self) -> None:
        """Stop the child for good. Does nothing when there is none."""
        self._stopping = True
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        await self._end_process()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the child. Raises `Unreachable` when it is not running."""
        if self._process is None or self.pid is None:
            raise Unreachable(
                f"expected {self._spec.name} to run; it does not; it is being started again",
                reason="child_not_running",
            )
        self._process.send_signal(number)

    async def _keep(self) -> None:
        """Watch the child and its log; start it again, with longer pauses, while we live."""
        loop = asyncio.get_running_loop()
        pause = FIRST_PAUSE_SECONDS
        while True:
            since = loop.time()
            code = await self._watch()
            self._on_change(f"{self._spec.name} ended with {code}; starting it again")
            pause = FIRST_PAUSE_SECONDS if loop.time() - since > STEADY_SECONDS else pause
            while True:
                await asyncio.sleep(pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                try:
                    await self._spawn()
                    await self._wait_ready()
                    break
                except Unreachable as e:
                    self._on_change(e.message)
                    await self._end_process()

    async def _watch(self) -> int:
        """Return the exit code when the child ends; bound its log meanwhile."""
        if self._process is None:
            raise Misuse("no child to watch", reason="child_not_started")
        ended = asyncio.create_task(self._process.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=LOG_CHECK_SECONDS))[0]:
                self._bound_log()
            return ended.result()
        finally:
            ended.cancel()

    async def _spawn(self) -> None:
        make_private_directory(self._spec.log_path.parent)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        log = os.open(self._spec.log_path, flags, 0o600)
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-I", "-S", "-c", _BECOME, str(os.getpid())),
                *self._spec.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={},
                start_new_session=True,
            )
        except OSError as e:
            raise Unreachable(
                f"expected to start {self._spec.name}; the system says: {e.strerror}; "
                "free memory or processes",
                reason="child_not_started",
            ) from e
        finally:
            os.close(log)
        self.starts += 1

    async def _wait_ready(self) -> None:
        process = self._process
        if process is None:
            raise Misuse("no child to wait for", reason="child_not_started")
        try:
            async with asyncio.timeout(self._spec.ready_seconds):
                while process.returncode is None:
                    with contextlib.suppress(Unreachable):
                        if await self._probe():
                            self._on_change(f"{self._spec.name} is ready, pid {process.pid}")
                            return
                    await asyncio.sleep(PROBE_EVERY_SECONDS)
        except TimeoutError as e:
            raise self._not_ready(f"was not ready after {self._spec.ready_seconds} s") from e
        raise self._not_ready(f"ended with {process.returncode}")

    def _not_ready(self, what: str) -> Unreachable:
        return Unreachable(
            f"expected {self._spec.name} to become ready; it {what}; its last words: "
            f"{self._last_words()!r}; the whole log is {self._spec.log_path}",
            reason="child_not_ready",
        )

    async def _end_process(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._spec.stop_seconds)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    def _bound_log(self) -> None:
        """Move the log aside when it is long. The child appends, so it goes on at the new start."""
        path = self._spec.log_path
        try:
            if path.stat().st_size <= self._spec.log_bytes:
                return
            shutil.copyfile(path, path.with_name(path.name + ".1"))
            os.truncate(path, 0)
        except OSError as e:
            self._on_change(f"the log of {self._spec.name} cannot be bounded: {e.strerror}")

    def _last_words(self) -> str:
        try:
            with self._spec.log_path.open("rb") as file:
                file.seek(max(0, self._spec.log_path.stat().st_size - 400))
                return file.read(400).decode(errors="replace").strip()
        except OSError:
            return "none"
