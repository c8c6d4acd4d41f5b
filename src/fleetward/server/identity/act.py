"""Joining, renewing, quarantine: each deed is a leaf of the ledger before it is done."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import sqlalchemy as sa

from fleetward.runtime.clock import Clock
from fleetward.runtime.database import Database
from fleetward.server.deeds import Deed, DeedRecorder
from fleetward.server.identity import store
from fleetward.server.identity.decide import (
    ACTIVE,
    BACKDATE_MS,
    CERTIFICATE_MS,
    PENDING,
    QUARANTINED,
    RETIRED_STATE,
    Known,
    changes_of_roster,
    check_invitation_age,
    decide_join,
    decide_renewal,
    decide_roster_change,
)
from fleetward.server.identity.issuing import CertificateAuthorities, IssuedCertificate
from fleetward.server.web.caller import Scope
from fleetward.trust.documents import Bundle
from fleetward.trust.errors import FleetwardError, Refused, Unreachable, Untrusted
from fleetward.trust.invitation import Invitation, verify_invitation
from fleetward.trust.keys import ES256, PublicKey, read_public_key
from fleetward.trust.policy import Policy
from fleetward.trust.roster import RosterEntry, read_entry
from fleetward.trust.statements import (
    Hello,
    Join,
    Renewal,
    device_of_statement,
    verify_join,
    verify_renewal,
)

KNOCK_EVERY_MS: Final = 60_000
"""Equal refusals at the enrolment listener become an entry once a minute; the rest are counted."""
_SAID: Final = {"device.quarantined": "Quarantined", "device.readmitted": "Let back"}
_log: Final = logging.getLogger(__name__)


class OwnerDocuments(Protocol):
    """What this capability needs of the owner's documents."""

    @property
    def owner_id(self) -> str: ...

    @property
    def policy(self) -> Policy: ...

    def issuing_chain(self) -> str: ...

    def bundle(self, device: str, policy_version: int = 0) -> Bundle: ...

    def record_invitation(self, raw: bytes, at_ms: int) -> None:
        """Make an invitation that was shown and is accepted a leaf of the record."""
        ...


