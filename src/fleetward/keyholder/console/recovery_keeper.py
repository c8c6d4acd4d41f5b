"""Recoveries on the owner's console: what recovery keys announced, and refusing it.

The server is asked; what it shows is verified here, under the owner's own newest policy. A server
that shows nothing is no proof that nothing was announced: the record is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.policy_changes import change_policy
from fleetward.keyholder.recovering import RecoveryRow, fetch_rows, verify_rows, veto_change
from fleetward.runtime.clock import Clock
from fleetward.trust.errors import FleetwardError
from fleetward.trust.policy import Policy


class RecoveryKeeper:
    """What waits, and the owner's no. Safe to call from any thread."""

    def __init__(
        self, desk: Desk, hand_over: Callable[[OwnerDocuments], str], clock: Clock
    ) -> None:
        self._desk = desk
        self._hand_over = hand_over
        self._clock = clock
        self._acting = threading.Lock()
        self._waiting: list[tuple[RecoveryRow, Policy]] = []

    @property
    def waiting(self) -> list[tuple[RecoveryRow, Policy]]:
        """The recoveries that the server showed last, and that verify."""
        return list(self._waiting)

    def look(self, client: ApiClient) -> bool:
        """Ask the server; return whether something changed. It does not raise."""
        before = [row.hash for row, _ in self._waiting]
        # An older server has no such page.
        with contextlib.suppress(FleetwardError):
            rows = fetch_rows(client)
            # The folder is read, and verified, only when there is something to compare.
            self._waiting = verify_rows(rows, self._desk.documents().policy) if rows else []
        return before != [row.hash for row, _ in self._waiting]

    def veto(self, passphrase: str) -> tuple[OwnerDocuments, str]:
        """Refuse what waits by a policy without recovery keys, and hand it over.

        Returns the documents, and why they were not handed over. Raises as `change_policy` does.
        """
        with self._acting:
            desk = self._desk.beside(passphrase.encode())
            change = veto_change(desk.documents(), keep_keys=False)
            documents = change_policy(desk, change, self._clock.wall_ms())
            trouble = self._hand_over(documents)
            self._waiting = []
            return documents, trouble
