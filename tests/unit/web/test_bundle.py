"""The static bundle: its files, its page with a nonce, and nothing beside it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from litestar.testing import TestClient
from tests.unit.web.floor import HOST, make_app


@pytest.fixture
def built(tmp_path: Path) -> Path:
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text('<meta name="style-nonce" content="__STYLE_NONCE__">')
    (static / "assets" / "app-1a2b.js").write_text("export {}")
    (static / "favicon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    (static / "link.txt").symlink_to(tmp_path / "secret.txt")
    return static


def test_every_page_has_its_own_nonce(built: Path) -> None:
    with TestClient(make_app(built), base_url=f"http://{HOST}") as client:
        nonces = []
        for path in ("/", "/devices/abc", "/index.html"):
            page = client.get(path)
            assert page.status_code == 200
            found = re.search('content="([A-Za-z0-9_-]{20,})"', page.text)
            assert found is not None
            assert f"'nonce-{found[1]}'" in page.headers["content-security-policy"]
            assert page.headers["cache-control"] == "no-store"
            nonces.append(found[1])
    assert len(set(nonces)) == 3


def test_files_have_their_type_and_age(built: Path) -> None:
    with TestClient(make_app(built), base_url=f"http://{HOST}") as client:
        script = client.get("/assets/app-1a2b.js")
        icon = client.get("/favicon.svg")
    assert script.headers["content-type"].partition(";")[0] == "text/javascript"
    assert "immutable" in script.headers["cache-control"]
    assert icon.headers["content-type"].startswith("image/svg+xml")
    assert icon.headers["cache-control"] == "no-cache"


def test_a_version_in_an_address_is_a_page_and_a_missing_file_is_none(built: Path) -> None:
    with TestClient(make_app(built), base_url=f"http://{HOST}") as client:
        page = client.get("/updates/releases/kiosk/1.2")
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert client.get("/assets/index-gone.js").status_code == 404
        assert client.get("/favicon.ico").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/../secret.txt", "/assets/..%2f..%2fsecret.txt", "/%2e%2e/secret.txt", "/link.txt", "/a.map"],
)
def test_nothing_beside_the_bundle_is_served(built: Path, path: str) -> None:
    with TestClient(make_app(built), base_url=f"http://{HOST}") as client:
        answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["reason"] == "route_not_found"


def test_without_a_bundle_the_page_says_what_to_do(tmp_path: Path) -> None:
    with TestClient(make_app(tmp_path / "none"), base_url=f"http://{HOST}") as client:
        page = client.get("/")
    assert page.status_code == 503
    assert "make setup" in page.text
