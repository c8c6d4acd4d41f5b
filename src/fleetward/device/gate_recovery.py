"""The part of the door that waits: policies that recovery keys signed.

1. A recovered policy that follows the machine's own is written down at once, loudly, and changes
   nothing. At most `MOST_ANNOUNCED` wait at a time.
2. Its delay begins when the machine holds a proof that this entry stands in its owner's record,
   and is measured in powered-on time: no clock that can be set has a part in it, a reboot takes
   nothing off it, and who wants it to run has to let the owner, and every witness, read of it.
3. When the delay is over the machine takes that policy, once it comes with its documents.
4. A policy of that version or a newer one ends the wait: the present keys have said no. So does
   another policy before it than the one whose delay was taken.

What waits is kept in guard's state, by hash. Losing that file begins the wait anew. Where the
record contradicts itself nothing begins. It judges nothing: `trust.documents` does.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Final

from fleetward.device.audit.diary import Diary
from fleetward.device.state import GuardState, KeptRecovery
from fleetward.device.timekeeper import Timekeeper
from fleetward.trust.canonical import JsonObject
from fleetward.trust.documents import Bundle, OwnerView, find_announced
from fleetward.trust.errors import Refused, Unreachable
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_age

ANNOUNCED: Final = "recovery.announced"
COUNTING: Final = "recovery.counting"
READY: Final = "recovery.ready"
ENDED: Final = "recovery.ended"
MOST_ANNOUNCED: Final = 4
"""More that wait at once are no accident; each of them was signed by the recovery keys."""


class RecoveryGate:
    """Keeps what waits. Part of guard's single thread.

    `save` persists the state and raises `Unreachable`; `is_proven` says whether an entry of the
    journal is proven to stand in the owner's record, and the record is in order.
    """

    def __init__(
        self,
        diary: Diary,
        kept: tuple[GuardState, Callable[[], None]],
        time: Timekeeper,
        is_proven: Callable[[int], bool],
    ) -> None:
        self._diary = diary
        self._state, self._save = kept
        self._time = time
        self._is_proven = is_proven

    @property
    def waited(self) -> frozenset[str]:
        """Hashes of the recovered policies whose delay is over."""
        return frozenset(k.policy for k in self._state.recoveries if self._left_ms(k) == 0)

    def describe(self) -> str:
        """Return what waits, in words for the machine's own screen; empty when nothing does."""
        return " ".join(_describe(kept, self._left_ms(kept)) for kept in self._state.recoveries)

    def note(self, view: OwnerView, bundle: Bundle) -> bool:
        """Write down the recovered policy of a bundle that waits; return whether it is new here.

        Raises `Refused` when too many wait, `Unreachable` for a full disk, and as `find_announced`.
        Once it is written down, a state that cannot be saved only means that it is told again.
        """
        found = find_announced(view, bundle, self.waited)
        if found is None or any(k.policy == found[0].hash for k in self._state.recoveries):
            return False
        policy, before, recovery = found
        delay_seconds = recovery.delay_seconds
        if len(self._state.recoveries) >= MOST_ANNOUNCED:
            raise Refused(
                f"{MOST_ANNOUNCED} recovered policies wait here already.",
                reason="too_many_recoveries",
            )
        sequence = self._diary.order(ANNOUNCED, _announce(view, policy, delay_seconds))
        self._state.recoveries.append(
            KeptRecovery(policy.hash, policy.version, before.hash, delay_seconds, sequence)
        )
        self._try_to_save()
        return True

    def tick(self) -> None:
        """Begin the delays whose notice is in the record, and say which are over."""
        for kept in self._state.recoveries:
            if kept.started_powered_ms < 0:
                if self._is_proven(kept.sequence):
                    self._begin(kept)
            elif not kept.ready and self._left_ms(kept) == 0:
                kept.ready = True
                words = (
                    f"The delay of the recovery is over: policy {kept.version} is taken when it "
                    "comes with its documents."
                )
                self._diary.evidence(READY, _body(kept, words))

    def follow(self, view: OwnerView) -> None:
        """Forget what the policy in force has overtaken, and say what became of it."""
        over = [k for k in self._state.recoveries if _is_over(k, view)]
        for kept in over:
            held = any(kept.policy == policy.hash for policy in view.policies)
            words = (
                f"The recovery holds: policy {kept.version} is in force."
                if held
                else f"The recovery was refused: the present keys signed another policy "
                f"{kept.version}."
            )
            self._diary.evidence(ENDED, {**_body(kept, words), "held": held})
            self._state.recoveries.remove(kept)
        if over:
            self._try_to_save()

    def _try_to_save(self) -> None:
        """Persist the state; guard tries again every few seconds, so a full disk stops nobody."""
        with contextlib.suppress(Unreachable):
            self._save()

    def _begin(self, kept: KeptRecovery) -> None:
        kept.started_powered_ms = self._time.powered_ms()
        words = (
            f"The notice of the recovery stands in the record. Policy {kept.version} may take "
            f"effect when this machine has been on for {say_age(kept.delay_seconds)} from now."
        )
        self._diary.evidence(COUNTING, _body(kept, words))
        self._try_to_save()

    def _left_ms(self, kept: KeptRecovery) -> int:
        """Return what is left of a delay; all of it, and never 0, before it has begun."""
        whole_ms = kept.delay_seconds * 1000
        if kept.started_powered_ms < 0:
            return whole_ms
        return max(0, whole_ms - (self._time.powered_ms() - kept.started_powered_ms))


def _is_over(kept: KeptRecovery, view: OwnerView) -> bool:
    if kept.version <= view.policy.version:
        return True
    return kept.version == view.policy.version + 1 and kept.before != view.policy.hash


def _announce(view: OwnerView, policy: Policy, delay_seconds: int) -> JsonObject:
    people = ", ".join(sorted({k.person for k in policy.roles["policy"].keys.values()}))
    words = (
        f"RECOVERY ANNOUNCED. Recovery keys of {view.owner_name} signed policy {policy.version}, "
        f"under which {people} would decide. It takes effect here after "
        f"{say_age(delay_seconds)} of being on, unless the present keys sign another policy."
    )
    return {
        "delay_seconds": delay_seconds,
        "policy": policy.hash,
        "policy_version": policy.version,
        "words": words,
    }


def _body(kept: KeptRecovery, words: str) -> JsonObject:
    return {
        "delay_seconds": kept.delay_seconds,
        "policy": kept.policy,
        "policy_version": kept.version,
        "words": words,
    }


def _describe(kept: KeptRecovery, left_ms: int) -> str:
    said = f"A recovery was announced (policy {kept.version})"
    if kept.started_powered_ms < 0:
        return f"{said}; its delay begins when the notice stands in the record."
    if left_ms == 0:
        return f"{said}, and its delay is over."
    return f"{said}; {say_age(left_ms // 1000)} are left to refuse it."
