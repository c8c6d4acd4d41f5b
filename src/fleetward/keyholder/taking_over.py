"""Taking a fleet over: the buyer's half of a handover.

`prepare` makes his keys and an offer. `finish` takes the seller's transfer file and

1. verifies every document in it from the owner root on;
2. checks that the last policy, which the seller signed, names his own keys and nobody else's;
3. signs that policy, which is the moment of the sale;
4. makes of his folder an owner's folder, complete: roster, head and lease under it;
5. signs the server's issuing CA with his own fleet CA.

The server is not needed; the caller hands over what was made. Each step can be done again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.keyholder.begun import BegunFolder
from fleetward.keyholder.ceremony import ISSUING_DAYS, sign_issuing
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import (
    ISSUING_CHAIN_FILE,
    OwnerFacts,
    OwnerFolder,
    document_name,
)
from fleetward.keyholder.pinned_record import Pinned, keep_pinned
from fleetward.keyholder.place import is_same_host
from fleetward.keyholder.transfer import FORMAT, ROLE_KEYS, TransferFile
from fleetward.runtime import x509
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import read_bounded
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import add_signatures, read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.generation import verify_opening
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.invitation import split_address
from fleetward.trust.policy import (
    ROLES,
    Policy,
    verify_first_policy,
    verify_following_policy,
    verify_next_policy,
)
from fleetward.trust.root import OwnerRoot, root_hash, verify_root
from fleetward.trust.roster import RosterEntry, verify_entries, verify_roster
from fleetward.trust.takeover import OFFERED, make_offer, verify_offer_to_take_over

MAX_TRANSFER_BYTES: Final = 128 * 1024 * 1024
"""A fleet of 100,000 machines has 70 MB."""


@dataclass(frozen=True, slots=True)
class Papers:
    """The documents of a fleet, verified as one chain; what the folder is filled from."""

    root: OwnerRoot
    policies: tuple[Policy, ...]
    roster: tuple[int, bytes]
    entries: tuple[RosterEntry, ...]
    head: tuple[int, bytes]
    lease: tuple[int, bytes] | None
    openings: tuple[tuple[int, bytes], ...]
    issuing_chain: str
    server_ca_pem: str
    server: Pinned


def make_offer_of(begun: BegunFolder) -> bytes:
    """Return the buyer's signed offer; the same keys give the same offer."""
    keys = {name: begun.signers[name] for name in OFFERED}
    payload = make_offer(
        (begun.said.name, begun.said.person, begun.said.org),
        {name: signer.public for name, signer in keys.items()},
        (begun.recording_key, begun.fleet_ca_sha256()),
        begun.said.created_at_ms,
    )
    return verify_offer_to_take_over(seal(payload, [keys[name] for name in OFFERED])).raw


def read_transfer(path: Path, owner: str = "") -> tuple[bytes, Papers]:
    """Return the signed draft of a transfer file, and the fleet's documents (step 1).

    Raises `Malformed`, or `Untrusted` when they do not hold, or are not of the root `owner`.
    """
    data = read_bounded(path, MAX_TRANSFER_BYTES)
    try:
        file = msgspec.json.decode(data, type=TransferFile)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(
            f"Expected a transfer file of this release; {e}.", reason="bad_transfer"
        ) from e
    if file.format != FORMAT:
        raise Malformed("Expected a transfer file of this release.", reason="bad_transfer")
    root_bytes = from_base64url(file.root)
    root = verify_root(root_bytes, owner or root_hash(root_bytes))
    policies = read_chain(root, [from_base64url(p) for p in file.policies])
    roster = verify_roster(from_base64url(file.roster), policies[-1])
    entries = verify_entries(roster, [from_base64url(e) for e in file.entries])
    head = verify_head(from_base64url(file.head), policies[-1])
    named = (head.policy_hash, head.roster_hash)
    if named != (policies[-1].hash, roster.hash):
        raise Untrusted(
            "The transfer file mixes documents of different times. Ask the seller for a new one.",
            reason="mixed_documents",
        )
    lease = verify_lease(from_base64url(file.lease), policies[-1], head) if file.lease else None
    openings = [verify_opening(from_base64url(o), policies) for o in file.openings]
    return from_base64url(file.policy), Papers(
        root=root,
        policies=policies,
        roster=(roster.version, roster.raw),
        entries=entries,
        head=(head.version, head.raw),
        lease=(lease.serial, lease.raw) if lease else None,
        openings=tuple((o.generation, o.raw) for o in openings),
        issuing_chain=file.issuing_chain,
        server_ca_pem=file.server_ca_pem,
        server=file.server,
    )


def read_chain(root: OwnerRoot, chain: Sequence[bytes]) -> tuple[Policy, ...]:
    """Return the policies that follow a root without a gap. Raises `Malformed`, `Untrusted`."""
    if not chain:
        raise Malformed("Expected at least one policy.", reason="no_policy")
    policies = [verify_first_policy(chain[0], root)]
    for data in chain[1:]:
        policies.append(verify_following_policy(data, policies[-1]))
    return tuple(policies)


