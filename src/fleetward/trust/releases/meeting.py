"""Where three opinions meet: the judgement of one release for one machine, in numbered rules.

Whoever judges has verified before, in this order: the time floor, the director's chain
(`director`), the maker's chain and its delegation (`trusted`, `search`), and the manifest's length
and hashes. Then:

1.  The target was signed by the product's own role, below `targets`: nobody else's key released it.
2.  The director names the very target that the maker signed: path, length, hashes. A bundle that a
    person carried to the machine has no director; then the person said which machine it is for.
3.  The manifest says the product and version of its path (`release_manifest`, rule 1).
4.  The hardware is this machine's model, as the owner's roster says it, or `*`.
5.  The counter is not below the highest that was committed. What is installed already is no news.
6.  The machine is on the roster, and the owner's documents are within their lease.
7.  An approval names the release, was not withdrawn, selects this machine by its roster entry, and
    is neither over nor yet to come.
8.  A window of that approval is open; nobody uses the machine; battery and disk suffice
    (`may_begin`).
9.  What it needs is installed, and nothing that it conflicts with; no other product conflicts.
10. It is not reached from below `least_before`.

Rules 1 to 7, 9 and 10 refuse. Rule 8 waits, as does an approval that is still to come.
The counter is raised when the release was committed, by the caller, and never before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.release_approval import Approval
from fleetward.trust.release_manifest import ANY_HARDWARE, Conflict, Manifest, read_manifest
from fleetward.trust.releases.checks import require_whole
from fleetward.trust.releases.target import Target
from fleetward.trust.roster import RosterEntry
from fleetward.trust.update_windows import LocalTime, is_open

MIN_BATTERY_PERCENT: Final = 30
"""On battery alone and below it, nothing begins: a machine that dies in between comes back, but
its user finds it off."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a machine has of one product. `floor` is the highest counter ever committed."""

    counter: int
    release: str
    floor: int
    conflicts: tuple[Conflict, ...] = ()
    """What the installed release does not bear."""


@dataclass(frozen=True, slots=True)
class Situation:
    """What the machine knows of itself, from its owner's documents and its own files."""

    entry: RosterEntry | None
    lease_seconds_left: int
    held: Mapping[str, Held]
    approvals: Sequence[Approval]
    """Verified, and not withdrawn."""
    known_since_ms: int
    """Since when this machine has known this release (or now)."""
    now_ms: int


@dataclass(frozen=True, slots=True)
class Meeting:
    """A release that may be installed, by which approval; `not_before_ms` may lie ahead."""

    manifest: Manifest
    approval: Approval
    not_before_ms: int


