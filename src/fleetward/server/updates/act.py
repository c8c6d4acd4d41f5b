"""What people do about updates: publish a maker's files, and hand in what the owner signed.

Each is written down first. Only form is checked, so that a mistake is told to who made it; what a
machine believes, it verifies.

1. A file of a repository never changes, `timestamp.json` apart, which only rises.
2. A timestamp comes last: the snapshot that it names is here before it.
3. A release comes after everything that it names: its metadata, and each blob, whole.
4. A release never changes either: one version is one manifest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from fleetward.runtime.blob_folder import BlobSize
from fleetward.server.updates import store
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.reading import (
    APPROVAL,
    FIRST_ROOT,
    RECORDED,
    TIMESTAMP,
    WITHDRAWAL,
    MetadataFile,
    Paper,
    name_file,
    read_metadata_file,
    read_paper,
)
from fleetward.server.updates.store import Row
from fleetward.server.web.caller import Caller
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.release_manifest import read_manifest
from fleetward.trust.roster import ACTIVE

MAX_COPIES: Final = 4
"""Copies of one approval that are kept: signatures are no part of its hash, and one that nobody
signed must not keep the true one out."""
_ORDER: Final = {"root": 0, "targets": 2, "snapshot": 3, "timestamp": 4}


class Updates:
    """Publishing and approving, as the API takes them. Thread-safe."""

    def __init__(self, book: UpdateBook) -> None:
        self.book: Final = book

    def publish_metadata(self, sent: Sequence[tuple[str, bytes]], caller: Caller) -> str:
        """Store files of a maker's repository, by name; return the repository's id.

        Raises `Malformed`, or `Refused` for a file that is here with other bytes.
        """
        files = [read_metadata_file(name, body) for name, body in sent]
        roots = [file for file in files if file.name == FIRST_ROOT]
        if len(roots) != 1 or len({file.name for file in files}) != len(files):
            raise Malformed(
                f"Expected {FIRST_ROOT} among the files, and each file once.",
                reason="no_first_root",
            )
        repository, book = roots[0].sha256, self.book
        files.sort(key=lambda file: (_ORDER.get(file.role, 1), file.version))
        with book.lock:
            fresh = self._find_fresh(repository, files)
            words = f"{len(fresh)} files of the maker's repository {repository[:12]} were stored."
            book.record(
                "update.metadata_published",
                caller.actor,
                {"words": words, "repository": repository, "files": len(fresh)},
            )
            now, owner = book.near.clock.wall_ms(), book.near.owner.owner_id
            with book.near.database.write() as conn:
                store.insert_repository(conn, repository, owner, now)
                for file in fresh:
                    store.upsert_file(conn, repository, owner, file, now)
            book.forget()
        book.tell("metadata", repository)
        return repository

    def _find_fresh(self, repository: str, files: Sequence[MetadataFile]) -> list[MetadataFile]:
        """Return the files that are new here. Raises `Refused` by rules 1 and 2."""
        fresh: list[MetadataFile] = []
        with self.book.near.database.read() as conn:
            for file in files:
                held = store.select_file(conn, repository, file.name)
                if held is not None and held.sha256 == file.sha256:
                    continue
                if held is not None and (file.name != TIMESTAMP or file.version <= held.version):
                    raise Refused(
                        f"{file.name} is here already, with other bytes and the version "
                        f"{held.version}. A file that was published stays as it is: publish a "
                        "higher version.",
                        reason="other_file",
                    )
                fresh.append(file)
                if file.name == TIMESTAMP:
                    snapshot = name_file("snapshot", file.snapshot)
                    named = {each.name for each in files}
                    if snapshot not in named and not store.select_file(conn, repository, snapshot):
                        raise Refused(
                            f"The timestamp names {snapshot}, which is not here. Send it along.",
                            reason="snapshot_missing",
                        )
        return fresh

    def blob_size(self, sha256: str) -> BlobSize:
        """Return how much of a blob is here."""
        return self.book.blobs.size(sha256)

    def take_piece(
        self, sha256: str, offset: int, total: int, data: bytes, caller: Caller
    ) -> BlobSize:
        """Store a piece of a blob. Raises as `BlobFolder.write`, and `Refused` for another total.

        The first piece of each is written down; the others are not, for there are thousands.
        """
        book = self.book
        with book.near.database.read() as conn:
            row = store.select_blob(conn, sha256)
        if row is not None and row.length != total and book.blobs.size(sha256).received:
            raise Refused(
                f"This blob was begun with {row.length} bytes, and now has {total}.",
                reason="another_length",
            )
        now = book.near.clock.wall_ms()
        values = {"owner_id": book.near.owner.owner_id, "length": total, "at": now}
        if row is None or row.length != total:
            words = f"{total} bytes of a release were begun to be uploaded: {sha256[:12]}."
            book.record("update.blob_begun", caller.actor, {"words": words, "blob": sha256})
            with book.near.database.write() as conn:
                store.upsert_blob(conn, sha256, {**values, "complete": False})
        size = book.blobs.write(sha256, offset, total, data)
        if size.complete:
            with book.near.database.write() as conn:
                store.upsert_blob(conn, sha256, {**values, "complete": True})
            book.tell("blob", sha256)
        return size

    def publish_release(self, repository: str, path: str, data: bytes, caller: Caller) -> Row:
        """Store a release; the same one twice is stored once. Raises `Malformed` or `Refused`."""
        book, manifest = self.book, read_manifest(data)
        if path != manifest.path:
            raise Refused(
                f"The manifest says that it belongs at {manifest.path}, and not at {path[:200]}.",
                reason="another_path",
            )
        with book.lock:
            held = self._find_release(manifest.product, manifest.version)
            if held is not None and held.release_id != manifest.hash:
                raise Refused(
                    f"{manifest.product} {manifest.version} is published already, as another "
                    "release. One version is one release: give this one a new version.",
                    reason="other_release",
                )
            with book.near.database.read() as conn:
                if store.select_file(conn, repository, TIMESTAMP) is None:
                    raise Refused(
                        "There is no such repository here. Publish its metadata first.",
                        reason="repository_not_found",
                    )
            missing = [b.sha256 for b in manifest.blobs() if not book.blobs.size(b.sha256).complete]
            if missing:
                raise Refused(
                    f"{len(missing)} of its blobs are not here whole, {missing[0]} for one. Upload "
                    "them first.",
                    reason="blob_missing",
                )
            words = f"{manifest.product} {manifest.version} was published."
            book.record("update.released", caller.actor, {"words": words, "release": manifest.hash})
            if held is None:
                self._store_release(repository, data)
            book.forget()
        book.tell("release", manifest.hash)
        return self.find_release(manifest.product, manifest.version)

    def find_release(self, product: str, version: str) -> Row:
        """Return a release. Raises `Refused`."""
        row = self._find_release(product, version)
        if row is None:
            raise Refused(
                f"No {product[:48]} {version[:64]} is published here. GET /api/v1/updates/releases "
                "lists what is.",
                reason="release_not_found",
            )
        return row

    def submit_paper(self, raw: bytes, caller: Caller) -> Paper:
        """Store an approval or a withdrawal that the owner's people signed.

        Raises `Malformed`, `Untrusted` for another owner's, `Refused` for one copy too many.
        """
        book, near = self.book, self.book.near
        paper = read_paper(raw, near.owner.owner_id)
        with book.lock:
            with near.database.read() as conn:
                known = store.has_copy(conn, paper.copy)
                copies = store.count_copies(conn, paper.approval)
            if not known and copies >= MAX_COPIES:
                raise Refused(
                    f"{copies} copies of this are stored already. Have it signed anew.",
                    reason="too_many_copies",
                )
            kind = "update.withdrawn" if paper.kind == WITHDRAWAL else "update.approved"
            book.record(
                kind, caller.actor, {"words": self._say_paper(paper), "approval": paper.approval}
            )
            now = near.clock.wall_ms()
            near.ledger.append_signed(RECORDED[paper.kind], raw, (caller.actor, ""), now)
            if not known:
                with near.database.write() as conn:
                    store.insert_paper(
                        conn,
                        {
                            "copy_id": paper.copy,
                            "approval_id": paper.approval,
                            "owner_id": near.owner.owner_id,
                            "kind": paper.kind,
                            "product": paper.product,
                            "release_id": paper.release,
                            "withdraws": paper.withdraws,
                            "envelope": raw,
                            "issued_at": paper.issued_at_ms,
                            "at": now,
                        },
                    )
            book.forget()
        book.tell("approval", paper.approval)
        book.look(self._meant_by(paper))
        return paper

    def _find_release(self, product: str, version: str) -> Row | None:
        with self.book.near.database.read() as conn:
            return store.select_version(conn, product, version)

    def _store_release(self, repository: str, data: bytes) -> None:
        book, manifest = self.book, read_manifest(data)
        with book.near.database.write() as conn:
            store.insert_release(
                conn,
                {
                    "release_id": manifest.hash,
                    "owner_id": book.near.owner.owner_id,
                    "repository_id": repository,
                    "product": manifest.product,
                    "version": manifest.version,
                    "counter": manifest.counter,
                    "manifest": data,
                    "released_at": manifest.released_at_ms,
                    "at": book.near.clock.wall_ms(),
                },
            )

    def _meant_by(self, paper: Paper) -> list[str]:
        """Return the machines that an approval, or what a withdrawal withdraws, is for."""
        book = self.book
        if paper.kind == WITHDRAWAL:
            named = [each for each in book.known.approvals if each.approval == paper.withdraws]
            if not named:
                return []
            paper = named[0]
        entries = book.entries.values()
        return [e.device for e in entries if e.state == ACTIVE and paper.selector.selects(e)]

    def _say_paper(self, paper: Paper) -> str:
        people = self.book.people_of(paper.signers)
        if paper.kind == WITHDRAWAL:
            return f"{people} withdrew the approval {paper.withdraws[:12]}."
        what = (
            f"{paper.product} {paper.version}"
            if paper.kind == APPROVAL
            else (f"whatever the maker releases of {paper.product}")
        )
        return f"{people} approved {what} for {paper.selector.words()}."
