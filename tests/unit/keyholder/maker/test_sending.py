"""Releases go to a server in pieces, go on after a cut, and are sent once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.adversary.release_repository import Machine
from tests.maker_world import Maker, make_maker
from tests.unit.keyholder.maker.update_server import BLOBS, UpdateServer, serving
from typer.testing import CliRunner

from fleetward.cli.release import release_app
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.maker.sending import PIECE_BYTES, Sent, send_release
from fleetward.keyholder.place import api_address
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.release_manifest import read_manifest


@pytest.fixture
def server() -> Iterator[UpdateServer]:
    with serving() as made:
        yield made


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    made = make_maker(tmp_path)
    made.work.mkdir()
    image = made.work / "image.bin"
    image.write_bytes(os.urandom(2 * PIECE_BYTES + 77))
    made.release("pump", "1", parts=(made.part("firmware", image),))
    return made


def send(maker: Maker, server: UpdateServer) -> Sent:
    client = ApiClient(api_address(server.address), "token")
    return send_release(client, maker.desk, maker.leaving("pump", "1"), quiet=True)


def test_all_of_a_release_arrives_and_verifies_there(maker: Maker, server: UpdateServer) -> None:
    sent = send(maker, server)
    leaving = maker.leaving("pump", "1")
    assert set(server.complete) == {sha256 for sha256, _ in leaving.blobs}
    assert sent.repository == hashlib.sha256(maker.root).hexdigest()
    assert sent.sent_bytes == sum(length for _, length in leaving.blobs)
    [release] = server.releases
    assert release["repository"] == sent.repository
    manifest = read_manifest(from_base64url(release["manifest"]))
    assert manifest == leaving.manifest
    machine = Machine(server.metadata["1.root.json"])
    found = machine.find(
        lambda want: server.metadata.get(want.file_name), release["path"], maker.desk.now_ms
    )
    assert found is not None
    assert dict(found.hashes)["sha256"] == manifest.hash


def test_blobs_go_first_and_the_timestamp_is_the_last_file(
    maker: Maker, server: UpdateServer
) -> None:
    send(maker, server)
    kinds = [line.split("?")[0].rsplit("/", 1)[0] for line, _ in server.asked]
    first_post = next(i for i, (line, _) in enumerate(server.asked) if line.startswith("POST"))
    assert not [line for line in kinds[first_post:] if BLOBS[:-1] in line]
    names = [file["name"] for file in json.loads(server.asked[first_post][1])["files"]]
    assert names[0] == "1.root.json"
    assert names[-1] == "timestamp.json"
    assert max(len(body) for line, body in server.asked if line.startswith("PUT")) <= PIECE_BYTES


def test_what_is_there_is_not_sent_again(maker: Maker, server: UpdateServer) -> None:
    send(maker, server)
    before = len(server.asked)
    again = send(maker, server)
    assert (again.blobs_sent, again.sent_bytes) == (0, 0)
    assert not [line for line, _ in server.asked[before:] if line.startswith("PUT")]


@pytest.mark.parametrize("keeps", [True, False])
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_cut_costs_at_most_the_piece_on_its_way(
    maker: Maker, server: UpdateServer, after: int, *, keeps: bool
) -> None:
    server.cut_after, server.keeps_cut_piece = after, keeps
    send(maker, server)
    assert len(server.complete) == len(maker.leaving("pump", "1").blobs)
    put = sum(len(body) for line, body in server.asked if line.startswith("PUT"))
    total = sum(length for _, length in maker.leaving("pump", "1").blobs)
    assert put <= total + (0 if keeps else PIECE_BYTES)


def test_a_server_that_takes_nothing_is_told_of(maker: Maker, server: UpdateServer) -> None:
    server.takes_nothing = True
    with pytest.raises(Unreachable) as caught:
        send(maker, server)
    assert caught.value.reason == "server_stuck"
    assert not server.releases


def test_a_refusal_is_told_at_once(maker: Maker, server: UpdateServer) -> None:
    server.refuses = True
    with pytest.raises(Refused) as caught:
        send(maker, server)
    assert caught.value.reason == "not_allowed"
    assert len([line for line, _ in server.asked if line.startswith("PUT")]) == 1


@pytest.mark.parametrize("size", [-1, 2**60])
def test_a_size_that_cannot_be_is_not_believed(
    maker: Maker, server: UpdateServer, size: int
) -> None:
    server.size_lie = size
    with pytest.raises(Malformed):
        send(maker, server)
    assert not server.releases


def test_a_server_that_names_another_repository_is_not_used(
    maker: Maker, server: UpdateServer
) -> None:
    server.repository_lie = "0" * 64
    with pytest.raises(Malformed) as caught:
        send(maker, server)
    assert caught.value.reason == "another_repository"
    assert not server.releases


def test_a_damaged_blob_is_not_sent(maker: Maker, server: UpdateServer) -> None:
    place = maker.desk.repository.blobs / maker.leaving("pump", "1").manifest.parts[0].blob.sha256
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)
    with pytest.raises(Untrusted) as caught:
        send(maker, server)
    assert caught.value.reason == "blob_damaged"
    assert not server.releases


def test_the_command_sends(maker: Maker, server: UpdateServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    token.chmod(0o600)
    words = ["publish", "pump/1", "--server", server.address, "--token-file", str(token)]
    ran = CliRunner().invoke(
        release_app, [*words, "--maker", str(maker.desk.folder.path), "--json"]
    )
    assert ran.exit_code == 0, ran.output
    assert json.loads(ran.stdout)["published"]["blobs_sent"] == len(server.complete)
    assert server.releases
