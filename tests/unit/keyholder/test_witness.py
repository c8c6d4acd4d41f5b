"""A witness signs a record that grows, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.keyholder.ledger_world import NOW_MS, Log, World, write_export
from tests.unit.keyholder.small_server import TOKEN, SmallServer

from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.witness import (
    WitnessFolder,
    make_witness,
    sign_export,
    sign_shown,
    watch_once,
)
from fleetward.runtime.keys import make_key
from fleetward.trust.canonical import to_base64url
from fleetward.trust.errors import Refused, Untrusted
from fleetward.trust.keys import ED25519
from fleetward.trust.merkle import Frontier, hash_leaf
from fleetward.trust.note import verify_cosignature
from fleetward.trust.tiles import TILE_WIDTH


@pytest.fixture
def world() -> World:
    return World().live(2)


@pytest.fixture
def witness(world: World, tmp_path: Path) -> WitnessFolder:
    return make_witness(tmp_path / "witness", "notary", world.owner)


@pytest.fixture
def server(one_server: SmallServer) -> Iterator[SmallServer]:
    one_server.reset()
    yield one_server


def show(server: SmallServer, world: World, log: Log) -> ApiClient:
    """Let the server show a record as its tiles do."""
    answers: dict[str, Any] = {
        "/owner/documents": {
            "root": to_base64url(world.root.raw),
            "policies": [to_base64url(p.raw) for p in world.policies],
        },
        "/record/checkpoint": {"note": log.checkpoint().decode(), "generation": log.number},
    }
    levels: dict[int, list[bytes]] = {}
    frontier = Frontier()
    for leaf in log.leaves:
        frontier.append(
            hash_leaf(leaf), lambda level, index, node: levels.setdefault(level, []).append(node)
        )
    for level in range(0, len(levels), 8):
        for index in range(0, len(levels[level]), TILE_WIDTH):
            tile = b"".join(levels[level][index : index + TILE_WIDTH])
            answers[f"/record/log/{log.number}/tile/{level // 8}/{index // TILE_WIDTH}"] = tile
    server.answers.clear()
    server.answers.update(answers)
    return ApiClient(server.api, TOKEN)


def test_it_signs_a_record_that_grows(
    world: World, witness: WitnessFolder, server: SmallServer
) -> None:
    client = show(server, world, world.log)
    first = watch_once(witness, client, NOW_MS)
    # Far enough for a second level of tiles.
    world.log.leaves += [world.deed(f"more.{i}") for i in range(700)]
    second = watch_once(witness, show(server, world, world.log), NOW_MS + 5000)
    assert (first.size, second.size) == (second.size - 700, len(world.log.leaves))
    path, body = server.posts[-1]
    assert path == "/record/witnesses"
    note = body["note"].encode()
    key = witness.signer().public
    assert verify_cosignature(note, "notary", key) == (NOW_MS + 5000) // 1000


def test_it_refuses_a_fork(world: World, witness: WitnessFolder, server: SmallServer) -> None:
    watch_once(witness, show(server, world, world.log), NOW_MS)
    forked = Log(world.owner, 1, world.log_key, [*world.log.leaves[:-1], world.deed("other")])
    forked.leaves += [world.deed("more")]
    signed = witness.last()
    with pytest.raises(Untrusted, match="does not extend"):
        watch_once(witness, show(server, world, forked), NOW_MS)
    assert witness.last() == signed


def test_it_refuses_a_shorter_record(
    world: World, witness: WitnessFolder, server: SmallServer
) -> None:
    watch_once(witness, show(server, world, world.log), NOW_MS)
    shorter = Log(world.owner, 1, world.log_key, world.log.leaves[:-1])
    with pytest.raises(Untrusted, match="smaller"):
        watch_once(witness, show(server, world, shorter), NOW_MS)


def test_it_refuses_another_log_key(
    world: World, witness: WitnessFolder, server: SmallServer
) -> None:
    rogue = Log(world.owner, 1, make_key(ED25519), world.log.leaves)
    with pytest.raises(Untrusted):
        watch_once(witness, show(server, world, rogue), NOW_MS)


def test_it_refuses_another_owners_documents(
    world: World, witness: WitnessFolder, server: SmallServer
) -> None:
    other = World().live(1)
    with pytest.raises(Untrusted):
        watch_once(witness, show(server, other, other.log), NOW_MS)


def test_a_new_generation_needs_the_whole_record(
    world: World, witness: WitnessFolder, server: SmallServer, tmp_path: Path
) -> None:
    watch_once(witness, show(server, world, world.log), NOW_MS)
    world.open_generation(len(world.log.leaves))
    client = show(server, world, world.log)
    with pytest.raises(Refused, match="--export"):
        sign_shown(witness, client, world.log.checkpoint(), NOW_MS)
    sign_export(witness, write_export(world, tmp_path / "export"), NOW_MS)
    world.log.leaves.append(world.deed("more"))
    watch_once(witness, show(server, world, world.log), NOW_MS)


def test_a_lying_export_is_not_signed(world: World, witness: WitnessFolder, tmp_path: Path) -> None:
    sign_export(witness, write_export(world, tmp_path / "one"), NOW_MS)
    world.logs[-1] = Log(world.owner, 1, world.log_key, world.log.leaves[:-1])
    with pytest.raises(Untrusted, match="contradicted"):
        sign_export(witness, write_export(world, tmp_path / "two"), NOW_MS)


def test_a_witness_is_made_once(world: World, witness: WitnessFolder) -> None:
    with pytest.raises(Refused):
        make_witness(witness.path, "notary", world.owner)
