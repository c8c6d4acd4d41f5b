"""Documents of any shape, signed by the right keys: our own errors come out, never a stray one.

A hostile insider has real keys. So payloads are changed at random places **and signed again**,
which carries them past the signatures into every parser behind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.property.test_trust_canonical import VALUES
from tests.trust_world import NOW_MS, World, payload_of

from fleetward.trust import canonical
from fleetward.trust.canonical import Json, JsonObject
from fleetward.trust.documents import Bundle, advance, read_bundle
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import Malformed, Misuse, Refused, Untrusted
from fleetward.trust.generation import make_opening_payload, verify_opening
from fleetward.trust.head import verify_head, verify_lease
from fleetward.trust.invitation import read_join_string, verify_invitation
from fleetward.trust.journal import SeenCheckpoint, verify_batch_header
from fleetward.trust.journal import read_entry as read_journal_entry
from fleetward.trust.keys import Signer
from fleetward.trust.policy import verify_first_policy, verify_next_policy
from fleetward.trust.root import root_hash, verify_root
from fleetward.trust.roster import read_entry as read_roster_entry
from fleetward.trust.roster import verify_roster
from fleetward.trust.statements import (
    device_of_statement,
    verify_hello,
    verify_join,
    verify_renewal,
)

WORLD = World.make()
MACHINE = WORLD.machine()
MACHINE.write()
WORLD.confirm(MACHINE)
NONCE = bytes(32)
POLICY, HEAD = WORLD.policy, WORLD.heads[-1]
OWNERS, LEASERS, MACHINES = WORLD.signers, [WORLD.lease_signer], [MACHINE.identity]
VIEW = WORLD.view(MACHINE)
OPENING = seal(make_opening_payload(POLICY, SeenCheckpoint(1, 2, "ab" * 32), "why", NOW_MS), OWNERS)
NEXT = seal(WORLD.next_payload(), OWNERS)

Check = Callable[[bytes], object]
SIGNED: dict[str, tuple[bytes, Sequence[Signer], Check]] = {
    "first policy": (POLICY.raw, OWNERS, lambda d: verify_first_policy(d, WORLD.owner_root)),
    "next policy": (NEXT, OWNERS, lambda d: verify_next_policy(d, POLICY)),
    "view": (NEXT, OWNERS, lambda d: advance(VIEW, Bundle(root=b"", policies=(d,)))),
    "roster": (WORLD.rosters[-1].raw, OWNERS, lambda d: verify_roster(d, POLICY)),
    "head": (HEAD.raw, OWNERS, lambda d: verify_head(d, POLICY)),
    "lease": (WORLD.leases[-1].raw, LEASERS, lambda d: verify_lease(d, POLICY, HEAD)),
    "invitation": (WORLD.invitation().raw, OWNERS, lambda d: verify_invitation(d, POLICY, NOW_MS)),
    "opening": (OPENING, OWNERS, lambda d: verify_opening(d, [POLICY])),
    "join": (MACHINE.join("ab" * 32), MACHINES, verify_join),
    "renewal": (MACHINE.renewal(), MACHINES, lambda d: verify_renewal(d, MACHINE.key)),
    "hello": (MACHINE.hello(NONCE), MACHINES, lambda d: verify_hello(d, MACHINE.key, NONCE)),
    "device": (MACHINE.hello(NONCE), MACHINES, device_of_statement),
    "batch": (
        MACHINE.cut().split(b"\n")[0],
        MACHINES,
        lambda d: verify_batch_header(d, MACHINE.key, WORLD.owner),
    ),
}
PLAIN: dict[str, tuple[bytes, Check]] = {
    "root": (WORLD.owner_root.raw, lambda d: verify_root(d, root_hash(d))),
    "roster entry": (WORLD.entries[0].to_bytes(), read_roster_entry),
    "journal entry": (MACHINE.entries[0], read_journal_entry),
    "bundle": (WORLD.bundle(MACHINE.device).to_bytes(), read_bundle),
    "envelope": (HEAD.raw, read_envelope),
}


ODD: list[Json] = [0, -1, 2**53 - 1, "", "a" * 2000, [], {}, True]


def change(draw: st.DataObject, value: Json) -> Json:
    """Return `value` with one random place replaced, removed or added to."""
    if isinstance(value, dict) and value and draw.draw(st.integers(0, 3)):
        name = draw.draw(st.sampled_from(sorted(value)))
        what = draw.draw(st.sampled_from(["into", "into", "into", "drop", "rename"]))
        changed: JsonObject = {k: v for k, v in value.items() if k != name}
        if what == "into":
            changed[name] = change(draw, value[name])
        elif what == "rename":
            changed[draw.draw(st.text("abcx_", max_size=5))] = value[name]
        return changed
    if isinstance(value, list) and value and draw.draw(st.integers(0, 3)):
        place = draw.draw(st.integers(0, len(value) - 1))
        return [*value[:place], change(draw, value[place]), *value[place + 1 :]]
    return draw.draw(VALUES | st.sampled_from(ODD))


@pytest.mark.parametrize("name", sorted(SIGNED))
@settings(max_examples=120, deadline=None)
@given(draw=st.data())
def test_a_changed_document_with_right_signatures(name: str, draw: st.DataObject) -> None:
    raw, signers, check = SIGNED[name]
    payload = change(draw, payload_of(raw))
    try:
        data = seal(payload, signers)
    except Misuse:  # It lost its type, so nobody can sign it.
        return
    expect_our_errors(check, data)


@pytest.mark.parametrize("name", sorted(PLAIN))
@settings(max_examples=120, deadline=None)
@given(draw=st.data())
def test_a_changed_document_without_signatures(name: str, draw: st.DataObject) -> None:
    raw, check = PLAIN[name]
    expect_our_errors(check, canonical.encode(change(draw, canonical.decode(raw))))


@pytest.mark.parametrize("name", sorted({*SIGNED, *PLAIN}))
@settings(max_examples=40, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes(name: str, data: bytes) -> None:
    expect_our_errors(SIGNED[name][2] if name in SIGNED else PLAIN[name][1], data)


@settings(max_examples=100, deadline=None)
@given(draw=st.data())
def test_a_changed_join_string(draw: st.DataObject) -> None:
    text = WORLD.join_string().to_text()
    start, end = sorted(draw.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
    expect_our_errors(
        lambda _: read_join_string(text[:start] + draw.draw(st.text(max_size=5)) + text[end:]), b""
    )


@pytest.mark.parametrize("name", sorted(SIGNED))
def test_each_byte_of_a_signed_document_counts(name: str) -> None:
    raw, _, check = SIGNED[name]
    if name == "device":  # It reads a name before any signature, and says so.
        return
    for place in range(len(raw)):
        with pytest.raises((Malformed, Untrusted)):
            check(raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :])


def expect_our_errors(check: Check, data: bytes) -> None:
    try:
        check(data)
    except (Malformed, Untrusted, Refused) as e:
        assert e.reason.replace("_", "").isalnum()
        assert len(e.message) < 3000
