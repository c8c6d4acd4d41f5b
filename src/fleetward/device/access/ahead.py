"""What was allowed ahead and may still be entered by, as `fleetward-agent sessions` shows it."""

from __future__ import annotations

from collections.abc import Callable

from fleetward.device.access.standing_kept import KeptStanding
from fleetward.device.status import AheadStatus
from fleetward.trust.grants.standing import Standing
from fleetward.trust.policy import Policy
from fleetward.trust.sayings import say_person


class AheadList:
    """Documents as the gate judged them last; guard asks every second, and signatures cost.

    `judge` is the gate's: it returns a document that the policy in force permits, or None.
    """

    def __init__(self, kept: KeptStanding, judge: Callable[[bytes], Standing | None]) -> None:
        self._kept = kept
        self._judge = judge
        self._policy = ""
        self._read: dict[str, Standing | None] = {}

    def describe(self, policy: Policy) -> tuple[AheadStatus, ...]:
        """Return the documents that the policy in force permits, the one that comes next first.

        It is shown, and nothing opens by it: that is for the gate to judge.
        """
        if policy.hash != self._policy:
            self._policy, self._read = policy.hash, {}
        self._read = {
            name: self._read[name] if name in self._read else self._judge(raw)
            for name, raw in self._kept.documents.items()
        }
        shown = [self._show(each, policy) for each in self._read.values() if each is not None]
        return tuple(sorted(shown, key=lambda each: (each.not_before_ms, each.standing)))

    def _show(self, standing: Standing, policy: Policy) -> AheadStatus:
        left = standing.windows[self._kept.last_used(standing.series) + 1 :]
        who = tuple(
            say_person(policy.keys[key].person, policy.orgs.get(key, ""))
            for key in standing.requesters
        )
        return AheadStatus(
            standing=standing.hash,
            words=standing.words,
            people=standing.people,
            requesters=who,
            scopes=tuple(scope.words() for scope in standing.scopes),
            reason=standing.reason,
            time_zone=standing.time_zone,
            not_before_ms=left[0].not_before_ms if left else 0,
            not_after_ms=left[0].not_after_ms if left else 0,
            windows_left=len(left),
        )
