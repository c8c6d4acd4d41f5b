"""One `connect` from the grant to the end: open the session, do what was wanted, leave."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from fleetward.keyholder.access.asking import read_own_case
from fleetward.keyholder.access.connecting import SessionLink, open_session
from fleetward.keyholder.access.front_files import Moved, get_file, list_files, put_file
from fleetward.keyholder.access.front_logs import show_logs
from fleetward.keyholder.access.front_port import PortListener, join_stdio
from fleetward.keyholder.access.front_runbook import Ran, run_runbook
from fleetward.keyholder.access.front_serial import run_serial
from fleetward.keyholder.access.front_terminal import run_terminal
from fleetward.keyholder.access.judging import Case
from fleetward.keyholder.access.learning import Learned
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.access.wishing import Fronts, place_of
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.keys import Signer

RECEIPT_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class Work:
    """What shall be done in the session, beside its scopes."""

    listen: int = 0
    stdio: bool = False
    lines: int = 200
    follow: bool = False
    lists: tuple[str, ...] = ()
    gets: tuple[str, ...] = ()
    puts: tuple[Path, ...] = ()
    into: Path = Path()
    to: str = ""
    keep: bool = False
    """Whether what a runbook says is returned and not shown."""


@dataclass(slots=True)
class Done:
    """What was done, for the answer."""

    session: str
    listening: dict[str, str] = field(default_factory=dict)
    files: list[dict[str, Any]] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)
    ended: str = ""
    ran: list[Ran] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Runner:
    """What a run needs from outside: words to a person, progress, and what is ready."""

    tell: Callable[[str], None]
    progress: Callable[[str, int, int], None]
    on_ready: Callable[[Done], None]


async def run_session(
    api: AccessApi,
    case: Case,
    keys: tuple[Signer, bytes],
    wanted: tuple[Fronts, Work],
    runner: Runner,
) -> Done:
    """Open the session of a granted case and do what is wanted. Raises what ended it early."""
    done = Done(case.session)
    with _signals_cancel():
        async with open_session(api, case, *keys) as link:
            welcome = await link.open()
            runner.tell(
                f"You are in: {case.entry.name}, {welcome.seconds_left // 60} min left. "
                f"Six words: {case.grant.words if case.grant else ''}"
            )
            await _until_over(link, _work(link, wanted, runner, done))
    return done


async def _until_over(link: SessionLink, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; the session's end ends it."""
    working = asyncio.create_task(work)
    ending = asyncio.create_task(link.wait_over())
    try:
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
        else:
            words = ending.result()
            raise Refused(words or "The session is over.", reason="session_over")
    finally:
        for task in (working, ending):
            task.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)


async def _work(link: SessionLink, wanted: tuple[Fronts, Work], runner: Runner, done: Done) -> None:
    fronts, work = wanted
    listeners: list[PortListener] = []
    try:
        if work.stdio:
            await join_stdio(link, place_of(link.scopes, "tcp", str(fronts.ports[0])))
            return
        for port in fronts.ports:
            listener = PortListener(link, place_of(link.scopes, "tcp", str(port)), runner.tell)
            taken = await listener.start(work.listen if len(fronts.ports) == 1 else 0)
            listeners.append(listener)
            done.listening[str(port)] = f"127.0.0.1:{taken}"
        runner.on_ready(done)
        if fronts.files:
            await _move_files(link, fronts, work, runner, done)
        if fronts.logs:
            place = place_of(link.scopes, "logs", fronts.logs)
            await show_logs(link, place, work.lines, follow=work.follow)
        for scope in fronts.runbooks:
            place = place_of(link.scopes, "runbook", scope.digest)
            done.ran.append(await run_runbook(link, place, scope.digest, keep=work.keep))
        if fronts.serial:
            place = place_of(link.scopes, "serial", fronts.serial)
            done.ended = one_line(await run_serial(link, place))
        if fronts.terminal:
            kind = "root" if fronts.terminal == "root" else "terminal"
            place = place_of(link.scopes, kind, fronts.terminal)
            done.ended = one_line(await run_terminal(link, place))
        elif listeners:
            await link.wait_over()
    finally:
        for listener in listeners:
            await listener.stop()


async def _move_files(
    link: SessionLink, fronts: Fronts, work: Work, runner: Runner, done: Done
) -> None:
    place = place_of(link.scopes, "files", fronts.files)
    for path in work.lists or (() if work.gets or work.puts else ("",)):
        for row in await list_files(link, place, path):
            name = one_line(row.name)
            done.files.append(
                {"path": path, "name": name, "kind": one_line(row.kind, 10), "size": row.size}
            )
    for path in work.gets:
        done.moved.append(await get_file(link, place, path, work.into, runner.progress))
    for local in work.puts:
        path = "/".join(step for step in (work.to.strip("/"), local.name) if step)
        done.moved.append(await put_file(link, place, local, path, runner.progress))


@contextlib.contextmanager
def _signals_cancel() -> Iterator[None]:
    """Let SIGTERM and SIGHUP leave the session as Ctrl-C does."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    taken: list[signal.Signals] = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        with contextlib.suppress(ValueError, RuntimeError):
            if task is not None:
                loop.add_signal_handler(number, task.cancel)
                taken.append(number)
    try:
        yield
    finally:
        for number in taken:
            loop.remove_signal_handler(number)


def wait_receipt(
    folder: RequesterFolder,
    api: AccessApi,
    learned: Learned,
    hash_: str,
    still: Callable[[float], None],
) -> Case | None:
    """Return what became of a session that is over, once the machine has signed its end.

    Its session key is of no use any more, and is deleted here, receipt or not.
    """
    case: Case | None = None
    waited = 0.0
    while waited <= RECEIPT_SECONDS:
        with contextlib.suppress(FleetwardError):
            case = read_own_case(folder, learned, api.papers(hash_))
            if case.receipt is not None:
                break
        still(0.3)
        waited += 0.3
    folder.forget(hash_)
    return case


def say_moved(moved: Sequence[Moved]) -> list[dict[str, Any]]:
    """Return moved files as JSON."""
    return [{"path": m.path, "local": m.local, "size": m.size, "sha256": m.sha256} for m in moved]
