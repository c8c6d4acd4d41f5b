"""`fleetward demo` and `fleetward sim`: everything on one computer, and a fleet in one process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import tempfile
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import urlsplit

import msgspec
import typer

from fleetward.cli.demo_release import release
from fleetward.cli.plain import PLAIN
from fleetward.cli.server import is_running, start_server, stop_server, wait_ready
from fleetward.demo.children import Children
from fleetward.demo.load import Crowd, Load
from fleetward.demo.places import (
    DEFAULT_FOLDER,
    DemoPlaces,
    claim_folder,
    hold_folder,
    read_mark,
    stop_other,
    wipe_folder,
)
from fleetward.demo.progress import Progress
from fleetward.demo.stage import STEPS, Stage
from fleetward.demo.tour import run_line
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.files import atomic_write, make_private_directory
from fleetward.trust.errors import Refused
from fleetward.trust.invitation import read_join_string

MOST_MACHINES: Final = 200
"""More are for `fleetward sim`: the demo confirms each with the owner's keys."""
LOOK_SECONDS: Final = 0.5

demo_app: Final = typer.Typer(**PLAIN)
demo_app.command("release")(release)
sim_app: Final = typer.Typer(**PLAIN)


class _LocalControlPlane:
    """The control plane as `fleetward up` and `down` start and stop it."""

    def start(self, data: Path) -> dict[str, Any]:
        """Start it; one that a demo left behind is ended first."""
        if is_running(data):
            stop_server(data)
        self._child = start_server(data)
        return wait_ready(data, self._child)

    def stop(self, data: Path) -> None:
        """Stop it, if it runs."""
        if is_running(data):
            with contextlib.suppress(Refused):
                stop_server(data)


@demo_app.callback(invoke_without_command=True)
def demo(
    context: typer.Context,
    data: Annotated[
        Path | None, typer.Option("--data", help="Its folder; in your home if not named.")
    ] = None,
    machines: Annotated[
        int, typer.Option("--machines", min=0, max=MOST_MACHINES, help="Simulated machines.")
    ] = 12,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address.")
    ] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Write addresses and ids here when ready.")
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Stop what runs there, remove it, start afresh.")
    ] = False,
) -> None:
    """Start a control plane, let this very machine join, and a dozen simulated ones.

    fleetward demo

    fleetward demo release
    """
    if context.invoked_subcommand is not None:
        return
    with refusals():
        places = DemoPlaces((data or Path.home() / DEFAULT_FOLDER).absolute())
        if reset:
            _reset(places)
        claim_folder(places)
        with hold_folder(places), _signals_as_interrupts():
            _run(places, machines, not no_browser, ready_file)


