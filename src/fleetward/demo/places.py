"""The folder of a demo: where its things are, whose it is, and who runs it.

fleetward-demo.json   the mark that this folder was made by `fleetward demo`
owner-passphrase      opens the owner's keys (0600)
owner-console         address of the owner's console, with the secret of this start (0600)
owner/                the owner's folder; it belongs on another computer
technician/           the folder of a technician of somebody else; it belongs on his computer
technician-passphrase opens his key (0600)
machine-files/        files of this machine that he may ask to read
maker/                the folder of a maker of software; it belongs on his computer
maker-passphrase      opens his keys (0600)
maker-work/           what he releases, before it is packed
own-port              the port of this machine's own page, the same at each start
server/, run/         the control plane, as `fleetward up` keeps it
devices/NAME/         data directories of the machines
logs/                 what the programs of the demo said
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.demo.display import PART, PRODUCT
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

DEFAULT_FOLDER: Final = ".local/share/fleetward-demo"
"""Below the home directory."""
MAX_MARK_BYTES: Final = 16 * 1024
STOP_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
_FORMAT: Final = 1


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the mark says; `staged` names what the demo does once and never again."""

    format: int = _FORMAT
    staged: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DemoPlaces:
    """Where a demo keeps its things, all below one folder."""

    data: Path

    @property
    def mark(self) -> Path:
        """The file that says that a demo made this folder."""
        return self.data / "fleetward-demo.json"

    @property
    def passphrase(self) -> Path:
        """The owner's passphrase."""
        return self.data / "owner-passphrase"

    @property
    def owner(self) -> Path:
        """The owner's folder."""
        return self.data / "owner"

    @property
    def owner_console(self) -> Path:
        """The address of the owner's console; the server is never told it."""
        return self.data / "owner-console"

    @property
    def technician(self) -> Path:
        """The technician's folder."""
        return self.data / "technician"

    @property
    def technician_passphrase(self) -> Path:
        """The technician's passphrase."""
        return self.data / "technician-passphrase"

    @property
    def machine_files(self) -> Path:
        """What the technician may ask to read."""
        return self.data / "machine-files"

    @property
    def maker(self) -> Path:
        """The maker's folder."""
        return self.data / "maker"

    @property
    def maker_passphrase(self) -> Path:
        """The maker's passphrase."""
        return self.data / "maker-passphrase"

    @property
    def maker_work(self) -> Path:
        """What the maker releases, before it is packed."""
        return self.data / "maker-work"

    @property
    def page_port(self) -> Path:
        """Where the machine's own page listens, once it does in this start."""
        return self.run / "page-port"

    @property
    def kept_port(self) -> Path:
        """The port of that page over all starts."""
        return self.data / "own-port"

    @property
    def current(self) -> Path:
        """The link to the release of the display that is in force on this machine."""
        return self.this_machine / "software" / PRODUCT / PART / "current"

    @property
    def devices(self) -> Path:
        """Data directories of the machines."""
        return self.data / "devices"

    @property
    def this_machine(self) -> Path:
        """The data directory of the real machine."""
        return self.devices / "this-machine"

    @property
    def logs(self) -> Path:
        """What the programs of the demo said."""
        return self.data / "logs"

    @property
    def run(self) -> Path:
        """What belongs to this start."""
        return self.data / "run"

    @property
    def plan(self) -> Path:
        """What the simulated machines are to do."""
        return self.run / "plan.json"

    @property
    def tour(self) -> Path:
        """What the tour's pages name; the server reads it."""
        return self.run / "tour.json"

    @property
    def lock(self) -> Path:
        """Held by the demo that runs; it names its process."""
        return self.run / "demo.lock"


def claim_folder(places: DemoPlaces) -> None:
    """Make the folder a demo's. Raises `Refused` when it holds something else."""
    is_new = not places.data.exists() or not any(places.data.iterdir())
    if not is_new and not places.mark.is_file():
        raise Refused(
            f"Expected {places.data} to be empty, or the folder of a demo; it holds something "
            "else. Name another folder by --data.",
            reason="not_a_demo",
        )
    make_private_directory(places.data)
    if is_new:
        write_mark(places, Mark())
    for folder in (places.run, places.logs, places.devices):
        make_private_directory(folder)


def read_mark(places: DemoPlaces) -> Mark:
    """Return the mark. Raises `Refused` when the folder has none."""
    try:
        return msgspec.json.decode(read_bounded(places.mark, MAX_MARK_BYTES), type=Mark)
    except (msgspec.MsgspecError, UnicodeError, Unreachable) as e:
        raise Refused(
            f"Expected {places.data} to be the folder of a demo of this release; it is not. "
            "Nothing was touched.",
            reason="not_a_demo",
        ) from e


def write_mark(places: DemoPlaces, mark: Mark) -> None:
    """Persist the mark."""
    atomic_write(places.mark, msgspec.json.encode(mark))


def note_staged(places: DemoPlaces, what: str) -> None:
    """Remember that something was done that is done only once."""
    mark = read_mark(places)
    write_mark(places, msgspec.structs.replace(mark, staged=(*mark.staged, what)))


@contextlib.contextmanager
def hold_folder(places: DemoPlaces) -> Iterator[None]:
    """Be the one demo on this folder. Raises `Refused` naming the other."""
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as e:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            raise Refused(
                f"A demo runs on {places.data} already, as process {pid}. Its address is made "
                f"anew by `fleetward login-link --data {places.data}`. To stop it: Ctrl-C in its "
                f"terminal, or `kill {pid}`.",
                reason="already_running",
            ) from e
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode("ascii"))
        yield
    finally:
        os.close(descriptor)


def stop_other(places: DemoPlaces) -> None:
    """End the demo that holds the folder, if one does, and wait for its end.

    Raises `Unreachable` when it does not end in time.
    """
    deadline = time.monotonic() + STOP_SECONDS
    told = False
    while (pid := _holder(places)) and time.monotonic() < deadline:
        if not told:
            os.kill(pid, signal.SIGTERM)
            told = True
        time.sleep(LOOK_SECONDS)
    if pid:
        raise Unreachable(f"The demo in process {pid} did not stop in time.", reason="did_not_stop")


def wipe_folder(places: DemoPlaces) -> None:
    """Remove the whole folder. Raises `Refused` when it is not a demo's."""
    read_mark(places)
    # The mark goes last, so that an interrupted wipe can be repeated.
    for path in places.data.iterdir():
        if path == places.mark:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    places.mark.unlink()
    # What is a mount point, or belongs to a folder that others write, stays as an empty folder.
    with contextlib.suppress(OSError):
        places.data.rmdir()


def _holder(places: DemoPlaces) -> int:
    """Return the process that holds the folder, or 0."""
    try:
        with places.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return 0
    except BlockingIOError:
        with contextlib.suppress(ValueError, FleetwardError):
            return int(read_bounded(places.lock, 64))
    return 0
