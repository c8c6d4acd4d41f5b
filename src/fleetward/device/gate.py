"""The one door in. Whatever the server hands to this machine comes through here, or nowhere.

1. The bytes are one of the few words that a machine accepts (`wire.unsigned`).
2. Owner documents advance the machine's view by the rules of `trust.documents`, or are refused.
3. An order of a type that is in the table is judged by the file that stands there
   (`gate_sessions`, `gate_runbooks`, `gate_standing`, `gate_closing`); every other is refused.
4. A reduction (report now, connect again) is taken unsigned, because it only reduces.
5. What is accepted is in the journal, then in the file of the view, before it takes effect.
   A policy of the next epoch hands the machine over: that is an entry of its own, and everything
   that was asked for, granted or open under the old one ends.
6. What is refused is recorded with a stable reason and plain words, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fleetward.device.audit.diary import Diary
from fleetward.device.gate_recovery import RecoveryGate
from fleetward.device.gate_runbooks import RUNBOOK_TYPES
from fleetward.device.gate_sessions import SESSION_TYPES, SessionGate
from fleetward.device.refusals import Refusals
from fleetward.trust.canonical import JsonObject, from_base64url
from fleetward.trust.documents import Bundle, OwnerView, advance, read_bundle
from fleetward.trust.envelope import Envelope, document_hash, read_envelope
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.policy import verify_following_policy
from fleetward.trust.roster import verify_roster
from fleetward.wire.orders import Documents, Order, Reduce
from fleetward.wire.unsigned import decode_pushed

DOCUMENTS: Final = "documents"
ORDER: Final = "order"
MESSAGE: Final = "message"
MAX_TYPE_CHARACTERS: Final = 64
ACCEPTED: Final = "gate.accepted"
HANDED_OVER: Final = "owner.handed_over"
REFRESHED: Final = "gate.refreshed"
"""Kinds of entries: a step that concerns this very machine, and one that only keeps it current.
Of the second every machine of a fleet writes one whenever the owner lets a single machine in."""

_NOUNS: Final = {
    "head": "summary of the owner's documents",
    "lease": "prolongation of the owner's documents",
    "policy": "policy",
    "roster": "list of machines",
}
"""What a person calls the documents."""

Effect = Literal["none", "documents", "report_now", "reconnect", "look_for_updates", "channel"]
OrderTaker = Callable[[bytes, str], Literal["none", "channel"]]
"""Takes an order (bytes, type), or raises what it was refused with, recorded."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """What came in, and what the machine does because of it."""

    effect: Effect
    view: OwnerView


class Gate:
    """Holds the machine's view of its owner, and is the only one to change it.

    `persist` writes the view to the disk; it is called after the entry and before the view counts.
    """

    def __init__(
        self,
        view: OwnerView,
        diary: Diary,
        refusals: Refusals,
        persist: Callable[[OwnerView], None],
    ) -> None:
        self._view = view
        self._diary = diary
        self._refusals = refusals
        self._persist = persist
        self._sessions: SessionGate | None = None
        self._recovery: RecoveryGate | None = None
        self._takers: dict[str, OrderTaker] = {}
        self._on_documents: list[Callable[[], None]] = []

    @property
    def view(self) -> OwnerView:
        """What the machine believes now."""
        return self._view

    def use_sessions(self, sessions: SessionGate) -> None:
        """Have orders about sessions judged by this; it asks this gate for the view."""
        self._sessions = sessions
        self.take_orders(SESSION_TYPES, sessions.admit, sessions.take_new_policy)
        self.use_orders(RUNBOOK_TYPES, sessions.runbooks.take)

    def take_orders(
        self, kinds: Sequence[str], taker: OrderTaker, on_documents: Callable[[], None]
    ) -> None:
        """Have orders of these types judged by `taker`, which hears of newer documents too."""
        self.use_orders(kinds, taker)
        self._on_documents.append(on_documents)

    def use_orders(self, kinds: Sequence[str], taker: OrderTaker) -> None:
        """Have orders of these types judged by `taker`; it asks this gate for the view."""
        self._takers |= dict.fromkeys(kinds, taker)

    def use_recovery(self, recovery: RecoveryGate) -> None:
        """Have recovered policies wait here; without it none is ever taken."""
        self._recovery = recovery
        recovery.follow(self._view)  # A crash may have come between the view and this.

    def tick(self) -> None:
        """End what the owner's documents no longer carry, open what was pressed for, and see what
        has waited long enough."""
        if self._recovery is not None:
            self._recovery.tick()
        if self._sessions is not None:
            self._sessions.end_past_lease()
            self._sessions.break_glass.tick()

    @property
    def sessions(self) -> SessionGate | None:
        """What judges orders about sessions."""
        return self._sessions

    def admit(self, raw: bytes) -> Admitted:
        """Take what the server pushed. Raises the error that it was refused with, after recording.

        The families are those of `trust.errors`; `Unreachable` means that the disk is full and the
        same may be tried again later.
        """
        # 1. One of the few words.
        try:
            word = decode_pushed(raw)
        except Malformed as e:
            words = "Something that is no message to a machine. It was dropped."
            self._refusals.refuse(MESSAGE, e.reason, words)
            raise
        if isinstance(word, Documents):
            return self.admit_documents(word)
        if isinstance(word, Order):
            return self._admit_order(word)
        return self._admit_reduction(word)

    def admit_documents(self, word: Documents) -> Admitted:
        """Advance the view by owner documents. Raises as `admit`."""
        waited = self._recovery.waited if self._recovery else frozenset[str]()
        try:
            bundle = read_bundle(from_base64url(word.bundle))
            view = advance(self._view, bundle, waited)
        except Refused:
            if not self._note_recovery(bundle):
                raise
            return Admitted("none", self._view)
        except (Malformed, Untrusted) as e:
            subject, words = self._explain(word, e)
            self._refusals.refuse(subject, e.reason, words)
            raise
        if view == self._view:
            return Admitted("none", view)
        self._take(view)
        return Admitted("documents", view)

    def _take(self, view: OwnerView) -> None:
        before = self._view
        kind = ACCEPTED if _concerns_machine(before, view) else REFRESHED
        sold = view.policy.epoch != before.policy.epoch
        if sold:
            self._diary.order(HANDED_OVER, _describe_handover(before, view))
        self._diary.order(kind, _describe_step(before, view))
        self._persist(view)
        self._view = view
        if self._recovery is not None:
            self._recovery.follow(view)
        if sold and self._sessions is not None:
            self._sessions.hand_over(view.owner_name)
        for tell in self._on_documents:
            tell()

    def _note_recovery(self, bundle: Bundle) -> bool:
        """Write down that recovery keys announced a policy. Raises what it was refused with."""
        if self._recovery is None:
            return False
        try:
            self._recovery.note(self._view, bundle)
        except Refused as e:
            self._refusals.refuse("policy", e.reason, e.message)
            raise
        return True

    def _admit_order(self, word: Order) -> Admitted:
        try:
            data = from_base64url(word.envelope)
            kind = read_envelope(data).type
        except Malformed as e:
            raise self._refuse_order(word) from e
        if kind not in self._takers:
            raise self._refuse_order(word)
        return Admitted(self._takers[kind](data, kind), self._view)

    def _admit_reduction(self, word: Reduce) -> Admitted:
        words = {
            "report_now": "The server asked this machine to report at once.",
            "reconnect": "The server asked this machine to connect again.",
            "look_for_updates": "The server asked this machine to ask for releases at once.",
        }[word.what]
        if not self._refusals.reduce(word.what, words):
            return Admitted("none", self._view)
        return Admitted(word.what, self._view)

    def _refuse_order(self, word: Order) -> FleetwardError:
        """Record that an order was refused and return the error."""
        try:
            envelope = read_envelope(from_base64url(word.envelope))
        except Malformed as e:
            words = "An order that is not a signed document. It was not carried out."
            self._refusals.refuse(ORDER, e.reason, words)
            return e
        # The type is the sender's word: short, printable, and only ever shown.
        kind = "".join(c for c in envelope.type if c.isprintable())[:MAX_TYPE_CHARACTERS]
        if self._signed_by_owner(envelope):
            reason = "order_unknown"
            words = f"An order ({kind}) that this release of the machine does not know."
        else:
            reason = "order_unsigned"
            words = f"An order ({kind}) signed by nobody that this machine's owner named."
        self._refusals.refuse(ORDER, reason, words)
        return Refused(words, reason=reason)

    def _signed_by_owner(self, envelope: Envelope) -> bool:
        """Return whether any key that the policy names signed this; it gives no right."""
        keys = {i: k for role in self._view.policy.roles.values() for i, k in role.keys.items()}
        for signature in envelope.signatures:
            holder = keys.get(signature.key_id)
            if holder is None or signature.suite != holder.key.suite:
                continue
            try:
                holder.key.verify(signature.value, envelope.signed_bytes)
            except Untrusted:
                continue
            return True
        return False

    def _explain(self, word: Documents, error: FleetwardError) -> tuple[str, str]:
        """Return what was refused, and why, in words for the owner."""
        try:
            bundle = read_bundle(from_base64url(word.bundle))
        except FleetwardError:
            return DOCUMENTS, "Owner documents that could not be read. Nothing was changed."
        if error.reason == "another_owner":
            name = self._view.owner_name
            return DOCUMENTS, f"Documents of another owner. This machine obeys {name} alone."
        subject = find_culprit(self._view, bundle)
        noun = _NOUNS.get(subject, "set of documents")
        if error.reason in ("too_few_signatures", "wrong_signer"):
            return subject, f"A {noun} signed by nobody that this machine's owner named."
        if error.reason in ("bad_signature", "bad_suite"):
            return subject, f"A {noun} with a signature that is not its signer's."
        return subject, f"{error.message} Nothing was changed."


def find_culprit(view: OwnerView, bundle: Bundle) -> str:
    """Return the word for the first document of a bundle that its owner did not sign."""
    policy = view.policy
    try:
        for data in bundle.policies:
            payload = read_envelope(data).payload
            version = payload.get("version")
            if isinstance(version, int) and version <= len(view.policies):
                if document_hash(payload) != view.policies[version - 1].hash:
                    return "policy"
                continue
            policy = verify_following_policy(data, policy)
    except FleetwardError:
        return "policy"
    checks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("roster", lambda: verify_roster(bundle.roster, policy)),
        ("head", lambda: verify_head(bundle.head, policy)),
        ("lease", lambda: verify_lease(bundle.lease, policy, verify_head(bundle.head, policy))),
    )
    for name, check in checks:
        try:
            if getattr(bundle, name):
                check()
        except FleetwardError:
            return name
    return DOCUMENTS


def _concerns_machine(before: OwnerView, after: OwnerView) -> bool:
    """Say whether a step changes whom this machine obeys, or what it is to its owner."""
    return after.policy.version != before.policy.version or after.entry != before.entry


def _describe_step(before: OwnerView, after: OwnerView) -> JsonObject:
    words: list[str] = []
    if after.entry != before.entry:
        words.append(_describe_entry(after))
    if after.policy.version != before.policy.version:
        words.append(f"The owner's policy {after.policy.version} holds now.")
        if after.policy.recovered:
            words.append("Recovery keys signed it, and its delay is over.")
    return {
        "epoch": after.policy.epoch,
        "head_version": after.head.version if after.head else 0,
        "lease_serial": after.lease_serial,
        "policy": after.policy.hash,
        "policy_version": after.policy.version,
        "roster_version": after.roster.version if after.roster else 0,
        "what": DOCUMENTS,
        "words": " ".join(words) or "Newer documents of the owner were taken over.",
    }


def _describe_handover(before: OwnerView, after: OwnerView) -> JsonObject:
    return {
        "epoch": after.policy.epoch,
        "policy": after.policy.hash,
        "policy_version": after.policy.version,
        "words": f"This machine was handed over to {after.owner_name}; nobody of "
        f"{before.owner_name} is obeyed any more.",
    }


def _describe_entry(view: OwnerView) -> str:
    if view.entry is None:
        return "The owner took this machine off the list."
    if view.entry.state != "active":
        return "The owner retired this machine."
    return f"The owner confirmed this machine as {view.entry.name}."
