"""Rollouts, as machines meet them."""

from __future__ import annotations

from fleetward.server.updates.book import UpdateBook
from fleetward.trust.update_report import UpdateReport


class Rollouts:
    """No release has a rollout: each goes to whom it is approved for."""

    def __init__(self, book: UpdateBook) -> None:
        self.book = book

    def gates_of(self, device: str) -> dict[str, bool]:
        """Return of each release that a rollout is about whether this machine is let in."""
        del device
        return {}

    def ceiling_of(self, device: str) -> int:
        """Return how many bytes a second this machine is sent at most; 0: as many as it takes."""
        del device
        return 0

    def note_offers(self, device: str, releases: list[str], at_ms: int) -> None:
        """Write that a machine was told of releases, before it is."""

    def take_report(self, device: str, report: UpdateReport, cause: str) -> None:
        """Take a report that was verified and is new."""
