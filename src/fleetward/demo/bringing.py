"""The play of updates: a maker, an owner and an operator bring new software to a demo's machines.

1. The maker makes his folder and his products, once; the owner names him in the policy, once.
   What no machine takes is published too, once: an older display, and another product. The drill
   offers both.
2. A good release: built, signed, published; a rollout, this machine first; approved; followed until
   every machine that is connected has it.
3. The same with one whose program ends at once: this machine goes back by itself, and the rollout
   is held with one machine in it.

A second play goes on with the next versions. The rollout is made before the approval: a release
that is approved and has no rollout goes to every machine at once.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from fleetward.demo.approving import Approver
from fleetward.demo.display import HEALTH_PATH, PRODUCT
from fleetward.demo.making import OTHER, MakerSide
from fleetward.demo.owning import open_owner
from fleetward.demo.places import DemoPlaces
from fleetward.demo.plain_page import LOOPBACK
from fleetward.demo.rolling import ALL_ROWS, Ended, Rolling
from fleetward.demo.standing import read_device_id
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.place import READY_FILE, find_server
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Refused

FIRST: Final = "1.0"
SERVE_SECONDS: Final = 5.0
ASK_SECONDS: Final = 2.0
LOOK_SECONDS: Final = 0.1
MAX_READY_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Act:
    """What came of one release."""

    version: str
    rollout: Ended
    serves: str
    """The version that this machine serves now; empty for its plain page."""
    reason: str = ""
    """Why this machine went back, as it signed."""


class Play:
    """One play. `say` writes a line to a person."""

    def __init__(self, places: DemoPlaces, clock: Clock, say: Callable[[str], None]) -> None:
        """Raises `Unreachable` or `Refused` when no demo is up in this folder."""
        place = find_server(places.data, "", None)
        self._places = places
        self._clock = clock
        self._say = say
        self._client = ApiClient(place.api, place.token, place.server_ca_pem)
        self._this = read_device_id(places.this_machine)
        if not self._this or not places.page_port.exists():
            raise Refused(
                "Expected a demo that is ready, with this machine in it. Start it: make demo",
                reason="demo_not_ready",
            )
        self._port = int(read_bounded(places.page_port, 64))
        self._maker = MakerSide(places, clock, self._tell)
        owner = open_owner(places, self._client, clock)
        self._approver = Approver(places, owner, self._client, clock, self._tell)
        self._rolling = Rolling(places, self._client, self._tell)

    @property
    def pages(self) -> str:
        """Where a person sees what came of it."""
        ready = json.loads(read_bounded(self._places.data / READY_FILE, MAX_READY_BYTES))
        return f"{ready['url']}updates"

    def set_up(self) -> None:
        """Make the maker known. What stands already is left as it is."""
        self._say("The maker: keys, two products, and what no machine is to take.")
        self._maker.set_up()
        self._say("The owner: who may make software for these machines.")
        self._approver.name_makers(self._maker.first_root, (PRODUCT, OTHER))
        for product in (PRODUCT, OTHER):
            if FIRST not in self._maker.versions(product):
                self._maker.release(self._client, product, FIRST, self._port)
        self._wait_for_policy()

    def bring(self, *, broken: bool) -> Act:
        """Bring the next version of the display to the machines."""
        version = _next(self._maker.versions(PRODUCT))
        kind = "which ends as soon as it is started" if broken else "which is good"
        self._say(f"\nThe maker releases {PRODUCT} {version}, {kind}.")
        self._rolling.cancel_held(PRODUCT, f"{version} is there")
        self._maker.release(self._client, PRODUCT, version, self._port, broken=broken)
        self._say("The operator: this machine first, then a quarter, then all.")
        rollout = self._rolling.make(PRODUCT, version, self._this)
        self._say("The owner approves it. Only now does a machine take it.")
        self._approver.approve(PRODUCT, version)
        ended = self._rolling.follow(rollout, self._say)
        return Act(
            version, ended, self._read_served(version, broken=broken), self._read_reason(version)
        )

    def _wait_for_policy(self) -> None:
        rows = self._client.get(f"/devices?{ALL_ROWS}", dict[str, Any])["items"]
        connected = {
            row["id"] for row in rows if row["connection"] == "connected" and row["confirmed"]
        }
        folders = [f for f in self._places.devices.iterdir() if read_device_id(f) in connected]
        self._approver.wait_followed(folders)

    def _read_reason(self, version: str) -> str:
        shown = self._client.get(f"/updates/devices/{self._this}?per_page=20", dict[str, Any])
        for report in shown["items"]:
            if report["version"] == version and report["outcome"] in ("rolled_back", "failed"):
                return str(report["words"])
        return ""

    def _read_served(self, version: str, *, broken: bool) -> str:
        """Return what this machine serves; a moment after a switch its program starts anew."""
        served, deadline = "", time.monotonic() + SERVE_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                served = self._ask_version()
                if (served == version) != broken:
                    return served
            time.sleep(LOOK_SECONDS)
        return served

    def _ask_version(self) -> str:
        """Return the version that the display says; its maker's plain page says none."""
        url = f"http://{LOOPBACK}:{self._port}{HEALTH_PATH}"
        try:
            with urllib.request.urlopen(url, timeout=ASK_SECONDS) as answer:
                return str(answer.read(64).decode("utf-8", "replace").strip())
        except urllib.error.HTTPError:
            return ""

    def _tell(self, command: str) -> None:
        self._say(f"  $ {command}")


def _next(versions: list[str]) -> str:
    """Return the version after the newest."""
    return f"1.{max(int(each.partition('.')[2]) for each in versions) + 1}"
