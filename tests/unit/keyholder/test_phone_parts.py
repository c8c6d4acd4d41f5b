"""The small parts of the door for phones: its name, the code as squares, the log, the commands."""

# ruff: noqa: F811  (pytest takes fixtures by the names of arguments)
from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.keyholder.owner_fixtures import (  # noqa: F401
    FixedClock,
    clock,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    server,
)
from tests.unit.keyholder.phone_world import NAME, issue, make_ca
from typer.testing import CliRunner, Result

from fleetward.cli.owner import owner_app
from fleetward.keyholder.console import phone_log
from fleetward.keyholder.console.callers import Caller
from fleetward.keyholder.console.enrol_code import MAX_WRONG, EnrolCode
from fleetward.keyholder.console.host_name import check_host_name
from fleetward.keyholder.console.phone_log import PhoneLog, read_log
from fleetward.keyholder.console.phones import Phones
from fleetward.keyholder.console.quick_response import draw_squares, draw_terminal
from fleetward.keyholder.console.stream import MAX_PAGES_OF_ONE, Changes
from fleetward.keyholder.desk import Desk
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.passkey import Passkey

PHONE = Caller(Passkey(NAME, (f"https://{NAME}:8443",)), "0123456789", "Ada's phone")


def run(*arguments: Any) -> Result:
    return CliRunner().invoke(owner_app, [str(each) for each in arguments])


@pytest.mark.parametrize("name", [NAME, "a.b", "Console.Ward3.Example", "xn--bcher-kva.example"])
def test_a_name_of_ones_own_is_taken(name: str) -> None:
    assert check_host_name(name) == name.lower()


