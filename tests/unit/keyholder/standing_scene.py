"""A scene of sessions whose machine also takes what was allowed ahead, and signs what it keeps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.unit.keyholder.access_scene import Reply, Row, Scene, now_ms

from fleetward.runtime.recording import Sealer
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.ending import verify_stop_ahead
from fleetward.trust.grants.entry import Moment, verify_entry
from fleetward.trust.grants.grant import Situation
from fleetward.trust.grants.request import verify_request
from fleetward.trust.grants.standing import verify_standing
from fleetward.trust.grants.standing_state import StandingState, make_state_payload


@dataclass
class Ahead:
    """What server and machine hold of permissions given ahead."""

    scene: Scene
    documents: dict[str, bytes] = field(default_factory=dict)
    stops: dict[str, bytes] = field(default_factory=dict)
    signed: dict[str, bytes] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    came: list[tuple[str, str, int]] = field(default_factory=list)
    doubt: str = ""
    hidden: bool = False
    """Whether the server withholds what there is."""

    def __post_init__(self) -> None:
        self._honest = self.scene._answer
        self._detail = self.scene.detail
        vars(self.scene)["_answer"] = self.answer
        vars(self.scene)["detail"] = self.detail

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | None:
        steps = path.partition("?")[0].strip("/").split("/")
        raw = from_base64url(body.get("envelope", ""))
        if steps[:2] == ["access", "standing"]:
            return self._standing(method, steps[2:], raw)
        if steps[:2] == ["access", "requests"] and steps[-1] == "entry":
            self._enter(self.scene.rows[steps[2]], raw)
            return 202, {"id": steps[2], "state": self.scene.rows[steps[2]].state}, {}
        return self._honest(method, path, body)

    def detail(self, row: Row) -> dict[str, Any]:
        entry = row.papers.get("entry", b"")
        standing = str(read_envelope(entry).payload["standing"]) if entry else ""
        document = self.documents.get(standing, b"")
        return {
            **self._detail(row), "entry": to_base64url(entry), "standing": standing,
            "standing_document": to_base64url(document),
        }  # fmt: skip

    def _standing(self, method: str, steps: list[str], raw: bytes) -> Reply:
        if method == "GET":
            items = [] if self.hidden else [self.show(name) for name in self.documents]
            return 200, {"items": items}, {}
        if not steps:
            name = read_envelope(raw).hash
            self.documents[name] = raw
            if not self.scene.off:
                verify_standing(raw, self.scene.desk.documents().policy)
                self.say(name, "held")
            return 201, self.show(name), {}
        if steps[0] not in self.documents:
            return 404, {"status": 404, "detail": "unknown", "reason": "not_found"}, {}
        stop = verify_stop_ahead(raw, self.scene.desk.documents().policy)
        self.stops[stop.subject] = raw
        if not self.scene.off:
            self.say(stop.subject, "revoked")
        return 202, self.show(steps[0]), {}

    def say(self, name: str, state: str) -> None:
        """Let the machine sign a word about a document."""
        machine, owner = self.scene.machine, self.scene.desk.documents().owner
        said = StandingState(
            machine.device, owner, name, state, self.used.get(name, -1) + 1, "", now_ms(), "", b""
        )
        self.signed[name] = seal(make_state_payload(said), [machine.identity])

    def show(self, name: str) -> dict[str, Any]:
        """Return a document as the server shows it."""
        device = self.scene.machine.device
        return {
            "id": name, "envelope": to_base64url(self.documents[name]),
            "stop": to_base64url(self.stops.get(name, b"")),
            "machines": [
                {"device_id": device, "signed": to_base64url(self.signed.get(name, b""))}
            ],
            "entries": [
                {"request": request, "device_id": device, "window": window, "session": "",
                 "state": self.scene.rows[request].state}
                for request, standing, window in self.came
                if standing == name
            ],
        }  # fmt: skip

    def _enter(self, row: Row, raw: bytes) -> None:
        scene, policy = self.scene, self.scene.desk.documents().policy
        row.papers["entry"] = raw
        row.session, row.state = read_envelope(raw).hash, "granted"
        offer, _ = scene.offers[row.id]
        request = verify_request(row.request, policy, scene.machine.device)
        here = Situation(policy, "boot-1", now_ms(), 1000, sandboxed=True)
        try:
            name = str(read_envelope(raw).payload["standing"])
            standing = verify_standing(self.documents[name], policy)
            moment = Moment(here, self.used.get(name, -1), 0, self.doubt)
            grant = verify_entry(raw, moment, standing, request, offer)
        except FleetwardError as e:
            scene._deny(row, row.session, e)
            self.came.append((row.id, name, int(str(read_envelope(raw).payload["window"]))))
            return
        assert grant.ahead is not None
        self.used[name] = grant.ahead.window
        self.came.append((row.id, name, grant.ahead.window))
        self.say(name, "held")
        scene.grants[row.id] = grant
        row.state = "open"
        sealer = Sealer(
            policy.owner, scene.machine.device, grant.hash, grant.recording_key, now_ms()
        )
        scene.sealers[row.id] = sealer
        row.recording += sealer.header
