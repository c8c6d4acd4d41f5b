"""Opening the record of a restored server: only what the owner knows to be lost is given up."""

from __future__ import annotations

import pytest
from tests.unit.keyholder.owner_fixtures import FixedClock
from tests.unit.keyholder.small_server import TOKEN, SmallServer

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.policy_changes import change_policy, set_lease
from fleetward.keyholder.reopen import open_anew
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import from_base64url
from fleetward.trust.envelope import seal
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.generation import make_opening_payload, verify_opening
from fleetward.trust.journal import SeenCheckpoint
from fleetward.trust.keys import ED25519
from fleetward.trust.merkle import hash_leaf, root_of
from fleetward.trust.note import Checkpoint, origin_of, sign_checkpoint

LEAVES = [hash_leaf(bytes([i])) for i in range(9)]


@pytest.fixture
def client(server: SmallServer) -> ApiClient:
    return ApiClient(server.api, TOKEN)


def restored(server: SmallServer, size: int, *, needed: bool = True) -> None:
    server.answers["/record/opening-request"] = {
        "needed": needed, "generation": 1, "size": size, "root": root_of(LEAVES[:size]).hex(),
    }  # fmt: skip


def keep(desk: Desk, server: SmallServer, leaves: list[bytes]) -> None:
    origin = origin_of(desk.documents().owner, 1)
    note = sign_checkpoint(Checkpoint(origin, len(leaves), root_of(leaves)), server.log_key)
    desk.folder.replace("checkpoint", note)


def test_the_opening_names_what_the_server_still_holds(
    desk: Desk, server: SmallServer, client: ApiClient, clock: FixedClock
) -> None:
    restored(server, 5)
    keep(desk, server, LEAVES[:5])
    open_anew(desk, client, "disk", clock.now, accept_loss=False)
    ((path, body),) = server.posts
    assert path == "/record/opening"
    opening = verify_opening(from_base64url(body["opening"]), desk.documents().policies)
    assert (opening.generation, opening.last_known.size, opening.reason) == (2, 5, "disk")


def test_the_next_policy_stands_by_the_opening(
    desk: Desk, server: SmallServer, client: ApiClient, clock: FixedClock
) -> None:
    restored(server, 5)
    opening = open_anew(desk, client, "disk", clock.now, accept_loss=False)
    change_policy(desk, set_lease(60), clock.now)
    after = change_policy(desk, set_lease(61), clock.now)
    assert [p.openings for p in after.policies] == [(), (opening.hash,), ()]
    assert verify_opening(opening.raw, after.policies) == opening


def test_a_file_that_is_no_opening_of_the_owner_is_not_named(desk: Desk, clock: FixedClock) -> None:
    known = SeenCheckpoint(1, 5, "ab" * 32)
    payload = make_opening_payload(desk.documents().policy, known, "", clock.now)
    forged = seal(payload, [make_key(ED25519)])
    desk.folder.write_once("documents/openings/00002.json", forged)
    with pytest.raises(Untrusted, match="people who may sign"):
        change_policy(desk, set_lease(60), clock.now)
    assert len(desk.documents().policies) == 1


def test_a_loss_is_signed_only_when_it_is_accepted(
    desk: Desk, server: SmallServer, client: ApiClient, clock: FixedClock
) -> None:
    restored(server, 5)
    keep(desk, server, LEAVES)
    with pytest.raises(Refused, match="4 entries are lost"):
        open_anew(desk, client, "disk", clock.now, accept_loss=False)
    assert server.posts == []
    open_anew(desk, client, "disk", clock.now, accept_loss=True)


def test_a_rewritten_record_is_not_opened(
    desk: Desk, server: SmallServer, client: ApiClient, clock: FixedClock
) -> None:
    restored(server, 5)
    keep(desk, server, [*LEAVES[:4], hash_leaf(b"other")])
    with pytest.raises(Untrusted, match="rewritten"):
        open_anew(desk, client, "disk", clock.now, accept_loss=True)
    assert server.posts == []


def test_a_server_that_was_not_restored_gets_no_opening(
    desk: Desk, server: SmallServer, client: ApiClient, clock: FixedClock
) -> None:
    restored(server, 5, needed=False)
    with pytest.raises(Refused, match="not restored"):
        open_anew(desk, client, "disk", clock.now, accept_loss=True)