@pytest.mark.parametrize(
    "name",
    [
        "", "localhost", "owner.localhost", "console", "192.168.1.7", "[fe80::1]", "::1", "1.2.3",
        "co.uk", "com.au", "a..b", "-a.example", "a_b.example", "a.example.", "a b.example",
        "x.onion", "a" * 64 + ".example", ".".join(["abcdefg"] * 40), "büch.example",
    ],
)  # fmt: skip
def test_a_name_that_no_passkey_is_bound_to_is_refused(name: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_host_name(name)
    assert caught.value.reason == "bad_host_name"


def test_the_systems_list_of_public_suffixes_is_read_where_there_is_one(tmp_path: Path) -> None:
    path = tmp_path / "list.dat"
    path.write_text("// comment\nexample\n*.ck\n!www.ck\ndyn.example\n", encoding="utf-8")
    assert check_host_name("mine.dyn.example", path) == "mine.dyn.example"
    with pytest.raises(Malformed):
        check_host_name("dyn.example", path)
    assert check_host_name("dyn.example", tmp_path / "none") == "dyn.example"


def test_the_squares_hold_the_address() -> None:
    text = f"https://{NAME}:8443/#code=ABCD-EFGH-JKLM"
    rows = draw_squares(text)
    assert {len(row) for row in rows} == {len(rows)}
    # The three large corners, inside a rim of four light squares.
    assert set(rows[:4]) == {"0" * len(rows)}
    assert rows[4].startswith("0000" + "1111111" + "0")
    assert rows[-5].startswith("0000" + "1111111" + "0")
    assert draw_squares(text) == rows != draw_squares(text + "X")
    drawn = draw_terminal(text)
    assert len(drawn.splitlines()) == (len(rows) + 1) // 2


def test_codes_are_read_as_people_type_them() -> None:
    code = EnrolCode(FixedClock())
    made = code.make()
    assert len(made) == 14 and made != code.make()
    code.take(code.make().lower().replace("-", "  "))


class _Clock(FixedClock):
    def __init__(self) -> None:
        super().__init__()
        self.boot_ms = 0

    def boottime_ms(self) -> int:
        return self.boot_ms


@given(st.lists(st.tuples(st.sampled_from([0, 500, 1000, 30_000, 60_000]), st.booleans())))
@settings(max_examples=60, deadline=None)
def test_of_one_code_ten_are_compared_at_most_and_one_phone_is_added(
    tries: list[tuple[int, bool]],
) -> None:
    clock = _Clock()
    codes = EnrolCode(clock)
    made = codes.make()
    compared = added = 0
    for wait_ms, right in tries:
        clock.boot_ms += wait_ms
        alive = codes.is_in_use()
        try:
            codes.take(made if right else "AAAA-AAAA-AAAA")
        except Untrusted:
            compared += alive
        except Refused as e:
            assert e.reason == "rate_limited"
        else:
            assert alive and right
            added += 1
    assert compared <= MAX_WRONG
    assert added <= 1


def test_the_log_keeps_what_phones_did_and_nothing_of_this_computer(
    desk: Desk, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = PhoneLog(desk.folder, clock)
    log.note(Caller(None), "approved", request="1")
    assert read_log(desk.folder) == []
    log.note(PHONE, "approved", request="1")
    path = desk.folder.path / phone_log.LOG_FILE
    assert path.stat().st_mode & 0o077 == 0
    with path.open("ab") as file:
        file.write(b'{"torn')
    (line,) = read_log(desk.folder)
    assert (line["name"], line["what"], line["request"]) == ("Ada's phone", "approved", "1")
    path.write_bytes(b"")
    monkeypatch.setattr(phone_log, "MAX_LOG_BYTES", 400)
    for number in range(12):
        log.note(PHONE, "stopped", request=str(number))
    assert [line["request"] for line in read_log(desk.folder)][-1] == "11"
    assert path.stat().st_size <= 600


def test_what_cannot_be_written_down_is_not_done(desk: Desk, clock: FixedClock) -> None:
    path = desk.folder.path / phone_log.LOG_FILE
    path.symlink_to("/dev/full")
    with pytest.raises(Unreachable):
        PhoneLog(desk.folder, clock).note(PHONE, "approved")


def test_one_phone_cannot_take_all_streams() -> None:
    async def act() -> None:
        changes = Changes()
        held = [changes.frames("phone") for _ in range(MAX_PAGES_OF_ONE + 2)]
        opened = [await anext(each, None) for each in held]
        assert [bool(frame) for frame in opened] == [True] * MAX_PAGES_OF_ONE + [False] * 2
        assert await anext(changes.frames())

    asyncio.run(act())


def test_phones_are_listed_removed_and_told_of_by_commands(desk: Desk) -> None:
    at = ("--owner", desk.folder.path)
    assert run("console", "phones", "list", *at).stdout == "No phone was added.\n"
    assert json.loads(run("console", "phones", "list", *at, "--json").stdout) == []
    assert run("console", "phones", "log", *at).stdout == "No phone has done anything yet.\n"
    added, secret = Phones(desk.folder).add("Ada's phone", FixedClock().now)
    assert secret not in (desk.folder.path / "phones.json").read_text()
    assert os.stat(desk.folder.path / "phones.json").st_mode & 0o077 == 0  # noqa: PTH116
    Phones(desk.folder).change(added.id, passkeys=["abc"])
    (row,) = json.loads(run("console", "phones", "list", *at, "--json").stdout)
    assert (row["id"], row["name"], row["passkeys"]) == (added.id, "Ada's phone", ["abc"])
    missing = run("console", "phones", "remove", "Bo's phone", *at)
    assert (missing.exit_code, "phone_not_found" in missing.stderr) == (1, True)
    gone = run("console", "phones", "remove", "Ada's phone", *at)
    assert "policy remove-passkey abc" in gone.stdout
    (line,) = json.loads(run("console", "phones", "log", *at, "--json").stdout)
    assert line["what"] == "removed"


def test_half_a_wish_for_phones_is_misuse_and_a_bad_one_is_refused(
    desk: Desk, passphrase_file: Path, tmp_path: Path
) -> None:
    files = issue(tmp_path / "tls", make_ca(), named=False).files
    link = tmp_path / "live.pem"
    link.symlink_to(files.certificate)  # as programs that renew certificates leave it
    pair = ("--certificate", link, "--key", files.key)
    at = ("--owner", desk.folder.path, "--passphrase-file", passphrase_file, "--no-browser")
    for wish in (("--host", NAME), pair, ("--host", NAME, *pair[:2])):
        half = run("console", *wish, *at)
        assert (half.exit_code, "no_certificate_named" in half.stderr) == (2, True), half.stderr
    for host, why in (
        ("192.168.1.7", "bad_host_name"),
        ("localhost", "bad_host_name"),
        (NAME, "certificate_not_trusted"),
    ):
        refused = run("console", "--host", host, *pair, *at)
        assert (refused.exit_code, why in refused.stderr) == (1, True), refused.stderr
