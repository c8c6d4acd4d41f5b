"""Setting the demo up, step by step, and taking it down. Every step finds what stands already.

The demo uses the keys, checks and programs of production. What it adds is that one process plays
all roles: it starts the control plane, makes an owner, lets this very machine join, and compares
the six words in a person's place.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from fleetward.demo.cast import QUARANTINE_REASON, STRAY, WAITING, Member, make_cast
from fleetward.demo.children import Children
from fleetward.demo.owning import open_owner
from fleetward.demo.places import DemoPlaces, note_staged, read_mark
from fleetward.demo.progress import Progress
from fleetward.demo.sim_main import REFUSED_FILE, Plan
from fleetward.demo.standing import has_inventory, read_device_id, read_panel_words
from fleetward.demo.technician import name_technician, read_allowed
from fleetward.demo.tour import Shown, make_facts, make_ready
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.pending import fetch_pending
from fleetward.keyholder.place import find_server
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.trust.errors import FleetwardError, Refused, Unreachable

STEPS: Final = 6
JOIN_SECONDS: Final = 100.0
WAIT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.1
HERE: Final = "Here"
AGENT: Final = "agent"
SIMULATED: Final = "simulated-machines"
CONSOLE: Final = "owner-console"
PAGE: Final = "own-page"
_MODULE: Final = (sys.executable, "-m")


class ControlPlane(Protocol):
    """How the control plane of the demo is started and stopped."""

    def start(self, data: Path) -> dict[str, Any]:
        """Start it and return what it says once it is ready."""

    def stop(self, data: Path) -> None:
        """Stop it, if it runs, and wait for its end."""


@dataclass(slots=True)
class _Found:
    """What the steps hand to each other."""

    server: dict[str, Any] = field(default_factory=dict)
    this: str = ""
    owner_console: str = ""
    page_port: int = 0
    machines: dict[str, str] = field(default_factory=dict)


class Stage:
    """One demo. `set_up` returns when it is ready; `take_down` ends all that it started."""

    def __init__(
        self, places: DemoPlaces, machines: int, control: ControlPlane, clock: Clock,
        progress: Progress,
    ) -> None:  # fmt: skip
        self._places = places
        self._cast = make_cast(machines)
        self._control = control
        self._clock = clock
        self._progress = progress
        self._found = _Found()
        self.children: Final = Children(places.run / "children.json", places.logs)

    def set_up(self) -> dict[str, Any]:
        """Set up, or up again, and return what the ready file says.

        Raises the families of `trust.errors`; then `take_down` is still to be called.
        """
        step, found = self._progress.step, self._found
        with step("control plane"):
            self.children.stop_leftovers()
            found.server = self._control.start(self._places.data)
            place = find_server(self._places.data, "", None)
            self._client = ApiClient(place.api, place.token, place.server_ca_pem)
        with step("the owner and the owner's keys"):
            self._owner = open_owner(self._places, self._client, self._clock)
            self._name_technician()
        with step("this machine joins"):
            self._let_this_machine_join()
        with step(f"{len(self._cast)} simulated machines"):
            self._let_cast_join()
        with step("the owner's console"):
            self._open_owner_console()
        with step("first inventory of this machine"):
            self._wait("its inventory", lambda: has_inventory(self._client, found.this), AGENT)
            self._read_page_port()
            return self._tell()

    def take_down(self) -> None:
        """End everything that was started, machines first."""
        self.children.stop_all()
        self._control.stop(self._places.data)
        self._places.owner_console.unlink(missing_ok=True)

    def clear(self) -> None:
        """End what an earlier start left running."""
        self.children.stop_leftovers()
        self._control.stop(self._places.data)

    # --- the technician, and the page that he looks at

    def _name_technician(self) -> None:
        """Without a technician the demo goes on, and says so."""
        try:
            name_technician(self._places, self._owner, self._clock)
        except FleetwardError as e:
            self._progress.note(f"Without a technician: {e.message}")

    def _read_page_port(self) -> None:
        """Without the machine's own page the demo goes on, and says so."""
        try:
            self._wait("this machine's own page", self._places.page_port.exists, PAGE)
        except Unreachable as e:
            self._progress.note(f"Without the machine's own page: {e.message}")
            return
        self._found.page_port = int(read_bounded(self._places.page_port, 64))

    def _start_own_page(self) -> None:
        places = self._places
        places.page_port.unlink(missing_ok=True)
        named = {
            "--port-file": places.page_port, "--kept-port": places.kept_port,
            "--current": places.current, "--log": places.logs / f"{PAGE}-program.log",
        }  # fmt: skip
        words = [str(word) for pair in named.items() for word in pair]
        self.children.start(PAGE, [*_MODULE, "fleetward.demo.own_page", *words])

    # --- this machine

    def _let_this_machine_join(self) -> None:
        machine = self._places.this_machine
        if not read_device_id(machine):
            self._progress.detail("a key of its own, and a certificate")
            self._join_agent(self._owner.invite(HERE, 1, preapproved=True))
        argv = [*_MODULE, "fleetward.device.cli", "run", "--data", str(machine)]
        self.children.start(AGENT, argv)
        self._start_own_page()
        self._found.this = read_device_id(machine)
        self._owner.confirm({self._found.this: read_panel_words(machine)})

    def _join_agent(self, join: str) -> None:
        argv = [*_MODULE, "fleetward.device.cli", "join", join,
                "--data", str(self._places.this_machine)]  # fmt: skip
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=JOIN_SECONDS, check=False
        )
        if done.returncode != 0:
            words = done.stderr.strip().splitlines() or ["it gave no reason"]
            raise Refused(f"This machine could not join: {words[-1]}", reason="join_failed")

    # --- simulated machines

    def _let_cast_join(self) -> None:
        if not self._cast:
            return
        new = [m for m in self._cast if not read_device_id(self._places.devices / m.slug)]
        self._write_plan(new)
        argv = [*_MODULE, "fleetward.demo.sim_main", "--plan", str(self._places.plan),
                "--devices", str(self._places.devices)]  # fmt: skip
        self.children.start(SIMULATED, argv)
        self._wait("simulated machines to join", self._has_cast_joined, SIMULATED)
        ids = self._found.machines
        panels = {
            ids[m.slug]: read_panel_words(self._places.devices / m.slug)
            for m in self._cast
            if m.part not in ("waiting", "unconfirmed")
        }
        self._owner.confirm(panels)
        self._quarantine()
        if WAITING in new:
            self._wait("a stranger to be refused", self._was_stray_refused, SIMULATED)

    def _write_plan(self, new: list[Member]) -> None:
        """Invite those that have to join: one invitation for each site and way."""
        joins: dict[str, str] = {}
        ways = Counter((m.site, m.preapproved) for m in new)
        for (site, preapproved), uses in ways.items():
            join = self._owner.invite(site, uses, preapproved=preapproved)
            joins |= {m.slug: join for m in new if (m.site, m.preapproved) == (site, preapproved)}
        if WAITING.slug in joins:
            joins[STRAY.slug] = joins[WAITING.slug]
        atomic_write(self._places.plan, msgspec.json.encode(Plan(len(self._cast), joins)))

    def _has_cast_joined(self) -> bool:
        ids = {m.slug: read_device_id(self._places.devices / m.slug) for m in self._cast}
        self._found.machines = {slug: device for slug, device in ids.items() if device}
        self._progress.detail(f"{len(self._found.machines)} of {len(self._cast)} have joined")
        return len(self._found.machines) == len(self._cast)

    def _was_stray_refused(self) -> bool:
        return (self._places.devices / STRAY.slug / REFUSED_FILE).exists()

    def _quarantine(self) -> None:
        """Quarantine once; somebody who lets it back in keeps it so over the next start."""
        staged = read_mark(self._places).staged
        for member in self._cast:
            if member.part == "quarantined" and member.slug not in staged:
                path = f"/devices/{self._found.machines[member.slug]}/quarantine"
                self._client.post(path, {"reason": QUARANTINE_REASON}, dict[str, Any])
                note_staged(self._places, member.slug)

    # --- the owner's console

    def _open_owner_console(self) -> None:
        """Start the owner's own pages. Without them the demo goes on, and says so."""
        ready = self._places.run / "owner-console.json"
        ready.unlink(missing_ok=True)
        argv = [
            str(Path(sys.executable).with_name("fleetward")), "owner", "console", "--no-browser",
            "--data", str(self._places.data), "--owner", str(self._places.owner),
            "--passphrase-file", str(self._places.passphrase), "--ready-file", str(ready),
        ]  # fmt: skip
        self.children.start(CONSOLE, argv)
        try:
            self._wait("its pages", ready.exists, CONSOLE)
        except Unreachable as e:
            self._progress.note(f"Without the owner's console: {e.message}")
            return
        said = json.loads(read_bounded(ready, 64 * 1024))
        self._found.owner_console = str(said["open"])
        atomic_write(self._places.owner_console, f"{said['open']}\n".encode())

    # --- ready

    def _tell(self) -> dict[str, Any]:
        pending = {machine.id for machine in fetch_pending(self._client)}
        waits = next(
            (
                m.slug
                for m in self._cast
                if m.part == "waiting" and self._found.machines[m.slug] in pending
            ),
            "",
        )
        shown = Shown(
            this=self._found.this,
            waiting=self._found.machines.get(waits, ""),
            waiting_slug=waits,
            owner_root=self._owner.owner,
            owner_console=self._found.owner_console,
            machines=self._found.machines,
            allowed=read_allowed(self._owner.desk.documents().policy),
            page_port=self._found.page_port,
        )
        facts = make_facts(self._places, shown)
        atomic_write(self._places.tour, msgspec.json.encode(facts))
        return make_ready(self._places, self._found.server, shown)

    def _wait(self, what: str, is_so: Callable[[], bool], child: str) -> None:
        """Wait until something is so. Raises `Unreachable` when `child` ends, or in the end."""
        deadline = time.monotonic() + WAIT_SECONDS + len(self._cast)
        self._progress.detail(what)
        while not is_so():
            if child in self.children.take_ended() or time.monotonic() > deadline:
                words = self.children.last_words(child) or "It said nothing."
                raise Unreachable(
                    f"Expected {what}; it did not come. {words} See {self.children.log_of(child)}.",
                    reason="demo_incomplete",
                )
            time.sleep(LOOK_SECONDS)
