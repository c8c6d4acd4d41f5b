"""What an installer is told of a release, out of its verified manifest."""

from __future__ import annotations

from typing import Any, cast

from fleetward.device.updates.installer_words import CheckWord, PartWord, Plan
from fleetward.device.updates.memory import Attempt
from fleetward.trust.release_manifest import Blob, Delta, Manifest, Part


def make_plan(manifest: Manifest, attempt: Attempt) -> Plan:
    """Return the plan; `before` of each part is what the attempt found when it began."""
    return Plan(
        product=manifest.product,
        parts=tuple(_make_part(part, attempt) for part in manifest.parts),
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


def _make_part(part: Part, attempt: Attempt) -> PartWord:
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
    )


def choose_delta(part: Part, attempt: Attempt) -> Delta | None:
    """Return the delta from what is active, unless one has failed in this attempt."""
    if attempt.fetched_again:
        return None
    active = attempt.before.get(part.name, "")
    for delta in part.deltas:
        if delta.source == active and delta.blob.length_bytes < part.blob.length_bytes:
            return delta
    return None


def choose_blob(part: Part, attempt: Attempt) -> Blob:
    """Return what is fetched for a part: the delta, or all of it."""
    delta = choose_delta(part, attempt)
    return delta.blob if delta is not None else part.blob
