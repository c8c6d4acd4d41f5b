"""Rows and envelopes in, the API's words out. It reads, it never writes."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any, Final, Literal

import msgspec

from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.server.updates import rollout_store, store
from fleetward.server.updates.bill import Difference, compare_bills, read_bill
from fleetward.server.updates.book import UpdateBook
from fleetward.server.updates.decide import Release
from fleetward.server.updates.decide_rollout import CANCELLED
from fleetward.server.updates.freshness import Behind, begin_of, list_approved, measure_behind
from fleetward.server.updates.model import (
    ApprovalRow,
    Counters,
    DeviceUpdates,
    DirectorRoot,
    FindingRow,
    ProductOnDevice,
    ReleaseDetail,
    ReleaseDevice,
    ReleaseDevices,
    ReleaseRow,
    ReportRow,
)
from fleetward.server.updates.reading import APPROVAL, WITHDRAWAL, Paper
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import Refused
from fleetward.trust.release_manifest import Manifest, read_manifest
from fleetward.trust.roster import RosterEntry
from fleetward.trust.update_report import FAILURES, MAX_REPORT_BYTES

PaperState = Literal["holds", "later", "over", "withdrawn", "old_epoch", "withdraws"]
TARGETS: Final = "targets"
LIST_BYTES: Final = 8 * 1024 * 1024
"""Bytes of a blob that a page reads whole: a bill of materials, no image."""


class Shown:
    """What the API says about releases, approvals and machines."""

    def __init__(self, book: UpdateBook) -> None:
        self._book = book

    def releases(self) -> list[ReleaseRow]:
        """Return all releases, newest first."""
        with self._book.near.database.read() as conn:
            rows = store.select_releases(conn)
            states = store.select_all_states(conn)
        counts = Counter(str(state.release_id) for state in states)
        made = [self._release(row, read_manifest(bytes(row.manifest)), counts) for row in rows]
        return sorted(made, key=lambda each: each.published_at, reverse=True)

    def release(self, row: store.Row) -> ReleaseRow:
        """Return one release as it is listed."""
        with self._book.near.database.read() as conn:
            states = store.select_all_states(conn, row.product)
        counts = Counter(str(state.release_id) for state in states)
        return self._release(row, read_manifest(bytes(row.manifest)), counts)

    def detail(self, row: store.Row) -> ReleaseDetail:
        """Return a release with its manifest, and what differs from the version before."""
        manifest = read_manifest(bytes(row.manifest))
        with self._book.near.database.read() as conn:
            before = store.select_before(conn, row.product, row.counter)
        bill = self._bill(manifest)
        difference = Difference()
        if before is not None and bill is not None:
            known = self._bill(read_manifest(bytes(before.manifest)))
            difference = compare_bills(known, bill) if known is not None else difference
        return ReleaseDetail(
            release=self.release(row),
            manifest=to_base64url(row.manifest),
            before=before.version if before is not None else "",
            components=len(bill) if bill is not None else None,
            added=list(difference.added),
            removed=list(difference.removed),
            changed=list(difference.changed),
            approvals=[
                self._paper(paper)
                for paper in self._book.known.approvals
                if paper.product == row.product
                and paper.release in ("", row.release_id)
                and (paper.agent or not manifest.replaces_agent)
            ],
        )

    def release_devices(
        self, row: store.Row, text: str, span: tuple[int, int], page: int
    ) -> ReleaseDevices:
        """Return a page (offset, limit) of the machines that run a release, or tried to."""
        with self._book.near.database.read() as conn:
            rows, total = store.select_release_states(conn, row.release_id, text, span)
            runs, failed = store.count_release_states(conn, row.release_id, sorted(FAILURES))
        return ReleaseDevices(
            runs=runs,
            failed=failed,
            items=[_on_device(each, row.release_id) for each in rows],
            total=total,
            page=page,
            per_page=span[1],
        )

    def papers(self) -> list[ApprovalRow]:
        """Return approvals and withdrawals, newest first."""
        known = self._book.known
        papers = sorted(
            [*known.approvals, *known.withdrawals], key=lambda p: p.issued_at_ms, reverse=True
        )
        return [self._paper(paper) for paper in papers]

    def paper(self, paper: Paper) -> ApprovalRow:
        """Return one approval or withdrawal."""
        return self._paper(paper)

    def director_root(self) -> DirectorRoot:
        """Return the director's root."""
        director, owner = self._book.director, self._book.near.owner
        named = owner.documents is not None and owner.policy.roots.director == director.root_sha256
        return DirectorRoot(
            root=to_base64url(director.root), sha256=director.root_sha256, named=named
        )

    def device(self, device: str, span: tuple[int, int], page: int) -> DeviceUpdates:
        """Return a machine with a page (offset, limit) of its reports. Raises `Refused`."""
        with self._book.near.database.read() as conn:
            named = store.select_name(conn, device)
            states = store.select_states(conn, device)
            word = store.select_directed(conn, [device]).get(device)
            rows, total = store.select_reports(conn, device, *span)
            newest, _ = store.select_reports(conn, device, 0, 1)
        if named is None:
            raise Refused(
                "No machine of this id is known here. GET /api/v1/devices lists them.",
                reason="not_found",
            )
        return DeviceUpdates(
            device_id=device,
            name=named.name,
            site=named.site,
            products=[self._product(device, state) for state in states],
            told=_read_told(bytes(word.body)) if word is not None else [],
            told_at=to_rfc3339(word.signed_at) if word is not None else None,
            counters=_read_counters(bytes(newest[0].envelope)) if newest else None,
            items=[_report(row) for row in rows],
            total=total,
            page=page,
            per_page=span[1],
        )

    def behind(self, entry: RosterEntry, product: str, running: int) -> Behind:
        """Return how far behind a machine is."""
        book = self._book
        now = book.near.clock.wall_ms()
        holding = book.holding(now)
        approved = list_approved(book.offerable(), holding, entry, product)
        since = {each.id: self._begin(each, holding, entry) for each in approved}
        return measure_behind(approved, since, running, now)

    def _begin(self, release: Release, holding: list[Paper], entry: RosterEntry) -> int:
        return begin_of(release, self._book.known.published[release.id], holding, entry)

    def _product(self, device: str, state: store.Row) -> ProductOnDevice:
        entry = self._book.entries.get(device)
        behind = Behind(None, "")
        if entry is not None:
            behind = self.behind(entry, state.product, state.counter)
        return ProductOnDevice(
            product=state.product,
            version=state.version,
            counter=state.counter,
            floor=state.floor,
            since=to_rfc3339_or_none(state.committed_at or None),
            days_behind=behind.days,
            newest=behind.newest,
            outcome=state.outcome,
            target=state.target_version,
            attempt=state.attempt,
            cause=state.cause,
            words=state.words,
            said_at=to_rfc3339_or_none(state.said_at or None),
        )

    def _release(self, row: store.Row, manifest: Manifest, counts: Counter[str]) -> ReleaseRow:
        book = self._book
        repository = book.repository_of(row.product)
        holding = book.holding(book.near.clock.wall_ms())
        approvals = [
            paper
            for paper in holding
            if paper.product == row.product and paper.release in ("", row.release_id)
        ]
        return ReleaseRow(
            id=row.release_id,
            repository=row.repository_id,
            product=row.product,
            version=row.version,
            counter=row.counter,
            path=manifest.path,
            released_at=to_rfc3339(row.released_at),
            published_at=to_rfc3339(row.at),
            hardware=list(manifest.hardware),
            reboot=manifest.reboot,
            notes=manifest.notes,
            fixes=list(manifest.fixes),
            support_ends_at=to_rfc3339_or_none(manifest.support_ends_at_ms or None),
            size_bytes=sum(part.blob.length_bytes for part in manifest.parts),
            offerable=bool(repository) and repository == row.repository_id,
            approvals=len(approvals),
            rollouts=self._count_rollouts(row.release_id),
            installed=counts[row.release_id],
        )

    def _count_rollouts(self, release: str) -> int:
        with self._book.near.database.read() as conn:
            gates = rollout_store.select_gates(conn)
        return sum(row.release_id == release and row.state != CANCELLED for row in gates)

    def _bill(self, manifest: Manifest) -> dict[str, str] | None:
        if manifest.sbom is None or manifest.sbom.length_bytes > LIST_BYTES:
            return None
        found = self._book.blobs.read(manifest.sbom.sha256, 0, LIST_BYTES)
        return read_bill(found[0]) if found is not None else None

    def _paper(self, paper: Paper) -> ApprovalRow:
        is_approval = paper.kind != WITHDRAWAL
        return ApprovalRow(
            id=paper.approval,
            kind=_kind(paper),
            product=paper.product,
            version=paper.version,
            release=paper.release,
            withdraws=paper.withdraws,
            machines=paper.selector.words() if is_approval else "",
            people=self._book.people_of(paper.signers),
            reason=paper.reason,
            issued_at=to_rfc3339(paper.issued_at_ms),
            not_before=to_rfc3339(paper.not_before_ms) if is_approval else None,
            not_after=to_rfc3339(paper.not_after_ms) if is_approval else None,
            wait_seconds=paper.wait_seconds,
            windows=paper.windows,
            state=self._state_of(paper),
            envelope=to_base64url(paper.raw),
        )

    def _state_of(self, paper: Paper) -> PaperState:
        book = self._book
        now = book.near.clock.wall_ms()
        if paper.kind == WITHDRAWAL:
            return "withdraws"
        if paper.approval in book.known.papers.withdrawn:
            return "withdrawn"
        if paper.epoch != book.near.owner.policy.epoch:
            return "old_epoch"
        if now >= paper.not_after_ms:
            return "over"
        return "later" if now < paper.not_before_ms else "holds"


