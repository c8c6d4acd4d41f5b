"""Finding one target among all delegations (specification 5.6.7).

1. Roles are visited in the order in which delegators name them, each before its own delegations
   (pre-order, depth first); the first that names the path decides.
2. A terminating delegation that the path matches ends the search after its own part.
3. A role is visited once in a search, so that circles end.
4. At most `MAX_DELEGATIONS` roles below `targets` are visited, none deeper than
   `MAX_DELEGATION_DEPTH`. Beyond that the search is refused and does not say "not there".
5. Each role is judged by the keys of the delegator by which it is reached (`trusted`, rule 9).
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetward.trust.errors import Misuse, Refused
from fleetward.trust.releases import limits
from fleetward.trust.releases.delegations import list_delegates
from fleetward.trust.releases.refresh import load_targets
from fleetward.trust.releases.steps import Change, Run, Steps
from fleetward.trust.releases.target import Target, make_target
from fleetward.trust.releases.trusted import TrustedSet


class Search(Steps["Target | None"]):
    """One search in a refreshed set. Its result is the target, or None when nobody names it."""

    def __init__(self, trusted: TrustedSet, path: str) -> None:
        """Look for `path`, as far as it goes without a file that is not in the set yet.

        Raises what `give` raises, and `Misuse` when the set is not refreshed.
        """
        if not trusted.is_refreshed:
            raise Misuse("A search began before the refresh ended.", reason="wrong_order")
        changes: list[Change] = []
        super().__init__(_search(trusted, path, changes), changes)


@dataclass(frozen=True, slots=True)
class _Visit:
    role: str
    delegator: str
    above: tuple[str, ...]


def _search(trusted: TrustedSet, path: str, changes: list[Change]) -> Run[Target | None]:
    waiting = [_Visit("targets", "root", ())]
    visited: set[str] = set()
    while waiting:
        visit = waiting.pop()
        # Rule 3.
        if visit.role in visited:
            continue
        _check_limits(visit, len(visited))
        # Rule 5.
        targets = trusted.find_targets(visit.role, visit.delegator)
        if targets is None:
            yield from load_targets(trusted, visit.role, visit.delegator, changes)
            targets = trusted.find_targets(visit.role, visit.delegator)
            assert targets is not None  # it has just entered
        visited.add(visit.role)
        chain = (*visit.above, visit.role)
        # Rule 1.
        if file := targets.targets.get(path):
            return make_target(file, chain, is_consistent=bool(trusted.root.consistent_snapshot))
        names, is_last = list_delegates(targets, path)
        # Rule 2.
        if is_last:
            waiting.clear()
        waiting += [_Visit(name, visit.role, chain) for name in reversed(names)]
    return None


def _check_limits(visit: _Visit, visited: int) -> None:
    # Rule 4.
    if visited > limits.MAX_DELEGATIONS:
        raise Refused(
            f"More than {limits.MAX_DELEGATIONS} roles would have to be asked for one file.",
            reason="too_many_delegations",
        )
    if len(visit.above) > limits.MAX_DELEGATION_DEPTH:
        raise Refused(
            f"Delegations are deeper than {limits.MAX_DELEGATION_DEPTH}.",
            reason="delegation_too_deep",
        )
