"""Who may come to the bus for a session: the certificate, and the broker's question about it.

Coming to the bus is not entering a machine. What is said there is sealed between the requester's
session key and the machine's; whoever takes his place can only disturb him.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from fleetward.runtime.http.times import to_rfc3339
from fleetward.server.access import standing_store, store
from fleetward.server.access.act import Access
from fleetward.server.access.book import Book
from fleetward.server.access.decide import certificate_ends_ms, check_live
from fleetward.server.access.model import Connection
from fleetward.server.access.reading import (
    ENTRY,
    YES,
    read_asked,
    read_asker,
    read_granted,
)
from fleetward.server.access.standing_reading import read_entered, read_standing
from fleetward.server.access.store import Row
from fleetward.server.callout import Admission, Decision, SessionPeer
from fleetward.server.deeds import Deed
from fleetward.server.web.caller import Caller
from fleetward.trust.canonical import from_base64url
from fleetward.trust.connection import verify_connection
from fleetward.trust.errors import FleetwardError, Refused, Untrusted
from fleetward.trust.keys import PublicKey
from fleetward.wire.subjects import session_name

BACKDATE_MS: Final = 3_600_000
"""The requester's clock may be an hour slow."""


class Issued(Protocol):
    """A certificate with its chain."""

    @property
    def chain_pem(self) -> str: ...

    @property
    def serial(self) -> str: ...

    @property
    def not_after_ms(self) -> int: ...


class Issuer(Protocol):
    """Who signs certificates."""

    @property
    def server_ca_pem(self) -> str: ...

    @property
    def server_ca_sha256(self) -> str: ...

    def issue_session(
        self, chain_pem: str, owner: str, session: str, transport: PublicKey,
        times: tuple[int, int],
    ) -> Issued: ...  # fmt: skip


@dataclass(frozen=True)
class Connections:
    """Certificates for the requesters of sessions, and who of them may be connected."""

    book: Book
    access: Access
    issuer: Issuer

    def connect(
        self, place: str, sent: tuple[str, str], bus: list[str], caller: Caller
    ) -> Connection:
        """Return a certificate for `sent` (transport key, requester's word for it; base64url).

        An older certificate of the session is good no more. Raises `Malformed`, `Untrusted`, or
        `Refused` when the session is not live.
        """
        row = self.access.find(place, caller)
        with self.book.lock:
            row = self.access.find(row.request_id, caller)
            check_live(row.state)
            transport = self._check_proof(row, sent)
            now, near = self.book.now(), self.book.near
            ends = self._ends_ms(row, now)
            near.deeds.record(
                Deed(
                    kind="access.connected",
                    actor=caller.actor,
                    subject=f"device:{row.device_id}",
                    owner_id=near.owner.owner_id,
                    body={
                        "words": f"{row.person} fetched a certificate for the session at "
                        f"{row.device_name}.",
                        "request": row.request_id,
                        "session": row.session_id,
                    },
                    at_ms=now,
                )
            )
            issued = self.issuer.issue_session(
                near.owner.issuing_chain(), near.owner.owner_id, session_name(row.session_id),
                transport, (now - BACKDATE_MS, ends),
            )  # fmt: skip
            with near.database.write() as conn:
                store.update_serial(conn, row.request_id, issued.serial)
        if row.serial:
            self.book.end(row.session_id)
        return Connection(
            certificate=issued.chain_pem,
            bus=bus,
            server_ca=self.issuer.server_ca_pem,
            server_ca_sha256=self.issuer.server_ca_sha256,
            device_id=row.device_id,
            session=row.session_id,
            expires_at=to_rfc3339(issued.not_after_ms),
        )

    def judge(self, peer: SessionPeer) -> Admission:
        """Return whether a connection with a session's certificate comes in; for the callout."""
        try:
            return Admission(Decision.DEVICES, "ok", self._admit(peer))
        except FleetwardError as e:
            return Admission(Decision.REFUSED, e.reason)

    def _admit(self, peer: SessionPeer) -> str:
        """Return the machine of a live session. Raises `Refused`."""
        if peer.owner_id != self.book.near.owner.owner_id:
            raise Refused("The certificate names another owner.", reason="another_owner")
        row = self.book.find_session(peer.session)
        if row is None or session_name(row.session_id or "0" * 64) != peer.session:
            raise Refused("No such session is known here.", reason="unknown_session")
        check_live(row.state)
        if row.serial != f"{peer.serial:x}":
            raise Refused(
                "A newer certificate was issued for this session.", reason="superseded_certificate"
            )
        if self.book.near.machines.state_of(row.device_id) != "active":
            raise Refused("The machine is contained or retired.", reason="device_contained")
        return str(row.device_id)

    def _check_proof(self, row: Row, sent: tuple[str, str]) -> PublicKey:
        owner = self.book.near.owner.owner_id
        asker = read_asker(read_asked(bytes(row.envelope), owner), self.book.near.owner.policy)
        if asker.key is None:
            raise Refused(
                "The owner's policy names this requester no more.", reason="unknown_requester"
            )
        proof = from_base64url(sent[1])
        transport = verify_connection(proof, asker.key, owner, row.session_id)
        if transport.spki != from_base64url(sent[0]):
            raise Untrusted("The proof is for another key.", reason="another_key")
        return transport

    def _ends_ms(self, row: Row, now: int) -> int:
        owner = self.book.near.owner.owner_id
        with self.book.near.database.read() as conn:
            yes = [
                note
                for note in store.select_notes(conn, row.request_id)
                if note.kind in YES and note.subject == row.session_id
            ][-1]
            if yes.kind != ENTRY:
                granted = read_granted(bytes(yes.envelope), owner)
                return certificate_ends_ms(granted.not_after_ms, granted.seconds, now)
            entered = read_entered(bytes(yes.envelope), owner)
            stored = standing_store.select_one(conn, entered.standing)
        if stored is None:
            raise Refused("What was allowed ahead is not known here.", reason="not_found")
        told = read_standing(bytes(stored.envelope), owner)
        return certificate_ends_ms(told.end_of(entered.window), told.seconds, now)
