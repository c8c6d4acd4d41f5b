"""What of a machine's page passes to a browser, and where it may send one: by a list, never by a
guess. Pure functions; the same is tried over real connections in `tests/attack`."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.keyholder.technician.hosts import MAX_LABEL, Hosts, read_host
from fleetward.keyholder.technician.locations import OwnPages
from fleetward.keyholder.technician.relay_heads import (
    Blocked,
    Page,
    check_request,
    to_browser,
    to_machine,
    values_of,
)
from fleetward.keyholder.technician.transfers import save_name, write_disposition
from fleetward.trust.errors import Refused, Untrusted

HERE = "http://page-a.localhost:7490"
OTHER = "http://page-b.localhost:7490"
PAGES = OwnPages({8080: HERE, 8081: OTHER}, 8080)
PAGE = Page(1, 8080, HERE, PAGES)
OWN_HOST = (b"host", b"page-a.localhost:7490")
NAVIGATION = [
    (b"sec-fetch-site", b"cross-site"),
    (b"sec-fetch-mode", b"navigate"),
    (b"sec-fetch-dest", b"document"),
]


@pytest.mark.parametrize(
    ("said", "followed"),
    [
        ("/login?next=/a#b", "/login?next=/a#b"),
        ("login", "login"),
        ("../up", "../up"),
        ("?page=2", "?page=2"),
        ("http://localhost:8080/login", f"{HERE}/login"),
        ("http://LOCALHOST:8080", f"{HERE}/"),
        ("http://127.0.0.1:8080?a=1", f"{HERE}/?a=1"),
        ("http://[::1]:8081/x", f"{OTHER}/x"),
        (f"{HERE}/x", f"{HERE}/x"),
    ],
)
def test_a_redirect_to_the_machine_itself_stays_here(said: str, followed: str) -> None:
    assert PAGES.judge(said) == followed


@pytest.mark.parametrize(
    "said",
    [
        "http://127.0.0.1:22/",
        "http://localhost/",
        "http://localhost:80808/",
        "http://owner.localhost:7480/",
        "http://technician.localhost:7490/",
        "http://2130706433:8080/",
        "http://0x7f.1:8080/",
        "http://127.1:8080/",
        "http://localhost.:8080/",
        "http://localhost:8080@evil.example/",
        "http://evil.example/",
        "https://localhost:8080/",
        "//localhost:8080/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "http:evil.example",
        "http:/evil.example",
        "hTTp:\n//evil.example",
        " http://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "view-source:http://x",
        "/" + "a" * 9000,
        "http://ⓛocalhost:8080/",
    ],
)
def test_no_other_redirect_is_followed(said: str) -> None:
    assert PAGES.judge(said) is None
    fields = to_browser(PAGE, [(b"location", said.encode())])
    assert isinstance(fields, Blocked)


@given(st.text(st.sampled_from("htp:/\\.@[]1270lo#?\t\n a8ex"), max_size=30))
def test_whatever_is_followed_ends_at_a_page_of_the_session(said: str) -> None:
    followed = PAGES.judge(said)
    if followed is None:
        return
    target = urlsplit(urljoin(f"{HERE}/some/where", followed))
    assert f"{target.scheme}://{target.netloc}" in (HERE, OTHER)


def test_a_machine_sees_a_request_of_its_own() -> None:
    sent = to_machine(
        PAGE,
        [
            (b"host", b"page-a.localhost:7490"),
            (b"origin", HERE.encode()),
            (b"referer", b"http://technician.localhost:7490/"),
            (b"cookie", b"sid=1"),
            (b"connection", b"keep-alive, X-Secret-Hop"),
            (b"x-secret-hop", b"1"),
            (b"te", b"trailers"),
            (b"transfer-encoding", b"gzip, chunked"),
        ],
        upgrade=False,
    )
    assert sent == [
        (b"host", b"localhost:8080"),
        (b"origin", b"http://localhost:8080"),
        (b"cookie", b"sid=1"),
        (b"transfer-encoding", b"chunked"),
        (b"connection", b"close"),
    ]


def test_an_upgrade_is_asked_for_as_one() -> None:
    asked = [(b"connection", b"Upgrade"), (b"upgrade", b"websocket"), (b"sec-websocket-key", b"k")]
    sent = to_machine(PAGE, asked, upgrade=True)
    assert sent[-2:] == [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]


def test_an_answer_is_kept_in_its_host() -> None:
    sent = to_browser(
        PAGE,
        [
            (b"set-cookie", b"sid=1; Path=/; DOMAIN = localhost; HttpOnly"),
            (b"set-cookie", b"b=2; domain"),
            (b"set-cookie", b"domain=3; domainx=4"),
            (b"access-control-allow-origin", b"*"),
            (b"service-worker-allowed", b"/"),
            (b"refresh", b"0; url=http://127.0.0.1:22"),
            (b"strict-transport-security", b"max-age=1"),
            (b"referrer-policy", b"unsafe-url"),
            (b"cross-origin-opener-policy", b"unsafe-none"),
            (
                b"content-security-policy",
                b"report-uri http://127.0.0.1:22; default-src *;report-to x",
            ),
            (b"content-security-policy-report-only", b"default-src 'none'; report-uri http://x"),
            (b"clear-site-data", b'"cookies"'),
            (b"www-authenticate", b"Negotiate"),
            (b"www-authenticate", b'Basic realm="pump"'),
            (b"location", b"http://localhost:8080/a"),
        ],
    )
    assert not isinstance(sent, Blocked)
    assert values_of(sent, b"set-cookie") == [
        b"sid=1; Path=/; HttpOnly", b"b=2", b"domain=3; domainx=4"
    ]  # fmt: skip
    for gone in (b"access-control-allow-origin", b"service-worker-allowed", b"refresh",
                 b"strict-transport-security", b"content-security-policy-report-only",
                 b"clear-site-data"):  # fmt: skip
        assert values_of(sent, gone) == []
    assert values_of(sent, b"referrer-policy") == [b"no-referrer"]
    assert values_of(sent, b"cross-origin-opener-policy") == [b"same-origin"]
    assert values_of(sent, b"www-authenticate") == [b'Basic realm="pump"']
    assert values_of(sent, b"location") == [HERE.encode() + b"/a"]
    policies = values_of(sent, b"content-security-policy")
    assert len(policies) == 2
    assert policies[0].strip(b"; ") == b"default-src *"
    assert b"form-action 'self'" in policies[1]


@pytest.mark.parametrize(
    "fields",
    [
        [(b"origin", b"http://evil.example")],
        [(b"origin", b"null")],
        [(b"origin", b"null"), (b"sec-fetch-site", b"cross-site")],
        [(b"origin", OTHER.encode())],
        [(b"sec-fetch-site", b"cross-site"), (b"sec-fetch-mode", b"no-cors")],
        [(b"sec-fetch-site", b"same-site"), (b"sec-fetch-mode", b"cors")],
        [*NAVIGATION[:2], (b"sec-fetch-dest", b"iframe")],
    ],
)
def test_another_page_gets_nothing(fields: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Untrusted):
        check_request(PAGE, b"GET", b"/", [OWN_HOST, *fields])


def test_another_page_may_send_the_browser_here_and_do_no_more() -> None:
    check_request(PAGE, b"GET", b"/", [OWN_HOST, *NAVIGATION])
    with pytest.raises(Untrusted):
        check_request(PAGE, b"POST", b"/", [OWN_HOST, *NAVIGATION])


def test_the_page_itself_may_post() -> None:
    for origin in (HERE.encode(), b"null"):
        own = [OWN_HOST, (b"origin", origin), (b"sec-fetch-site", b"same-origin")]
        check_request(PAGE, b"POST", b"/set", own)


@pytest.mark.parametrize(
    ("target", "hosts"),
    [
        (b"/", []),
        (b"/", [b"technician.localhost:7490"]),
        (b"/", [b"page-b.localhost:7490"]),
        (b"/", [b"page-a.localhost:7490", b"page-a.localhost:7490"]),
        (b"http://127.0.0.1:22/", [b"page-a.localhost:7490"]),
        (b"*", [b"page-a.localhost:7490"]),
    ],
)
def test_a_request_for_another_host_goes_to_nobody(target: bytes, hosts: list[bytes]) -> None:
    with pytest.raises(Untrusted):
        check_request(PAGE, b"GET", target, [(b"host", host) for host in hosts])


def test_nothing_is_installed_that_outlives_a_session() -> None:
    with pytest.raises(Refused):
        check_request(PAGE, b"GET", b"/", [OWN_HOST, (b"service-worker", b"script")])


def test_hosts_differ_by_session_place_and_start() -> None:
    one, two = Hosts(b"one", 7490), Hosts(b"two", 7490)
    names = {
        one.page_label("aa", 0), one.page_label("aa", 1), one.page_label("ab", 0),
        two.page_label("aa", 0), one.frame_host, two.frame_host,
    }  # fmt: skip
    assert len(names) == 6
    assert all(len(name.partition(".")[0]) <= MAX_LABEL for name in names)
    assert one.page_label("aa", 0) == Hosts(b"one", 1).page_label("aa", 0)


@pytest.mark.parametrize("value", ["", "a b", "a:b:c", "[::1]:80", "a\x00", "x" * 300, "a:123456"])
def test_a_host_that_is_none_is_nobody(value: str) -> None:
    assert read_host(value) == ""


@given(st.text(max_size=60))
def test_a_name_that_is_saved_leads_nowhere(path: str) -> None:
    name = save_name(path)
    assert name
    assert not set(name) & set('/\\:*?"<>|\0\n\r')
    assert not name.startswith(".")
    head = write_disposition(name)
    assert head.isascii()
    assert head.startswith("attachment; ")
    assert head.count('"') == 2


def test_a_name_is_saved_as_it_is_read() -> None:
    assert save_name("logs/\u202egnp.exe") == "gnp.exe"
    assert save_name("../../.bashrc") == "bashrc"
    assert save_name("a/<img src=x>.html") == "_img src=x_.html"
