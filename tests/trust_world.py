"""An owner with people, keys, documents and machines, all in memory, for tests.

    >>> world = World.make(people=("ada", "ben"), thresholds={"policy": 2})
    >>> machine = world.machine("pump 7")
    >>> world.confirm(machine)
    >>> view = first_view(world.anchor(machine.device), world.bundle(machine.device))
    >>> view.confirmed
    True

Every document comes out of the code under test and through its own verification, so a world cannot
hold what `trust` would refuse. A test that wants a bad document takes a payload, changes it, and
seals it with whoever's key the attack has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import pytest

from fleetward.runtime.keys import make_key
from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonLike, JsonObject, to_base64url
from fleetward.trust.documents import Anchor, Bundle, OwnerView, first_view
from fleetward.trust.envelope import seal
from fleetward.trust.errors import FleetwardError
from fleetward.trust.head import (
    Head,
    Lease,
    make_head_payload,
    make_lease_payload,
    verify_head,
    verify_lease,
)
from fleetward.trust.invitation import (
    Invitation,
    JoinString,
    make_invitation_payload,
    verify_invitation,
)
from fleetward.trust.journal import (
    NO_CHECKPOINT,
    BatchHeader,
    SeenCheckpoint,
    join_batch,
    make_batch_header,
    make_entry,
    next_head,
    start_of_chain,
)
from fleetward.trust.keys import ED25519, ES256, PublicKey, Signer
from fleetward.trust.merkle import Frontier, hash_leaf, prove_inclusion
from fleetward.trust.policy import (
    POLICY_TYPE,
    ROLES,
    Policy,
    verify_first_policy,
    verify_next_policy,
)
from fleetward.trust.root import OwnerRoot, make_root, root_hash, verify_root
from fleetward.trust.roster import (
    ACTIVE,
    RETIRED,
    Roster,
    RosterEntry,
    make_roster_payload,
    verify_roster,
)
from fleetward.trust.statements import (
    Hello,
    MachineFacts,
    make_hello_payload,
    make_join_payload,
    make_renewal_payload,
)

NOW_MS: Final = 1_795_000_000_000
"""A moment in November 2026. Nothing here reads a clock."""
DAY_MS: Final = 86_400_000
KeyMaker: TypeAlias = Callable[[str, str], Signer]
"""(suite, label) -> a key. The label makes keys reproducible where that is wanted."""


def fresh_key(suite: str, label: str) -> Signer:
    """Return a new random key; the label is for makers that derive keys from it."""
    del label
    return make_key(suite)


def reader_of(leaf_hashes: Iterable[bytes]) -> Callable[[int, int], bytes]:
    """Return a `merkle.HashReader` over a whole tree in memory."""
    nodes: dict[tuple[int, int], bytes] = {}

    def remember(level: int, index: int, node: bytes) -> None:
        nodes[level, index] = node

    frontier = Frontier()
    for leaf in leaf_hashes:
        frontier.append(leaf, remember)
    return lambda level, index: nodes[level, index]


@dataclass
class Machine:
    """A machine: its identity key and its journal, of which it cuts batches."""

    name: str
    owner: str
    identity: Signer
    new_key: KeyMaker = fresh_key
    boot: str = "boot-1"
    lineage: int = 0
    entries: list[bytes] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    cut_to: int = 0
    checkpoint: SeenCheckpoint = NO_CHECKPOINT

    def __post_init__(self) -> None:
        self.heads.append(start_of_chain(self.owner, self.device))

    @property
    def device(self) -> str:
        """The device id: the id of the identity key."""
        return self.identity.public.key_id

    @property
    def key(self) -> PublicKey:
        """The public half of the identity key."""
        return self.identity.public

    def write(self, kind: str = "agent.started", body: JsonLike | None = None) -> bytes:
        """Append one journal entry and return its bytes."""
        sequence = len(self.entries) + 1
        entry = make_entry(
            sequence, NOW_MS + sequence, self.boot, kind, {} if body is None else body
        )
        self.entries.append(entry)
        self.heads.append(next_head(self.heads[-1], entry))
        return entry

    def header(self, first: int, last: int) -> BatchHeader:
        """Return the unsigned header over a range of the journal."""
        return BatchHeader(
            device=self.device,
            owner=self.owner,
            boot=self.boot,
            first=first,
            last=last,
            previous=self.heads[first - 1].hex(),
            head=self.heads[last].hex(),
            checkpoint=self.checkpoint,
            hash="",
            raw=b"",
        )

    def cut(self, most: int = 1000) -> bytes:
        """Return the next batch: what was written since the last cut."""
        first, last = self.cut_to + 1, min(len(self.entries), self.cut_to + most)
        header = make_batch_header(self.header(first, last), self.identity)
        self.cut_to = last
        return join_batch(header, self.entries[first - 1 : last])

    def transport(self) -> Signer:
        """Return a fresh transport key, and count it in the lineage."""
        self.lineage += 1
        return self.new_key(ES256, f"{self.name} transport {self.lineage}")

    def facts(self) -> MachineFacts:
        """Return what the machine says that it is."""
        return MachineFacts(
            hostname=self.name, model="Pump P7", maker="Acme", system="Debian 12", simulated=False
        )

    def join(self, invitation: str) -> bytes:
        """Return a join statement over a fresh transport key; `invitation` is its hash."""
        transport = self.transport()
        return seal(
            make_join_payload(
                self.key, self.owner, invitation, transport.public, self.lineage, self.facts()
            ),
            [self.identity],
        )

    def renewal(self) -> bytes:
        """Return a renewal statement over a fresh transport key."""
        transport = self.transport()
        return seal(
            make_renewal_payload(self.device, self.owner, transport.public, self.lineage),
            [self.identity],
        )

    def hello(self, nonce: bytes) -> bytes:
        """Return a greeting over `nonce`."""
        hello = Hello(
            device=self.device,
            owner=self.owner,
            nonce=nonce,
            boot=self.boot,
            agent="0.1.0",
            wall="none",
            sequence=len(self.entries),
            journal_head=self.heads[-1].hex(),
            policy_version=1,
            roster_version=1,
            head_version=1,
            lease_seconds_left=60,
        )
        return seal(make_hello_payload(hello), [self.identity])

    def entry(
        self, *, site: str = "Plant", groups: Sequence[str] = (), state: str = ACTIVE
    ) -> RosterEntry:
        """Return the roster entry that the owner writes for this machine."""
        return RosterEntry(
            device=self.device,
            key=self.key,
            name=self.name,
            site=site,
            groups=tuple(groups),
            model="Pump P7",
            maker="Acme",
            state=state,
        )


@dataclass
class World:
    """One owner: people with keys, the server's public keys, and every document so far."""

    people: dict[str, Signer]
    owner_root: OwnerRoot
    log: Signer
    lease_signer: Signer
    new_key: KeyMaker
    policies: list[Policy] = field(default_factory=list)
    rosters: list[Roster] = field(default_factory=list)
    heads: list[Head] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    entries: list[RosterEntry] = field(default_factory=list)
    machines: list[Machine] = field(default_factory=list)
    invitations: int = 0

    @classmethod
    def make(
        cls,
        people: Sequence[str] = ("ada",),
        thresholds: Mapping[str, int] | None = None,
        *,
        name: str = "Plant",
        new_key: KeyMaker = fresh_key,
    ) -> World:
        """Return an owner with root, policy 1, an empty roster 1, head 1 and a lease.

        `thresholds` are by role, and `root` is one of them; what is left out is 1. The first
        person has an Ed25519 key, the second a P-256 key, and so on in turn.
        """
        wanted = {"root": 1, **dict.fromkeys(ROLES, 1), **(thresholds or {})}
        signers = {
            person: new_key(ES256 if place % 2 else ED25519, f"{name} {person}")
            for place, person in enumerate(people)
        }
        root = make_root(name, [(p, s.public) for p, s in signers.items()], wanted["root"], NOW_MS)
        world = cls(
            people=signers,
            owner_root=verify_root(root, root_hash(root)),
            log=new_key(ED25519, f"{name} log"),
            lease_signer=new_key(ED25519, f"{name} lease"),
            new_key=new_key,
        )
        payload = world.first_payload(wanted)
        raw = seal(payload, list(signers.values()))
        world.policies.append(verify_first_policy(raw, world.owner_root))
        world.publish([])
        return world

    @property
    def owner(self) -> str:
        """The owner's id."""
        return self.owner_root.owner

    @property
    def policy(self) -> Policy:
        """The newest policy."""
        return self.policies[-1]

    @property
    def signers(self) -> list[Signer]:
        """Every person's key."""
        return list(self.people.values())

    def first_payload(self, thresholds: Mapping[str, int]) -> JsonObject:
        """Return the payload of policy 1, in which every person may do everything."""
        everyone: list[Json] = [s.public.key_id for s in self.people.values()]
        roles: JsonObject = {
            role: {"keys": list(everyone), "threshold": thresholds[role]} for role in ROLES
        }
        roles["lease"] = {"keys": [self.lease_signer.public.key_id], "threshold": 1}
        keys: list[Json] = [key_row(s.public, person) for person, s in self.people.items()]
        keys.append(key_row(self.lease_signer.public, "the refresher"))
        return {
            "epoch": 1,
            "issued_at": NOW_MS,
            "keys": keys,
            "lease_seconds": 7 * 86_400,
            "never_ports": [22],
            "openings": [],
            "owner": self.owner,
            "roles": roles,
            "roots": {
                "director": "",
                "download_origins": [],
                "fleet_ca": "22" * 32,
                "log_key": self.log.public.to_json(),
                "makers": {},
                "recording_key": "",
                "server_ca": "11" * 32,
                "witnesses": {},
            },
            "type": POLICY_TYPE,
            "version": 1,
        }

    def next_payload(self, changes: Mapping[str, Json] | None = None) -> JsonObject:
        """Return the payload of the next policy: the newest one, a version higher, changed."""
        payload = payload_of(self.policy.raw)
        payload["version"] = self.policy.version + 1
        payload.update(changes or {})
        return payload

    def next_policy(
        self, changes: Mapping[str, Json] | None = None, signers: Sequence[Signer] | None = None
    ) -> Policy:
        """Sign, verify and keep the next policy. No head names it until `publish` or `head`."""
        raw = seal(self.next_payload(changes), self.signers if signers is None else signers)
        self.policies.append(verify_next_policy(raw, self.policy))
        return self.policy

    def rotate_keys(self, openings: Sequence[str] = ()) -> list[Signer]:
        """Sign the next policy, under which everybody has a new key; return the retired keys."""
        retired = self.signers
        self.people = {
            person: self.new_key(key.public.suite, f"{person} {self.policy.version + 1}")
            for person, key in self.people.items()
        }
        fresh = self.first_payload({r: self.policy.roles[r].threshold for r in ROLES})
        changes: JsonObject = {
            "keys": fresh["keys"], "openings": list(openings), "roles": fresh["roles"],
        }  # fmt: skip
        self.next_policy(changes, [*retired, *self.signers])
        return retired

    def roster(self, entries: Sequence[RosterEntry]) -> Roster:
        """Sign and keep the next roster, over these entries in the order of their ids."""
        self.entries = sorted(entries, key=lambda e: e.device)
        version = self.rosters[-1].version + 1 if self.rosters else 1
        payload = make_roster_payload(self.policy, version, NOW_MS, self.entries)
        self.rosters.append(verify_roster(seal(payload, self.signers), self.policy))
        return self.rosters[-1]

    def head(self) -> Head:
        """Sign and keep the next head, over the newest policy and roster."""
        version = self.heads[-1].version + 1 if self.heads else 1
        payload = make_head_payload(self.policy, self.rosters[-1], version, NOW_MS)
        self.heads.append(verify_head(seal(payload, self.signers), self.policy))
        return self.heads[-1]

    def lease(self, seconds: int = 86_400, at_ms: int = NOW_MS) -> Lease:
        """Sign and keep the next lease on the newest head."""
        serial = self.leases[-1].serial + 1 if self.leases else 1
        payload = make_lease_payload(self.heads[-1], serial, at_ms, seconds)
        raw = seal(payload, [self.lease_signer])
        self.leases.append(verify_lease(raw, self.policy, self.heads[-1]))
        return self.leases[-1]

    def publish(self, entries: Sequence[RosterEntry] | None = None) -> None:
        """Make roster, head and lease: what the owner's tools do after every change."""
        self.roster(self.entries if entries is None else entries)
        self.head()
        self.lease()

    def invitation(
        self,
        *,
        site: str = "Plant",
        uses: int = 1,
        ttl_ms: int = DAY_MS,
        preapproved: bool = False,
    ) -> Invitation:
        """Return a new signed invitation."""
        self.invitations += 1
        payload = make_invitation_payload(
            self.policy,
            nonce=self.invitations.to_bytes(16, "big"),
            site=site,
            uses=uses,
            times_ms=(NOW_MS, NOW_MS + ttl_ms),
            preapproved=preapproved,
        )
        return verify_invitation(seal(payload, self.signers), self.policy, NOW_MS)

    def join_string(self, invitation: Invitation | None = None) -> JoinString:
        """Return what the owner hands to a new machine."""
        return JoinString(
            enrol_addresses=("127.0.0.1:8443",),
            bus_addresses=("127.0.0.1:4222",),
            server_ca=self.policy.roots.server_ca,
            owner=self.owner,
            policy_version=self.policy.version,
            policy_hash=self.policy.hash,
            invitation=(invitation or self.invitation()).raw,
        )

    def machine(self, name: str = "pump 7") -> Machine:
        """Return a new machine of this owner. It is on no roster until `confirm`."""
        key = self.new_key(ES256, f"{self.owner_root.name} machine {name}")
        self.machines.append(
            Machine(name=name, owner=self.owner, identity=key, new_key=self.new_key)
        )
        return self.machines[-1]

    def confirm(self, *machines: Machine) -> None:
        """Put machines on the roster, and publish."""
        self.publish([*self.entries, *(m.entry() for m in machines)])

    def retire(self, machine: Machine) -> None:
        """Mark a machine as retired on the roster, and publish."""
        kept = [e for e in self.entries if e.device != machine.device]
        self.publish([*kept, machine.entry(state=RETIRED)])

    def anchor(self, device: str, policy: Policy | None = None) -> Anchor:
        """Return what a join string made now would have told this machine."""
        lowest = policy or self.policy
        return Anchor(self.owner, device, lowest.version, lowest.hash)

    def bundle(self, device: str) -> Bundle:
        """Return all current documents for a machine, as an honest server hands them over."""
        ids = [e.device for e in self.entries]
        leaves = [e.to_bytes() for e in self.entries]
        documents = Bundle(
            root=self.owner_root.raw,
            policies=tuple(p.raw for p in self.policies),
            head=self.heads[-1].raw,
            roster=self.rosters[-1].raw,
            lease=self.leases[-1].raw if self.leases else b"",
        )
        if device not in ids:
            return documents
        index = ids.index(device)
        proof = prove_inclusion(index, len(ids), reader_of(hash_leaf(e) for e in leaves))
        return Bundle(
            root=documents.root,
            policies=documents.policies,
            head=documents.head,
            roster=documents.roster,
            entry=leaves[index],
            entry_index=index,
            entry_proof=tuple(proof),
            lease=documents.lease,
        )

    def view(self, machine: Machine) -> OwnerView:
        """Return what `machine` believes when it joins now."""
        return first_view(self.anchor(machine.device), self.bundle(machine.device))


