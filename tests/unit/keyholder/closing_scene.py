"""An owner, machines that close, and a small server between them that can be told to lie.

The machines judge by `trust` and sign their reports; the server stores and hands out.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.trust_world import Machine
from tests.unit.keyholder.access_scene import lend_keys, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN, SmallServer, serving

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.closing.server_rows import ClosingApi
from fleetward.keyholder.console.keeper import Keeper
from fleetward.keyholder.console.main import ConsoleWish, serve_console
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.init import init_owner, name_local_server
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.closing import (
    Closing,
    ClosingReport,
    make_report_payload,
    verify_closing,
    verify_kept,
)
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.keys import ES256

Reply = tuple[int, Any, dict[str, str]]


@dataclass
class ClosingScene:
    """Everybody, and the server's memory. A machine in `off` hears nothing."""

    desk: Desk
    server: SmallServer
    machines: dict[str, Machine]
    off: set[str] = field(default_factory=set)
    closings: dict[str, Closing] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    reports: dict[tuple[str, str], bytes] = field(default_factory=dict)
    lie: Callable[[str, Any], Any] = lambda path, answer: answer

    @property
    def api(self) -> ClosingApi:
        return ClosingApi(ApiClient(self.server.api, TOKEN))

    def report(self, machine: Machine, closing: Closing, outcome: str, **said: Any) -> bytes:
        """Return what a machine signs of a closing."""
        values: dict[str, Any] = {
            "device": machine.device, "owner": closing.owner, "closing": closing.hash,
            "serial": closing.serial, "outcome": outcome, "rule": "",
            "closed": closing.ports, "local_access": closing.local_access,
            "still_runs": closing.local_access, "listening": ("tcp/22 sshd",),
            "cut": ("10.2.3.9:50122 on tcp/22",) if outcome == "applied" else (),
            "seconds_left": closing.restore_seconds if outcome == "applied" else 0,
            "words": f"Closed now: {closing.words()}.", "at_ms": now_ms(),
        }  # fmt: skip
        payload = make_report_payload(ClosingReport(**(values | said)))
        return seal(payload, [machine.identity])

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | None:
        """Be the server's half of closings."""
        place = urlsplit(path).path.split("/")[1:]
        if place[0] == "closing-machines":
            rows = [self._machine(m) for m in self.machines.values()]
            return self._say(path, {"items": rows, "total": len(rows)})
        if place[0] != "closings":
            return None
        if method == "POST":
            return self._take(place, from_base64url(body["envelope"]))
        if len(place) == 1:
            rows = [self._row(c) for c in reversed(self.closings.values())]
            return self._say(path, {"items": rows, "total": len(rows)})
        found = [c for c in self.closings.values() if c.hash.startswith(place[1])]
        return self._say(path, self._detail(found[0])) if found else (404, "not_found", {})

    def _take(self, place: list[str], raw: bytes) -> Reply:
        policy = self.desk.documents().policy
        if len(place) == 3:
            kept = verify_kept(raw, policy)
            self.kept.add(kept.closing)
            for (closing, device), _ in list(self.reports.items()):
                if closing == kept.closing:
                    said = self.report(self.machines[device], self.closings[closing], "kept")
                    self.reports[closing, device] = said
            return 202, {}, {}
        found: Closing | None = None
        for device, machine in self.machines.items():
            if device in self.off:
                continue
            try:
                found = verify_closing(raw, policy, device)
            except FleetwardError:
                continue
            self.reports[found.hash, device] = self.report(machine, found, "applied")
        assert found is not None
        self.closings[found.hash] = found
        return 202, self._row(found), {}

    def _say(self, path: str, answer: Any) -> Reply:
        return 200, self.lie(path, answer), {}

    def _row(self, closing: Closing) -> dict[str, Any]:
        return {
            "id": closing.hash, "serial": closing.serial, "words": closing.words(),
            "opens_all": closing.opens_all, "for_all": not closing.devices, "people": ["Ada"],
            "reason": closing.reason, "restore_seconds": closing.restore_seconds,
            "issued_at": to_rfc3339(closing.issued_at_ms),
            "kept_at": to_rfc3339(now_ms()) if closing.hash in self.kept else None, "counts": {},
        }  # fmt: skip

    def _detail(self, closing: Closing) -> dict[str, Any]:
        parts = [
            {
                "device_id": device, "name": machine.name, "site": "Ward 3", "state": "applied",
                "rule": "", "words": "as the server says", "seconds_left": 600,
                "at": to_rfc3339(now_ms()),
                "report": to_base64url(self.reports.get((closing.hash, device), b"")),
            }
            for device, machine in self.machines.items()
        ]  # fmt: skip
        return {
            "closing": self._row(closing), "envelope": to_base64url(closing.raw), "kept": "",
            "machines": parts, "total": len(parts), "page": 1, "per_page": 500,
        }  # fmt: skip

    def _machine(self, machine: Machine) -> dict[str, Any]:
        newest = [raw for (_, device), raw in self.reports.items() if device == machine.device]
        tier = {"number": 2, "title": "Local access off", "words": "SSH waits on port 22.",
                "as_of": to_rfc3339(now_ms())}  # fmt: skip
        return {
            "device_id": machine.device, "name": machine.name, "site": "Ward 3",
            "connected": True, "simulated": False,
            "tiers": [
                {**tier, "number": 1, "title": "Encrypted", "state": "yes"},
                {**tier, "state": "yes" if newest else "no"},
                {**tier, "number": 3, "title": "Permission required", "state": "yes"},
            ],
            "ports": [{"protocol": "tcp", "port": 22, "exposure": "all", "process": "sshd",
                       "closed": bool(newest)}],
            "looked_at": to_rfc3339(now_ms()),
            "peers": [{"port": 22, "address": "10.2.3.9", "process": "sshd"}], "peers_more": 0,
            "peers_at": to_rfc3339(now_ms()), "closed": "", "seconds_left": 0,
            "report": to_base64url(newest[-1]) if newest else "", "reported_at": None,
            "last_cut": [],
        }  # fmt: skip