@dataclass(frozen=True, slots=True)
class Present:
    """What has to be so when the change begins. `local` says what the time is in a zone."""

    now_ms: int
    local: Callable[[str], LocalTime]
    in_use: str
    """Why the machine must not be disturbed, in words; empty when it may be."""
    battery_percent: int | None
    """None on mains, or without a battery."""
    free_bytes: int
    needed_bytes: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Not yet. `rule` is stable, the words are for people."""

    rule: str
    words: str


def open_release(target: Target, data: bytes, directed: Target | None) -> Manifest:
    """Return the manifest that the maker signed and, unless None, the director meant.

    Raises `Malformed`, `Untrusted` or `Refused`.
    """
    product = target.path.partition("/")[0]
    # Rule 1.
    if target.signed_by != ("targets", product):
        raise Untrusted(
            f"The release was signed by the role {target.signed_by[-1]!r}, and not by the keys of "
            f"the product {product!r}.",
            reason="another_products_key",
        )
    # Rule 2.
    if directed is not None:
        _require_same(directed, target)
    require_whole(data, target.length_bytes, dict(target.hashes), "release")
    manifest = read_manifest(data)
    # Rule 3.
    if manifest.path != target.path:
        raise Untrusted(
            f"The release at {target.path} says that it is {manifest.path}.",
            reason="another_release",
        )
    return manifest


def _require_same(directed: Target, target: Target) -> None:
    """Demand that the director means what the maker signed: as many bytes, and the same."""
    shared = set(dict(directed.hashes)) & set(dict(target.hashes))
    mine, theirs = dict(target.hashes), dict(directed.hashes)
    same = directed.path == target.path and directed.length_bytes == target.length_bytes
    if not same or not shared or any(mine[name] != theirs[name] for name in shared):
        raise Untrusted(
            f"The director names another {target.path} than the one that its maker signed.",
            reason="director_differs",
        )


def meet(manifest: Manifest, situation: Situation) -> Meeting:
    """Return by which approval the machine may install the release, and from when.

    Raises `Refused`; each rule has a reason of its own.
    """
    entry = situation.entry
    # Rule 6, first half: without an entry nothing else can be asked.
    if entry is None or entry.state != "active":
        raise Refused(
            "The owner has not confirmed this machine, or has retired it. The owner does so with "
            "`fleetward owner confirm`.",
            reason="not_confirmed",
        )
    # Rule 4.
    if ANY_HARDWARE not in manifest.hardware and entry.model not in manifest.hardware:
        raise Refused(
            f"The release is for {', '.join(manifest.hardware)}; this machine is "
            f"{entry.model or 'of no known model'}.",
            reason="wrong_hardware",
        )
    # Rule 5.
    held = situation.held.get(manifest.product, Held(0, "", 0))
    if manifest.hash == held.release:
        raise Refused("This release is installed already.", reason="installed_already")
    if manifest.counter < held.floor:
        raise Refused(
            f"Counter {manifest.counter} is below {held.floor}, which was committed on this "
            "machine: an older release is not installed again.",
            reason="older_counter",
        )
    # Rule 6, second half.
    if situation.lease_seconds_left <= 0:
        raise Refused(
            "The owner's documents have not been renewed for too long: who may approve what is "
            "not known. The owner renews them with `fleetward owner refresh`.",
            reason="lease_expired",
        )
    # Rule 7.
    approval = _find_approval(manifest, entry, situation)
    # Rule 9.
    _check_others(manifest, situation.held)
    # Rule 10. A machine that forgot what it holds still knows its highest counter.
    counter = held.counter or held.floor
    if 0 < counter < manifest.least_before:
        raise Refused(
            f"This release is reached from counter {manifest.least_before} or above; this machine "
            f"has {counter}. Install the one in between first.",
            reason="must_pass_through",
        )
    return Meeting(manifest, approval, approval.opens_at_ms(situation.known_since_ms))


def _find_approval(manifest: Manifest, entry: RosterEntry, situation: Situation) -> Approval:
    """Return the approval that lets most: the one that opens soonest, and of those that are open
    one without windows, then the newest. Raises `Refused`."""
    naming = [each for each in situation.approvals if each.names(manifest)]
    if not naming:
        raise Refused(
            f"The owner has not approved {manifest.product} {manifest.version}. He does so with "
            f"`fleetward owner approve {manifest.product}/{manifest.version}`.",
            reason="not_approved",
        )
    selecting = [each for each in naming if each.terms.selector.selects(entry)]
    if not selecting:
        raise Refused(
            f"{manifest.product} {manifest.version} was approved for "
            f"{naming[0].terms.selector.words()}, and this machine is none of them.",
            reason="approved_for_others",
        )
    lasting = [each for each in selecting if situation.now_ms < each.terms.not_after_ms]
    if not lasting:
        raise Refused("The approval is over; the owner gives another.", reason="approval_over")

    def rank(approval: Approval) -> tuple[int, bool, int]:
        opens = max(situation.now_ms, approval.opens_at_ms(situation.known_since_ms))
        return opens, bool(approval.terms.windows), -approval.issued_at_ms

    return min(lasting, key=rank)


def _check_others(manifest: Manifest, held: Mapping[str, Held]) -> None:
    for needed in manifest.needs:
        if needed.product not in held or held[needed.product].counter < needed.least:
            raise Refused(
                f"It needs {needed.product} at counter {needed.least} or above.",
                reason="missing_dependency",
            )
    for conflict in manifest.conflicts:
        other = held.get(conflict.product)
        if other is not None and conflict.first <= other.counter <= conflict.last:
            raise _conflicts(conflict.product)
    for product, other in held.items():
        for conflict in other.conflicts:
            mine = conflict.product == manifest.product and product != manifest.product
            if mine and conflict.first <= manifest.counter <= conflict.last:
                raise _conflicts(product)


def _conflicts(product: str) -> Refused:
    return Refused(
        f"It does not run beside the {product} that is installed.", reason="conflicting_release"
    )


def may_begin(meeting: Meeting, present: Present) -> Wait | None:
    """Return what has to be waited for, or None when the change may begin now (rule 8).

    Raises what `present.local` raises for a zone that nobody knows here.
    """
    if present.now_ms < meeting.not_before_ms:
        return Wait("approval_ahead", "The owner's approval begins later.")
    windows = meeting.approval.terms.windows
    if not is_open(windows, present.local):
        return Wait("window_closed", f"Waits for {'; '.join(w.words() for w in windows)}.")
    if present.in_use:
        return Wait("in_use", f"The machine is in use: {present.in_use}")
    if present.battery_percent is not None and present.battery_percent < MIN_BATTERY_PERCENT:
        return Wait("battery_low", f"The battery has {present.battery_percent} %.")
    if present.free_bytes < present.needed_bytes:
        missing = present.needed_bytes - present.free_bytes
        return Wait("disk_full", f"{missing // 1_000_000 + 1} MB more are needed on the disk.")
    return None