def key_row(key: PublicKey, person: str, org: str = "Acme") -> JsonObject:
    """Return a key as a policy lists it."""
    return {**key.to_json(), "org": org, "person": person}


def payload_of(envelope: bytes) -> JsonObject:
    """Return a copy of an envelope's payload, to be changed and sealed again."""
    payload = canonical.decode_object(envelope)["payload"]
    assert isinstance(payload, dict)
    return payload


def resign(envelope: bytes, changes: Mapping[str, Json], signers: Sequence[Signer]) -> bytes:
    """Return the envelope with fields of its payload changed, signed by whoever has these keys."""
    return seal({**payload_of(envelope), **changes}, signers)


def alter(envelope: bytes, changes: Mapping[str, Json]) -> bytes:
    """Return the envelope with fields changed and the old signatures left on it."""
    whole = canonical.decode_object(envelope)
    return canonical.encode({**whole, "payload": {**payload_of(envelope), **changes}})


@contextmanager
def refused(family: type[FleetwardError], reason: str) -> Iterator[None]:
    """Expect exactly this family and this reason: a refusal for another cause proves nothing."""
    with pytest.raises(FleetwardError) as caught:
        yield
    assert (type(caught.value), caught.value.reason) == (family, reason), caught.value.message


def strange_signature(signer: Signer, message: bytes) -> JsonObject:
    """Return the JSON of one signature, to be put where it does not belong."""
    return {
        "key_id": signer.public.key_id,
        "signature": to_base64url(signer.sign(message)),
        "suite": signer.public.suite,
    }


__all__ = [
    "DAY_MS",
    "NOW_MS",
    "KeyMaker",
    "Machine",
    "World",
    "alter",
    "fresh_key",
    "key_row",
    "payload_of",
    "reader_of",
    "refused",
    "resign",
    "strange_signature",
]
