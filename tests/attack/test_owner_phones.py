"""Attacks on the door for phones: who has no phone's secret, or asks for what no phone may do.

The application is the real one, over a scene in which the machine judges by `trust`.
"""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import asyncio
import json
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    PASSPHRASE,
    made_once,
    one_server,
)
from tests.unit.keyholder.passkey_hand import ORIGIN as LOCAL_ORIGIN
from tests.unit.keyholder.passkey_hand import Hand
from tests.unit.keyholder.phone_doors import (  # noqa: F401
    Doors,
    both,
    doors,
    reason,
    scene,
)
from tests.unit.keyholder.phone_world import NAME, ORIGIN, enrol, make_hand
from tests.unit.keyholder.test_access_console import SECRET, get, post
from tests.unit.keyholder.test_access_flow import asked

from fleetward.keyholder.console.phone_keeper import MAX_OFFERS
from fleetward.keyholder.console.phone_log import read_log
from fleetward.keyholder.console.phones import MAX_PHONES, PHONE_DAYS, Phones
from fleetward.keyholder.console.rights import API, PHONE_RIGHTS, Right
from fleetward.trust.access import RootScope
from fleetward.trust.canonical import to_base64url
from fleetward.trust.envelope import read_envelope
from fleetward.trust.passkey import challenge_of

Page = TestClient[Litestar]


def routes_of(app: Litestar) -> set[tuple[str, str]]:
    return {
        (method, route.path_format)
        for route in app.routes
        if route.path_format.startswith(API)
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }


# --- one table


def test_every_route_has_a_row_and_every_row_a_route(doors: Doors) -> None:
    assert routes_of(doors.phone.app) == set(PHONE_RIGHTS)
    assert routes_of(doors.local.app) < set(PHONE_RIGHTS)