class Devices:
    """The machines of this server. Thread-safe."""

    def __init__(
        self,
        database: Database,
        authorities: CertificateAuthorities,
        owner: OwnerDocuments,
        deeds: DeedRecorder,
        clock: Clock,
    ) -> None:
        self._database = database
        self._authorities = authorities
        self._owner = owner
        self._deeds = deeds
        self._clock = clock
        self._lock = threading.RLock()
        self._keys: dict[str, PublicKey] = {}
        self._states: dict[str, str] = {}
        self._seen: dict[str, int] = {}
        self._knocks: dict[tuple[str, str], tuple[int, int]] = {}
        self._listeners: list[Callable[[str], None]] = []
        self._greeters: list[Callable[[str], None]] = []
        self._acknowledgers: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a machine's id whenever its state changed."""
        self._listeners.append(listener)

    def on_acknowledgement(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a machine's id when it has said that it took a newer policy."""
        self._acknowledgers.append(listener)

    def on_greeting(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with a machine's id whenever it has greeted."""
        self._greeters.append(listener)

    def known(self, device: str) -> Known | None:
        """Return what is known of a machine, or None."""
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        if row is None:
            return None
        return Known(row.device_id, row.state, row.lineage, row.serial, row.invitation)

    def key_of(self, device: str) -> PublicKey:
        """Return the identity key of a machine. Raises `Refused` when none of this id joined."""
        key = self._keys.get(device)
        if key is not None:
            return key
        with self._lock:  # so that no state is read here that is being changed
            with self._database.read() as conn:
                row = store.select_device(conn, device)
            if row is None:
                raise Refused("No machine of this id has joined here.", reason="unknown_device")
            key = read_public_key(ES256, row.public)
            self._states[device] = row.state
            self._keys[device] = key
        return key

    def state_of(self, device: str) -> str:
        """Return the state of a machine that is known. Raises `Refused` otherwise."""
        self.key_of(device)
        return self._states[device]

    def active_ids(self) -> list[str]:
        """Return the machines that are not retired."""
        with self._database.read() as conn:
            rows = store.select_devices(conn, (PENDING, ACTIVE, QUARANTINED))
        return [row.device_id for row in rows]

    def is_connected(self, device: str) -> bool:
        """Return whether a machine was heard of lately."""
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        return row is not None and bool(row.connected)

    def account_of(self, device: str) -> str:
        """Return which account of the broker a machine belongs into now."""
        state = self.state_of(device)
        return {QUARANTINED: "quarantine", RETIRED_STATE: "none"}.get(state, "devices")

    def site_of(self, device: str) -> str:
        """Return the site of a machine. Raises `Refused` (not_found) when there is none."""
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        if row is None:
            raise Refused("No machine of this id is known here.", reason="not_found")
        return str(row.site)

    def covered(self, scope: Scope) -> sa.Select[Any] | None:
        """Return the selection of the ids in a scope, or None when it is the whole fleet."""
        if scope.whole_fleet:
            return None
        return store.select_covered(scope.devices or frozenset(), scope.sites or frozenset())

    def name_of(self, device: str) -> str:
        """Return the name of a machine. Raises `Refused` (not_found) when there is none."""
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        if row is None:
            raise Refused("No machine of this id is known here.", reason="not_found")
        return str(row.name)

    def join(self, statement: bytes, invitation: bytes) -> tuple[IssuedCertificate, Bundle]:
        """Take a machine in. Raises `Malformed`, `Untrusted` or `Refused`; each try is recorded."""
        try:
            join = verify_join(statement)
            now = self._clock.wall_ms()
            invited = self._verify_invitation(invitation, now)
            with self._lock:
                return self._join(join, invited, now)
        except FleetwardError as e:
            self._record_refusal("device.join_refused", statement, e)
            raise

    def _verify_invitation(self, invitation: bytes, now: int) -> Invitation:
        try:
            return verify_invitation(invitation, self._owner.policy, now)
        except Untrusted as e:
            raise Untrusted(
                f"The invitation is not as this server's owner signs one. {e.message} Ask the "
                "owner for a new one.",
                reason=e.reason,
            ) from e

    def _join(
        self, join: Join, invitation: Invitation, now: int
    ) -> tuple[IssuedCertificate, Bundle]:
        known = self.known(join.device)
        with self._database.read() as conn:
            row = store.select_invitation(conn, invitation.id)
            restored_at = store.select_restored_at(conn)
        used = row.used if row else 0
        owner = self._owner.owner_id
        check_invitation_age(invitation, restored_at, now)
        bundle = self._owner.bundle(join.device)
        entry = read_entry(bundle.entry) if bundle.entry else None
        state, confirmed = decide_roster_change(
            decide_join(join, owner, invitation, used, known), entry
        )
        if state == RETIRED_STATE:
            raise Refused("This machine was retired by its owner.", reason="retired")
        chain = self._owner.issuing_chain()
        if row is None:
            # Before the first join by it, so that an audit finds the owner's word behind each.
            self._owner.record_invitation(invitation.raw, now)
        self._record(
            "device.joined",
            join.device,
            {
                "words": f"{join.facts.hostname or join.device} joined at {invitation.site}.",
                "statement": join.hash,
                "invitation": invitation.id,
                "state": state,
            },
        )
        issued = self._authorities.issue(
            chain, owner, join.device, join.transport, (now - BACKDATE_MS, now + CERTIFICATE_MS)
        )
        with self._database.write() as conn:
            if known is None or known.invitation != invitation.id:
                store.use_invitation(
                    conn,
                    {
                        "invitation_id": invitation.id,
                        "owner_id": owner,
                        "site": invitation.site,
                        "uses": invitation.uses,
                        "body": invitation.raw,
                        "expires_at": invitation.expires_at_ms,
                        "first_used_at": now,
                    },
                )
            fields = {
                "lineage": join.lineage,
                "serial": issued.serial,
                "not_after": issued.not_after_ms,
                "invitation": invitation.id,
                "state": state,
                "confirmed": confirmed,
            }
            if known is None:
                store.insert_device(conn, _new_row(join, invitation, state, now) | fields)
            else:
                store.update_device(conn, join.device, **fields)
            if known is None and entry is not None:
                store.update_device(conn, join.device, name=entry.name, site=entry.site)
        self._states[join.device] = state
        self._changed(join.device)
        return issued, bundle

    def renew(self, statement: bytes) -> tuple[IssuedCertificate, Bundle]:
        """Issue a certificate for a fresh transport key that the identity key vouches for.

        Raises `Malformed`, `Untrusted` or `Refused`; each refusal is recorded.
        """
        try:
            renewal = verify_renewal(statement, self.key_of(device_of_statement(statement)))
            with self._lock:
                return self._renew(renewal)
        except FleetwardError as e:
            self._record_refusal("device.renewal_refused", statement, e)
            raise

    def _renew(self, renewal: Renewal) -> tuple[IssuedCertificate, Bundle]:
        known = self.known(renewal.device)
        if known is None:
            raise Refused("No machine of this id has joined here.", reason="unknown_device")
        decide_renewal(renewal, self._owner.owner_id, known)
        now = self._clock.wall_ms()
        issued = self._authorities.issue(
            self._owner.issuing_chain(),
            self._owner.owner_id,
            renewal.device,
            renewal.transport,
            (now - BACKDATE_MS, now + CERTIFICATE_MS),
        )
        self._record(
            "device.renewed",
            renewal.device,
            {"words": "A new certificate was issued.", "lineage": renewal.lineage},
        )
        with self._database.write() as conn:
            store.update_device(
                conn,
                renewal.device,
                lineage=renewal.lineage,
                serial=issued.serial,
                not_after=issued.not_after_ms,
            )
        return issued, self._owner.bundle(renewal.device)

    def greet(self, hello: Hello) -> str:
        """Note a verified hello and return the machine's state."""
        with self._database.write() as conn:
            store.update_device(
                conn,
                hello.device,
                agent=hello.agent,
                wall=hello.wall,
                policy_version=hello.policy_version,
                roster_version=hello.roster_version,
                last_seen_at=self._clock.wall_ms(),
                connected=True,
            )
        self._changed(hello.device)
        for greeter in self._greeters:
            greeter(hello.device)
        return self.state_of(hello.device)

    def policy_of(self, device: str) -> int:
        """Return the policy that a machine has taken, as far as it has said."""
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        return int(row.policy_version) if row else 0

    def acknowledge(self, device: str, policy_version: int) -> None:
        """Note that a machine's journal says which policy it took."""
        if self.policy_of(device) >= policy_version:
            return
        with self._database.write() as conn:
            store.update_device(conn, device, policy_version=policy_version)
        for listener in self._acknowledgers:
            listener(device)

    def late(self, policy_version: int) -> list[str]:
        """Return the names of confirmed machines that have not said that they took a policy."""
        with self._database.read() as conn:
            rows = store.select_devices(conn, (PENDING, ACTIVE, QUARANTINED))
        return [r.name for r in rows if r.confirmed and r.policy_version < policy_version]

    def see(self, device: str) -> None:
        """Note that a machine was heard of; written together by `flush_seen`."""
        self._seen[device] = self._clock.wall_ms()

    def lose(self, device: str) -> None:
        """Note that a machine's connection ended. A machine that is back already is heard again."""
        self._seen.pop(device, None)
        with self._database.write() as conn:
            store.update_connected(conn, device, False)
        self._changed(device)

    def flush_seen(self, silent_after_ms: int) -> None:
        """Write coalesced heartbeats; machines unheard of for `silent_after_ms` become silent."""
        seen, self._seen = self._seen, {}
        try:
            with self._database.write() as conn:
                store.update_seen(conn, seen.items())
                store.silence_before(conn, self._clock.wall_ms() - silent_after_ms)
        except FleetwardError:
            self._seen = seen | self._seen
            raise

    def quarantine(self, device: str, actor: str, reason: str) -> str:
        """Move a machine into quarantine. Raises `Refused` when its state does not allow it."""
        state = self.state_of(device)
        if state == QUARANTINED:
            raise Refused("This machine is in quarantine already.", reason="already_quarantined")
        if state == RETIRED_STATE:
            raise Refused("This machine was retired by its owner.", reason="retired")
        return self._set_state(device, QUARANTINED, "device.quarantined", actor, reason)

    def readmit(self, device: str, actor: str, reason: str) -> str:
        """Let a quarantined machine back. Raises `Refused` when it is not in quarantine."""
        if self.state_of(device) != QUARANTINED:
            raise Refused("This machine is not in quarantine.", reason="not_quarantined")
        with self._database.read() as conn:
            row = store.select_device(conn, device)
        confirmed = row is not None and (row.confirmed or row.preapproved)
        after = ACTIVE if confirmed else PENDING
        return self._set_state(device, after, "device.readmitted", actor, reason)

    def follow_roster(self, entries: Iterable[RosterEntry]) -> None:
        """Take names, sites and states from a new roster of the owner's."""
        by_id: Mapping[str, RosterEntry] = {e.device: e for e in entries}
        with self._lock:
            with self._database.read() as conn:
                rows = store.select_devices(conn)
            changes = changes_of_roster(
                {r.device_id: (r.state, bool(r.confirmed)) for r in rows}, by_id
            )
            with self._database.write() as conn:
                for row in rows:
                    entry = by_id.get(row.device_id)
                    values: dict[str, object] = {}
                    if entry and (entry.name, entry.site, entry.model) != (
                        row.name,
                        row.site,
                        row.model,
                    ):
                        values |= {"name": entry.name, "site": entry.site, "model": entry.model}
                        values["maker_id"] = entry.maker
                    if row.device_id in changes:
                        values["state"], values["confirmed"] = changes[row.device_id]
                        values["state_at"] = self._clock.wall_ms()
                    if values:
                        store.update_device(conn, row.device_id, **values)
            for device, (state, _) in changes.items():
                self._states[device] = state
        for device in changes:
            self._changed(device)

    def pending(self) -> list[store.Row]:
        """Return the machines that the owner has not confirmed."""
        with self._database.read() as conn:
            rows = store.select_devices(conn, (PENDING, ACTIVE, QUARANTINED))
        return [row for row in rows if not row.confirmed]

    def _set_state(self, device: str, state: str, kind: str, actor: str, reason: str) -> str:
        said = _SAID[kind]
        words = f"{said}: {reason.rstrip('.')}." if reason else f"{said}."
        self._record(kind, device, {"reason": reason, "words": words}, actor)
        with self._lock:
            with self._database.write() as conn:
                now = self._clock.wall_ms()
                changed = store.update_state(conn, device, state, reason, now, unless=RETIRED_STATE)
            if not changed:
                raise Refused("This machine was retired by its owner.", reason="retired")
            self._states[device] = state
        self._changed(device)
        return state

    def _record(self, kind: str, device: str, body: dict[str, str | int], actor: str = "") -> None:
        self._deeds.record(
            Deed(
                kind=kind,
                actor=actor or f"device:{device}",
                subject=f"device:{device}",
                owner_id=self._owner.owner_id,
                body=body,
                at_ms=self._clock.wall_ms(),
            )
        )

    def _record_refusal(self, kind: str, statement: bytes, error: FleetwardError) -> None:
        """Record that somebody was refused, once a minute for each reason; the rest are counted.

        Anybody who reaches the listener can knock: the record must not grow by every knock.
        """
        if isinstance(error, Unreachable):
            return
        now = self._clock.wall_ms()
        with self._lock:
            since, count = self._knocks.get((kind, error.reason), (now - KNOCK_EVERY_MS, 0))
            if now - since < KNOCK_EVERY_MS:
                self._knocks[kind, error.reason] = (since, count + 1)
                return
            self._knocks[kind, error.reason] = (now, 0)
        try:
            device = device_of_statement(statement)
        except FleetwardError:
            device = "unknown"
        body: dict[str, str | int] = {
            "reason": error.reason,
            "words": error.message[:500],
            "count": count + 1,
        }
        try:
            self._record(kind, device, body)
        except FleetwardError as e:
            _log.warning("the refusal of %s could not be recorded: %s", device, e.message)

    def _changed(self, device: str) -> None:
        for listener in self._listeners:
            listener(device)


def _new_row(join: Join, invitation: Invitation, state: str, now: int) -> dict[str, object]:
    return {
        "device_id": join.device,
        "owner_id": join.owner,
        "maker_id": join.facts.maker,
        "suite": join.key.suite,
        "public": join.key.spki,
        "state": state,
        "name": join.facts.hostname or join.device[:12],
        "site": invitation.site,
        "model": join.facts.model,
        "system": join.facts.system,
        "simulated": join.facts.simulated,
        "confirmed": False,
        "preapproved": invitation.preapproved,
        "joined_at": now,
    }
