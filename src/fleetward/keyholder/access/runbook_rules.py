"""Changes of the policy's rule for runbooks: whose are run, and which."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from fleetward.keyholder.access.policy_rules import (
    DEFAULT_SECONDS,
    Change,
    Limits,
    checked,
    require_recording_key,
)
from fleetward.keyholder.access.requester_line import read_requester_key
from fleetward.keyholder.access.runbooks import check_runbook, load_runbook
from fleetward.keyholder.auditor import read_public_pem
from fleetward.keyholder.signing import Person, PolicyDraft
from fleetward.trust.access import AccessRules
from fleetward.trust.access_rule import ANY, Rule
from fleetward.trust.errors import Refused
from fleetward.trust.keys import PublicKey

_KEY_ID: Final = re.compile(r"[a-z2-7]{32}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class RunbookSigner:
    """Somebody whose runbooks may be run: a key of the policy by its id, or a new key.

    A new one comes with its holder's name; it signs runbooks and nothing else.
    """

    key_id: str
    key: PublicKey | None = None
    person: str = ""
    org: str = ""


def allow_runbooks(
    signers: Sequence[RunbookSigner], digests: Sequence[str], limits: Limits
) -> Change:
    """Return the change that lets runbooks be asked for. Without `digests` all of the signers."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        require_recording_key(draft)
        draft = _name(draft, signers)
        access = draft.access or AccessRules(rules={})
        rules = dict(access.rules or {})
        before = rules.get("runbook") or Rule(1, DEFAULT_SECONDS, watched=False)
        ids = tuple(dict.fromkeys((*before.signers, *(s.key_id for s in signers))))
        if not ids:
            raise Refused(
                "Say whose runbooks by --signer: the key that their maker printed, or its id.",
                reason="no_signer",
            )
        allowed = before.allowed if digests or before.allowed else (ANY,)
        rules["runbook"] = Rule(
            threshold=before.threshold if limits.people is None else limits.people,
            seconds=before.seconds if limits.seconds is None else limits.seconds,
            watched=before.watched if limits.watched is None else limits.watched,
            allowed=tuple(dict.fromkeys((*allowed, *digests))),
            signers=ids,
        )
        return replace(draft, access=checked(replace(access, rules=rules)))

    return change


def forbid_signer(key_id: str) -> Change:
    """Return the change after which a key's runbooks are not run; a run of one ends."""

    def change(draft: PolicyDraft) -> PolicyDraft:
        access = draft.access or AccessRules()
        rules = dict(access.rules or {})
        rule = rules.get("runbook")
        if rule is None or key_id not in rule.signers:
            raise Refused(
                f"The policy runs no runbooks of the key {key_id[:80]!r}.", reason="not_allowed"
            )
        left = tuple(each for each in rule.signers if each != key_id)
        if left:
            rules["runbook"] = replace(rule, signers=left)
        else:
            del rules["runbook"]
        return replace(draft, access=replace(access, rules=rules))

    return change


def read_signer(text: str, person: str, org: str) -> RunbookSigner:
    """Return whom somebody typed: the id of a key, its line, or a PEM file. Raises `Malformed`."""
    if _KEY_ID.fullmatch(text):
        return RunbookSigner(text)
    if ":" in text:
        key = read_requester_key(text)
    else:
        kinds = (ed25519.Ed25519PublicKey, ec.EllipticCurvePublicKey)
        key = read_public_pem(Path(text), kinds)
    return RunbookSigner(key.key_id, key, person, org)


def read_digest(text: str) -> str:
    """Return the digest that was typed, or that of the runbook in a file. Raises `Malformed`."""
    if text == ANY or _DIGEST.fullmatch(text):
        return text
    return check_runbook(load_runbook(Path(text)), None).digest


def _name(draft: PolicyDraft, signers: Sequence[RunbookSigner]) -> PolicyDraft:
    """Return the draft with the new keys among its people."""
    people = {each.key.key_id: each for each in draft.people}
    for signer in signers:
        if signer.key_id in people:
            continue
        if signer.key is None or not signer.person:
            raise Refused(
                f"The policy does not know the key {signer.key_id[:80]}. Give the key itself, as "
                "its maker printed it, and his name by --person.",
                reason="unknown_key",
            )
        people[signer.key_id] = Person(signer.key, signer.person, signer.org)
    return replace(draft, people=tuple(people.values()))
