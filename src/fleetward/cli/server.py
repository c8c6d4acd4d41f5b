"""`fleetward up`, `down`, `login-link`: the control plane on this computer."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from fleetward.cli.plain import PLAIN
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import find_server
from fleetward.keyholder.speak import emit, refusals, say
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import Refused, Unreachable

READY_SECONDS: Final = 60.0
STOP_SECONDS: Final = 30.0
MAX_READY_BYTES: Final = 64 * 1024
LOOK_SECONDS: Final = 0.05

up_app: Final = typer.Typer(**PLAIN)
down_app: Final = typer.Typer(**PLAIN)
link_app: Final = typer.Typer(**PLAIN)

Data = Annotated[Path, typer.Option("--data", help="The control plane's folder.")]


@up_app.command()
def up(
    data: Data,
    host: Annotated[
        str,
        typer.Option(
            help="DNS name to serve beyond loopback, by HTTPS; an IPv4 address: API only."
        ),
    ] = "",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="The console's port; chosen once if not given."),
    ] = 0,
    detach: Annotated[bool, typer.Option("--detach", help="Return when it is ready.")] = False,
    ready_file: Annotated[
        Path | None, typer.Option("--ready-file", help="Write addresses here when ready.")
    ] = None,
) -> None:
    """Start a control plane on this computer.

    fleetward up --data ~/fleetward --detach
    """
    with refusals():
        child = start_server(data, host=host, port=port, ready_file=ready_file)
        ready = wait_ready(data, child)
        for line in _read_words(data):
            say(line)
        if ready["login_url"]:
            say(f"Ready at {ready['url']}")
            say(f"Sign in once, within 15 minutes: {ready['login_url']}")
        else:
            say(
                f"Ready at {ready['api']}: the API alone, since a bare address has no name to sign "
                "in under. Pages need --host NAME."
            )
        say(f"Server CA for `owner init --server-ca`: {ready['ca_sha256']}")
        if detach:
            return
        status = _stay_with(child)
    raise SystemExit(0 if status == 0 else 1)


class Person(msgspec.Struct, frozen=True):
    """Somebody who may sign in."""

    id: str
    role: str


class Persons(msgspec.Struct, frozen=True):
    """Everybody who may sign in."""

    items: list[Person]


def _stay_with(child: subprocess.Popen[bytes]) -> int:
    """Wait for the server's end; Ctrl-C or SIGTERM here ends it in order."""

    def pass_on(*_: object) -> None:
        child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)
    return child.wait()


def start_server(
    data: Path, *, host: str = "", port: int = 0, ready_file: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start the control plane as a process of its own session, which outlives this one."""
    make_private_directory(data)
    make_private_directory(data / "run")
    if is_running(data):
        raise Refused(
            f"A control plane runs on {data} already. `fleetward down --data {data}` ends it.",
            reason="already_running",
        )
    (data / "run" / "ready.json").unlink(missing_ok=True)
    argv = [sys.executable, "-m", "fleetward.server.main", "--data", str(data)]
    if host:
        argv += ["--host", host]
    if port:
        argv += ["--port", str(port)]
    if ready_file is not None:
        argv += ["--ready-file", str(ready_file)]
    with (data / "run" / "last-words").open("wb") as words:
        child = subprocess.Popen(  # the same interpreter, fixed words
            argv, stdin=subprocess.DEVNULL, stdout=words, stderr=words, start_new_session=True
        )
    atomic_write(data / "run" / "pid", str(child.pid).encode("ascii"))
    return child


def is_running(data: Path) -> bool:
    """Return whether a server holds this folder, by its lock: a process id may be another's."""
    try:
        with (data / "run" / "server.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def wait_ready(data: Path, child: subprocess.Popen[bytes]) -> dict[str, Any]:
    """Return what the server says once it is ready. Raises `Unreachable` with its last words."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if (data / "run" / "ready.json").exists():
            return read_ready_file(data)
        if child.poll() is not None:
            words = _read_words(data)
            raise Unreachable(
                words[-1] if words else "The server did not start.",
                reason="server_did_not_start",
            )
        time.sleep(LOOK_SECONDS)
    raise Unreachable(
        f"The server was not ready within {READY_SECONDS:.0f} s. Its log: {data}/server/logs.",
        reason="server_did_not_start",
    )


def _read_words(data: Path) -> list[str]:
    """Return what the server said before it was ready: of an upgrade, or why it did not start."""
    words = read_bounded(data / "run" / "last-words", MAX_READY_BYTES).decode()
    return words.strip().splitlines()


def read_ready_file(data: Path) -> dict[str, Any]:
    """Return what a running server says of itself."""
    content = read_bounded(data / "run" / "ready.json", MAX_READY_BYTES)
    ready: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    return ready


@down_app.command()
def down(data: Data) -> None:
    """Stop the control plane; machines keep what they have and come back.

    fleetward down --data ~/fleetward
    """
    with refusals():
        stop_server(data)
        say("Stopped.")


def stop_server(data: Path) -> None:
    """Stop the server of a folder and wait for its end. Raises `Refused` when none runs."""
    stopped = Refused(f"No control plane runs on {data}.", reason="not_running")
    if not is_running(data):
        raise stopped
    try:
        pid = int(read_bounded(data / "run" / "server.lock", MAX_READY_BYTES))
        os.kill(pid, signal.SIGTERM)
    except (ValueError, ProcessLookupError) as e:
        raise stopped from e
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        if not _is_alive(pid):
            return
        time.sleep(LOOK_SECONDS)
    raise Unreachable(f"The process {pid} did not stop in time.", reason="did_not_stop")


def _is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@link_app.command()
def login_link(
    data: Data,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Make a link that signs you in once, within 15 minutes.

    fleetward login-link --data ~/fleetward
    """
    with refusals():
        place = find_server(data, "", None)
        client = ApiClient(place.api, place.token, place.server_ca_pem)
        people = client.get("/persons?per_page=500", Persons).items
        admin = next((p for p in people if p.role == "admin"), None)
        if admin is None:
            raise Refused("Nobody may administer this server.", reason="no_admin")
        made = client.post("/login-links", {"person_id": admin.id}, dict[str, str])
        atomic_write(data / "run" / "login-link", made["url"].encode("utf-8"))
        emit(made, as_json, made["url"])