@sim_app.command()
def sim(
    machines: Annotated[int, typer.Option("--machines", min=1, help="How many.")],
    join: Annotated[str, typer.Option("--join", help="Join string with as many uses.")],
    beat: Annotated[float, typer.Option("--beat", min=1, help="Seconds between heartbeats.")] = 60,
    seconds: Annotated[float, typer.Option("--seconds", help="End after this; 0: never.")] = 0,
    events: Annotated[int, typer.Option("--events", help="Events that each machine writes.")] = 0,
    rate: Annotated[float, typer.Option("--rate", help="Events a second of each; 0: fast.")] = 0,
    batch: Annotated[int, typer.Option("--batch", min=1, max=100, help="Events a batch.")] = 100,
    failing: Annotated[
        float, typer.Option("--failing", min=0, max=1, help="Share on which releases fail.")
    ] = 0,
    data: Annotated[
        Path | None, typer.Option("--data", help="Keep the machines here; else they are gone.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Run many simulated machines in one process, until the events are proven or Ctrl-C.

    fleetward sim --machines 100 --join STRING --seconds 60 --json
    """
    with refusals(), contextlib.ExitStack() as stack:
        folder = data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sim-")))
        load = Load(
            machines=machines,
            join=read_join_string(join),
            folder=make_private_directory(folder.absolute()),
            kept=data is not None,
            beat_seconds=beat,
            seconds=seconds,
            events=events,
            rate=rate,
            batch=batch,
            failing=failing,
        )
        summary = asyncio.run(_simulate(load))
        shown = {name: value for name, value in summary.items() if name != "devices"}
        emit(summary, as_json, "\n".join(f"{name:<14}{value}" for name, value in shown.items()))
    if not summary["joined"]:
        reasons = ", ".join(summary["join_refusals"]) or "no answer came in time"
        say(f"No machine joined: {reasons}. `fleetward owner invite` makes a new invitation.")
        raise SystemExit(1)


async def _simulate(load: Load) -> dict[str, Any]:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await Crowd(load, say).run(stop)


def _run(places: DemoPlaces, machines: int, with_browser: bool, ready_file: Path | None) -> None:
    progress = Progress(say, STEPS)
    stage = Stage(places, machines, _LocalControlPlane(), SystemClock(), progress)
    say(f"Fleetward demo in {places.data}. Ctrl-C stops it; starting again goes on with it.")
    try:
        ready = stage.set_up()
        if ready_file is not None:
            atomic_write(ready_file, msgspec.json.encode(ready))
        _show(places, ready, progress.seconds)
        if with_browser:
            _open_browser(str(ready["login_url"]))
        _watch(places, stage.children)
    except KeyboardInterrupt:
        say("Stopping …")
    finally:
        with _signals_ignored():
            stage.take_down()
        say("Stopped.")


def _watch(places: DemoPlaces, children: Children) -> None:
    """Say what ends by itself, until a signal comes."""
    serving = True
    while True:
        for name in children.take_ended():
            say(f"{name} ended by itself. What it said: {children.log_of(name)}")
        if serving and not is_running(places.data):
            serving = False
            say(f"The control plane ended. Its log: {places.data}/server/logs")
        time.sleep(LOOK_SECONDS)


def _show(places: DemoPlaces, ready: dict[str, Any], seconds: float) -> None:
    say(f"Ready after {seconds:.1f} s. Sign in once, within 15 minutes:")
    say(f"\n    {ready['login_url']}\n")
    say(f"Another link: {run_line('fleetward', 'login-link', '--data', places.data)}")
    if ready["owner_console"]:
        say(f"The owner's console, with its secret: {ready['owner_console']}")
    say(f"The owner's passphrase: {places.passphrase}")
    if ready["technician"]:
        say(f"A technician's folder: {ready['technician']}")
        say(f"His passphrase: {ready['technician_passphrase_file']}")
    if not _has_screen():
        ports = [urlsplit(str(ready[name])).port for name in ("url", "owner_console")]
        forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports if port)
        say(f"No screen here? On your own computer: ssh {forwards} {socket.gethostname()}")


def _reset(places: DemoPlaces) -> None:
    """Remove a demo after stopping it. Raises `Refused` for a folder that is not a demo's."""
    if not places.data.exists() or not any(places.data.iterdir()):
        return
    read_mark(places)
    stop_other(places)
    with hold_folder(places):
        Stage(places, 0, _LocalControlPlane(), SystemClock(), Progress(say, 0)).clear()
        wipe_folder(places)
    say(f"Removed {places.data}.")


def _open_browser(url: str) -> None:
    if _has_screen():
        webbrowser.open(url)


def _has_screen() -> bool:
    """Say whether a browser with windows can be opened; one inside this terminal is none."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    return isinstance(browser, webbrowser.BackgroundBrowser | webbrowser.UnixBrowser)


@contextlib.contextmanager
def _signals_as_interrupts() -> Iterator[None]:
    """Make SIGTERM and SIGHUP end the demo as Ctrl-C does; SIGINT too where a shell ignores it."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(n, signal.signal(n, interrupt)) for n in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


@contextlib.contextmanager
def _signals_ignored() -> Iterator[None]:
    """Let the end come to its end."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [(n, signal.signal(n, signal.SIG_IGN)) for n in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
