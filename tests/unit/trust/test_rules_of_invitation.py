"""The invitation and the join string."""

from __future__ import annotations

import pytest
from tests.trust_world import DAY_MS, NOW_MS, World, alter, refused, resign

from fleetward.trust import canonical
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.invitation import (
    JOIN_PREFIX,
    MAX_JOIN_CHARACTERS,
    read_join_string,
    split_address,
    verify_invitation,
)

WORLD = World.make(("ada", "ben"), {"invite": 2})
INVITATION = WORLD.invitation(site="Ward 3", uses=5, preapproved=True)
JOIN = WORLD.join_string(INVITATION)


def test_a_good_invitation_is_read() -> None:
    read = verify_invitation(INVITATION.raw, WORLD.policy, NOW_MS + DAY_MS - 1)
    assert (read.site, read.uses, read.preapproved) == ("Ward 3", 5, True)
    assert read.id == read.hash == INVITATION.hash


def test_1_signed_by_the_role() -> None:
    for signers in ([], [WORLD.people["ada"]], [WORLD.lease_signer]):
        with refused(Untrusted, "too_few_signatures"):
            verify_invitation(resign(INVITATION.raw, {}, signers), WORLD.policy, NOW_MS)
    with refused(Untrusted, "bad_signature"):
        verify_invitation(alter(INVITATION.raw, {"uses": 50}), WORLD.policy, NOW_MS)


@pytest.mark.parametrize(
    ("changes", "family", "reason"),
    [
        ({"owner": "00" * 32}, Untrusted, "another_owner"),  # 2.
        ({"epoch": 2}, Untrusted, "old_epoch"),
        ({"expires_at": NOW_MS}, Refused, "invitation_expired"),  # 3.
        ({"nonce": to_base64url(bytes(15))}, Malformed, "bad_field"),  # 4.
        ({"nonce": to_base64url(bytes(33))}, Malformed, "bad_field"),
        ({"nonce": "+"}, Malformed, "not_base64url"),
        ({"uses": 0}, Malformed, "bad_field"),
        ({"uses": 100_001}, Malformed, "bad_field"),
        ({"preapproved": 1}, Malformed, "bad_field"),
        ({"extra": 1}, Malformed, "unknown_field"),
        ({"type": "fleetward.lease.v1"}, Malformed, "wrong_type"),
    ],
)
def test_2_to_4_and_form(
    changes: JsonObject,
    family: type[Malformed] | type[Untrusted] | type[Refused],
    reason: str,
) -> None:
    with refused(family, reason):
        verify_invitation(resign(INVITATION.raw, changes, WORLD.signers), WORLD.policy, NOW_MS)


def test_the_join_string_is_read_as_people_paste_it() -> None:
    text = JOIN.to_text()
    assert read_join_string(text) == JOIN
    wrapped = "\n  ".join(text[i : i + 60] for i in range(0, len(text), 60))
    assert read_join_string(f"  {wrapped}\t\n") == JOIN


def join_with(changes: JsonObject) -> str:
    value = canonical.decode_object(from_base64url(JOIN.to_text().removeprefix(JOIN_PREFIX)))
    return JOIN_PREFIX + to_base64url(canonical.encode({**value, **changes}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "fleetward-join-2." + JOIN.to_text().removeprefix(JOIN_PREFIX),
        JOIN.to_text()[1:],
        JOIN.to_text()[:-1],
        JOIN.to_text() + "A",
        JOIN.to_text() + "=",
        JOIN_PREFIX,
        JOIN_PREFIX + "A" * MAX_JOIN_CHARACTERS,
        join_with({"extra": 1}),
        join_with({"server_ca": "ff"}),
        join_with({"owner_root": ""}),
        join_with({"policy": {"hash": "00" * 32, "version": 0}}),
        join_with({"enrol": []}),
        join_with({"bus": ["host"]}),
        join_with({"bus": ["a:1"] * 2}),
        join_with({"bus": [f"a:{n}" for n in range(1, 10)]}),
        join_with({"invitation": "*"}),
    ],
)
def test_a_damaged_join_string_says_what_to_do(text: str) -> None:
    with pytest.raises(Malformed, match=r"Copy the whole line") as caught:
        read_join_string(text)
    assert caught.value.reason == "bad_join_string"


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("console.localhost:443", "console.localhost", 443),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
        ("[2001:db8::1]:1", "2001:db8::1", 1),
    ],
)
def test_an_address(address: str, host: str, port: int) -> None:
    assert split_address(address) == (host, port)


@pytest.mark.parametrize(
    "address",
    ["", "host", ":1", "host:", "host:0", "host:65536", "host:080", "host:\u0661", "host:1 ",
     "ho st:1", "h/../x:1", "h?x:1", "h@x:1", "2001:db8::1:1", "[::1:1", "[]:1", "[a]b:1",
     "host:" + "1" * 5000, "\u00e4:1", "host:1\n", "host:+1"],
)  # fmt: skip
def test_no_address(address: str) -> None:
    with refused(Malformed, "bad_address"):
        split_address(address)
