"""The owner's desk: everything that is signed with the keys of one folder.

Each act takes the folder's lock, reads and verifies the documents anew, signs, verifies what it
signed, and writes. It works with the server gone; `publish.upload` carries the result there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import OwnerFolder, document_name
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.pinned_record import read_pinned
from fleetward.keyholder.signing import (
    InvitationWish,
    retire_entry,
    sign_head,
    sign_invitation,
    sign_lease,
    sign_roster,
)
from fleetward.runtime.clock import Clock
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.invitation import JoinString
from fleetward.trust.keys import ED25519
from fleetward.trust.policy import Policy
from fleetward.trust.roster import ACTIVE, RosterEntry, verify_entries, verify_roster

MIN_TTL_SECONDS: Final = 60
MAX_TTL_SECONDS: Final = 366 * 86_400
"""An invitation that outlives a year is a door that somebody forgot."""


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, ready to be handed to a machine."""

    id: str
    join: str
    expires_at_ms: int
    owner_root: str


class Desk:
    """Signs with the keys of one folder. Keys are opened when they are first needed."""

    def __init__(self, folder: OwnerFolder, passphrase: bytes, clock: Clock) -> None:
        self.folder: Final = folder
        self._passphrase = passphrase
        self._clock = clock
        self._signers: dict[str, FileSigner] = {}

    @classmethod
    def open(cls, path: Path, passphrase_file: Path | None, clock: Clock) -> Desk:
        """Return the desk over the folder at `path`; asks for the passphrase. Raises `Refused`."""
        folder = OwnerFolder.open(path)
        return cls(folder, ask_passphrase(passphrase_file), clock)

    def signer(self, name: str, policy: Policy | None = None) -> FileSigner:
        """Return a key of the folder, opened once. Raises `Refused`.

        While a key is being replaced there are two; the one that `policy` names is meant, or else
        the folder's newest policy.
        """
        stored = self._stored_name(name, policy)
        if stored not in self._signers:
            self._signers[stored] = self.folder.open_signer(stored, self._passphrase)
        return self._signers[stored]

    def following(self, name: str) -> FileSigner:
        """Return the key that is to take the place of `name`; it is made when there is none.

        Raises `Refused` when the passphrase was forgotten.
        """
        stored = f"{name}.next"
        if not self._passphrase:
            raise Refused("Expected the passphrase of the folder again.", reason="no_passphrase")
        if not self.folder.has(f"keys/{stored}.key"):
            self.folder.write_key(stored, make_key(ED25519), self._passphrase)
        return self.folder.open_signer(stored, self._passphrase)

    def _stored_name(self, name: str, policy: Policy | None) -> str:
        following = f"{name}.next"
        if not self.folder.has(f"keys/{following}.key"):
            return name
        named = policy or self.documents().policy
        return following if self.folder.key_id(following) in named.keys else name

    def beside(self, passphrase: bytes) -> Desk:
        """Return a desk for one act that takes the passphrase again, such as a new policy.

        It shares the keys for roster, head and lease that are open here; any other is opened by
        `passphrase`, and goes with the desk that is returned.
        """
        other = Desk(self.folder, passphrase, self._clock)
        shared = ("approver", "refresh", "approver.next", "refresh.next")
        other._signers = {n: s for n, s in self._signers.items() if n in shared}
        return other

    def forget_passphrase(self, keep: Sequence[str]) -> None:
        """Open the keys in `keep` and forget the passphrase: no other key can be opened then.

        Raises `Refused` when one of them cannot be opened.
        """
        for name in keep:
            self.signer(name)
        self._passphrase = b""

    def documents(self) -> OwnerDocuments:
        """Return the newest documents, verified. Raises `Malformed`, `Untrusted` or `Refused`."""
        return load_documents(self.folder)

    def invite(self, site: str, uses: int, ttl_seconds: int, *, preapproved: bool) -> Invited:
        """Sign an invitation and return its join string.

        Raises `Malformed` for a time out of bounds, uses out of bounds, or a site too long, and
        `Refused` when this computer's clock is behind what was signed here.
        """
        if not MIN_TTL_SECONDS <= ttl_seconds <= MAX_TTL_SECONDS:
            raise Malformed(
                f"Expected an invitation of {MIN_TTL_SECONDS} to {MAX_TTL_SECONDS} seconds, "
                f"got {ttl_seconds}.",
                reason="bad_ttl",
            )
        policy = self.documents().policy
        now_ms = self._clock.wall_ms()
        if now_ms < policy.issued_at_ms:
            raise Refused(
                f"Expected a time after {to_rfc3339(policy.issued_at_ms)}, when your policy was "
                f"signed; this computer's clock says {to_rfc3339(now_ms)}. The invitation would "
                "be over before it is used: set the clock right.",
                reason="clock_behind",
            )
        pinned = read_pinned(self.folder)
        wish = InvitationWish(site, uses, ttl_seconds, preapproved, now_ms)
        invitation = sign_invitation(policy, wish, self.signer("approver"))
        self.folder.write_once(f"documents/invitations/{invitation.id}.json", invitation.raw)
        join = JoinString(
            enrol_addresses=pinned.enrol,
            bus_addresses=pinned.bus,
            server_ca=policy.roots.server_ca,
            owner=policy.owner,
            policy_version=policy.version,
            policy_hash=policy.hash,
            invitation=invitation.raw,
        )
        return Invited(invitation.id, join.to_text(), invitation.expires_at_ms, policy.owner)

    def put_on_roster(self, entry: RosterEntry) -> OwnerDocuments:
        """Sign a roster with this machine on it. The caller has compared its six words."""
        with self.folder.locked():
            documents = self.documents()
            others = [e for e in documents.entries if e.device != entry.device]
            return self._change_roster(documents, [*others, entry])

    def retire(self, device: str) -> OwnerDocuments:
        """Sign a roster on which this machine is retired. Raises `Refused`."""
        with self.folder.locked():
            documents = self.documents()
            found = find_entry(documents, device)
            if found is None or found.state != ACTIVE:
                raise Refused(
                    f"Expected {device[:64]} to be an active machine of the roster; it is not. "
                    "See: fleetward owner roster show",
                    reason="not_on_roster",
                )
            others = [e for e in documents.entries if e.device != device]
            return self._change_roster(documents, [*others, retire_entry(found)])

    def renew(self) -> OwnerDocuments:
        """Sign a new lease; and whatever a change that was interrupted left undone."""
        with self.folder.locked():
            return self._settle(self.documents())

    def adopt_policy(self, policy: Policy) -> OwnerDocuments:
        """Write the policy that follows the newest, and sign roster, head and lease under it.

        The caller verified it against the newest policy, and holds no lock.
        """
        with self.folder.locked():
            self.folder.write_once(document_name("policies", policy.version), policy.raw)
            return self._settle(self.documents())

    def _change_roster(
        self, documents: OwnerDocuments, entries: Sequence[RosterEntry]
    ) -> OwnerDocuments:
        number = max(self.folder.numbers("rosters"), default=0) + 1
        roster, ordered = sign_roster(
            documents.policy, number, entries, self.signer("approver"), self._clock.wall_ms()
        )
        lines = [entry.to_bytes() for entry in ordered]
        verify_entries(roster, lines)
        # The entries first: a roster that is there is complete.
        self.folder.replace(document_name("rosters", number, "entries"), b"\n".join(lines))
        self.folder.write_once(document_name("rosters", number), roster.raw)
        return self._settle(self.documents())

    def _settle(self, documents: OwnerDocuments) -> OwnerDocuments:
        """Sign what is missing for the newest policy and roster, and always a lease."""
        policy, now_ms = documents.policy, self._clock.wall_ms()
        if not _is_by(documents, policy):
            return self._change_roster(documents, documents.entries)
        if not documents.head_settled:
            number = max(self.folder.numbers("heads"), default=0) + 1
            head = sign_head(policy, documents.roster, number, self.signer("approver"), now_ms)
            self.folder.write_once(document_name("heads", number), head.raw)
        else:
            head = documents.head
        last = max(self.folder.numbers("leases"), default=0)
        lease = sign_lease(policy, head, last, self.signer("refresh"), now_ms)
        self.folder.write_once(document_name("leases", lease.serial), lease.raw)
        return self.documents()


def find_entry(documents: OwnerDocuments, device: str) -> RosterEntry | None:
    """Return a machine's entry on the newest roster, if it has one."""
    return next((entry for entry in documents.entries if entry.device == device), None)


def _is_by(documents: OwnerDocuments, policy: Policy) -> bool:
    """Say whether the newest policy's people signed the newest roster."""
    try:
        verify_roster(documents.roster.raw, policy)
    except Untrusted:
        return False
    return True