def _kind(paper: Paper) -> Literal["approval", "standing", "withdrawal"]:
    if paper.kind == WITHDRAWAL:
        return "withdrawal"
    return "approval" if paper.kind == APPROVAL else "standing"


def _read_told(word: bytes) -> list[str]:
    """Return what the director's own word names, as `kiosk 1.1`."""
    named: dict[str, Any] = json.loads(word)["signed"][TARGETS]
    return [" ".join(path.split("/")[:2]) for path in named]


def _on_device(row: store.Row, release: str) -> ReleaseDevice:
    tried = row.target_id == release
    return ReleaseDevice(
        device_id=row.device_id,
        name=row.name,
        site=row.site,
        simulated=bool(row.simulated),
        runs=row.release_id == release,
        version=row.version,
        outcome=row.outcome if tried else "",
        cause=row.cause if tried else "",
        words=row.words if tried else "",
        said_at=to_rfc3339_or_none(row.said_at or None),
    )


def _findings(envelope: bytes) -> list[FindingRow]:
    """Return what a stored report says of health: it was verified when it came."""
    findings = read_envelope(envelope, max_bytes=MAX_REPORT_BYTES).payload["findings"]
    return msgspec.convert(findings, list[FindingRow])


def _read_counters(envelope: bytes) -> Counters:
    """Return how a stored report says that counters are kept."""
    said = read_envelope(envelope, max_bytes=MAX_REPORT_BYTES).payload.get("counters", "file")
    counters: Counters = msgspec.convert(said, Counters)
    return counters


def _report(row: store.Row) -> ReportRow:
    return ReportRow(
        id=row.report_id,
        product=row.product,
        version=row.version,
        outcome=row.outcome,
        attempt=row.attempt,
        rule=row.rule,
        cause=row.cause,
        words=row.words,
        findings=_findings(bytes(row.envelope)),
        said_at=to_rfc3339(row.said_at),
        at=to_rfc3339(row.at),
        simulated=bool(row.simulated),
        report=to_base64url(row.envelope),
    )
