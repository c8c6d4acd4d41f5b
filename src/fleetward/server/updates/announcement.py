"""What people are to be told without having asked: one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Announcement:
    """Something to tell, once for each `subject`. Where it `escalates`, the later steps of
    `notices.toml` are told too while nobody has acknowledged it; else the first alone."""

    subject: str
    title: str
    text: str
    since_ms: int
    escalates: bool = False
