"""The owner's console on a phone: a real Chromium, 360 pixels, HTTPS under a name, real program.

The authenticator is Chromium's own; the machine behind it judges by `trust`, as a real one does.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import NARROW, WIDE, chromium, missing, walk
from tests.browser.test_owner_passkeys import ALGORITHMS, Laptop, begin, judge, look
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.access_stage import opened
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.phone_world import NAME, wish_phones
from tests.unit.keyholder.test_access_flow import asked

from fleetward.keyholder.console.main import Opened
from fleetward.keyholder.console.shunned import spki_of
from fleetward.runtime.x509 import read_certificates
from fleetward.trust.access import LogsScope, TerminalScope
from fleetward.trust.envelope import read_envelope

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]
Stage = tuple[Scene, Opened, Browser]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The console with a door for phones, and a browser that knows the name and the certificate."""
    folder = tmp_path_factory.mktemp("phones")
    wish = wish_phones(folder / "tls")
    leaf = read_certificates(wish.files.certificate.read_bytes())[0]
    pin = base64.b64encode(hashlib.sha256(spki_of(leaf)).digest()).decode()
    flags = (
        f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
        f"--ignore-certificate-errors-spki-list={pin}",
    )
    with opened(folder, wish) as (scene, where), chromium(*flags) as browser:
        yield scene, where, browser


def test_a_phone_is_added_makes_a_passkey_and_answers(stage: Stage, tmp_path: Path) -> None:
    scene, where, browser = stage
    phone_key = Laptop()
    with (
        walk(browser, NARROW, expected=ALGORITHMS) as phone,
        walk(browser, WIDE, expected=ALGORITHMS) as desk,
    ):
        # 1. Added by the code in the address, as its camera finds it.
        phone.open(f"{where.phones}/#code={where.code}")
        page = phone.page
        page.get_by_label("A name for this phone").fill("Ada’s phone")
        judge(phone)
        look(phone, "phone-enrol")
        page.get_by_role("button", name="Add this phone").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("asks to enter")
        phone.settle()
        judge(phone)
        look(phone, "phone-no-passkey")
        # 2. It makes a passkey; the owner names it at his computer, by six words.
        page.get_by_role("navigation", name="Pages").get_by_text("This phone").click()
        page.get_by_role("button", name="Make a passkey on this phone").click()
        page.get_by_label("Whose is it").fill("Ada")
        judge(phone)
        with phone_key.held(phone):
            page.get_by_role("button", name="Make it").click()
            expect(page.locator(".six-words li")).to_have_count(6)
        judge(phone)
        look(phone, "phone-offered")
        words = page.locator(".six-words li").all_inner_texts()
        begin(desk, where.address, "phones")
        assert desk.page.locator(".six-words li").all_inner_texts() == words
        judge(desk)
        look(desk, "phones-wide")
        desk.page.get_by_label("Passphrase of the owner’s folder").fill(PASSPHRASE.decode())
        desk.page.get_by_role("button", name="The words are the same: name it").click()
        expect(desk.page.get_by_role("button", name="The words are the same")).to_have_count(0)
        desk.page.get_by_role("button", name="Show a code").click()
        expect(desk.page.locator(".phones-typed")).to_be_visible()
        judge(desk)
        look(desk, "phones-code")
        scene.publish()
        for row in scene.rows.values():
            row.state = "stopped" if row.state in ("asked", "offered") else row.state
        # 3. It says yes with the thumb.
        asked(scene, TerminalScope("app"), LogsScope("nginx.service"))
        row = scene.row
        page.get_by_role("navigation", name="Pages").get_by_text("Requests").click()
        expect(page.locator(".six-words li")).to_have_count(6)
        phone.settle()
        judge(phone)
        look(phone, "phone-ask")
        words = page.locator(".six-words li").all_inner_texts()
        let_in = page.get_by_role("button", name="Let in")
        box = let_in.bounding_box()
        assert box and box["y"] + box["height"] <= NARROW["height"]
        assert box["height"] >= 44
        with phone_key.held(phone):
            let_in.click()
            expect(page.get_by_text("Granted.")).to_be_visible()
        grant = scene.grants[row.id]
        assert grant.words.split() == [word.lstrip("123456").strip() for word in words]
        (signature,) = read_envelope(row.papers["grant"]).signatures
        assert (signature.suite, grant.people) == ("webauthn", ("Ada",))
        judge(phone)
        # 4. It stops.
        page.get_by_role("navigation", name="Pages").get_by_text("Sessions").click()
        phone.settle()
        judge(phone)
        look(phone, "phone-sessions")
        with phone_key.held(phone):
            page.get_by_role("button", name="Stop: Tom of Makers Ltd at pump-7").first.click()
            expect(page.get_by_text("Stopped. pump-7 obeys")).to_be_visible()
        stops = [read_envelope(stop) for each in scene.rows.values() for stop in each.stops]
        assert [stop.signatures[0].suite for stop in stops] == ["webauthn"]
        # 5. It says no.
        asked(scene)
        row = scene.row
        page.get_by_role("navigation", name="Pages").get_by_text("Requests").click()
        expect(page.get_by_role("button", name="Say no")).to_be_enabled()
        page.get_by_text("Say why, if you say no").click()
        page.get_by_label("Why you say no").fill("not during surgery")
        with phone_key.held(phone):
            page.get_by_role("button", name="Say no").click()
            expect(page.get_by_text("You said no.")).to_be_visible()
        assert row.state == "stopped"
        assert read_envelope(row.stops[0]).payload["reason"] == "not during surgery"
        judge(phone)
        # 6. Removed at the computer, it is out.
        begin(desk, where.address, "phones")
        desk.page.get_by_role("button", name="Remove Ada’s phone").click()
        desk.page.get_by_role("button", name="Remove Ada’s phone").click()
        expect(desk.page.get_by_text("No phone answers for you")).to_be_visible()
        phone.expected = ("401",)
        expect(page.get_by_role("heading", level=1)).to_have_text("Add this phone", timeout=20_000)
        assert desk.complaints == []
        assert not [c for c in phone.complaints if not re.search("401", c)]