def sign_as_buyer(begun: BegunFolder, draft: bytes, papers: Papers) -> Policy:
    """Return the policy of the new epoch with the buyer's signature (steps 2 and 3).

    Raises `Refused` when it names anything but his keys, `Untrusted` when the seller's people have
    not signed it as their policy demands.
    """
    signed = add_signatures(read_envelope(draft), [begun.signers["root"]])
    policy = verify_next_policy(signed, papers.policies[-1])
    check_rules_alone(policy, begun)
    if policy.epoch == papers.policies[-1].epoch or policy.name != begun.said.name:
        raise _not_as_offered("is no handover to the name that you offered")
    roots = policy.roots
    if (roots.recording_key, roots.fleet_ca) != (begun.recording_key, begun.fleet_ca_sha256()):
        raise _not_as_offered("names another recording key or fleet CA than yours")
    if set(policy.keys) != {begun.signers[name].public.key_id for name in OFFERED}:
        raise _not_as_offered("holds a key that is not yours")
    if policy.access.requesters or policy.access.rules or policy.recovery:
        raise _not_as_offered("lets somebody ask, or recover, whom you have not named")
    return policy


def check_rules_alone(policy: Policy, begun: BegunFolder) -> None:
    """Return when a policy's roles hold this folder's keys alone. Raises `Refused`."""
    mine = {name: begun.signers[name].public.key_id for name in OFFERED}
    for role in ROLES:
        if set(policy.roles[role].keys) != {mine[ROLE_KEYS[role]]}:
            raise _not_as_offered(f"gives the role {role!r} to other keys than yours")


def finish_folder(
    begun: BegunFolder, papers: Papers, policy: Policy, passphrase: bytes, clock: Clock
) -> OwnerDocuments:
    """Make of the begun folder an owner's folder under `policy` (steps 4 and 5).

    The caller verified all of it. Raises `Refused` when another fleet's documents are there.
    """
    folder, now_ms = begun.folder, clock.wall_ms()
    fill_folder(folder, papers)
    folder.write_once(document_name("policies", policy.version), policy.raw)
    if policy.roots.fleet_ca != papers.policies[-1].roots.fleet_ca:
        chain = sign_issuing(
            begun.fleet_ca(), issuing_key(papers), policy.owner, (now_ms, ISSUING_DAYS)
        )
        folder.replace(ISSUING_CHAIN_FILE, chain.encode("ascii"))
    if not folder.has("owner.toml"):
        name = policy.name or papers.root.name
        host, _ = split_address(papers.server.enrol[0]) if papers.server.enrol else ("", 0)
        beside = bool(host) and is_same_host(host)
        at = to_rfc3339(begun.said.created_at_ms)
        folder.write_facts(OwnerFacts(name, begun.said.person, policy.owner, at, beside))
    desk = Desk(folder, passphrase, clock)
    documents = desk.documents()
    return documents if documents.settled else desk.renew()


def fill_folder(folder: OwnerFolder, papers: Papers) -> None:
    """Write a fleet's documents into a folder. What is there already is not written again."""
    folder.write_once("documents/root.json", papers.root.raw)
    for policy in papers.policies:
        folder.write_once(document_name("policies", policy.version), policy.raw)
    number, roster = papers.roster
    lines = b"\n".join(entry.to_bytes() for entry in papers.entries)
    if not folder.has(document_name("rosters", number, "entries")):
        folder.replace(document_name("rosters", number, "entries"), lines)
    folder.write_once(document_name("rosters", number), roster)
    folder.write_once(document_name("heads", papers.head[0]), papers.head[1])
    if papers.lease:
        folder.write_once(document_name("leases", papers.lease[0]), papers.lease[1])
    for generation, opening in papers.openings:
        folder.write_once(document_name("openings", generation), opening)
    if not folder.has(ISSUING_CHAIN_FILE):
        folder.replace(ISSUING_CHAIN_FILE, papers.issuing_chain.encode("ascii", errors="replace"))
    keep_pinned(folder, papers.server, _check_server_ca(papers))


def issuing_key(papers: Papers) -> ec.EllipticCurvePublicKey:
    """Return the server's issuing key, as the fleet CA before certified it. Raises `Untrusted`."""
    try:
        chain = x509.read_certificates(papers.issuing_chain.encode("ascii", errors="replace"))
        issuing, root = chain
        issuing.verify_directly_issued_by(root)
        public = issuing.public_key()
    except (ValueError, TypeError, InvalidSignature, FleetwardError) as e:
        raise Untrusted(
            f"Expected the server's issuing chain; {e}.", reason="bad_issuing_chain"
        ) from e
    known = papers.policies[-1].roots.fleet_ca
    if x509.certificate_sha256(root) != known or not isinstance(public, ec.EllipticCurvePublicKey):
        raise Untrusted(
            "The issuing chain is not under the fleet CA of the policy.", reason="wrong_fleet_ca"
        )
    return public


def _check_server_ca(papers: Papers) -> str:
    known = papers.policies[-1].roots.server_ca
    certificates = x509.read_certificates(papers.server_ca_pem.encode("ascii", errors="replace"))
    if [x509.certificate_sha256(c) for c in certificates] != [known]:
        raise Untrusted(
            "The server's certificate authority is not the one that the policy names.",
            reason="wrong_server_ca",
        )
    return papers.server_ca_pem


def _not_as_offered(what: str) -> Refused:
    return Refused(
        f"The policy that came {what}. Sign nothing: compare the offer with the seller, and let "
        "him make the transfer anew.",
        reason="not_as_offered",
    )
