"""Subjects: made and read in one place."""

import pytest

from fleetward.trust.errors import Malformed, Misuse
from fleetward.wire.subjects import (
    Up,
    check_reply,
    device_allowances,
    down,
    inbox_prefix,
    parse_up,
    up,
)

ID = "abcdefghijklmnopqrstuvwxyz234567"
OTHER = "b" * 32


def test_what_is_made_is_read_again() -> None:
    for word in Up:
        assert parse_up(up(ID, word)) == (ID, word)
    assert down(ID, "receipt") == f"fw.{ID}.down.receipt"


def test_a_device_may_use_its_own_branch_and_inbox_only() -> None:
    allowed = device_allowances(ID)
    assert allowed.publish == (f"fw.{ID}.up.*", f"fw.{ID}.session.*.out")
    assert allowed.subscribe == (
        f"fw.{ID}.down.>",
        f"fw.{ID}.session.*.in",
        f"_INBOX.{ID}.>",
    )


@pytest.mark.parametrize(
    "subject",
    [
        "",
        "fw",
        f"fw.{ID}.up",
        f"fw.{ID}.down.hello",
        f"fw.{ID}.up.shell",
        f"xx.{ID}.up.hello",
        f"fw.{ID}.up.hello.more",
        "fw.*.up.hello",
        f"fw.{ID.upper()}.up.hello",
        "fw..up.hello",
    ],
)
def test_other_subjects_are_malformed(subject: str) -> None:
    with pytest.raises(Malformed):
        parse_up(subject)


@pytest.mark.parametrize("bad", ["", "*", ">", ID[:-1], ID + "a", ID[:-1] + "1", ID[:-1] + "\n"])
def test_a_bad_id_makes_no_subject(bad: str) -> None:
    for make in (device_allowances, inbox_prefix):
        with pytest.raises(Malformed):
            make(bad)


def test_a_word_down_cannot_be_a_pattern() -> None:
    for word in ("", ">", "*", "a.b", "a b"):
        with pytest.raises(Misuse):
            down(ID, word)


@pytest.mark.parametrize(
    "reply",
    [
        f"fw.{OTHER}.down.receipt",
        f"_INBOX.{OTHER}.x",
        f"_INBOX.{ID}",
        f"_INBOX.{ID}.",
        f"_INBOX.{ID}.>",
        f"_INBOX.{ID}x.y",
        "$SYS.REQ.USER.AUTH",
        "",
    ],
)
def test_an_answer_goes_to_the_own_inbox_or_nowhere(reply: str) -> None:
    with pytest.raises(Malformed) as caught:
        check_reply(ID, reply)
    assert caught.value.reason == "reply_foreign"
    assert check_reply(ID, f"_INBOX.{ID}.abc.def") == f"_INBOX.{ID}.abc.def"
