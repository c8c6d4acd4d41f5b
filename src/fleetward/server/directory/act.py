"""Storing owner documents and handing them over; every change is a leaf of the ledger first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from fleetward.runtime.database import Database
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.directory import store
from fleetward.server.directory.announced import Announced, Announcements
from fleetward.server.directory.decide import (
    BundleMaker,
    Documents,
    judge_documents,
    judge_succession,
)
from fleetward.server.directory.model import DocumentsStored, OwnerDocuments, StoredDocuments
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.documents import Bundle
from fleetward.trust.envelope import document_hash, read_envelope
from fleetward.trust.errors import Refused
from fleetward.trust.policy import Policy


class DocumentLedger(Protocol):
    """Takes signed documents as leaves."""

    def append_document(self, owner_id: str, kind: str, raw: bytes, at_ms: int) -> None:
        """Make the document a leaf, once; raise `Unreachable` when it cannot."""


class Directory:
    """The owner of this server, and his documents. Thread-safe."""

    def __init__(
        self,
        database: Database,
        ledger: DocumentLedger,
        deeds: DeedRecorder,
        check_chain: Callable[[str, str], None],
    ) -> None:
        self._database = database
        self._ledger = ledger
        self._deeds = deeds
        self._check_chain = check_chain
        self._lock = threading.Lock()
        self._maker: BundleMaker | None = None
        self._listeners: list[Callable[[Documents], None]] = []
        self.announcements = Announcements(database, ledger, deeds)
        self._load()

    def listen(self, listener: Callable[[Documents], None]) -> None:
        """Call `listener` whenever new documents were stored."""
        self._listeners.append(listener)

    @property
    def documents(self) -> Documents | None:
        """The newest documents, or None before an owner has come."""
        maker = self._maker
        return maker.documents if maker else None

    def require(self) -> Documents:
        """Return the documents. Raises `Refused` with what to do before there is an owner."""
        documents = self.documents
        if documents is None:
            raise Refused(
                "This server has no owner yet. Run `fleetward owner init` on the owner's computer.",
                reason="no_owner",
            )
        return documents

    @property
    def owner_id(self) -> str:
        """The owner's id, or an empty string before there is one."""
        documents = self.documents
        return documents.root.owner if documents else ""

    @property
    def policy(self) -> Policy:
        """The newest policy. Raises `Refused` before there is an owner."""
        return self.require().policy

    def bundle(self, device: str, policy_version: int = 0) -> Bundle:
        """Return the documents that `device` lacks. Raises `Refused` before there is an owner."""
        self.require()
        maker = self._maker
        assert maker is not None
        return maker.bundle(device, policy_version)

    def issuing_chain(self) -> str:
        """Return the issuing chain in PEM, or an empty string."""
        with self._database.read() as conn:
            row = store.select_owner(conn)
        return row.issuing_chain if row else ""

    def show(self) -> StoredDocuments:
        """Return everything as the API shows it. Raises `Refused` before there is an owner."""
        held = self.require()
        return StoredDocuments(
            owner_root=held.root.owner,
            name=held.name,
            root=to_base64url(held.root.raw),
            policies=[to_base64url(p) for p in held.policies],
            roster=to_base64url(held.roster.raw),
            entries=[to_base64url(e.to_bytes()) for e in held.entries],
            head=to_base64url(held.head.raw),
            lease=to_base64url(held.lease.raw),
            issuing_chain=self.issuing_chain(),
        )

    def take(self, sent: OwnerDocuments, actor: str, at_ms: int) -> DocumentsStored:
        """Judge, record and store what somebody uploaded.

        Raises `Malformed`, `Untrusted` or `Refused`; then nothing has changed.
        """
        after = judge_documents(
            from_base64url(sent.root),
            [from_base64url(p) for p in sent.policies],
            (from_base64url(sent.roster), [from_base64url(e) for e in sent.entries]),
            from_base64url(sent.head),
            from_base64url(sent.lease),
        )
        with self._lock:
            before = self.documents
            judge_succession(before, after)
            self.announcements.check_waited(before, after, at_ms)
            same_ca = before and before.policy.roots.fleet_ca == after.policy.roots.fleet_ca
            if sent.issuing_chain:
                self._check_chain(sent.issuing_chain, after.policy.roots.fleet_ca)
            elif not same_ca:
                raise Refused(
                    "Expected the issuing chain that the owner signed.", reason="no_issuing_chain"
                )
            self._record(after, before, at_ms)
            self._deeds.record(_describe(after, actor, at_ms))
            self._write(after, before, sent.issuing_chain, at_ms)
            self._maker = BundleMaker(after)
            self.announcements.follow(after, at_ms)
        for listener in self._listeners:
            listener(after)
        return DocumentsStored(
            owner_root=after.root.owner,
            policy_version=after.policy.version,
            roster_version=after.roster.version,
            head_version=after.head.version,
            lease_serial=after.lease.serial,
        )

    def announce(self, raw: bytes, actor: str, at_ms: int) -> Announced:
        """Take a policy that recovery keys signed. Raises as `Announcements.announce`."""
        return self.announcements.announce(raw, self.require(), actor, at_ms)

    def announced_bundles(self) -> list[tuple[int, Bundle]]:
        """Return what to tell machines of recoveries: the version before, and the bundle."""
        return [
            (each.version - 1, Bundle(root=b"", policies=(each.raw,)))
            for each in self.announcements.waiting()
        ]

    def record_invitation(self, raw: bytes, at_ms: int) -> None:
        """Make an invitation, which the caller verified, a leaf. Raises `Unreachable`."""
        self._ledger.append_document(self.owner_id, "invitation", raw, at_ms)

    def _record(self, after: Documents, before: Documents | None, at_ms: int) -> None:
        owner = after.root.owner
        if before is None:
            self._ledger.append_document(owner, "root", after.root.raw, at_ms)
        for raw in after.policies[len(before.policies) if before else 0 :]:
            self._ledger.append_document(owner, "policy", raw, at_ms)
        if before is None or before.roster.hash != after.roster.hash:
            self._ledger.append_document(owner, "roster", after.roster.raw, at_ms)
        if before is None or before.head.hash != after.head.hash:
            self._ledger.append_document(owner, "head", after.head.raw, at_ms)
        if before is None or before.lease.hash != after.lease.hash:
            self._ledger.append_document(owner, "lease", after.lease.raw, at_ms)

    def _write(self, after: Documents, before: Documents | None, chain: str, at_ms: int) -> None:
        owner = after.root.owner
        with self._database.write() as conn:
            if before is None:
                store.insert_owner(conn, owner, after.root.name, after.root.raw, chain, at_ms)
            elif chain:
                store.update_chain(conn, owner, chain)
            for version, raw in enumerate(after.policies, start=1):
                digest = document_hash(read_envelope(raw).payload)
                store.insert_document(conn, owner, store.POLICY, version, (digest, raw), at_ms)
            for kind, version, document in (
                (store.ROSTER, after.roster.version, (after.roster.hash, after.roster.raw)),
                (store.HEAD, after.head.version, (after.head.hash, after.head.raw)),
                (store.LEASE, after.lease.serial, (after.lease.hash, after.lease.raw)),
            ):
                store.insert_document(conn, owner, kind, version, document, at_ms)
            if before is None or before.roster.hash != after.roster.hash:
                store.replace_entries(conn, owner, after.entries)

    def _load(self) -> None:
        with self._database.read() as conn:
            row = store.select_owner(conn)
            if row is None:
                return
            documents = judge_documents(
                row.root,
                store.select_documents(conn, row.owner_id, store.POLICY),
                (
                    store.select_newest(conn, row.owner_id, store.ROSTER),
                    store.select_entries(conn, row.owner_id),
                ),
                store.select_newest(conn, row.owner_id, store.HEAD),
                store.select_newest(conn, row.owner_id, store.LEASE),
            )
        self._maker = BundleMaker(documents)


def _describe(after: Documents, actor: str, at_ms: int) -> Deed:
    return Deed(
        kind="owner.documents_stored",
        actor=actor,
        subject=f"owner:{after.root.owner[:12]}",
        owner_id=after.root.owner,
        body={
            "words": f"Documents of {after.name} were stored: policy {after.policy.version}, "
            f"roster {after.roster.version}, head {after.head.version}.",
            "head": after.head.hash,
            "lease": after.lease.serial,
        },
        at_ms=at_ms,
    )
