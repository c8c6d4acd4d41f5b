"""The owner's documents as the page shows them. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

from fleetward.keyholder.access.policy_rules import say_allowed
from fleetward.keyholder.console.model import (
    AccessRulesView,
    BreakGlassView,
    FindingView,
    HeadView,
    KeyView,
    MachineView,
    OpenFinding,
    PendingView,
    PersonView,
    PolicyView,
    RequesterView,
    RootView,
    RosterView,
    ThresholdView,
    Verdict,
)
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.pending import PendingMachine, compute_words
from fleetward.keyholder.verify import Verification
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.ledger_findings import Finding
from fleetward.trust.policy import Policy
from fleetward.trust.roster import RosterEntry
from fleetward.trust.words import device_words


def show_policy(policy: Policy) -> PolicyView:
    """Return the policy: people with their keys, other roots, thresholds."""
    people: dict[str, dict[str, KeyView]] = {}
    roles = dict(policy.roles)
    if policy.recovery is not None:
        roles["recovery"] = policy.recovery.role
    for scope, role in roles.items():
        for key_id, holder in role.keys.items():
            keys = people.setdefault(holder.person, {})
            shown = keys.setdefault(
                key_id,
                KeyView(
                    key_id=key_id,
                    suite=holder.suite,
                    scopes=[],
                    origins=list(holder.passkey.origins) if holder.passkey else [],
                ),
            )
            shown.scopes.append(scope)
    return PolicyView(
        version=policy.version,
        epoch=policy.epoch,
        people=[PersonView(person=p, keys=list(k.values())) for p, k in people.items()],
        hash=policy.hash,
        roots=[RootView(name=name, value=value) for name, value in name_roots(policy)],
        thresholds=[
            ThresholdView(scope=scope, people=role.threshold) for scope, role in roles.items()
        ],
        access=_show_access(policy),
    )


def _show_access(policy: Policy) -> AccessRulesView:
    rules, broken = policy.access, policy.access.break_glass
    return AccessRulesView(
        requesters=[
            RequesterView(
                person=policy.keys[key].person,
                org=policy.orgs.get(key, ""),
                words=device_words(policy.owner, key),
                may_delegate=key in rules.delegators,
            )
            for key in rules.requesters
        ],
        rules=[say_allowed(kind, rule) for kind, rule in (rules.rules or {}).items()],
        sandbox_only=rules.walls == "sandbox",
        break_glass=None
        if broken is None
        else BreakGlassView(
            people=sorted({policy.keys[key].person for key in broken.keys}),
            threshold=broken.threshold,
            seconds=broken.seconds,
            rules=[say_allowed(kind, rule) for kind, rule in broken.rules.items()],
        ),
    )


def name_roots(policy: Policy) -> Iterable[tuple[str, str]]:
    """Yield every other root of a policy by a name for people."""
    roots = policy.roots
    yield "Server’s certificates", roots.server_ca
    yield "Machines’ certificates", roots.fleet_ca
    yield "Record", roots.log_key.key_id
    for name, key in roots.witnesses.items():
        yield f"Witness {name}", key.key_id
    for product, digest in roots.makers.items():
        yield f"Maker of {product}", digest
    if roots.recording_key:
        yield "Recordings", roots.recording_key


def show_roster(documents: OwnerDocuments) -> RosterView:
    """Return the roster's summary."""
    roster = documents.roster
    return RosterView(version=roster.version, count=roster.count, hash=roster.hash)


def show_head(documents: OwnerDocuments) -> HeadView:
    """Return the head's summary. Without a lease it ended when it was signed."""
    head, lease = documents.head, documents.lease
    until = lease.issued_at_ms + lease.seconds * 1000 if lease else head.issued_at_ms
    return HeadView(version=head.version, lease_until=to_rfc3339(until), hash=head.hash)


def show_pending(owner: str, machine: PendingMachine) -> PendingView:
    """Return a waiting machine with the words of its key."""
    return PendingView(
        id=machine.id,
        words=compute_words(owner, machine),
        name_suggested=machine.name_suggested,
        site=machine.site,
        model=machine.model,
        joined_at=machine.joined_at,
        preapproved=machine.preapproved,
    )


def show_machine(entry: RosterEntry) -> MachineView:
    """Return a machine of the roster."""
    return MachineView(
        id=entry.device,
        name=entry.name,
        site=entry.site,
        groups=list(entry.groups),
        model=entry.model,
        maker=entry.maker,
        state=entry.state,
    )


def show_verdict(result: Verification, path: Path, folder: Path, now_ms: int) -> Verdict:
    """Return a verification, with the command that repeats it."""
    report = result.report
    command = shlex.join(
        ["fleetward", "audit", "verify", str(path), "--root", result.owner_root,
         "--owner", str(folder)]
    )  # fmt: skip
    return Verdict(
        proven=[_show(f) for f in report.proven],
        contradicted=[_show(f) for f in report.contradicted],
        unknown=[
            OpenFinding(id=f.id, words=f.words, device=f.device, age_seconds=f.age_seconds)
            for f in report.unknown
        ],
        command=command,
        entries=result.entries,
        as_of=to_rfc3339(now_ms),
    )


def _show(finding: Finding) -> FindingView:
    entry: int | str = "" if finding.entry is None else finding.entry
    return FindingView(id=finding.id, words=finding.words, entry=entry, device=finding.device)
