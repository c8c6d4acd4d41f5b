"""Approvals at the owner's desk: kept in the folder, compared with what the server has.

    documents/releases/HASH.json          an approval that enough people signed
    documents/releases/HASH.withdrawal    the withdrawal of it

What is in the folder is told even when a server withholds it. What the server adds is told when it
verifies, since others may approve with folders of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.keyholder.api import NotThere
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import load_documents
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.updates.preparing import sign_withdrawal
from fleetward.keyholder.updates.server_rows import ApprovalApi, PaperRow
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.keys import Signer
from fleetward.trust.policy import Policy
from fleetward.trust.release_approval import (
    MAX_APPROVAL_BYTES,
    WITHDRAWAL_TYPE,
    Approval,
    Withdrawal,
    verify_approval,
    verify_withdrawal,
)

FOLDER: Final = "documents/releases"
MIN_PREFIX: Final = 8
AHEAD: Final = "ahead"
HOLDS: Final = "holds"
OVER: Final = "over"
WITHDRAWN: Final = "withdrawn"


@dataclass(frozen=True, slots=True)
class Case:
    """An approval that counts or counted, and what took it back."""

    approval: Approval
    withdrawal: Withdrawal | None

    def state(self, now_ms: int) -> str:
        """Return `ahead`, `holds`, `over` or `withdrawn`, by the time that is given."""
        if self.withdrawal is not None:
            return WITHDRAWN
        if now_ms < self.approval.terms.not_before_ms:
            return AHEAD
        return HOLDS if now_ms < self.approval.terms.not_after_ms else OVER

    def is_live(self, now_ms: int) -> bool:
        """Whether a machine may still come to act by it."""
        return self.state(now_ms) in (AHEAD, HOLDS)


@dataclass(frozen=True, slots=True)
class Doubted:
    """A paper that no machine obeys now, and why."""

    name: str
    trouble: str
    own: bool
    """Whether it lies in the owner's folder, and is not only the server's word."""


def keep_approval(folder: OwnerFolder, approval: Approval) -> None:
    """Write an approval into the folder, once; other signatures make no other approval."""
    if not folder.has(f"{FOLDER}/{approval.hash}.json"):
        folder.write_once(f"{FOLDER}/{approval.hash}.json", approval.raw)


def withdraw(
    desk: Desk, approval: str, reason: str, now_ms: int, signer: Signer | None = None
) -> bytes:
    """Sign the withdrawal of an approval and keep it; the same one again when there is one.

    Raises `Refused` or `Untrusted` when the key may not approve.
    """
    name = f"{FOLDER}/{approval}.withdrawal"
    policy = desk.documents().policy
    if desk.folder.has(name):
        kept = desk.folder.read(name, MAX_APPROVAL_BYTES)
        if _reads_as_withdrawal(kept, policy):
            return kept
    signed = sign_withdrawal(policy, approval, reason, signer or desk.signer("approver"), now_ms)
    desk.folder.replace(name, signed.raw)
    return signed.raw


def _reads_as_withdrawal(data: bytes, policy: Policy) -> bool:
    """Whether it still counts: its signer may have left the policy since."""
    try:
        verify_withdrawal(data, policy)
    except FleetwardError:
        return False
    return True


def read_all(
    folder: OwnerFolder, rows: Iterable[PaperRow] = ()
) -> tuple[list[Case], list[Doubted]]:
    """Return every approval that is known, the newest first, and the papers that do not count."""
    policy = load_documents(folder).policy
    approvals: dict[str, Approval] = {}
    withdrawals: dict[str, Withdrawal] = {}
    doubted: list[Doubted] = []
    for name, data, own in [*_own_papers(folder), *_server_papers(rows)]:
        try:
            if read_envelope(data, max_bytes=MAX_APPROVAL_BYTES).type == WITHDRAWAL_TYPE:
                withdrawal = verify_withdrawal(data, policy)
                withdrawals.setdefault(withdrawal.approval, withdrawal)
            else:
                approval = verify_approval(data, policy)
                approvals.setdefault(approval.hash, approval)
        except FleetwardError as e:
            doubted.append(Doubted(name, e.message, own))
    cases = [Case(each, withdrawals.get(each.hash)) for each in approvals.values()]
    return sorted(cases, key=lambda c: (-c.approval.issued_at_ms, c.approval.hash)), doubted


def hand_missing(folder: OwnerFolder, api: ApprovalApi, now_ms: int) -> int:
    """Hand over what the folder holds, still counts, and the server lacks; return how many papers.

    A server that was restored, or did not answer when something was signed, gets it so. One that
    knows of no such thing is left alone. Raises as the client does.
    """
    live = [
        paper
        for case in read_all(folder)[0]
        if case.withdrawal is not None or case.is_live(now_ms)
        for paper in (case.approval, case.withdrawal)
        if paper is not None
    ]
    if not live:
        return 0
    known = {row.envelope for row in api.rows()}
    missing = [paper.raw for paper in live if to_base64url(paper.raw) not in known]
    try:
        for raw in missing:
            api.submit(raw)
    except NotThere:
        return 0
    return len(missing)


def find_cases(cases: Sequence[Case], named: str, now_ms: int) -> list[Case]:
    """Return what a person wants withdrawn: the approval of a hash, or all of PRODUCT/VERSION.

    Raises `Refused` when there is none.
    """
    text = named.strip()
    product, slash, version = text.partition("/")
    if slash:
        found = [
            case
            for case in cases
            if (case.approval.product, case.approval.version) == (product, version)
            and not case.approval.standing
            and case.is_live(now_ms)
        ]
    else:
        found = [c for c in cases if c.approval.hash.startswith(text.lower())]
        found = found if len(text) >= MIN_PREFIX and len(found) == 1 else []
    if not found:
        raise Refused(
            f"Expected PRODUCT/VERSION of a release that is approved now, or {MIN_PREFIX} digits "
            f"of an approval's id (a standing one has no version); got {named[:80]!r}. See: "
            "fleetward owner approvals",
            reason="approval_not_found",
        )
    return found


def _own_papers(folder: OwnerFolder) -> list[tuple[str, bytes, bool]]:
    papers = sorted((folder.path / FOLDER).glob("*"))
    return [
        (path.name, folder.read(f"{FOLDER}/{path.name}", MAX_APPROVAL_BYTES), True)
        for path in papers
        if path.suffix in (".json", ".withdrawal")
    ]


def _server_papers(rows: Iterable[PaperRow]) -> list[tuple[str, bytes, bool]]:
    found: list[tuple[str, bytes, bool]] = []
    for number, row in enumerate(rows, start=1):
        try:
            data = from_base64url(row.envelope)
        except FleetwardError:
            data = b""
        found.append((f"paper {number} of the server", data, False))
    return found
