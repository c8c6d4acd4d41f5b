"""Attacks on the owner's and the technician's side of a session, by who holds the whole server.

What he hands out, he may choose; what is shown, signed, opened and replayed, he may not.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.trust_world import Machine, alter, resign
from tests.unit.keyholder.access_scene import Scene, now_ms, scene  # noqa: F401
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.test_access_flow import TERMINAL, asked, granted, wish_for
from typer.testing import CliRunner

from fleetward.cli.owner import owner_app
from fleetward.keyholder.access.answering import (
    Answer,
    prepare_grant,
    read_question,
    sign_grant,
    verify_own_grant,
)
from fleetward.keyholder.access.asking import Wait, make_request, read_own_case
from fleetward.keyholder.access.recordings import (
    RecordingReader,
    compare_receipt,
    recording_key,
    subject_of,
)
from fleetward.keyholder.access.replaying import play
from fleetward.runtime.channel import make_session_key
from fleetward.runtime.keys import make_key
from fleetward.runtime.recording import Sealer
from fleetward.trust.access import RootScope, TcpScope
from fleetward.trust.canonical import JsonObject, from_base64url, to_base64url
from fleetward.trust.envelope import read_envelope, seal
from fleetward.trust.errors import FleetwardError, Malformed, Refused, Untrusted
from fleetward.trust.grants.ending import make_stop_payload
from fleetward.trust.grants.offer import Readiness, make_offer_payload
from fleetward.trust.grants.report import Receipt, make_receipt_payload
from fleetward.trust.keys import ED25519, ES256
from fleetward.trust.roster import RosterEntry

SESSION_KEY = to_base64url(make_session_key()[1])


def question(scene: Scene) -> Any:
    return read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())


def swap(scene: Scene, **papers: bytes) -> None:
    """Have the server hand out other papers than it was given."""

    def lie(path: str, answer: Any) -> Any:
        if isinstance(answer, dict) and "request" in answer:
            return {**answer, **{name: to_base64url(raw) for name, raw in papers.items()}}
        return answer

    scene.lie = lie


@pytest.mark.parametrize(
    "change",
    [
        {"session_key": SESSION_KEY},
        {"device": "b" * 32},
        {"seconds": 3600},
        {"scopes": [TERMINAL.to_json(), {"kind": "root"}]},
        {"reason": "routine"},
        {"case": "c-8"},
        {"requester": "c" * 32},
        {"nonce": to_base64url(bytes(16))},
        {"issued_at": 1},
        {"epoch": 2},
    ],
)
def test_no_field_of_a_request_is_changed_before_the_owner_sees_it(
    scene: Scene, change: dict[str, Any]
) -> None:
    asked(scene)
    swap(scene, request=alter(scene.row.request, change))
    with pytest.raises((Untrusted, Malformed)):
        question(scene)


def test_the_owner_is_not_shown_one_request_as_another(scene: Scene) -> None:
    asked(scene, TERMINAL)
    first = scene.row
    asked(scene, TcpScope(8080, "raw"))
    swap(scene, request=first.request, offer=first.papers["offer"])
    with pytest.raises(Untrusted, match="one request as another"):
        question(scene)


def test_the_server_asks_nothing_itself(scene: Scene) -> None:
    request = asked(scene)
    thief = make_key(ED25519)
    raw = resign(request.raw, {"requester": thief.public.key_id}, [thief])
    swap(scene, request=raw)
    with pytest.raises(Untrusted, match="nobody whom"):
        question(scene)


def test_the_server_offers_nothing_itself(scene: Scene) -> None:
    """A machine key, session key or offer of the server's own reaches no grant."""
    request = asked(scene)
    policy = scene.desk.documents().policy
    ready = Readiness("boot-1", bytes(32), make_session_key()[1], "uid", "bubblewrap", now_ms())
    other = Machine("pump-8", policy.owner, make_key(ES256))
    forged = seal(make_offer_payload(policy, request, ready), [other.identity])
    altered = alter(scene.row.papers["offer"], {"session_key": SESSION_KEY})
    better = alter(scene.row.papers["offer"], {"sandbox": "none"})
    for offer in (forged, altered, better):
        swap(scene, offer=offer)
        with pytest.raises(Untrusted):
            question(scene)


