"""What the owner's console knows and does: the desk, the server, and the time.

It holds the approver's, the refresh and the recording key open, never the root: a policy is
changed only for who types the passphrase again, see `passkey_keeper`. While it runs it renews the
lease once a day, and asks the server every few seconds who waits. What concerns sessions is in
`access_keeper`.
"""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Final

import msgspec

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.auditor import own_folder
from fleetward.keyholder.console.access_keeper import AccessKeeper, Reach
from fleetward.keyholder.console.closing_keeper import ClosingKeeper
from fleetward.keyholder.console.passkey_keeper import PasskeyKeeper
from fleetward.keyholder.console.phone_keeper import PhoneKeeper
from fleetward.keyholder.console.phone_log import PhoneLog
from fleetward.keyholder.console.recovery_keeper import RecoveryKeeper
from fleetward.keyholder.console.stream import Changes
from fleetward.keyholder.console.window_keeper import WindowKeeper
from fleetward.keyholder.desk import Desk, Invited
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.fetch_export import fetch_export
from fleetward.keyholder.hand import hand_over
from fleetward.keyholder.kept_checkpoint import keep_checkpoint, read_kept
from fleetward.keyholder.pending import (
    Confirmation,
    PendingMachine,
    confirm_machine,
    fetch_pending,
)
from fleetward.keyholder.verify import Verification, verify_export
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.ledger import Auditor

RENEW_AFTER_MS: Final = 86_400_000
OPEN_KEYS: Final = ("approver", "refresh")
RECORDING_KEY: Final = "recording"
"""Opened too where the folder has it, to watch and replay sessions."""
MAX_RECORDS: Final = 3
"""Fetched records that are kept, the newest last; older ones make room."""


class Keeper:
    """The state behind the owner's console. Safe to call from any thread."""

    def __init__(self, desk: Desk, reach: Reach | None, clock: Clock) -> None:
        recording = (RECORDING_KEY,) if desk.folder.has(f"keys/{RECORDING_KEY}.key") else ()
        desk.forget_passphrase((*OPEN_KEYS, *recording))
        self.desk: Final = desk
        self.changes: Final = Changes()
        self._reach = reach or _reach_nobody
        self.passkeys: Final = PasskeyKeeper(desk, self._hand_over, clock)
        self.recovery: Final = RecoveryKeeper(desk, self._hand_over, clock)
        log = PhoneLog(desk.folder, clock)
        self.phones: Final = PhoneKeeper(desk, self.changes, clock, self.passkeys, log)
        self.access: Final = AccessKeeper(
            desk, self._reach, self.changes, clock, self.passkeys, log
        )
        self.windows: Final = WindowKeeper(desk, self._reach, self.changes, clock, self.passkeys)
        self.closing: Final = ClosingKeeper(desk, self._reach, self.changes, clock)
        self._clock = clock
        self._acting = threading.Lock()
        self._pending: list[PendingMachine] = []
        self._address = ""
        self._trouble = "The server was not asked yet."
        self._owed = False

    @property
    def facts_beside_server(self) -> bool:
        """Whether the owner's folder was made on the server's host."""
        return self.desk.folder.read_facts().beside_server

    @property
    def server(self) -> tuple[str, bool, str]:
        """Address, whether it answered last, and why not."""
        return self._address, not self._trouble, self._trouble

    @property
    def pending(self) -> list[PendingMachine]:
        """The machines that waited when the server was last asked."""
        return list(self._pending)

    def look(self) -> None:
        """Ask the server who waits, and tell the pages when that changed. It does not raise."""
        before = (self._trouble, self._pending)
        try:
            client = self._reach()
            self._address = client.api
            self._pending = fetch_pending(client)
            self._trouble = ""
            self.access.look(client)
            if self.recovery.look(client):
                self.changes.tell("state")
            self.windows.look(client)
        except FleetwardError as e:
            self._trouble = e.message
        if self._owed and not self._trouble:
            self._hand_over(self.desk.documents())
        if before[0] != self._trouble:
            self.changes.tell("server")
        if before[1] != self._pending:
            self.changes.tell("devices")

    def renew_when_due(self) -> None:
        """Sign a lease once a day and hand it over. It does not raise; the next try comes soon."""
        try:
            lease = self.desk.documents().lease
            now_ms = self._clock.wall_ms()
            if lease is not None and now_ms - lease.issued_at_ms < RENEW_AFTER_MS:
                return
            self._hand_over(self.desk.renew())
            self.changes.tell("state")
        except FleetwardError as e:
            self._trouble = e.message
            self.changes.tell("server")

    def confirm(self, said: Confirmation) -> tuple[OwnerDocuments, str]:
        """Confirm a waiting machine; return the documents, and why they were not handed over."""
        with self._acting:
            self._pending = fetch_pending(self._reach())
            documents = confirm_machine(self.desk, self._pending, said)
            return documents, self._hand_over(documents)

    def retire(self, device: str, reason: str) -> tuple[OwnerDocuments, str]:
        """Retire a machine; return as `confirm` does. The reason is kept in the folder."""
        with self._acting:
            documents = self.desk.retire(device)
            note = {
                "at": to_rfc3339(self._clock.wall_ms()),
                "device": device,
                "reason": reason,
                "roster": documents.roster.version,
            }
            name = f"documents/retirements/{documents.roster.version:05d}.json"
            self.desk.folder.write_once(name, msgspec.json.encode(note))
            return documents, self._hand_over(documents)

    def invite(self, site: str, uses: int, ttl_seconds: int, *, preapproved: bool) -> Invited:
        """Sign an invitation."""
        return self.desk.invite(site, uses, ttl_seconds, preapproved=preapproved)

    def verify(self) -> tuple[Verification, Path]:
        """Fetch the record into the owner's folder and check it there. Raises as these do."""
        with self._acting:
            documents = self.desk.documents()
            records = self.desk.folder.path / "records"
            stamp = to_rfc3339(self._clock.wall_ms()).replace(":", "").replace(".", "")
            path = fetch_export(self._reach(), records / stamp)
            auditor = Auditor(
                now_ms=self._clock.wall_ms(),
                older=read_kept(self.desk.folder),
                own=own_folder(documents),
            )
            result = verify_export(path, documents.owner, auditor)
            if result.report.whole:
                keep_checkpoint(self.desk.folder, path, result.generation)
            for old in sorted(records.iterdir())[:-MAX_RECORDS]:
                shutil.rmtree(old, ignore_errors=True)
        return result, path

    def _hand_over(self, documents: OwnerDocuments) -> str:
        """Hand documents over; return why that failed, for what was signed stands already."""
        try:
            hand_over(self.desk.folder, self._reach(), documents)
        except FleetwardError as e:
            self._owed = True
            return e.message
        self._owed = False
        known = {entry.device for entry in documents.entries}
        self._pending = [machine for machine in self._pending if machine.id not in known]
        self.changes.tell("devices")
        return ""


def _reach_nobody() -> ApiClient:
    raise Refused(
        "No server was named when this program was started. Start it again with --data DIR, or "
        "with --server URL and --token-file F.",
        reason="no_server_named",
    )
