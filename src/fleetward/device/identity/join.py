"""Joining: how a machine gets its owner, with nothing trusted on first use.

This is guard's part. It has no network: it makes the identity key, signs the join statement over
the transport key that uplink made, and judges what came back. Steps:

1. The join string is parsed; a machine that has an owner already joins no other.
2. The identity key is made, or found from an attempt before. The lineage rises on the disk.
3. The server's CA is the one whose hash stands in the join string.
4. The bundle leads from the owner root of the join string to the lowest acceptable policy.
5. The certificate is over the vouched key, for this machine, under the policy's fleet CA.
6. `agent.joined` is in the journal, then the files are written, the anchor last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from fleetward.device.audit.diary import Diary
from fleetward.device.audit.journal import open_journal
from fleetward.device.audit.segments import Chain
from fleetward.device.identity.certificate import (
    Issued,
    read_certificate_reply,
    verify_issued,
    verify_server_ca,
)
from fleetward.device.identity.joined import GuardFiles, Joined
from fleetward.device.identity.keys import load_or_make_identity
from fleetward.device.port import (
    GetKit,
    Kit,
    Reply,
    Request,
    TakeCertificate,
    TakeServerCa,
    Vouch,
)
from fleetward.device.state import Certificate, GuardState, StateFile
from fleetward.device.timekeeper import Timekeeper
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import make_private_directory
from fleetward.runtime.x509 import SpiffeId
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import Anchor, OwnerView, first_view, read_bundle
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import Misuse, Refused
from fleetward.trust.invitation import JoinString
from fleetward.trust.keys import ES256, PublicKey, read_public_key
from fleetward.trust.statements import MachineFacts, make_join_payload
from fleetward.wire.identity import JoinRequest

MAX_TRIES: Final = 8


@dataclass(frozen=True, slots=True)
class Newcomer:
    """What the machine is when it joins: its facts, and its boot id."""

    facts: MachineFacts
    boot: str


class Joining:
    """One attempt to join. `handle` answers the verbs that uplink needs for it."""

    def __init__(self, folder: Path, join: JoinString, newcomer: Newcomer, clock: Clock) -> None:
        self._files = GuardFiles(make_private_directory(folder))
        # 1.
        if self._files.read_joined() is not None:
            raise Misuse("This machine has an owner already.", reason="already_joined")
        self._join = join
        self._newcomer = newcomer
        self._clock = clock
        # 2.
        self._signer = load_or_make_identity(folder)
        self._file = StateFile(self._files.state)
        self._state, _ = self._file.load()
        self._vouched: PublicKey | None = None
        self._ca_pem = ""
        self.joined: Joined | None = None

    @property
    def device(self) -> str:
        """The device id."""
        return self._signer.public.key_id

    def handle(self, request: Request, body: bytes) -> Reply:
        """Answer one request of uplink. Raises the families of `trust.errors`."""
        if isinstance(request, GetKit):
            return Reply(msgspec.json.encode(self._kit()))
        if isinstance(request, TakeServerCa):
            # 3.
            self._ca_pem = verify_server_ca(body, self._join.server_ca)
            return Reply()
        if isinstance(request, Vouch):
            return Reply(self._vouch(body))
        if isinstance(request, TakeCertificate):
            self._take(body)
            return Reply()
        raise Refused("This machine has not joined yet.", reason="not_joined")

    def _kit(self) -> Kit:
        return Kit(
            joined=False,
            device=self.device,
            enrol=self._join.enrol_addresses,
            bus=self._join.bus_addresses,
            server_ca_sha256=self._join.server_ca,
            server_ca_pem=self._ca_pem,
            certificate_pem="",
            certificate_key="",
            renew=True,
            once=True,
        )

    def _vouch(self, spki: bytes) -> bytes:
        transport = read_public_key(ES256, spki)
        self._state.lineage += 1
        self._file.save(self._state)
        self._vouched = transport
        payload = make_join_payload(
            self._signer.public,
            self._join.owner,
            read_envelope(self._join.invitation).hash,
            transport,
            self._state.lineage,
            self._newcomer.facts,
        )
        request = JoinRequest(
            statement=to_base64url(seal(payload, [self._signer])),
            invitation=to_base64url(self._join.invitation),
        )
        return msgspec.json.encode(request)

    def _take(self, data: bytes) -> None:
        if self._vouched is None or not self._ca_pem:
            raise Misuse("A certificate came before it was asked for.", reason="not_asked")
        reply = read_certificate_reply(data)
        # 4.
        anchor = Anchor(
            self._join.owner, self.device, self._join.policy_version, self._join.policy_hash
        )
        view = first_view(anchor, read_bundle(from_base64url(reply.bundle)))
        # 5.
        issued = verify_issued(
            reply.certificate,
            self._vouched.key_id,
            SpiffeId(self._join.owner, self.device),
            view.policy.roots.fleet_ca,
        )
        # 6.
        self._commit(view, issued)

    def _commit(self, view: OwnerView, issued: Issued) -> None:
        # Without an anchor nothing of an older journal ever left this machine.
        shutil.rmtree(self._files.journal, ignore_errors=True)
        self._state = GuardState(lineage=self._state.lineage)
        time = Timekeeper(self._clock, self._state, self._newcomer.boot)
        time.observe()
        chain = Chain(self._signer.public, view.anchor.owner)
        journal, _ = open_journal(self._files.journal, chain, None)
        Diary(journal, time, self._state).order(
            "agent.joined",
            {
                "lineage": self._state.lineage,
                "owner": view.root.owner,
                "policy_version": view.policy.version,
                "words": f"This machine joined {view.root.name}.",
            },
        )
        journal.close()
        self._state.vouched = issued.key_id
        self._state.certificate = keep_certificate(issued, time)
        if view.lease:
            self._state.lease = view.lease.hash
            self._state.lease_started_powered_ms = time.powered_ms()
        self._file.save(self._state)
        self._files.write_view(view)
        self._files.write_server_ca(self._ca_pem)
        self._files.write_certificate(issued.pem)
        self.joined = Joined(
            owner=view.anchor.owner,
            device=self.device,
            policy_version=view.anchor.policy_version,
            policy_hash=view.anchor.policy_hash,
            enrol=self._join.enrol_addresses,
            bus=self._join.bus_addresses,
            server_ca=self._join.server_ca,
            name=self._newcomer.facts.hostname,
            joined_at_ms=time.wall_ms(),
        )
        self._files.write_joined(self.joined)


def keep_certificate(issued: Issued, time: Timekeeper) -> Certificate:
    """Return what to remember of a certificate that was just taken."""
    return Certificate(
        received_powered_ms=time.powered_ms(),
        lifetime_ms=max(0, issued.lifetime_ms),
        not_after_ms=issued.not_after_ms,
        serial=issued.serial,
    )


def check_same_owner(joined: Joined, join: JoinString) -> None:
    """Return when a joined machine is asked to join its own owner again. Raises `Refused`."""
    if joined.owner != join.owner:
        raise Refused(
            f"This machine obeys the owner {joined.owner[:12]}… already, and joins no other. To "
            "give it to somebody else, its owner retires it and guard's folder is removed.",
            reason="joined_elsewhere",
        )
