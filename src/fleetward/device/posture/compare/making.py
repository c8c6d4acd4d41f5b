"""From two looks to the document that a receipt names. Pure, and always within its bounds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from fleetward.device.posture.compare.differ import find_deltas
from fleetward.device.posture.compare.findings import judge
from fleetward.device.posture.compare.snapshot import Snapshot
from fleetward.trust.canonical import encode
from fleetward.wire.comparison import (
    COMPARISON_TYPE,
    MAX_CHANGES,
    MAX_COMPARISON_BYTES,
    MAX_FINDINGS,
    MAX_UNSEEN,
    Comparison,
    Difference,
    Finding,
    Left,
    encode_comparison,
)

T = TypeVar("T", Finding, Difference, str)

_HEAD_BYTES: Final = 4096
"""Names, times, counts and brackets of the document, generously."""
_FINDING_BYTES: Final = 64 * 1024
_UNSEEN_BYTES: Final = 16 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """Whose comparison it is, and when each look was taken."""

    device: str
    session: str
    before_at: int
    opened_at: int
    ended_at: int
    after_at: int
    late: bool = False
    restarted: bool = False


def make_comparison(frame: Frame, before: Snapshot, after: Snapshot) -> bytes:
    """Return the canonical document; what does not fit is counted in it."""
    deltas = find_deltas(before, after)
    findings = judge(deltas)
    shown = [delta.show() for delta in deltas]
    unseen = list(dict.fromkeys([*before.unseen, *after.unseen]))[:MAX_UNSEEN]
    kept_unseen = _fit(unseen, MAX_UNSEEN, _UNSEEN_BYTES)
    kept_findings = _fit(findings, MAX_FINDINGS, _FINDING_BYTES)
    room = MAX_COMPARISON_BYTES - _HEAD_BYTES - _size(kept_unseen) - _size(kept_findings)
    kept = _fit(shown, MAX_CHANGES, room)
    left = Counter(change.kind for change in shown[len(kept) :])
    missing = len(findings) - len(kept_findings)
    if missing:
        left["finding"] = missing
    return encode_comparison(
        Comparison(
            type=COMPARISON_TYPE,
            device=frame.device,
            session=frame.session,
            before_at=frame.before_at,
            opened_at=frame.opened_at,
            ended_at=frame.ended_at,
            after_at=frame.after_at,
            late=frame.late,
            restarted=frame.restarted,
            findings=tuple(kept_findings),
            changes=tuple(kept),
            left=tuple(Left(kind=kind, number=left[kind]) for kind in sorted(left)),
            unseen=tuple(kept_unseen),
        )
    )


def _fit(rows: Sequence[T], most: int, room: int) -> list[T]:
    """Return as many rows from the beginning as fit into a number and into bytes."""
    kept: list[T] = []
    for row in rows[:most]:
        room -= len(encode(msgspec.to_builtins(row))) + 1
        if room < 0:
            break
        kept.append(row)
    return kept


def _size(rows: Sequence[Finding] | Sequence[Difference] | Sequence[str]) -> int:
    return sum(len(encode(msgspec.to_builtins(row))) + 1 for row in rows)
