"""`owner init`: the ceremony that makes an owner.

1. Fetch the server's introduction over TLS pinned to its CA's hash; it must have no owner yet.
2. Make the keys. The root key signs policies and nothing else, and belongs in a safe.
3. Make the owner root; its hash is the owner's id.
4. Sign policy 1: it names the server's CA, its log key, its director of updates where it has one,
   the fleet CA, and who may sign what.
5. Sign roster 1, empty; head 1; the first lease.
6. Sign the server's request for an issuing CA, which can name devices of this owner only.
7. Put the folder in its place, complete or not at all.
8. Hand the documents to the server, which verifies them as everybody does.

What is made here works with the server gone. A step that fails leaves nothing behind; only when
step 8 fails does the folder stay, and `fleetward owner refresh` repeats that step.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec

from fleetward.keyholder.documents import OwnerDocuments, load_documents
from fleetward.keyholder.folder import ISSUING_CHAIN_FILE, OwnerFacts, OwnerFolder, document_name
from fleetward.keyholder.pinned import PinnedServer
from fleetward.keyholder.pinned_record import write_pinned
from fleetward.keyholder.signing import (
    Person,
    PolicyDraft,
    sign_head,
    sign_lease,
    sign_roster,
)
from fleetward.runtime import x509
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.canonical import Json, from_base64url, to_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Malformed, Misuse, Refused
from fleetward.trust.fields import Fields
from fleetward.trust.keys import ED25519, ES256, read_key_fields
from fleetward.trust.policy import Policy, Roots, verify_first_policy
from fleetward.trust.root import make_root, root_hash, verify_root
from fleetward.trust.words import six_words

FLEET_CA_DAYS: Final = 20 * 365
"""A machine lives for two decades; a new fleet CA needs nothing but a new policy."""
ISSUING_DAYS: Final = 3 * 365
MAX_ISSUING_DAYS: Final = 10 * 365
MAX_NAME: Final = 80


@dataclass(frozen=True, slots=True)
class InitWish:
    """What the person who makes an owner says."""

    name: str
    person: str
    api: str
    beside_server: bool
    now_ms: int
    issuing_days: int = ISSUING_DAYS
    director: str = ""
    """The SHA-256 of the root of the server's director of updates; empty where it has none."""


@dataclass(frozen=True, slots=True)
class NewOwner:
    """An owner that was just made."""

    folder: OwnerFolder
    documents: OwnerDocuments
    issuing_chain: str

    @property
    def words(self) -> str:
        """Six words of the owner root, to compare over the telephone."""
        return six_words(bytes.fromhex(self.documents.owner))


def make_owner(path: Path, passphrase: bytes, server: PinnedServer, wish: InitWish) -> NewOwner:
    """Do steps 1 to 7 for a server that was fetched already.

    Raises `Refused` when the server has an owner, or something lies at `path`; `Malformed` for a
    name too long or an introduction that does not hold what it should; `Untrusted`.
    """
    _check_wish(wish)
    # 1.
    if server.introduction.owner:
        raise Refused(
            f"Expected a server without an owner; this one belongs to "
            f"{server.introduction.owner[:12]}…. Another owner needs a server of its own.",
            reason="owner_exists",
        )
    request = x509.verify_request(from_base64url(server.introduction.issuing_request))
    folder = OwnerFolder.create(path)
    try:
        chain = _fill(folder, passphrase, server, wish, request)
        return NewOwner(folder.publish(path), load_documents(OwnerFolder(path)), chain)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def sign_issuing(
    fleet_ca: x509.Authority,
    request: ec.EllipticCurvePublicKey,
    owner: str,
    times: tuple[int, int],
) -> str:
    """Return the chain, in PEM, of an issuing CA over the server's key (step 6).

    `times` are the present, and for how many days it is good.
    """
    issuing = x509.issue_intermediate(
        fleet_ca,
        request,
        f"Fleetward issuing CA {owner[:8]}",
        owner_id=owner,
        not_before_ms=times[0] - 60_000,
        days=times[1],
    )
    return x509.write_certificates([issuing, fleet_ca.certificate]).decode("ascii")