def test_what_no_phone_may_is_refused_to_a_phone(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    asked(scene)
    before = scene.desk.documents()
    tried = [route for route, right in PHONE_RIGHTS.items() if right is Right.NEVER]
    assert len(tried) > 15
    for method, path in tried:
        address = path.replace("{request_id}", scene.row.id)
        answer = doors.phone.request(method, address, json={} if method == "POST" else None)
        assert reason(answer) == "403 not_by_phone", path
    shown = post(doors.local, "/access/prepare", {"id": scene.row.id})
    by_key = {"grant": shown["grant"]}
    assert reason(doors.phone.post(f"{API}/access/approve", json=by_key)) == "403 not_by_phone"
    assert "grant" not in scene.row.papers
    assert not scene.row.stops
    assert scene.desk.documents() == before


def test_nothing_but_adding_is_answered_without_a_phones_secret(doors: Doors) -> None:
    enrol(doors.phone, doors.code())
    good = doors.phone.headers["authorization"]
    for given in ("", "Bearer ", f"Bearer {SECRET}", good.lower(), good[:-1], good[7:] + "x"):
        for (method, path), right in PHONE_RIGHTS.items():
            if right is Right.OPEN:
                continue
            answer = doors.phone.request(
                method, path, headers={"authorization": given}, json=None if method == "GET" else {}
            )
            assert reason(answer) == "401 not_signed_in", (given, path)
    # Nor does a phone's secret open the door of this computer.
    answer = doors.local.get(f"{API}/state", headers={"authorization": good})
    assert reason(answer) == "401 not_signed_in"


# --- the code


def test_a_code_that_is_guessed_a_hundred_times_is_not_found(doors: Doors) -> None:
    code = doors.code()
    found = {
        reason(doors.phone.post(f"{API}/phone/enrol", json={"code": f"AAAA-{n:04}", "name": "x"}))
        for n in range(100)
    }
    assert found == {"403 code_not_valid", "429 rate_limited"}
    # While one has to wait not even the right one is compared, and it dies of ten wrong ones.
    asked_now = {"code": code, "name": "x"}
    assert reason(doors.phone.post(f"{API}/phone/enrol", json=asked_now)) == "429 rate_limited"
    wrong = 1
    while wrong < 10:
        doors.clock.ahead_ms += 61_000
        answer = doors.phone.post(f"{API}/phone/enrol", json={"code": "BBBB-BBBB", "name": "x"})
        wrong += answer.status_code == 403
    doors.clock.ahead_ms += 61_000
    assert reason(doors.phone.post(f"{API}/phone/enrol", json=asked_now)) == "403 code_not_valid"
    assert Phones(doors.keeper.desk.folder).read() == []
    told = [line["what"] for line in read_log(doors.keeper.desk.folder)]
    assert set(told) == {"wrong code"}


def test_a_code_serves_once_for_ten_minutes_and_only_the_newest(doors: Doors) -> None:
    old, code = doors.code(), doors.code()
    assert reason(doors.phone.post(f"{API}/phone/enrol", json={"code": old, "name": "a"})) == (
        "403 code_not_valid"
    )
    doors.clock.ahead_ms += 2_000
    enrol(doors.phone, code.lower().replace("-", " "), "a")
    doors.clock.ahead_ms += 61_000
    assert reason(doors.phone.post(f"{API}/phone/enrol", json={"code": code, "name": "b"})) == (
        "403 code_not_valid"
    )
    late = doors.code()
    doors.clock.ahead_ms += 600_000
    assert reason(doors.phone.post(f"{API}/phone/enrol", json={"code": late, "name": "c"})) == (
        "403 code_not_valid"
    )
    assert len(Phones(doors.keeper.desk.folder).read()) == 1


def test_no_code_at_all_lets_nobody_in(doors: Doors) -> None:
    for code in ("", "-", " "):
        answer = doors.phone.post(f"{API}/phone/enrol", json={"code": code, "name": "x"})
        assert answer.status_code in (403, 429)
    assert Phones(doors.keeper.desk.folder).read() == []


def test_there_are_five_phones_at_most_and_no_two_of_a_name(doors: Doors) -> None:
    for number in range(MAX_PHONES):
        enrol(doors.phone, doors.code(), f"phone {number}")
    body = {"code": doors.code(), "name": "one more"}
    assert reason(doors.phone.post(f"{API}/phone/enrol", json=body)) == "409 too_many_phones"
    post(doors.local, "/phones/remove", {"id": "phone 3"})
    body = {"code": doors.code(), "name": "phone 1"}
    assert reason(doors.phone.post(f"{API}/phone/enrol", json=body)) == "409 known_name"
    # No phone was added by that code: it still serves one, and then none.
    assert doors.phone.post(f"{API}/phone/enrol", json={**body, "name": "n"}).status_code == 200
    post(doors.local, "/phones/remove", {"id": "n"})
    again = doors.phone.post(f"{API}/phone/enrol", json={**body, "name": "m"})
    assert reason(again) == "403 code_not_valid"


# --- a phone that is removed, or whose time is over


def test_a_removed_phone_is_out_at_once(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    hand = doors.ada
    asked(scene)
    shown = post(doors.phone, "/access/prepare", {"id": scene.row.id})
    # By another program, such as the command line.
    Phones(doors.keeper.desk.folder).remove("Ada's phone")
    assert reason(doors.phone.get(f"{API}/access")) == "401 not_signed_in"
    body = {"grant": shown["grant"], "passkey": hand.yes(shown["passkey"]["challenge"])}
    answer = doors.phone.post(f"{API}/access/passkey/approve", json=body)
    assert reason(answer) == "401 not_signed_in"
    assert "grant" not in scene.row.papers


def test_the_stream_of_a_removed_phone_ends(doors: Doors) -> None:
    enrol(doors.phone, doors.code())
    caller = doors.keeper.phones.let_in(doors.phone.headers["authorization"][7:])

    async def listen() -> list[bytes]:
        keeper = doors.keeper
        frames = keeper.changes.frames(caller.phone, lambda: keeper.phones.is_there(caller))
        heard = [await anext(frames)]
        keeper.phones.remove(caller.phone)
        return heard + [frame async for frame in frames]

    assert asyncio.run(listen()) == [b'event: hello\ndata: {"topic":"hello"}\n\n']


def test_a_phone_ends_by_itself_after_ninety_days(doors: Doors) -> None:
    enrol(doors.phone, doors.code())
    assert doors.phone.get(f"{API}/phone").status_code == 200
    doors.clock.ahead_ms += PHONE_DAYS * 86_400_000
    assert reason(doors.phone.get(f"{API}/phone")) == "401 not_signed_in"


def test_a_list_of_phones_that_was_spoiled_lets_nobody_in(doors: Doors) -> None:
    enrol(doors.phone, doors.code())
    path = doors.keeper.desk.folder.path / "phones.json"
    for spoiled in (b"", b"{}", path.read_bytes()[:-9], b"\xff", b'{"phones":[{"id":"x"}]}'):
        path.write_bytes(spoiled)
        assert reason(doors.phone.get(f"{API}/phone")) == "400 bad_phones_file"


# --- yes, no and stop by a passkey


def test_a_phone_says_yes_no_and_stop_and_the_log_names_it(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    hand = doors.ada
    asked(scene)
    shown = post(doors.phone, "/access/prepare", {"id": scene.row.id})
    assert (shown["passkey"]["rp_id"], shown["own_key"]) == (NAME, False)
    yes = hand.yes(shown["passkey"]["challenge"])
    post(doors.phone, "/access/passkey/approve", {"grant": shown["grant"], "passkey": yes})
    assert scene.grants[scene.row.id].people == ("Ada",)
    end_by(doors.phone, hand, scene.row.id, "stop")
    assert scene.row.state == "ended"
    asked(scene)
    end_by(doors.phone, hand, scene.row.id, "deny")
    assert scene.row.state == "stopped"
    (stop,) = scene.row.stops
    assert read_envelope(stop).signatures[0].suite == "webauthn"
    log = read_log(scene.desk.folder)
    assert [(line["what"], line["name"]) for line in log] == [
        (what, "Ada's phone") for what in ("added", "said yes", "stopped", "said no")
    ]
    assert "Bearer" not in json.dumps(log)


def end_by(page: Page, hand: Hand, id_: str, what: str, **lies: Any) -> Any:
    ready = post(page, "/access/passkey/ending", {"id": id_, "what": what, "reason": "enough"})
    body = {"stop": ready["stop"], "passkey": hand.yes(ready["passkey"]["challenge"], **lies)}
    answer = page.post(f"{API}/access/passkey/end", json=body)
    return answer.json() if answer.status_code == 200 else reason(answer)


LIES: list[tuple[dict[str, Any], str]] = [
    ({"origin": f"https://{NAME}"}, "403 passkey_origin"),
    ({"origin": f"http://{NAME}:8443"}, "403 passkey_origin"),
    ({"origin": LOCAL_ORIGIN}, "403 passkey_origin"),
    ({"rp_id": "ward3.example"}, "403 passkey_rp_id"),
    ({"flags": 1}, "403 passkey_unverified"),
    ({"key": make_hand().key.key}, "409 unknown_passkey"),
]


def test_a_stop_or_a_no_from_elsewhere_is_not_handed_over(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    hand = doors.ada
    asked(scene)
    for lies, why in LIES:
        assert end_by(doors.phone, hand, scene.row.id, "deny", **lies) == why
    ready = post(doors.phone, "/access/passkey/ending", {"id": scene.row.id, "what": "deny"})
    other = hand.yes(to_base64url(challenge_of(b"another document")))
    answer = doors.phone.post(
        f"{API}/access/passkey/end", json={"stop": ready["stop"], "passkey": other}
    )
    assert reason(answer) == "403 passkey_challenge"
    never = {"stop": "1" * 64, "passkey": hand.yes(ready["passkey"]["challenge"])}
    assert reason(doors.phone.post(f"{API}/access/passkey/end", json=never)) == "409 not_prepared"
    assert (scene.row.stops, scene.row.state) == ([], "offered")
    assert [line["what"] for line in read_log(scene.desk.folder)] == ["added"]


def test_a_yes_to_a_grant_is_no_stop_and_a_stop_no_yes(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    hand = doors.ada
    asked(scene)
    shown = post(doors.phone, "/access/prepare", {"id": scene.row.id})
    ready = post(doors.phone, "/access/passkey/ending", {"id": scene.row.id, "what": "deny"})
    yes, no = (hand.yes(each["passkey"]["challenge"]) for each in (shown, ready))
    answer = doors.phone.post(
        f"{API}/access/passkey/approve", json={"grant": shown["grant"], "passkey": no}
    )
    assert reason(answer) == "403 passkey_challenge"
    answer = doors.phone.post(
        f"{API}/access/passkey/end", json={"stop": ready["stop"], "passkey": yes}
    )
    assert reason(answer) == "403 passkey_challenge"
    assert ("grant" in scene.row.papers, scene.row.stops) == (False, [])


def test_a_passkey_of_this_computer_says_nothing_at_the_phones_door(
    doors: Doors, scene: Scene
) -> None:
    enrol(doors.phone, doors.code())
    here = Hand()
    begin = {"person": "Ada", "passphrase": PASSPHRASE.decode()}
    begun = post(doors.local, "/passkeys/begin", begin)
    post(doors.local, "/passkeys/add", {**here.make(begun), "passphrase": PASSPHRASE.decode()})
    scene.publish()
    asked(scene)
    assert end_by(doors.phone, here, scene.row.id, "deny") == "403 passkey_origin"
    doors.keeper.phones.serve_at("other.ward3.example", "https://other.ward3.example:8443")
    try:
        body = {"id": scene.row.id, "what": "deny"}
        answer = doors.phone.post(f"{API}/access/passkey/ending", json=body)
        assert reason(answer) == "409 no_passkey_here"
        answer = doors.phone.post(f"{API}/access/prepare", json={"id": scene.row.id})
        assert reason(answer) == "409 no_passkey_here"
    finally:
        doors.keeper.phones.serve_at(NAME, ORIGIN)
    # At this computer it says no, without a passphrase.
    assert end_by(doors.local, here, scene.row.id, "deny")["words"].startswith("You said no.")
    assert scene.row.state == "stopped"


def test_two_people_say_yes_each_on_his_own_phone(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code(), "Bo's phone")
    bo_secret = doors.phone.headers["authorization"]
    enrol(doors.phone, doors.code(), "Ada's phone")
    asked(scene, RootScope())
    first = post(doors.phone, "/access/prepare", {"id": scene.row.id})
    body = {"grant": first["grant"], "passkey": doors.ada.yes(first["passkey"]["challenge"])}
    answer = doors.phone.post(f"{API}/access/passkey/approve", json=body)
    assert reason(answer) == "409 more_signatures_needed"
    doors.phone.headers["authorization"] = bo_secret
    narrower = post(doors.phone, "/access/prepare", {"id": scene.row.id, "seconds": 60})
    assert narrower["grant"] != first["grant"]
    second = post(doors.phone, "/access/prepare", {"id": scene.row.id})
    assert (second["grant"], second["six_words"], second["said"]) == (
        first["grant"], first["six_words"], ["Ada"],
    )  # fmt: skip
    body = {"grant": second["grant"], "passkey": doors.bo.yes(second["passkey"]["challenge"])}
    post(doors.phone, "/access/passkey/approve", body)
    assert scene.grants[scene.row.id].people == ("Ada", "Bo")


# --- a passkey that a phone offers


def test_a_phone_names_no_passkey_itself(doors: Doors, scene: Scene) -> None:
    enrol(doors.phone, doors.code())
    before = scene.desk.documents().policy
    hand = make_hand()
    begun = post(doors.phone, "/phone/passkey/begin", {"person": "Ada"})
    words = post(doors.phone, "/phone/passkey/offer", hand.make(begun))["words"]
    assert scene.desk.documents().policy == before
    (row,) = get(doors.local, "/phones")["items"]
    wish = {"id": row["id"], "words": words, "person": "Ada", "passphrase": "guess"}
    assert doors.local.post(f"{API}/phones/passkey", json=wish).status_code == 409
    assert scene.desk.documents().policy == before
    # Another one is offered after the owner has compared the words of the first.
    begun = post(doors.phone, "/phone/passkey/begin", {"person": "Ada"})
    post(doors.phone, "/phone/passkey/offer", make_hand().make(begun))
    good = {**wish, "passphrase": PASSPHRASE.decode()}
    assert reason(doors.local.post(f"{API}/phones/passkey", json=good)) == "409 words_differ"
    assert scene.desk.documents().policy == before
    post(doors.local, "/phones/remove", {"id": row["id"]})
    assert reason(doors.local.post(f"{API}/phones/passkey", json=good)) == "409 no_offer"


def test_a_phone_fills_no_log_by_offering_nor_does_who_knocks(doors: Doors) -> None:
    enrol(doors.phone, doors.code())
    told: set[str] = set()
    for _ in range(MAX_OFFERS + 2):
        begun = post(doors.phone, "/phone/passkey/begin", {"person": "Ada"})
        answer = doors.phone.post(f"{API}/phone/passkey/offer", json=make_hand().make(begun))
        told.add("200" if answer.status_code == 200 else reason(answer))
    assert told == {"200", "409 too_many_offers"}
    for _ in range(5):  # no code is in use now
        doors.clock.ahead_ms += 61_000
        body = {"code": "AAAA", "name": "x"}
        assert doors.phone.post(f"{API}/phone/enrol", json=body).status_code == 403
    assert len(read_log(doors.keeper.desk.folder)) == MAX_OFFERS + 1


def test_a_passkey_made_elsewhere_or_by_another_phone_is_not_offered(doors: Doors) -> None:
    enrol(doors.phone, doors.code(), "one")
    hand = make_hand()
    for lies, why in LIES[:5]:
        begun = post(doors.phone, "/phone/passkey/begin", {"person": "Ada"})
        answer = doors.phone.post(f"{API}/phone/passkey/offer", json=hand.make(begun, **lies))
        assert reason(answer) == why
    begun = post(doors.phone, "/phone/passkey/begin", {"person": "Ada"})
    made = hand.make(begun)
    enrol(doors.phone, doors.code(), "two")
    answer = doors.phone.post(f"{API}/phone/passkey/offer", json=made)
    assert reason(answer) == "409 not_begun"
