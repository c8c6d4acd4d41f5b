"""What is to be done next about a recall, and by whom. It reads, it never writes.

Each step is somebody's: the server does none of them, and could not. A command is for the tool of
who is named; the owner's are signatures, made off the server.
"""

from __future__ import annotations

from typing import Final

from fleetward.server.updates import recall_store, rollout_store, store
from fleetward.server.updates.decide import Release, approves
from fleetward.server.updates.decide_recall import DISABLE, PATCH, UNDONE, Tally
from fleetward.server.updates.decide_rollout import CANCELLED, HELD, OPEN, PAUSED, RUNNING
from fleetward.server.updates.recall_model import NextStep
from fleetward.server.updates.recalls import Recalls
from fleetward.server.updates.rollout_course import decode_selector
from fleetward.server.updates.store import Row
from fleetward.trust.recall import AFFECTED
from fleetward.trust.roster import ACTIVE
from fleetward.trust.sayings import say_count
from fleetward.trust.update_report import FAILURES

COMMAND_MACHINES: Final = 3
"""Machines that a command names; for more it says ID."""


def list_steps(recalls: Recalls, row: Row, tally: Tally) -> list[NextStep]:
    """Return what is to be done about a recall that is open; nothing for one that is over."""
    steps: list[NextStep] = []
    if not row.acknowledged_at and tally.undone:
        steps.append(
            NextStep(
                who="operator",
                words="Say that you know of it and answer for it. Until somebody does, those in "
                "notices.toml are told again every week.",
                command=f"fleetward recall acknowledge {row.recall_id[:12]} "
                '--reason "we update on Monday"',
                href="",
            )
        )
    if tally.undone:
        steps += _mend(recalls, row, tally) if row.remedy == PATCH else _stop(recalls, row)
    else:
        steps.append(
            NextStep(
                who="operator",
                words="Nothing is left to do. Keep the proof, and close the recall.",
                command=f"fleetward recall close {row.recall_id[:12]}",
                href="",
            )
        )
    return steps


def _mend(recalls: Recalls, row: Row, tally: Tally) -> list[NextStep]:
    fix = f"{row.product}/{row.fix_version}"
    page = f"/updates/releases/{row.product}/{row.fix_version}"
    release = _find(recalls, row)
    if release is None:
        return [
            NextStep(
                who="maker",
                words=f"{row.product} {row.fix_version} is not published here, or by no maker whom "
                "the owner's policy names. Until it is, nothing mends these machines.",
                command=f"fleetward release publish {fix} --server https://HOST",
                href="/updates",
            )
        ]
    steps: list[NextStep] = []
    undone = [m.device for m in recalls.members(row.recall_id).values() if m.standing in UNDONE]
    steps += _roll(recalls, release, undone, page)
    steps += _approve(recalls, release, undone, page)
    steps += _look_at_failures(recalls, release, undone, page)
    steps += _carry(recalls, row, fix, tally)
    return steps


def _find(recalls: Recalls, row: Row) -> Release | None:
    wanted = (row.product, row.fix_version)
    found = (e for e in recalls.book.offerable() if (e.product, e.version) == wanted)
    return next(found, None)


def _roll(recalls: Recalls, release: Release, undone: list[str], page: str) -> list[NextStep]:
    """A rollout says who comes first, and how many at most before somebody looks."""
    with recalls.book.near.database.read() as conn:
        rows = rollout_store.select_rollouts(conn)
    mine = [row for row in rows if row.release_id == release.id and row.state != CANCELLED]
    # Of a release one at most is not over; while it is not, no other can be made.
    going = [row for row in mine if row.state in OPEN]
    steps = [_say_rollout(row) for row in going]
    if not mine:
        words = f"Make a rollout of {release.product} {release.version}: in waves, and held by "
        words += "itself when machines fail."
    elif left := _count_left(recalls, release, undone, mine):
        those = f"{say_count(left, 'machine')} of these"
        words = f"Make another rollout of {release.product} {release.version}: none is for {those}."
        words += " The one above has to be over first, or cancelled." if going else ""
    else:
        return steps
    make = NextStep(
        who="operator",
        words=words,
        command=f"fleetward rollout create {release.product}/{release.version} --all",
        href=f"{page}#rollout",
    )
    return [*steps, make]


