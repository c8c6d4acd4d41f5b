"""Origins as a policy names them, and the addresses that a machine fetches parts from."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.origin import check_address, read_origin

SHA256 = "ab" * 32


@pytest.mark.parametrize(("text", "authority", "target"), [
    ("https://parts.example", "parts.example", "/blobs/"),
    ("https://parts.example:443", "parts.example", "/blobs/"),
    ("https://parts.example:8443/acme/v1.0", "parts.example:8443", "/acme/v1.0/blobs/"),
    ("https://nas", "nas", "/blobs/"),
    ("https://10.1.2.3:8443", "10.1.2.3:8443", "/blobs/"),
    ("https://[2001:db8::7]:8443", "[2001:db8::7]:8443", "/blobs/"),
])  # fmt: skip
def test_an_origin_is_a_host_perhaps_a_port_and_a_folder(
    text: str, authority: str, target: str
) -> None:
    origin = read_origin(text)
    assert origin.authority == authority
    assert origin.target(SHA256) == f"{target}{SHA256}"


@pytest.mark.parametrize("text", [
    "", "https://", "http://parts.example", "HTTPS://parts.example", "https://Parts.example",
    "https://parts.example/", "https://parts.example//a", "https://parts.example/..",
    "https://parts.example/a/../b", "https://parts.example/.hidden", "https://parts.example/%2e",
    "https://parts.example?a=b", "https://parts.example#a", "https://u:p@parts.example",
    "https://parts.example:0", "https://parts.example:08", "https://parts.example:65536",
    "https://parts.example:", "https://parts.example\r\nHost: other", "https://parts.example/a b",
    "https://-a.example", "https://a..example", "https://ä.example", "https://a.example.",
    "https://[::1", "https://[fe80::1%25eth0]", "file:///etc/passwd", "https:///blobs",
    "https://2130706433", "https://127.1", "https://0x7f.0.0.0x1", "https://0x7f000001",
    "https://010.0.0.1", "https://[1::2::3]",
    f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}/{'d' * 64}",
])  # fmt: skip
def test_what_is_no_origin(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_origin(text)
    assert caught.value.reason == "bad_origin"


PIN = "#sha256=" + "0a" * 32


def test_an_origin_may_name_its_certificate() -> None:
    origin = read_origin(f"https://10.1.2.3:8443/parts{PIN}")
    assert (origin.authority, origin.base, origin.pin) == ("10.1.2.3:8443", "/parts", "0a" * 32)
    assert origin.target(SHA256) == f"/parts/blobs/{SHA256}"
    assert read_origin("https://10.1.2.3:8443/parts").pin == ""


@pytest.mark.parametrize("text", [
    f"https://parts.example{PIN[:-1]}", f"https://parts.example{PIN}0",
    f"https://parts.example{PIN.upper()}", f"https://parts.example{PIN}{PIN}",
    "https://parts.example#sha256=", "https://parts.example#sha512=" + "0a" * 64,
    f"https://parts.example/{PIN}", f"{PIN}", f"https://parts.example{PIN}/a",
    f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}/{'d' * 64}{PIN}",
])  # fmt: skip
def test_what_is_no_name_of_a_certificate(text: str) -> None:
    with pytest.raises(Malformed) as caught:
        read_origin(text)
    assert caught.value.reason == "bad_origin"


def test_a_pin_takes_nothing_from_the_length_of_an_origin() -> None:
    longest = f"https://{'a' * 60}.{'b' * 60}.{'c' * 60}/{'d' * 62}"
    assert len(longest) == 253
    assert read_origin(longest + PIN).pin == "0a" * 32


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "169.254.169.254", "localhost"])
def test_a_pin_opens_no_address(host: str) -> None:
    with pytest.raises(Refused) as caught:
        read_origin(f"https://{host}{PIN}")
    assert caught.value.reason == "address_refused"


def test_only_a_digest_becomes_a_path() -> None:
    origin = read_origin("https://parts.example")
    for name in ("", "..", "../x", "AB" * 32, "ab" * 31, f"{SHA256}\n", "ab" * 33):
        with pytest.raises(Malformed):
            origin.target(name)


ITSELF = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "::1", "::",
    "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "febf::1", "fec0::1",
    "224.0.0.1", "239.255.255.250", "ff02::1", "255.255.255.255", "240.0.0.1",
    "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "::ffff:224.0.0.1",
    "::127.0.0.1", "::169.254.169.254",
    "64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::169.254.169.254",
    "2002:7f00:1::1", "2002:a9fe:a9fe::1", "2001:0:7f00:1::1",
]  # fmt: skip


@pytest.mark.parametrize("text", ITSELF)
def test_addresses_that_nobody_is_asked_at(text: str) -> None:
    with pytest.raises(Refused) as caught:
        check_address(text)
    assert caught.value.reason == "address_refused"


@pytest.mark.parametrize("text", [
    "8.8.8.8", "10.0.0.1", "192.168.1.9", "172.16.0.1", "100.64.0.1", "203.0.113.9",
    "2001:4860:4860::8888", "fd77::2", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1",
])  # fmt: skip
def test_addresses_of_others_private_ones_too(text: str) -> None:
    check_address(text)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:", "64:ff9b::"]))
def test_an_address_within_another_is_judged_as_itself(
    inner: ipaddress.IPv4Address, prefix: str
) -> None:
    def judge(text: str) -> bool:
        try:
            check_address(text)
        except Refused:
            return False
        return True

    assert judge(f"{prefix}{inner}") == judge(str(inner))


@given(st.text(max_size=60))
def test_no_text_is_a_stray_error(text: str) -> None:
    for read in (read_origin, check_address):
        try:
            read(text)
        except (Malformed, Refused):
            continue