def test_an_offer_to_another_request_is_not_shown(scene: Scene) -> None:
    asked(scene)
    before = scene.row.papers["offer"]
    asked(scene)
    swap(scene, offer=before)
    with pytest.raises(Untrusted, match="answers another request"):
        question(scene)


def test_the_machine_is_named_by_the_roster_and_not_by_the_server(scene: Scene) -> None:
    asked(scene)
    scene.lie = lambda path, answer: (
        {**answer, "device_name": "test rig", "person": "Ada", "org": "Ward 3",
         "scopes": ["reading logs"], "seconds": 1, "words": "a b c d e f"}
        if isinstance(answer, dict) and "request" in answer else answer
    )  # fmt: skip
    found = question(scene)
    assert (found.entry.name, found.request.person) == ("pump-7", "Tom")
    assert (found.request.scopes, found.request.seconds) == ((TERMINAL,), 600)


def test_what_is_signed_is_what_was_shown(scene: Scene) -> None:
    """The server changes its papers after they were shown; the grant is of the ones shown."""
    asked(scene, TERMINAL)
    shown = question(scene)
    prepared = prepare_grant(shown, Answer(), now_ms())
    asked(scene, RootScope())
    swap(scene, request=scene.row.request, offer=scene.row.papers["offer"])
    raw = sign_grant(prepared, [scene.desk.signer("approver")])
    envelope = read_envelope(raw)
    assert envelope.hash == prepared.hash
    assert envelope.payload["scopes"] == [TERMINAL.to_json()]
    assert envelope.payload["request"] == shown.request.hash
    assert verify_own_grant(raw, prepared).words == prepared.words


def test_the_command_shows_and_signs_the_same(
    scene: Scene, tmp_path: Path, passphrase_file: Path
) -> None:
    """The request is swapped between the two fetches of `approve`: only one is ever used."""
    asked(scene, RootScope())
    evil = scene.row
    asked(scene, TERMINAL)
    honest, fetched = scene.row, 0

    def lie(path: str, answer: Any) -> Any:
        nonlocal fetched
        if isinstance(answer, dict) and "offer" in answer:
            fetched += 1
            if fetched > 1:
                return scene.detail(evil)
        return answer

    scene.lie = lie
    token = scene.folder.facts().token_file
    result = CliRunner().invoke(owner_app, [
        "approve", honest.id, "--yes", "--owner", str(scene.desk.folder.path),
        "--server", scene.server.api.removesuffix("/api/v1"), "--token-file", token,
        "--passphrase-file", str(passphrase_file), "--json",
    ])  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "a terminal as app" in result.stderr
    assert "root" not in result.stderr
    payload = read_envelope(honest.papers["grant"]).payload
    assert payload["scopes"] == [TERMINAL.to_json()]
    assert "grant" not in evil.papers


def test_a_grant_of_the_servers_own_opens_nothing_here(scene: Scene) -> None:
    """The technician's tool opens a channel only for a grant that the owner's people signed."""
    request = asked(scene)
    shown = question(scene)
    prepared = prepare_grant(shown, Answer(), now_ms())
    for signer in (make_key(ED25519), scene.technician):
        swap(scene, grant=seal(prepared.payload, [signer]))
        with pytest.raises(Untrusted):
            Wait(scene.folder, scene.api, request.hash).look()
    wide: JsonObject = {**prepared.payload, "scopes": [TERMINAL.to_json(), {"kind": "root"}]}
    swap(scene, grant=seal(wide, [scene.desk.signer("approver")]))
    with pytest.raises(Untrusted, match="more than was asked"):
        Wait(scene.folder, scene.api, request.hash).look()


