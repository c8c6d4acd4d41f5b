"""From a wish to a yes, and what the owner sees on the way: by the papers, never by the server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.keyholder.access_scene import Scene, now_ms
from tests.unit.keyholder.owner_fixtures import PASSPHRASE

from fleetward.keyholder.access.answering import (
    Answer,
    check_may_approve,
    prepare_grant,
    read_question,
    sign_grant,
    sign_stop,
    verify_own_grant,
)
from fleetward.keyholder.access.asking import Wait, ask
from fleetward.keyholder.access.cosigning import cosign, make_draft, open_draft
from fleetward.keyholder.access.recordings import (
    Event,
    RecordingReader,
    compare_receipt,
    recording_key,
    subject_of,
)
from fleetward.keyholder.access.replaying import play, write_cast
from fleetward.keyholder.access.requester_folder import RequesterFolder
from fleetward.keyholder.access.scope_words import parse_length, parse_scope, write_scope
from fleetward.keyholder.access.telling import tell_question
from fleetward.keyholder.access.verifying import verify_papers, verify_recording
from fleetward.keyholder.access.watching import Beats, follow
from fleetward.trust.access import LogsScope, RootScope, Scope, TerminalScope
from fleetward.trust.errors import Malformed, Refused, Untrusted
from fleetward.trust.grants.grant import Grant
from fleetward.trust.grants.request import Request, Wish
from fleetward.trust.ledger_findings import Findings

TERMINAL = TerminalScope("app")
CLIPBOARD = b'[1.6,"o","Thu\\u001b]52;c;eA==\\u0007"]'


def wish_for(scene: Scene, *scopes: Scope, seconds: int = 600) -> Wish:
    return Wish(scene.machine.device, scopes or (TERMINAL,), seconds, "it does not start", "c-7")


def asked(
    scene: Scene, *scopes: Scope, seconds: int = 600, runbooks: tuple[bytes, ...] = ()
) -> Request:
    learned = scene.folder.learn(scene.api.client)
    wish = wish_for(scene, *scopes, seconds=seconds)
    return ask(scene.folder, scene.api, learned, wish, (scene.technician, now_ms()), runbooks)


def granted(scene: Scene, answer: Answer = Answer()) -> Grant:  # noqa: B008  frozen
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    prepared = prepare_grant(question, answer, now_ms())
    raw = sign_grant(prepared, [scene.desk.signer("approver")])
    grant = verify_own_grant(raw, prepared)
    scene.api.hand(scene.row.id, "grant", raw)
    return grant


def test_from_a_wish_to_a_session(scene: Scene) -> None:
    request = asked(scene, TERMINAL, LogsScope("nginx.service"))
    assert (request.person, request.org) == ("Tom", "Makers Ltd")
    kept = scene.folder.path / "requests" / f"{request.hash}.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    wait = Wait(scene.folder, scene.api, request.hash)
    case, yes = wait.look()
    assert case.offer is not None
    assert not yes
    question = read_question(scene.judge, scene.api.papers(request.hash), now_ms())
    words = tell_question(question)
    for piece in ("Tom of Makers Ltd", "pump-7 (Ward 3)", "a terminal as app", "10 min", "c-7",
                  "it does not start", "in a sandbox"):  # fmt: skip
        assert piece in words
    grant = granted(scene, Answer(scopes=(TERMINAL,), seconds=300))
    case, yes = wait.look()
    assert yes
    assert case.grant is not None
    assert (case.grant.scopes, case.grant.seconds, case.grant.people) == (
        (TERMINAL,), 300, ("Ada",),
    )  # fmt: skip
    assert case.grant.words == grant.words


def test_a_machine_that_is_off_has_not_answered(scene: Scene) -> None:
    scene.off = True
    request = asked(scene)
    with pytest.raises(Refused, match="not answered yet") as refused:
        read_question(scene.judge, scene.api.papers(request.hash), now_ms())
    assert refused.value.reason == "not_offered_yet"
    lines: list[str] = []
    waits = iter(range(3))

    def still(seconds: float) -> None:
        if next(waits, None) is None:
            scene.off = False
            scene.push_request(scene.row)
            granted(scene)

    Wait(scene.folder, scene.api, request.hash).until_granted(lines.append, still)


def test_what_the_rules_forbid_is_told_before_anybody_is_asked(scene: Scene) -> None:
    with pytest.raises(Refused, match="does not allow a terminal as ops"):
        asked(scene, TerminalScope("ops"))
    with pytest.raises(Refused, match="at most"):
        asked(scene, seconds=7200)
    assert not scene.rows
    assert scene.folder.kept_hashes() == []


def test_a_no_of_the_owner_ends_the_waiting_and_the_key(scene: Scene) -> None:
    request = asked(scene)
    policy, now = scene.desk.documents().policy, now_ms()
    stop = sign_stop(policy, request, "not during surgery", scene.desk.signer("approver"), now)
    scene.api.hand(request.hash, "stop", stop.raw)
    with pytest.raises(Refused, match="said no"):
        Wait(scene.folder, scene.api, request.hash).look()
    assert scene.folder.kept_hashes() == []


def test_what_the_machine_refuses_is_said_in_its_words(scene: Scene) -> None:
    request = asked(scene)
    scene.push_request(scene.row)  # it restarted, and offers anew
    first = scene.row.papers["offer"]
    scene.push_request(scene.row)
    scene.row.papers["offer"] = first
    granted(scene)
    with pytest.raises(Refused, match=r"pump-7 refused: .*another offer"):
        Wait(scene.folder, scene.api, request.hash).look()
    assert scene.folder.kept_hashes() == []


def test_a_grant_only_narrows(scene: Scene) -> None:
    asked(scene)
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    with pytest.raises(Refused, match="not asked for"):
        prepare_grant(question, Answer(scopes=(RootScope(),)), now_ms())
    with pytest.raises(Refused, match="only be shorter"):
        prepare_grant(question, Answer(seconds=601), now_ms())


def test_root_takes_two_people_and_is_watched(scene: Scene) -> None:
    asked(scene, RootScope())
    documents = scene.desk.documents()
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    assert (question.people, question.must_watch) == (2, True)
    prepared = prepare_grant(question, Answer(), now_ms())
    assert prepared.terms.watched
    raw = sign_grant(prepared, [scene.desk.signer("approver")])
    with pytest.raises(Untrusted, match="Expected 2"):
        verify_own_grant(raw, prepared)
    opened = open_draft(make_draft(documents, question, raw), documents.owner, now_ms())
    assert opened.prepared.words == prepared.words
    both = open_draft(cosign(opened, scene.second), documents.owner, now_ms())
    assert verify_own_grant(both.draft.signed, both.prepared).people == ("Ada", "Bo")
    scene.api.hand(scene.row.id, "grant", both.draft.signed)
    assert scene.row.state == "open"


def test_a_draft_that_was_changed_is_not_signed(scene: Scene) -> None:
    asked(scene, RootScope())
    documents = scene.desk.documents()
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    prepared = prepare_grant(question, Answer(), now_ms())
    raw = sign_grant(prepared, [scene.desk.signer("approver")])
    draft = json.loads(make_draft(documents, question, raw))
    other = scene.rows[scene.row.id]
    asked(scene, TERMINAL)
    swapped = {**draft, "offer": json.loads(json.dumps(draft["offer"]))[:-4] + "AAAA"}
    for bad in (
        swapped,
        {**draft, "request": draft["offer"]},
        {**draft, "format": "x"},
        {**draft, "policies": draft["policies"][:1]},
        {**draft, "entry_index": 5},
    ):
        with pytest.raises((Untrusted, Malformed, Refused)):
            open_draft(json.dumps(bad).encode(), documents.owner, now_ms())
    with pytest.raises(Untrusted):
        open_draft(json.dumps(draft).encode(), "0" * 64, now_ms())
    assert other.id != scene.row.id


def test_who_asks_does_not_approve(scene: Scene) -> None:
    asked(scene)
    question = read_question(scene.judge, scene.api.papers(scene.row.id), now_ms())
    with pytest.raises(Refused, match="let this key approve"):
        check_may_approve(question, scene.technician.public.key_id)
    own = replace(question, request=replace(question.request, person="Ada"))
    with pytest.raises(Refused, match="somebody else has to say yes"):
        check_may_approve(own, scene.desk.signer("approver").public.key_id)


def test_a_recording_is_read_watched_replayed_and_verified(scene: Scene) -> None:
    asked(scene)
    grant = granted(scene)
    row = scene.row
    scene.record(row, b'[0.1,"r","80x24"]', b'[0.2,"o","$ "]')
    papers = scene.api.papers(row.id)
    case = scene.judge.read_case(papers)
    private = recording_key(scene.desk.signer("recording"))
    reader = RecordingReader(subject_of(case), private)
    seen: list[Event] = []
    steps: Iterator[Callable[[], None]] = iter([
        lambda: scene.record(row, b'[1.5,"i","date\\r"]', CLIPBOARD),
        lambda: scene.record(row, b'[9.0,"m","terminal closed"]'),
        lambda: scene.finish(row),
    ])  # fmt: skip

    def still(seconds: float) -> None:
        if (step := next(steps, None)) is not None:
            step()

    with Beats(scene.api, case, scene.desk.signer("approver"), scene.desk._clock):
        follow(scene.api, grant.hash, reader, seen.extend, lambda: False, still)
    assert row.beats
    assert [event.code for event in seen] == ["r", "o", "i", "o", "m"]
    case = scene.judge.read_case(scene.api.papers(row.id))
    assert compare_receipt(reader, case.receipt)[0] == "whole"
    shown = bytearray()
    pauses: list[float] = []
    play(seen, shown.extend, 2.0, pauses.append)
    assert b"$ Thu" in shown
    assert b"]52" not in shown
    assert pauses == pytest.approx([0.05, 0.05, 0.65, 0.05, 1.0])
    cast = bytearray()
    assert write_cast(seen, 1_795_000_000_000, cast.extend) == 5
    head = json.loads(bytes(cast).split(b"\n")[0])
    assert (head["version"], head["width"], head["height"]) == (2, 80, 24)
    assert b"]52" not in cast
    findings = Findings()
    verified = verify_papers(scene.judge, scene.api.papers(row.id), findings)
    assert verified is not None
    verify_recording(verified, reader, findings)
    report = findings.report()
    assert report.whole
    assert {f.id for f in report.proven} >= {"request", "offer", "grant", "receipt",
                                             "recording_whole"}  # fmt: skip


def test_a_recording_that_lacks_its_end_is_not_whole(scene: Scene) -> None:
    asked(scene)
    granted(scene)
    row = scene.row
    scene.record(row, b'[0.2,"o","$ "]')
    before = row.recording
    scene.record(row, b'[0.3,"o","x"]')
    scene.finish(row)
    case = scene.judge.read_case(scene.api.papers(row.id))
    private = recording_key(scene.desk.signer("recording"))
    short = RecordingReader(subject_of(case), private)
    short.feed(before)
    assert compare_receipt(short, case.receipt)[0] == "short"
    more = RecordingReader(subject_of(case), private)
    scene.record(row, b'[0.4,"o","after its end"]')
    more.feed(row.recording)
    assert compare_receipt(more, case.receipt)[0] == "false"


@pytest.mark.parametrize(
    ("text", "again"),
    [
        ("terminal:app", "terminal:app"),
        ("root", "root"),
        ("tcp:8080/http", "tcp:8080/http"),
        ("tcp:8080", "tcp:8080/raw"),
        ("logs:nginx.service", "logs:nginx.service"),
        ("logs", "logs:*"),
        ("files:/srv/app:read", "files:/srv/app:read:104857600"),
        ("files:/srv/app:write:1000", "files:/srv/app:write:1000"),
    ],
)
def test_scopes_as_they_are_typed(text: str, again: str) -> None:
    assert write_scope(parse_scope(text)) == again


@pytest.mark.parametrize(
    "text", ["", "terminal", "terminal:root", "root:x", "tcp:x", "tcp:0", "tcp:80/udp",
             "files:srv", "files:/a:append", "files:/a:read:1:2", "shell"]
)  # fmt: skip
def test_what_is_no_scope(text: str) -> None:
    with pytest.raises(Malformed, match="Expected a scope as"):
        parse_scope(text)


def test_lengths() -> None:
    assert [parse_length(t) for t in ("30m", "2h", "90s", "5")] == [1800, 7200, 90, 300]
    for bad in ("", "0m", "1d", "-5", "99999999"):
        with pytest.raises(Malformed):
            parse_length(bad)


def test_a_folder_that_others_can_read_is_refused(scene: Scene, tmp_path: Path) -> None:
    scene.folder.path.chmod(0o755)
    with pytest.raises(Refused, match="chmod 700"):
        RequesterFolder.open(scene.folder.path)
    with pytest.raises(Refused, match="requester init"):
        RequesterFolder.open(tmp_path / "none")
    with pytest.raises(Refused):
        scene.folder.signer(b"not " + PASSPHRASE)
