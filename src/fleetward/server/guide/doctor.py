"""What is not as it should be, each with its cure."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import msgspec

LOW_DISK_BYTES: Final = 2 * 1024**3

SAME_HOST_WORDS: Final = (
    "The owner's folder lies on the server's host. Whoever takes this host has the owner's keys "
    "too, and can order every machine."
)
SAME_HOST_CURE: Final = (
    "Run `fleetward owner init` on another computer and join the machines again. Moving the "
    "folder is not enough: it was here."
)


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    id: str
    state: Literal["ok", "warn", "bad"]
    words: str
    next: str | None


class Doctor(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was looked at."""

    checks: list[Check]


@dataclass(frozen=True)
class Patient:
    """What the doctor looks at."""

    data: Path
    has_owner: bool
    owner_was_here: bool
    record: tuple[Literal["intact", "broken", "unknown"], str]
    record_waits: bool
    lease_left_ms: int | None
    broker_running: bool
    told: tuple[int, str]
    """How many people are told of requests, and what is wrong with the file that says so."""


def examine(patient: Patient) -> Doctor:
    """Look at everything and say what is not as it should be."""
    return Doctor(
        checks=[
            _owner(patient),
            _same_host(patient),
            _record(patient),
            _lease(patient),
            _broker(patient),
            _notices(patient),
            _disk(patient.data),
            _private(patient.data),
        ]
    )


def _owner(patient: Patient) -> Check:
    if patient.has_owner:
        return Check(id="owner", state="ok", words="This server has an owner.", next=None)
    return Check(
        id="owner",
        state="warn",
        words="This server has no owner yet, so no machine can join.",
        next="Run `fleetward owner init` on the owner's computer.",
    )


def _same_host(patient: Patient) -> Check:
    if not patient.owner_was_here:
        return Check(
            id="owner-folder",
            state="ok",
            words="No owner's folder was ever found on this host.",
            next=None,
        )
    return Check(id="owner-folder", state="warn", words=SAME_HOST_WORDS, next=SAME_HOST_CURE)


def _record(patient: Patient) -> Check:
    if patient.record_waits:
        return Check(
            id="record",
            state="bad",
            words="This server was restored. It takes no evidence until its owner opens the record "
            "again; machines keep what they have.",
            next="Run `fleetward owner restore-open` on the owner's computer.",
        )
    state, words = patient.record
    cure = (
        "Run `fleetward audit export` and `fleetward audit verify`." if state == "broken" else None
    )
    states: Mapping[str, Literal["ok", "warn", "bad"]] = {"intact": "ok", "broken": "bad"}
    return Check(id="record", state=states.get(state, "warn"), words=words, next=cure)


def _lease(patient: Patient) -> Check:
    left = patient.lease_left_ms
    if left is None:
        return Check(id="lease", state="warn", words="There is no lease yet.", next=None)
    days = left // 86_400_000
    if left <= 0:
        return Check(
            id="lease",
            state="bad",
            words="The owner's documents are past their lease.",
            next="Run `fleetward owner refresh` on the owner's computer.",
        )
    return Check(
        id="lease",
        state="ok" if days >= 7 else "warn",
        words=f"The owner's documents may be relied on for {days} more days.",
        next=None if days >= 7 else "Run `fleetward owner refresh` on the owner's computer.",
    )


def _broker(patient: Patient) -> Check:
    if patient.broker_running:
        return Check(id="broker", state="ok", words="Machines can connect.", next=None)
    return Check(
        id="broker",
        state="bad",
        words="Machines cannot connect: the broker does not run.",
        next="Look into server/logs/broker.log in the data folder.",
    )


def _notices(patient: Patient) -> Check:
    count, problem = patient.told
    if problem:
        return Check(
            id="notices",
            state="bad",
            words=f"Nobody is told of requests by e-mail or webhook. {problem}",
            next="Mend notices.toml in the data folder, then: fleetward notices test",
        )
    if not count:
        return Check(
            id="notices",
            state="ok",
            words="Nobody is told of requests by e-mail or webhook; approvers look at their own "
            "console.",
            next=None,
        )
    return Check(id="notices", state="ok", words=f"{count} are told when somebody asks.", next=None)


def _disk(data: Path) -> Check:
    free = shutil.disk_usage(data).free
    gib = free / 1024**3
    if free >= LOW_DISK_BYTES:
        return Check(id="disk", state="ok", words=f"{gib:.0f} GiB of disk are free.", next=None)
    return Check(
        id="disk",
        state="bad",
        words=f"Only {gib:.1f} GiB of disk are free. Once full, machines keep what they have.",
        next="Free some space, or move the data folder to a larger disk.",
    )


def _private(data: Path) -> Check:
    mode = data.stat().st_mode & 0o077
    if mode == 0 and data.stat().st_uid == os.getuid():
        return Check(id="data-folder", state="ok", words="The data folder is private.", next=None)
    return Check(
        id="data-folder",
        state="bad",
        words="Other users of this host can look into the data folder.",
        next=f"chmod 700 {data}",
    )
