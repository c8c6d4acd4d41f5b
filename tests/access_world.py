"""An owner who lets a technician ask for sessions, the technician, and a machine; in memory.

    >>> world = AccessWorld.make()
    >>> request = world.request()
    >>> offer = world.offer(request)
    >>> world.judge(world.grant(request, offer), request, offer).words

A test that wants a bad document takes a payload, changes it, and seals it with whoever's key the
attack has (`tests.trust_world.resign`, `alter`).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from tests.trust_world import NOW_MS, Machine, World, key_row, payload_of

from fleetward.runtime.keys import FileSigner, make_key
from fleetward.trust.access import (
    AccessRules,
    FilesScope,
    LogsScope,
    Scope,
    TcpScope,
    TerminalScope,
    make_access,
)
from fleetward.trust.access_rule import Rule
from fleetward.trust.canonical import Json, JsonObject, to_base64url
from fleetward.trust.delegation import Delegate, make_delegation_payload
from fleetward.trust.envelope import seal
from fleetward.trust.grants.grant import (
    Grant,
    Situation,
    Terms,
    make_grant_payload,
    verify_grant,
)
from fleetward.trust.grants.offer import Offer, Readiness, make_offer_payload, verify_offer
from fleetward.trust.grants.request import Request, Wish, make_request_payload, verify_request
from fleetward.trust.keys import ED25519, ES256, PublicKey, Signer

TERMINAL: Final = TerminalScope("app")
PAGE: Final = TcpScope(8080, "http")
LOGS: Final = LogsScope("nginx.service")
FILES: Final = FilesScope("/srv/app", "read", 10**6)
RULES: Final = AccessRules(
    rules={
        "terminal": Rule(1, 3600, watched=False, allowed=("app",)),
        "root": Rule(2, 900, watched=True),
        "tcp": Rule(1, 7200, watched=False, ports=((22, 22), (8000, 8999))),
        "logs": Rule(1, 3600, watched=False, allowed=("*",)),
        "files": Rule(1, 3600, watched=False, allowed=("/srv/app",)),
    }
)


@dataclass
class AccessWorld:
    """Owner, technician and machine. The policy in force names the technician as requester."""

    trust: World
    technician: Signer
    recording: FileSigner
    machine: Machine
    boot: str = "boot-1"
    session_private: bytes = b""
    machine_private: bytes = b""
    chance: Callable[[int], bytes] = secrets.token_bytes

    @classmethod
    def make(
        cls,
        people: Sequence[str] = ("ada", "ben"),
        rules: AccessRules = RULES,
        *,
        technician: str = "tom",
        thresholds: Mapping[str, int] | None = None,
    ) -> AccessWorld:
        """Return a world with policy 2 in force, which has these rules."""
        trust = World.make(people, thresholds)
        machine = trust.machine()
        world = cls(trust, make_key(ED25519), make_key(ES256), machine)
        world.set_rules(rules, technician)
        trust.confirm(machine)
        return world

    def set_rules(self, rules: AccessRules, technician: str = "tom") -> None:
        """Sign the next policy, with these rules for the technician under this person's name."""
        payload = payload_of(self.trust.policy.raw)
        keys: list[Json] = [
            k
            for k in list(payload["keys"])  # type: ignore[arg-type]  # a list in every policy
            if isinstance(k, dict) and k["key_id"] != self.technician.public.key_id
        ]
        keys.append(key_row(self.technician.public, technician, "Makers Ltd"))
        roots = payload["roots"]
        assert isinstance(roots, dict)
        roots["recording_key"] = f"{ES256}:{to_base64url(self.recording.public.spki)}"
        asking = (self.technician.public.key_id,)
        sending = asking if rules.delegators else ()
        said = make_access(replace(rules, requesters=asking, delegators=sending))
        self.trust.next_policy({"access": said, "keys": keys, "roots": roots})

    def name_requesters(self, people: Mapping[str, Signer], rules: AccessRules = RULES) -> None:
        """Sign the next policy, whose requesters are these people with these keys."""
        payload = payload_of(self.trust.policy.raw)
        known = set(self.trust.policy.access.requesters)
        keys: list[Json] = [
            k
            for k in list(payload["keys"])  # type: ignore[arg-type]  # a list in every policy
            if isinstance(k, dict) and k["key_id"] not in known
        ]
        keys += [key_row(key.public, person, "Makers Ltd") for person, key in people.items()]
        ids = tuple(key.public.key_id for key in people.values())
        self.trust.next_policy({"access": make_access(replace(rules, requesters=ids)),
                                "keys": keys})  # fmt: skip

    def request(
        self,
        *scopes: Scope,
        seconds: int = 600,
        reason: str = "the pump does not start",
        signer: Signer | None = None,
        break_glass: bool = False,
    ) -> Request:
        """Return a verified request for these scopes, a terminal when none is given."""
        payload = self.request_payload(
            *scopes, seconds=seconds, reason=reason, break_glass=break_glass
        )
        raw = seal(payload, [signer or self.technician])
        return verify_request(raw, self.trust.policy, self.machine.device)

    def let_delegate(self) -> None:
        """Sign the next policy, by which the technician may send others."""
        access = dict(payload_of(self.trust.policy.raw)["access"])  # type: ignore[arg-type]
        access["delegators"] = [self.technician.public.key_id]
        self.trust.next_policy({"access": access})

    def delegation_payload(self, to: PublicKey, *scopes: Scope, seconds: int = 600) -> JsonObject:
        """Return the payload of the technician's delegation to this key, as `ana`."""
        given = Delegate(
            to, "ana", "Drives Ltd", (self.machine.device,), scopes or (TERMINAL,), seconds
        )
        times = (NOW_MS, NOW_MS - 1000, NOW_MS + 7_200_000)
        return make_delegation_payload(
            self.trust.policy, self.technician.public.key_id, given, times
        )

    def delegate(self, to: PublicKey, *scopes: Scope, seconds: int = 600) -> bytes:
        """Return the technician's signed delegation."""
        return seal(self.delegation_payload(to, *scopes, seconds=seconds), [self.technician])

    def delegated_request(
        self, signer: Signer, delegation: bytes, *scopes: Scope, seconds: int = 600
    ) -> bytes:
        """Return a request, signed by whom the technician delegated to."""
        payload = self.request_payload(*scopes, seconds=seconds)
        payload["requester"] = signer.public.key_id
        payload["delegation"] = to_base64url(delegation)
        return seal(payload, [signer])

    def request_payload(
        self,
        *scopes: Scope,
        seconds: int = 600,
        reason: str = "the pump does not start",
        break_glass: bool = False,
    ) -> JsonObject:
        """Return the payload of a request, with a fresh session key that the world keeps."""
        self.session_private, public = self._session_key()
        asked = scopes or (TERMINAL,)
        wish = Wish(self.machine.device, asked, seconds, reason, "case-7", break_glass)
        return make_request_payload(
            self.trust.policy,
            wish,
            self.technician.public.key_id,
            (public, self.chance(16)),
            NOW_MS,
        )

    def _session_key(self) -> tuple[bytes, bytes]:
        key = X25519PrivateKey.from_private_bytes(self.chance(32))
        return key.private_bytes_raw(), key.public_key().public_bytes_raw()

    def offer(self, request: Request, *, boot: str = "", sandbox: str = "bubblewrap") -> Offer:
        """Return the machine's verified offer, with a fresh session key that the world keeps."""
        self.machine_private, public = self._session_key()
        ready = Readiness(boot or self.boot, self.chance(32), public, "uid", sandbox, NOW_MS)
        raw = seal(make_offer_payload(self.trust.policy, request, ready), [self.machine.identity])
        return verify_offer(raw, self.machine.identity.public, request)

    def terms(self, request: Request) -> Terms:
        """Return terms that give all that was asked for."""
        return Terms(request.scopes, request.seconds, 300, False, NOW_MS - 1000, NOW_MS + 3_600_000)

    def grant_payload(
        self, request: Request, offer: Offer, terms: Terms | None = None
    ) -> JsonObject:
        """Return the payload of a grant under these terms."""
        return make_grant_payload(self.trust.policy, request, offer, terms or self.terms(request))

    def grant(
        self,
        request: Request,
        offer: Offer,
        terms: Terms | None = None,
        signers: Sequence[Signer] | None = None,
    ) -> bytes:
        """Return a grant, signed by the first person unless others are given."""
        who = [self.trust.signers[0]] if signers is None else signers
        return seal(self.grant_payload(request, offer, terms), who)

    def situation(self) -> Situation:
        """Return what the machine knows now."""
        return Situation(self.trust.policy, self.boot, NOW_MS, 86_400, sandboxed=True)

    def judge(
        self, grant: bytes, request: Request, offer: Offer, here: Situation | None = None
    ) -> Grant:
        """Judge as the machine does."""
        return verify_grant(grant, here or self.situation(), request, offer)