def _fill(
    folder: OwnerFolder,
    passphrase: bytes,
    server: PinnedServer,
    wish: InitWish,
    request: ec.EllipticCurvePublicKey,
) -> str:
    # 2.
    keys = {name: make_key(ED25519) for name in ("root", "approver", "refresh")}
    keys |= {name: make_key(ES256) for name in ("recording", "fleet-ca")}
    for name, signer in keys.items():
        folder.write_key(name, signer, passphrase)
    # 3.
    root_bytes = make_root(wish.name, [(wish.person, keys["root"].public)], 1, wish.now_ms)
    owner = root_hash(root_bytes)
    root = verify_root(root_bytes, owner)
    folder.write_once("documents/root.json", root_bytes)
    facts = OwnerFacts(wish.name, wish.person, owner, to_rfc3339(wish.now_ms), wish.beside_server)
    folder.write_facts(facts)
    # 4.
    fleet_ca = make_fleet_ca(keys["fleet-ca"], owner[:8], wish.now_ms)
    folder.write_once("fleet-ca.pem", x509.write_certificates([fleet_ca.certificate]))
    draft = _first_draft(owner, keys, server, x509.certificate_sha256(fleet_ca.certificate), wish)
    data = seal(draft.to_payload(wish.now_ms), [keys["root"]])
    policy = verify_first_policy(data, root)
    folder.write_once(document_name("policies", 1), policy.raw)
    # 5.
    _sign_first(folder, policy, keys, wish.now_ms)
    # 6.
    write_pinned(folder, server, wish.api)
    chain = sign_issuing(fleet_ca, request, owner, (wish.now_ms, wish.issuing_days))
    folder.replace(ISSUING_CHAIN_FILE, chain.encode("ascii"))
    return chain


def _first_draft(
    owner: str, keys: dict[str, FileSigner], server: PinnedServer, fleet_ca: str, wish: InitWish
) -> PolicyDraft:
    ids = {name: signer.public.key_id for name, signer in keys.items()}
    approver: tuple[tuple[str, ...], int] = ((ids["approver"],), 1)
    log_key: dict[str, Json] = dict(server.introduction.log_key)
    roots = Roots(
        server_ca=server.server_ca,
        fleet_ca=fleet_ca,
        log_key=read_key_fields(Fields(log_key, "the log key", {"key_id", "public", "suite"})),
        witnesses={},
        director=wish.director,
        makers={},
        recording_key=f"{ES256}:{to_base64url(keys['recording'].public.spki)}",
        download_origins=(),
    )
    return PolicyDraft(
        owner=owner,
        epoch=1,
        version=1,
        people=tuple(Person(keys[n].public, wish.person) for n in ("root", "approver", "refresh")),
        roles={
            "policy": ((ids["root"],), 1),
            "roster": approver,
            "head": approver,
            "invite": approver,
            "approve": approver,
            "lease": ((ids["refresh"],), 1),
        },
        roots=roots,
    )


def _sign_first(
    folder: OwnerFolder, policy: Policy, keys: dict[str, FileSigner], now_ms: int
) -> None:
    roster, _ = sign_roster(policy, 1, (), keys["approver"], now_ms)
    folder.write_once(document_name("rosters", 1, "entries"), b"")
    folder.write_once(document_name("rosters", 1), roster.raw)
    head = sign_head(policy, roster, 1, keys["approver"], now_ms)
    folder.write_once(document_name("heads", 1), head.raw)
    lease = sign_lease(policy, head, 0, keys["refresh"], now_ms)
    folder.write_once(document_name("leases", lease.serial), lease.raw)


def make_fleet_ca(
    signer: FileSigner, name: str, now_ms: int, known_pem: bytes = b""
) -> x509.Authority:
    """Return the fleet CA over a key: a new certificate, or the one that is known."""
    if not isinstance(signer.private, ec.EllipticCurvePrivateKey):
        raise Misuse("The fleet CA has a P-256 key.", reason="wrong_suite")
    if known_pem:
        return x509.Authority(x509.read_certificates(known_pem)[0], signer.private)
    return x509.make_authority(
        f"Fleetward fleet CA {name}",
        not_before_ms=now_ms - 60_000,
        days=FLEET_CA_DAYS,
        path_length=1,
        key=signer.private,
    )


def _check_wish(wish: InitWish) -> None:
    for what, text in (("name", wish.name), ("person", wish.person)):
        if not 1 <= len(text) <= MAX_NAME or not text.isprintable():
            raise Malformed(
                f"Expected the {what} to be 1 to {MAX_NAME} printable characters.",
                reason="bad_name",
            )
    if not 1 <= wish.issuing_days <= MAX_ISSUING_DAYS:
        raise Malformed(
            f"Expected the issuing CA to live 1 to {MAX_ISSUING_DAYS} days, "
            f"got {wish.issuing_days}.",
            reason="bad_issuing_days",
        )
