"""Releases and approvals in a person's words, and as JSON. Pure.

Words of the maker (notes, ids of fixes, models) pass through `one_line`: they are somebody else's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fleetward.keyholder.access.terminal_safe import one_line
from fleetward.keyholder.updates.desk import (
    AHEAD,
    HOLDS,
    OVER,
    WITHDRAWN,
    Case,
    Doubted,
)
from fleetward.keyholder.updates.preparing import Prepared
from fleetward.keyholder.updates.terms import Reach
from fleetward.runtime.http.times import to_rfc3339, to_rfc3339_or_none
from fleetward.trust.release_approval import Approval, Terms
from fleetward.trust.release_manifest import Manifest, Part
from fleetward.trust.sayings import say_count, say_length
from fleetward.trust.words import six_words
from fleetward.wire.delta import EMPTY_SOURCE

SHOWN_MACHINES: Final = 20
SHOWN_FIXES: Final = 12
STATE_WORDS: Final = {
    AHEAD: "begins later",
    HOLDS: "holds",
    OVER: "over",
    WITHDRAWN: "withdrawn",
}
NEVER_AGENT: Final = (
    "It never covers a release that replaces the agent itself: such a one is approved by its name."
)


def say_size(size_bytes: int) -> str:
    """Return a size, roughly: 512 B, 3.4 MB."""
    for unit, step in (("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)):
        if size_bytes >= step:
            return f"{size_bytes / step:.1f} {unit}"
    return f"{size_bytes} B"


def tell_release(manifest: Manifest) -> str:
    """Return what a release is, as its maker describes it and nobody altered."""
    lines = [
        f"{manifest.product} {manifest.version} (counter {manifest.counter}), released "
        f"{_say_day(manifest.released_at_ms)}",
        *(f"  {_say_part(part)}" for part in manifest.parts),
        f"  for       {_list(manifest.hardware, 8, 'every model')}",
    ]
    if manifest.replaces_agent:
        lines.append("  AGENT     it replaces the agent itself, which obeys you")
    if manifest.reboot:
        lines.append("  reboot    the machine starts again")
    if manifest.needs:
        needed = [f"{each.product} at counter {each.least}" for each in manifest.needs]
        lines.append(f"  needs     {', '.join(needed)}")
    if manifest.least_before:
        lines.append(f"  after     counter {manifest.least_before}; older machines go through it")
    checks = manifest.health.checks
    said = "; ".join(check.words() for check in checks)
    if manifest.has_agent:
        said = "; ".join(filter(None, ("the new agent stands and reaches the server", said)))
    lines.append(f"  healthy   {said or 'nothing is checked: it counts as healthy once it runs'}")
    lines.append(f"  fixes     {_list(manifest.fixes, SHOWN_FIXES, 'no id of a weakness')}")
    if manifest.notes:
        lines.append(f"  notes     {one_line(manifest.notes, 1000)}")
    support = manifest.support_ends_at_ms
    said = f"until {_say_day(support - 1)}" if support else "the maker has not said until when"
    lines.append(f"  support   {said}")
    if manifest.sbom is None:
        lines.append("  parts list  none came with it (SBOM)")
    lines.append(f"Six words of this release: {six_words(bytes.fromhex(manifest.hash))}")
    return "\n".join(lines)


def tell_terms(terms: Terms, now_ms: int) -> list[str]:
    """Return for whom and when, in lines."""
    begins = "now" if terms.not_before_ms <= now_ms else _say_time(terms.not_before_ms)
    lines = [
        f"  for       {one_line(terms.selector.words())}",
        f"  from      {begins} until {_say_time(terms.not_after_ms)}",
    ]
    lines += [f"  window    {window.words()}" for window in terms.windows]
    if not terms.windows:
        lines.append("  window    any time at which nobody uses the machine")
    if terms.reason:
        lines.append(f"  because   {one_line(terms.reason)}")
    return lines


def tell_reach(reach: Reach) -> str:
    """Return which machines are meant now, and how many are not."""
    count = len(reach.selected)
    lines = [
        f"It selects {say_count(count, 'machine')} of your roster now, and those that come to be "
        f"so; {say_count(reach.others, 'other')} {'stays' if reach.others == 1 else 'stay'} out."
    ]
    lines += [
        f"  - {one_line(entry.name, 80)}{f' ({one_line(entry.site, 80)})' if entry.site else ''}"
        for entry in reach.selected[:SHOWN_MACHINES]
    ]
    if count > SHOWN_MACHINES:
        lines.append(f"  … and {count - SHOWN_MACHINES} more; --json has all of them.")
    if reach.wrong_hardware:
        names = ", ".join(one_line(e.name, 80) for e in reach.wrong_hardware[:SHOWN_MACHINES])
        lines.append(
            f"{say_count(len(reach.wrong_hardware), 'machine')} of them will refuse it, being of "
            f"a model that it is not for: {names}"
        )
    if not count:
        lines.append("No machine is so now. See: fleetward owner roster show")
    return "\n".join(lines)


def tell_prepared(prepared: Prepared, now_ms: int) -> str:
    """Return what is about to be signed."""
    if prepared.manifest is not None:
        lines = [tell_release(prepared.manifest), "You approve it:"]
    else:
        lines = [
            f"You approve whatever the maker of {prepared.product} releases, "
            f"{say_wait(prepared.wait_seconds)} after each machine first saw it:"
        ]
    lines += tell_terms(prepared.terms, now_ms)
    if prepared.needed > 1:
        lines.append(f"  it takes  {prepared.needed} people")
    if prepared.manifest is None:
        lines += [NEVER_AGENT, f"Six words of this approval: {prepared.words}"]
    return "\n".join(lines)


def say_wait(seconds: int) -> str:
    """Say how long a standing approval waits."""
    days, rest = divmod(seconds, 86_400)
    return say_length(seconds) if rest or not days else say_count(days, "day")


def show_prepared(prepared: Prepared, reach: Reach | None = None) -> dict[str, Any]:
    """Return what is about to be signed as JSON."""
    manifest = prepared.manifest
    shown: dict[str, Any] = {
        "id": prepared.hash,
        "product": prepared.product,
        "standing": manifest is None,
        "six_words": prepared.words,
        "needed": prepared.needed,
        **_show_terms(prepared.terms),
    }
    if manifest is None:
        shown["wait_seconds"] = prepared.wait_seconds
    else:
        shown["release"] = show_release(manifest)
    if reach is not None:
        shown["machines"] = [{"id": e.device, "name": e.name} for e in reach.selected]
        shown["others"] = reach.others
        shown["wrong_hardware"] = [e.device for e in reach.wrong_hardware]
    return shown


def show_release(manifest: Manifest) -> dict[str, Any]:
    """Return a release as JSON."""
    return {
        "product": manifest.product,
        "version": manifest.version,
        "counter": manifest.counter,
        "sha256": manifest.hash,
        "six_words": six_words(bytes.fromhex(manifest.hash)),
        "released_at": to_rfc3339(manifest.released_at_ms),
        "hardware": list(manifest.hardware),
        "agent": manifest.replaces_agent,
        "reboot": manifest.reboot,
        "parts": [
            {
                "name": part.name,
                "installer": part.installer,
                "place": part.place,
                "length_bytes": part.blob.length_bytes,
                "sha256": part.blob.sha256,
            }
            for part in manifest.parts
        ],
        "checks": [check.words() for check in manifest.health.checks],
        "fixes": list(manifest.fixes),
        "notes": manifest.notes,
        "support_ends_at": to_rfc3339_or_none(manifest.support_ends_at_ms or None),
        "sbom": manifest.sbom.sha256 if manifest.sbom is not None else None,
    }


def show_case(case: Case, now_ms: int) -> dict[str, Any]:
    """Return an approval as JSON."""
    approval, withdrawal = case.approval, case.withdrawal
    shown: dict[str, Any] = {
        "id": approval.hash,
        "state": case.state(now_ms),
        "product": approval.product,
        "standing": approval.standing,
        "issued_at": to_rfc3339(approval.issued_at_ms),
        "people": list(approval.people),
        **_show_terms(approval.terms),
    }
    if approval.standing:
        shown["wait_seconds"] = approval.wait_seconds
    else:
        shown |= {
            "version": approval.version,
            "counter": approval.counter,
            "release": approval.release,
            "agent": approval.agent,
        }
    if withdrawal is not None:
        shown["withdrawn"] = {
            "at": to_rfc3339(withdrawal.issued_at_ms),
            "person": withdrawal.person,
            "reason": withdrawal.reason,
        }
    return shown


def tell_cases(cases: Sequence[Case], doubted: Sequence[Doubted], now_ms: int) -> str:
    """Return a list of approvals, newest first, and what does not count."""
    lines: list[str] = []
    for case in cases:
        approval = case.approval
        lines.append(
            f"{approval.hash[:16]}  {STATE_WORDS[case.state(now_ms)]:12} {say_subject(approval)}, "
            f"by {', '.join(one_line(person, 80) for person in approval.people)}"
        )
        lines += tell_terms(approval.terms, now_ms)
        if case.withdrawal is not None:
            reason = one_line(case.withdrawal.reason)
            lines.append(
                f"  withdrawn {_say_time(case.withdrawal.issued_at_ms)} by "
                f"{one_line(case.withdrawal.person, 80)}{f': {reason}' if reason else ''}"
            )
    lines += [
        f"{one_line(each.name, 80)} counts no longer: {one_line(each.trouble)}"
        for each in doubted
        if each.own
    ]
    if strangers := sum(not each.own for each in doubted):
        lines.append(
            f"{say_count(strangers, 'paper')} of the server {'is' if strangers == 1 else 'are'} "
            "none that your machines obey."
        )
    return "\n".join(lines) or (
        "No release is approved. When its maker is in your policy (fleetward owner policy show), "
        "approve one: fleetward owner approve PRODUCT/VERSION --all"
    )


def say_subject(approval: Approval) -> str:
    """Say what an approval is about."""
    if approval.standing:
        return (
            f"{approval.product}, whatever its maker releases, after "
            f"{say_wait(approval.wait_seconds)}"
        )
    agent = ", which replaces the agent" if approval.agent else ""
    return f"{approval.product} {approval.version} (counter {approval.counter}){agent}"


def _show_terms(terms: Terms) -> dict[str, Any]:
    return {
        "selector": terms.selector.to_json(),
        "selector_words": terms.selector.words(),
        "not_before": to_rfc3339(terms.not_before_ms),
        "not_after": to_rfc3339(terms.not_after_ms),
        "windows": [window.words() for window in terms.windows],
        "reason": terms.reason,
    }


def _say_part(part: Part) -> str:
    packed = [d.blob.length_bytes for d in part.deltas if d.source == EMPTY_SOURCE]
    small = [d.blob.length_bytes for d in part.deltas if d.source != EMPTY_SOURCE]
    less = f", {say_size(min(packed))} packed" if packed else ""
    less += f", {say_size(min(small))} from a version before" if small else ""
    return (
        f"{part.name:9} {say_size(part.blob.length_bytes)}{less}; {part.installer} to {part.place}"
    )


def _list(texts: Sequence[str], most: int, nothing: str) -> str:
    if list(texts) in ([], ["*"]):
        return nothing
    shown = ", ".join(one_line(text, 80) for text in texts[:most])
    return f"{shown} and {len(texts) - most} more" if len(texts) > most else shown


def _say_time(at_ms: int) -> str:
    return f"{to_rfc3339(at_ms)[:16].replace('T', ' ')} UTC"


def _say_day(at_ms: int) -> str:
    return to_rfc3339(at_ms)[:10]
