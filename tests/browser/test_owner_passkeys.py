"""Passkeys on the owner's console: a real Chromium and an authenticator in it, the real program.

The machine behind it judges by `trust`, as a real one does.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.console_chromium import NARROW, WIDE, Walk, chromium, missing, walk
from tests.unit.keyholder.access_scene import Scene
from tests.unit.keyholder.access_stage import served
from tests.unit.keyholder.owner_fixtures import PASSPHRASE
from tests.unit.keyholder.test_access_flow import asked

from fleetward.trust.envelope import read_envelope

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(240),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

ALGORITHMS = ("pubKeyCredParams",)
"""Chromium wants RSA named too; a policy knows P-256 alone."""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Scene, str]]:
    """The owner's console over requests and sessions of every kind."""
    with served(tmp_path_factory.mktemp("stage")) as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A Chromium for this file."""
    with chromium() as running:
        yield running


@dataclass
class Laptop:
    """An authenticator as a laptop has one. It is there while it is held: looking at the page by
    axe in between would take it away."""

    kept: list[dict[str, Any]] = field(default_factory=list)

    @contextmanager
    def held(self, walker: Walk, *, verified: bool = True) -> Iterator[None]:
        """Put it into the page's browser, with the passkeys that it has; `verified` by a finger."""
        session = walker.page.context.new_cdp_session(walker.page)
        session.send("WebAuthn.enable")
        options = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": verified,
            "automaticPresenceSimulation": True,
        }
        made = session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
        own = {"authenticatorId": made["authenticatorId"]}
        for credential in self.kept:
            session.send("WebAuthn.addCredential", {**own, "credential": credential})
        yield
        self.kept = session.send("WebAuthn.getCredentials", own)["credentials"]
        session.detach()


def judge(walker: Walk) -> None:
    """Nothing to scroll sideways, nothing that axe or the browser complains about."""
    assert walker.width_too_much() == 0
    assert walker.accessibility() == []
    assert walker.complaints == []


def look(walker: Walk, name: str) -> None:
    """Keep a picture, where somebody wants to see it."""
    if folder := os.environ.get("PICTURES"):
        walker.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def begin(walker: Walk, address: str, path: str) -> None:
    """Open the console, then one of its pages."""
    walker.open(address)
    walker.open(address.partition("#")[0] + path)


def add_passkey(walker: Walk, laptop: Laptop, address: str, person: str) -> None:
    """Add a passkey for somebody, as he does it."""
    page = walker.page
    begin(walker, address, "policy")
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_label("Whose is it").fill(person)
    page.get_by_label("Passphrase of the owner’s folder").fill(PASSPHRASE.decode())
    judge(walker)
    look(walker, f"add-{person}")
    with laptop.held(walker):
        page.get_by_role("button", name="Make and sign").click()
        expect(page.get_by_text("is signed.")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Done").click()
    expect(page.get_by_role("button", name=f"Remove the passkey of {person}")).to_be_visible()


def approve(walker: Walk, scene: Scene, address: str) -> Any:
    """Ask for a session, and come to what would be signed."""
    scene.publish()
    asked(scene)
    page = walker.page
    begin(walker, address, f"requests/{scene.row.id}")
    page.get_by_role("button", name="See what you would sign").click()
    expect(page.locator(".six-words li")).to_have_count(6)
    return page.get_by_role("button", name="Sign and let in by passkey")


def test_a_passkey_is_added_and_lets_one_in(stage: tuple[Scene, str], browser: Browser) -> None:
    scene, address = stage
    laptop = Laptop()
    with walk(browser, WIDE, expected=ALGORITHMS) as walker:
        add_passkey(walker, laptop, address, "Ada")
        page = walker.page
        expect(page.get_by_text("says yes on this page")).to_be_visible()
        judge(walker)
        sign = approve(walker, scene, address)
        words = page.locator(".six-words li").all_inner_texts()
        judge(walker)
        look(walker, "sign-wide")
        with laptop.held(walker):
            sign.click()
            expect(page.get_by_text("Granted.")).to_be_visible()
        grant = scene.grants[scene.row.id]
        assert grant.words.split() == [word.lstrip("123456").strip() for word in words]
        assert grant.people == ("Ada",)
        (signature,) = read_envelope(scene.row.papers["grant"]).signatures
        assert signature.suite == "webauthn"
        judge(walker)
        # It stops it, too, and nobody is asked for a passphrase.
        page.get_by_role("link", name="See the session").click()
        page.get_by_role("button", name="Stop…").click()
        stop = page.get_by_role("button", name="Stop by passkey")
        expect(stop).to_be_visible()
        look(walker, "stop-wide")
        with laptop.held(walker):
            stop.click()
            expect(page.get_by_text("stopped (Ada)")).to_be_visible()
        (stopped,) = scene.row.stops
        assert read_envelope(stopped).signatures[0].suite == "webauthn"


def test_who_is_not_verified_signs_nothing(stage: tuple[Scene, str], browser: Browser) -> None:
    scene, address = stage
    laptop = Laptop()
    with walk(browser, NARROW, "dark", expected=ALGORITHMS) as walker:
        add_passkey(walker, laptop, address, "Bo")
        sign = approve(walker, scene, address)
        judge(walker)
        look(walker, "sign-narrow-dark")
        with laptop.held(walker, verified=False):
            sign.click()
            expect(walker.page.get_by_text("No passkey was used")).to_be_visible(timeout=90_000)
        assert "grant" not in scene.row.papers
        look(walker, "unverified-narrow-dark")
        judge(walker)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_the_policy_page_in_every_look(
    stage: tuple[Scene, str], browser: Browser, size: dict[str, int], scheme: str
) -> None:
    _, address = stage
    with walk(browser, size, scheme) as walker:  # type: ignore[arg-type]  # a size of Playwright's
        begin(walker, address, "policy")
        judge(walker)
        look(walker, f"policy-{size['width']}-{scheme}")
        page = walker.page
        page.get_by_role("button", name="Remove the passkey of Ada").first.click()
        page.get_by_label("Passphrase of the owner’s folder").fill("wrong")
        judge(walker)
        walker.expected = ("409",)
        page.get_by_role("button", name="Remove and sign").click()
        expect(page.locator(".passkey-form .note")).to_contain_text("passphrase")
        judge(walker)
        look(walker, f"remove-{size['width']}-{scheme}")