def test_the_technician_is_not_shown_another_request_as_his(scene: Scene) -> None:
    mine = asked(scene)
    learned = scene.folder.learn(scene.api.client)
    other, _ = make_request(learned, wish_for(scene), scene.technician, now_ms())
    papers = scene.api.papers(mine.hash)
    for request, id_ in ((other.raw, mine.hash), (other.raw, other.hash)):
        swapped = type(papers)(**{
            **{f: getattr(papers, f) for f in papers.__struct_fields__},
            "id": id_, "request": to_base64url(request), "offer": "",
        })  # fmt: skip
        with pytest.raises((Untrusted, Refused)):
            read_own_case(scene.folder, learned, swapped)


def documents_lie(scene: Scene, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    def lie(path: str, answer: Any) -> Any:
        return change(answer) if path == "/owner/documents" else answer

    scene.lie = lie


def test_a_technician_follows_no_other_owner(scene: Scene, tmp_path: Path) -> None:
    """Another root, a policy of nobody, a mixture: none is learned."""
    thief = make_key(ED25519)
    policy = scene.desk.documents().policy
    forged = resign(policy.raw, {"version": policy.version + 1}, [thief])
    documents_lie(scene, lambda said: {
        **said, "policies": [*said["policies"], to_base64url(forged)],
    })  # fmt: skip
    with pytest.raises(Untrusted):
        scene.folder.learn(scene.api.client)
    documents_lie(scene, lambda said: {**said, "policies": said["policies"][:1]})
    with pytest.raises(Untrusted):
        scene.folder.learn(scene.api.client)
    root = from_base64url(scene.server.uploads[-1]["root"]).replace(b"Ward 3", b"Ward 4")
    documents_lie(scene, lambda said: {**said, "root": to_base64url(root)})
    with pytest.raises(Untrusted):
        scene.folder.learn(scene.api.client)


def test_a_technician_is_led_to_no_other_machine(scene: Scene) -> None:
    """The name that he types is looked up on the owner's roster; the server cannot rename."""

    def rename(said: dict[str, Any]) -> dict[str, Any]:
        entry = scene.desk.documents().entries[0]
        renamed: RosterEntry = replace(entry, name="pump-1")
        return {**said, "entries": [to_base64url(renamed.to_bytes())]}

    documents_lie(scene, rename)
    with pytest.raises(Untrusted):
        scene.folder.learn(scene.api.client)
    documents_lie(scene, lambda said: {**said, "entries": []})
    with pytest.raises((Untrusted, Malformed)):
        scene.folder.learn(scene.api.client)


def test_yesterdays_documents_are_not_taken_by_who_saw_todays(scene: Scene) -> None:
    old = scene.server.uploads[-1]
    scene.desk.retire(scene.machine.device)
    scene.publish()
    scene.folder.learn(scene.api.client)
    documents_lie(scene, lambda said: old)
    with pytest.raises(Untrusted, match="older state"):
        scene.folder.learn(scene.api.client)


def reader_of(scene: Scene) -> RecordingReader:
    case = scene.judge.read_case(scene.api.papers(scene.row.id))
    return RecordingReader(subject_of(case), recording_key(scene.desk.signer("recording")))


def test_a_recording_is_of_that_session_whole_and_in_its_order(scene: Scene) -> None:
    asked(scene)
    grant = granted(scene)
    row = scene.row
    for number in range(4):
        scene.record(row, b'[%d,"o","line"]' % number)
    scene.finish(row)
    case = scene.judge.read_case(scene.api.papers(row.id))
    whole = row.recording
    header, _, rest = whole.partition(b"\n")
    size = 4 + int.from_bytes(rest[:4], "big")
    records = [rest[i : i + size] for i in range(0, len(rest), size)]
    lies = {
        "dropped": [records[0], *records[2:]],
        "moved": [records[1], records[0], *records[2:]],
        "doubled": [records[0], records[0], *records[1:]],
        "altered": [records[0][:-1] + bytes((records[0][-1] ^ 1,)), *records[1:]],
    }
    for name, lied in lies.items():
        with pytest.raises(Untrusted, match="altered, dropped or moved"):
            reader_of(scene).feed(header + b"\n" + b"".join(lied))
        assert name
    policy = scene.desk.documents().policy
    own = Sealer(policy.owner, scene.machine.device, grant.hash, grant.recording_key, 1)
    forged = own.header + own.seal(b'[0,"o","nothing happened"]')
    reader = reader_of(scene)
    reader.feed(forged)  # anybody can seal to the owner; only the machine signed this one's end
    assert compare_receipt(reader, case.receipt)[0] != "whole"
    other = Sealer(policy.owner, scene.machine.device, "1" * 64, grant.recording_key, 1)
    with pytest.raises(Untrusted, match="another session"):
        reader_of(scene).feed(other.header)


def test_a_receipt_is_the_machines_own(scene: Scene) -> None:
    asked(scene)
    grant = granted(scene)
    scene.finish(scene.row)
    said = Receipt(
        scene.machine.device, grant.request.owner, grant.hash, 1, 2, "closed", "", 0, 0, 0,
        "0" * 64, "", b"",
    )  # fmt: skip
    for raw in (
        seal(make_receipt_payload(said), [make_key(ES256)]),
        seal(make_receipt_payload(replace(said, session="1" * 64)), [scene.machine.identity]),
        alter(scene.row.papers["receipt"], {"ended_by": "idle"}),
    ):
        swap(scene, receipt=raw)
        with pytest.raises(Untrusted):
            scene.judge.read_case(scene.api.papers(scene.row.id))


HOSTILE = (
    b"\\u001b]52;c;cm0gLXJmIH4K\\u0007", b"\\u001b]0;owner\\u0007", b"\\u001b[6n", b"\\u001b[c",
    b"\\u001bP$qm\\u001b\\\\", b"\\u009d52;c;eA==\\u009c", b"\\u001b[?1000h", b"\\u001b[5i",
    b"\\u001b]8;;http://evil.example\\u0007click",
)  # fmt: skip


def test_a_replay_draws_and_does_nothing_else(scene: Scene) -> None:
    """Whoever was inside wrote for the terminal of who replays: clipboard, title, answers, keys."""
    asked(scene)
    granted(scene)
    row = scene.row
    for hostile in HOSTILE:
        scene.record(row, b'[1,"o","before ' + hostile + b' after"]')
    scene.record(row, b'[1,"m","put x\\u001b]52;c;eA==\\u0007"]')
    shown = bytearray()
    play(reader_of(scene).feed(row.recording), shown.extend, 0)
    assert shown.count(b"before ") == len(HOSTILE) == shown.count(b" after")
    for bad in (b"\x1b]", b"\x1bP", b"\xc2\x9d", b"\x1b[6n", b"\x1b[c", b"\x1b[?1000h", b"\x1b[5i",
                b"\x07"):  # fmt: skip
        assert bad not in shown


def test_a_stop_of_the_servers_own_is_none(scene: Scene) -> None:
    """And the owner's stop ends the session that was shown, whatever hash the row names."""
    asked(scene)
    grant = granted(scene)
    policy = scene.desk.documents().policy
    forged = seal(make_stop_payload(policy, grant.hash, "", now_ms()), [make_key(ED25519)])
    with pytest.raises(FleetwardError):
        scene._stop(scene.row, forged)
    scene.lie = lambda path, answer: (
        {**answer, "session": "9" * 64} if isinstance(answer, dict) and "request" in answer
        else answer
    )  # fmt: skip
    case = scene.judge.read_case(scene.api.papers(scene.row.id))
    assert case.session == grant.hash


def test_the_session_key_is_in_no_message_to_the_server(scene: Scene) -> None:
    request = asked(scene)
    private = scene.folder.kept(request.hash).private
    assert private not in scene.row.request
    assert to_base64url(private).encode() not in scene.row.request
    assert PASSPHRASE not in scene.row.request