def _count_left(
    recalls: Recalls, release: Release, undone: list[str], rollouts: list[Row]
) -> int:  # fmt: skip
    """Return how many machines that could take the release no rollout of it is for. One that is
    done still lets in whom it selects."""
    book = recalls.book
    selectors = [decode_selector(row.selector) for row in rollouts]
    return sum(
        entry.state == ACTIVE
        and release.fits(entry)
        and not any(selector.selects(entry) for selector in selectors)
        for entry in (book.entries[device] for device in undone if device in book.entries)
    )


def _say_rollout(row: Row) -> NextStep:
    words = {
        HELD: f"Its rollout is held: {row.words or 'somebody held it.'} No other machine gets it "
        "before somebody decides.",
        PAUSED: "Its rollout is paused: no other machine gets it before somebody resumes it.",
        RUNNING: "Its rollout goes on by itself, wave after wave, and is held when machines fail.",
    }[row.state]
    return NextStep(
        who="operator",
        words=words,
        command=f"fleetward rollout show {row.rollout_id[:12]}",
        href=f"/updates/rollouts/{row.rollout_id}",
    )


def _approve(
    recalls: Recalls, release: Release, undone: list[str], page: str
) -> list[NextStep]:  # fmt: skip
    book = recalls.book
    holding = book.holding(book.near.clock.wall_ms())
    entries = [book.entries[device] for device in undone if device in book.entries]
    missing = [
        entry
        for entry in entries
        if entry.state == ACTIVE and not any(approves(paper, release, entry) for paper in holding)
    ]
    if not missing:
        return []
    return [
        NextStep(
            who="owner",
            words=f"The owner has not approved {release.product} {release.version} for "
            f"{say_count(len(missing), 'machine')} of these. It is a signature, made in the "
            "owner's own tool.",
            command=f"fleetward owner approve {release.product}/{release.version} --all",
            href=page,
        )
    ]


def _look_at_failures(
    recalls: Recalls, release: Release, undone: list[str], page: str
) -> list[NextStep]:  # fmt: skip
    with recalls.book.near.database.read() as conn:
        states = store.select_all_states(conn, release.product)
    wanted = set(undone)
    failed = [
        row
        for row in states
        if row.device_id in wanted and row.target_id == release.id and row.outcome in FAILURES
    ]
    if not failed:
        return []
    causes = sorted({row.cause or row.outcome for row in failed})
    return [
        NextStep(
            who="maker",
            words=f"On {say_count(len(failed), 'machine')} it failed, by "
            f"{', '.join(causes[:COMMAND_MACHINES])}. They try again by a new approval, or by the "
            "maker's next release.",
            command="",
            href=f"{page}#machines",
        )
    ]


def _carry(recalls: Recalls, row: Row, fix: str, tally: Tally) -> list[NextStep]:
    with recalls.book.near.database.read() as conn:
        silent, _ = recall_store.count_silent(conn, row.recall_id, sorted(UNDONE))
    if not silent:
        return []
    noun = "it is" if tally.undone == 1 else f"{silent} of them {'is' if silent == 1 else 'are'}"
    return [
        NextStep(
            who="technician",
            words=f"{noun[:1].upper()}{noun[1:]} not connected. Where no network comes back, carry "
            "the release there on a stick; the machine verifies it as ever, and its report is "
            "the proof once it is heard of.",
            command=f"fleetward release bundle {fix} --out {row.product}.bundle "
            "--approval approval.json",
            href="",
        )
    ]


def _stop(recalls: Recalls, row: Row) -> list[NextStep]:
    """Without a release that mends, the server can reduce, and the owner can end."""
    members = recalls.members(row.recall_id).values()
    named = [m.device for m in members if m.standing == AFFECTED] or [m.device for m in members]
    device = named[0] if len(named) == 1 else "ID"
    steps = [
        NextStep(
            who="operator",
            words="Quarantine: the machine's connection is cut to its evidence and the owner's "
            "word. It is all that this server can do; the machine itself goes on.",
            command=f'fleetward device quarantine {device} --reason "{row.product or "recall"}"',
            href="",
        ),
        NextStep(
            who="owner",
            words="Close what is open on these machines, by the owner's signed order. Each "
            "machine judges it, and signs what it did.",
            command=f"fleetward owner close now {device} --port PORT --ssh --preview",
            href="",
        ),
    ]
    if row.remedy != DISABLE:
        steps = []
    steps.append(
        NextStep(
            who="owner",
            words="Retire each machine that is out of service. That signature is the only proof "
            "that this recall counts here; what somebody says of a machine is shown beside it.",
            command=f"fleetward owner retire {device}",
            href="",
        )
    )
    return steps