def make_closing_scene(desk: Desk, server: SmallServer) -> ClosingScene:
    """Return a scene with two machines on the roster."""
    lend_keys(desk)
    owner = desk.documents().owner
    machines = [Machine(name, owner, make_key(ES256)) for name in ("pump-7", "pump-8")]
    for machine in machines:
        desk.put_on_roster(replace(machine.entry(site="Ward 3"), name=machine.name))
    scene = ClosingScene(desk, server, {m.device: m for m in machines})
    server.hook = scene.answer
    server.answers["/owner/pending"] = {"items": []}
    server.answers["/access/requests?page=1&per_page=500"] = {"items": [], "total": 0}
    return scene


@contextmanager
def served(folder: Path) -> Iterator[tuple[ClosingScene, str]]:
    """Serve the owner's console over such a scene; yield it and the address with its secret."""
    with serving(folder) as server:
        named = name_local_server(server.write_data(folder / "data"))
        init_owner(folder / "owner", PASSPHRASE, named, ("Ward 3", "Ada"), SystemClock())
        passphrase = folder / "passphrase"
        passphrase.write_bytes(PASSPHRASE)
        passphrase.chmod(0o600)
        desk = Desk.open(folder / "owner", passphrase, SystemClock())
        scene = make_closing_scene(desk, server)
        keeper = Keeper(desk, lambda: ApiClient(server.api, TOKEN), SystemClock())
        addresses: list[str] = []
        threading.Thread(
            target=serve_console,
            args=(
                keeper,
                SystemClock(),
                ConsoleWish(),
                lambda opened: addresses.append(opened.address),
            ),
            daemon=True,
        ).start()
        while not addresses:
            time.sleep(0.05)
        yield scene, addresses[0]
