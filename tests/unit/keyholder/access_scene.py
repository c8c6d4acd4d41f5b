"""An owner, a technician, a machine and a small server between them, for tests of sessions.

The machine judges as a real one does, by `trust`; the server stores and hands out, and can be told
to lie: `scene.lie` changes what it answers.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.adversary.session_end import MachineEnd, MemoryWire
from tests.runbook_world import Maker
from tests.trust_world import Machine
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.small_server import TOKEN, SmallServer

from fleetward.keyholder.access.judging import Judge
from fleetward.keyholder.access.policy_rules import Limits, allow_scope, name_requester
from fleetward.keyholder.access.requester_folder import (
    RequesterFacts,
    RequesterFolder,
    make_requester,
)
from fleetward.keyholder.access.runbook_rules import RunbookSigner, allow_runbooks
from fleetward.keyholder.access.server_rows import AccessApi
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import add_person, change_policy
from fleetward.runtime.channel import make_session_key
from fleetward.runtime.clock import SystemClock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.runtime.recording import Sealer
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.connection import verify_connection
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.grants.ending import verify_beat, verify_stop
from fleetward.trust.grants.grant import Grant, Situation, verify_grant
from fleetward.trust.grants.offer import Offer, Readiness, make_offer_payload, verify_offer
from fleetward.trust.grants.report import (
    Denial,
    Receipt,
    make_denial_payload,
    make_receipt_payload,
)
from fleetward.trust.grants.request import verify_request
from fleetward.trust.keys import ED25519, ES256
from fleetward.wire.comparison import (
    Comparison,
    decode_comparison,
    digest_comparison,
    encode_comparison,
)

Reply = tuple[int, Any, dict[str, str]]


def now_ms() -> int:
    return SystemClock().wall_ms()


@dataclass
class Row:
    """What the server holds of one request."""

    request: bytes
    papers: dict[str, bytes] = field(default_factory=dict)
    state: str = "asked"
    session: str = ""
    recording: bytes = b""
    done: bool = False
    beats: list[bytes] = field(default_factory=list)
    stops: list[bytes] = field(default_factory=list)
    runbooks: list[str] = field(default_factory=list)
    changes: bytes = b""
    """The document of what changed, as the server keeps it."""

    @property
    def id(self) -> str:
        return read_envelope(self.request).hash


@dataclass
class Scene:
    """Everybody, and the server's memory. The machine answers at once unless it is off."""

    desk: Desk
    server: SmallServer
    machine: Machine
    folder: RequesterFolder
    technician: FileSigner
    second: FileSigner
    """Another approver, Bo, who has a key and no owner's folder."""
    maker: Maker
    """Whose runbooks the policy lets be run."""
    off: bool = False
    rows: dict[str, Row] = field(default_factory=dict)
    lie: Callable[[str, Any], Any] = lambda path, answer: answer
    offers: dict[str, tuple[Offer, bytes]] = field(default_factory=dict)
    grants: dict[str, Grant] = field(default_factory=dict)
    sealers: dict[str, Sealer] = field(default_factory=dict)
    sandbox: str = "bubblewrap"

    @property
    def api(self) -> AccessApi:
        return AccessApi(ApiClient(self.server.api, TOKEN))

    @property
    def judge(self) -> Judge:
        documents = self.desk.documents()
        return Judge(documents.policies, documents.entries)

    def publish(self) -> None:
        """Hand the owner's newest documents to the server."""
        documents = self.desk.documents()
        self.server.uploads.append(
            {
                "root": to_base64url(documents.root.raw),
                "policies": [to_base64url(p.raw) for p in documents.policies],
                "roster": to_base64url(documents.roster.raw),
                "entries": [to_base64url(e.to_bytes()) for e in documents.entries],
                "head": to_base64url(documents.head.raw),
                "lease": to_base64url(documents.lease.raw) if documents.lease else "",
            }
        )

    # --- the machine

    def push_request(self, row: Row) -> None:
        if self.off:
            return
        policy = self.desk.documents().policy
        try:
            request = verify_request(row.request, policy, self.machine.device)
        except FleetwardError as e:
            self._deny(row, row.id, e)
            return
        private, public = make_session_key()
        ready = Readiness("boot-1", secrets.token_bytes(32), public, "uid", self.sandbox, now_ms())
        raw = seal(make_offer_payload(policy, request, ready), [self.machine.identity])
        self.offers[row.id] = (verify_offer(raw, self.machine.key, request), private)
        row.papers["offer"] = raw
        row.state = "offered"

    def push_grant(self, row: Row) -> None:
        policy = self.desk.documents().policy
        offer, _ = self.offers[row.id]
        request = verify_request(row.request, policy, self.machine.device)
        here = Situation(policy, "boot-1", now_ms(), 1000, sandboxed=self.sandbox != "none")
        try:
            grant = verify_grant(row.papers["grant"], here, request, offer)
        except FleetwardError as e:
            self._deny(row, row.session, e)
            return
        self.grants[row.id] = grant
        row.state = "open"
        sealer = Sealer(
            policy.owner, self.machine.device, grant.hash, grant.recording_key, now_ms()
        )
        self.sealers[row.id] = sealer
        row.recording += sealer.header

    def record(self, row: Row, *lines: bytes) -> None:
        """Record lines, as the machine does before it hands bytes on."""
        row.recording += self.sealers[row.id].seal(b"\n".join(lines))

    def compare(self, row: Row, **parts: Any) -> None:
        """Have the machine compare; `finish` then names what it found in the receipt."""
        now = now_ms()
        row.changes = encode_comparison(
            Comparison(
                type="fleetward.comparison.v1", device=self.machine.device, session=row.session,
                before_at=now, opened_at=now, ended_at=now, after_at=now, **parts,
            )
        )  # fmt: skip

    def finish(self, row: Row, by: str = "closed", who: str = "Tom") -> None:
        """End a session: the receipt, and the recording's end."""
        sealer, grant = self.sealers[row.id], self.grants[row.id]
        receipt = Receipt(
            device=self.machine.device, owner=grant.request.owner, session=grant.hash,
            opened_at_ms=now_ms() - 1000, ended_at_ms=now_ms(), ended_by=by, ended_who=who,
            bytes_in=1, bytes_out=2, records=sealer.records, recording_head=sealer.head.hex(),
            hash="", raw=b"",
            changes=digest_comparison(row.changes) if row.changes else "",
            findings=decode_comparison(row.changes).finding_count if row.changes else 0,
            not_compared="" if row.changes else "no_before",
        )  # fmt: skip
        row.papers["receipt"] = seal(make_receipt_payload(receipt), [self.machine.identity])
        row.state, row.done = "ended", True

    def end_of(self, row: Row, wire: MemoryWire) -> MachineEnd:
        """Return the machine's end of a granted session's channel."""
        grant = self.grants[row.id]
        return MachineEnd(
            wire, self.offers[row.id][1], grant.request.session_key, grant.hash, grant.scopes
        )

    def _deny(self, row: Row, subject: str, error: FleetwardError) -> None:
        owner = self.desk.documents().owner
        denial = Denial(
            self.machine.device,
            owner,
            subject,
            error.reason,
            error.message[:500],
            now_ms(),
            "",
            b"",
        )
        row.papers["denial"] = seal(make_denial_payload(denial), [self.machine.identity])
        row.state = "denied"

    # --- the server

    def answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | None:
        """Answer as the server does, or lie."""
        reply = self._answer(method, path, body)
        if reply is None or reply[0] >= 400:
            return reply
        return reply[0], self.lie(path, reply[1]), reply[2]

    def _answer(self, method: str, path: str, body: dict[str, Any]) -> Reply | None:
        parts = urlsplit(path)
        steps = parts.path.strip("/").split("/")
        if path == "/owner/documents":
            return 200, self.server.uploads[-1], {}
        if steps[:2] == ["access", "sessions"] and steps[3] == "changes":
            held = next(r.changes for r in self.rows.values() if r.session == steps[2])
            return (200, held, {}) if held else (404, "not_compared", {})
        if steps[:2] == ["access", "sessions"]:
            return self._recording(steps[2], int(parse_qs(parts.query)["offset"][0]))
        if steps[:2] != ["access", "requests"]:
            return None
        if method == "POST":
            return self._take(steps[2:], from_base64url(body.get("envelope", "")), body)
        if len(steps) == 2:
            return 200, {"items": [self.show(r) for r in self.rows.values()], "total": 1}, {}
        row = self.rows.get(steps[2])
        return (404, "not_found", {}) if row is None else (200, self.detail(row), {})

    def _take(self, steps: list[str], envelope: bytes, body: dict[str, Any]) -> Reply:
        if not steps:
            row = Row(envelope, runbooks=body.get("runbooks", []))
            self.rows[row.id] = row
            self.push_request(row)
            return 201, self.show(row), {}
        row = self.rows[steps[0]]
        if steps[1] == "connection":
            return self._connection(row, body)
        if steps[1] == "beat":
            grant = self.grants[row.id]
            verify_beat(envelope, self.desk.documents().policy, grant, len(row.beats))
            row.beats.append(envelope)
        elif steps[1] == "stop":
            self._stop(row, envelope)
        else:
            row.papers["grant"] = envelope
            row.session, row.state = read_envelope(envelope).hash, "granted"
            if not self.off:
                self.push_grant(row)
        return 202, {"id": row.id, "state": row.state}, {}

    def _stop(self, row: Row, envelope: bytes) -> None:
        policy = self.desk.documents().policy
        request = verify_request(row.request, policy, self.machine.device)
        verify_stop(envelope, policy, self.grants.get(row.id, request))
        row.stops.append(envelope)
        if row.id in self.grants:
            self.finish(row, "stopped", "Ada")
        else:
            row.state = "stopped"

    def _connection(self, row: Row, body: dict[str, Any]) -> Reply:
        proof = from_base64url(body["proof"])
        owner = self.desk.documents().owner
        key = verify_connection(proof, self.technician.public, owner, row.session)
        assert to_base64url(key.spki) == body["public_key"]
        pem = (self.desk.folder.path / "server-ca.pem").read_text()
        given = {
            "certificate": "none", "bus": ["127.0.0.1:1"], "server_ca_sha256": "",
            "server_ca": pem, "device_id": self.machine.device, "session": row.session,
            "expires_at": to_rfc3339(now_ms()),
        }  # fmt: skip
        return 200, given, {}

    def _recording(self, session: str, offset: int) -> Reply:
        row = next(r for r in self.rows.values() if r.session == session)
        headers = {
            "Fleetward-Recording-Size": str(len(row.recording)),
            "Fleetward-Recording-Done": "true" if row.done else "false",
        }
        return 200, row.recording[offset : offset + 1024 * 1024], headers

    def show(self, row: Row) -> dict[str, Any]:
        payload = read_envelope(row.request).payload
        return {
            "id": row.id, "device_id": self.machine.device, "device_name": "pump-7",
            "site": "Ward 3", "state": row.state, "requester": str(payload["requester"]),
            "person": "Tom", "org": "Makers Ltd", "reason": payload["reason"],
            "case": payload["case"], "scopes": ["what the server says"],
            "seconds": payload["seconds"], "asked_at": to_rfc3339(now_ms()), "offered_at": None,
            "granted_at": None, "opened_at": None, "ended_at": None, "ended_by": "",
            "session": row.session, "words": "", "recording_bytes": len(row.recording),
        }  # fmt: skip

    def detail(self, row: Row) -> dict[str, Any]:
        names = ("offer", "grant", "denial", "receipt")
        papers = {name: to_base64url(row.papers.get(name, b"")) for name in names}
        runbooks = [{"envelope": each} for each in row.runbooks]
        whole = {"request": to_base64url(row.request), "runbooks": runbooks, **papers}
        return {**self.show(row), **whole}

    @property
    def row(self) -> Row:
        """The newest request."""
        return list(self.rows.values())[-1]


