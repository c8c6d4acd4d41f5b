"""What an installer is told of a release, out of its verified manifest, and what is fetched."""

from __future__ import annotations

from typing import Any, Final, cast

from fleetward.device.updates.installer_words import CheckWord, PartWord, Plan, TrialWord
from fleetward.device.updates.memory import Attempt
from fleetward.trust.release_manifest import Blob, Delta, Manifest, Part
from fleetward.wire.delta import EMPTY_SOURCE
from fleetward.wire.updates import UpdateQuestion

MOST_DELTAS_FAILED: Final = 2
"""Fewer than a part may be fetched again (`trial.MOST_FETCHED_AGAIN`): the last time is for the
whole parts."""


def make_plan(manifest: Manifest, attempt: Attempt) -> Plan:
    """Return the plan; `before` of each part is what the attempt found when it began."""
    return Plan(
        product=manifest.product,
        parts=tuple(_make_part(part, manifest, attempt) for part in manifest.parts),
        checks=tuple(
            CheckWord(
                kind=cast("Any", check.kind),
                name=check.name,
                port=check.port,
                path=check.path,
                status=check.status,
                part=check.part,
                arguments=check.arguments,
                seconds=check.seconds,
            )
            for check in manifest.health.checks
        ),
    )


def _make_part(part: Part, manifest: Manifest, attempt: Attempt) -> PartWord:
    health = manifest.health
    trial = TrialWord(health.within_seconds, health.steady_seconds, attempt.connected)
    return PartWord(
        name=part.name,
        installer=cast("Any", part.installer),
        place=part.place,
        sha256=part.blob.sha256,
        length=part.blob.length_bytes,
        before=attempt.before.get(part.name, ""),
        unpacked_bytes=part.unpacked_bytes,
        unpacked_files=part.unpacked_files,
        hook=part.hook,
        replaces_agent=manifest.replaces_agent,
        trial=trial if part.installer == "agent" else None,
    )


def choose_delta(part: Part, attempt: Attempt) -> Delta | None:
    """Return the delta that is taken now; None: the whole part is.

    1. One from what is active, where the machine can start from that.
    2. One out of nothing, which is the part in a packed form.
    3. Neither when it is as long as the part, or did not serve in this attempt, nor when so many
       parts had to be fetched again that the next failure may be the last.
    """
    if attempt.fetched_again >= MOST_DELTAS_FAILED:
        return None
    active = attempt.before.get(part.name, "") if part.name in attempt.sources else ""
    for source in (active, EMPTY_SOURCE):
        for delta in part.deltas:
            is_smaller = delta.blob.length_bytes < part.blob.length_bytes
            if delta.source == source and is_smaller and delta.blob.sha256 not in attempt.passed:
                return delta
    return None


def choose_blob(part: Part, attempt: Attempt) -> Blob:
    """Return what is fetched for a part: the delta, or all of it."""
    delta = choose_delta(part, attempt)
    return delta.blob if delta is not None else part.blob


def pass_over(attempt: Attempt, question: UpdateQuestion) -> bool:
    """Nobody has what was asked for. Return whether it was of a delta; it is done without then."""
    for part in attempt.read().parts:
        delta = choose_delta(part, attempt)
        if delta is not None and question.name in (delta.blob.sha256, delta.blob.segments):
            attempt.passed.append(delta.blob.sha256)
            return True
    return False