def make_scene(desk: Desk, server: SmallServer, tmp_path: Path) -> Scene:
    """Return a scene: rules, a technician, a second approver, and a machine on the roster."""
    lend_keys(desk)
    facts = RequesterFacts(
        "Tom", "Makers Ltd", desk.documents().owner, to_rfc3339(now_ms()),
        server=server.api.removesuffix("/api/v1"), token_file=str(_token(tmp_path)),
    )  # fmt: skip
    folder, technician = make_requester(tmp_path / "tom", PASSPHRASE, facts)
    second, maker = make_key(ED25519), Maker()
    signer = RunbookSigner(maker.key.public.key_id, maker.key.public, "Mia", "Pumps Ltd")
    change_policy(
        desk,
        lambda draft: _all(
            draft,
            add_person("Bo", second.public, ["approve"]),
            name_requester("Tom", technician.public, "Makers Ltd"),
            allow_scope("terminal", "app", Limits()),
            allow_scope("tcp", "8000-8999", Limits()),
            allow_scope("logs", "nginx.service", Limits()),
            allow_scope("files", "/srv/app", Limits()),
            allow_scope("root", "", Limits(900, 2, watched=True)),
            allow_scope("serial", "/dev/ttyUSB0", Limits(1800)),
            allow_runbooks([signer], [], Limits()),
        ),
        now_ms(),
    )
    machine = Machine("pump-7", desk.documents().owner, make_key(ES256))
    desk.put_on_roster(replace(machine.entry(site="Ward 3"), name="pump-7"))
    scene = Scene(desk, server, machine, folder, technician, second, maker)
    scene.publish()
    server.hook = scene.answer
    return scene


_opened: dict[str, dict[str, FileSigner]] = {}
"""Keys of folders that are copies of one: opening is slow on purpose, so it is done once."""


def lend_keys(desk: Desk) -> None:
    """Give a desk the keys of its folder without opening them again."""
    owner = desk.documents().owner
    if owner not in _opened:
        names = ("root", "approver", "refresh", "recording")
        _opened[owner] = {name: desk.signer(name) for name in names}
    desk._signers.update(_opened[owner])


def _all(draft: Any, *changes: Any) -> Any:
    for change in changes:
        draft = change(draft)
    return draft


def _token(folder: Path) -> Path:
    path = folder / "token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def scene(desk: Desk, server: SmallServer, tmp_path: Path) -> Scene:
    return make_scene(desk, server, tmp_path)
