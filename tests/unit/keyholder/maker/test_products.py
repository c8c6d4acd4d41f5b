"""Products have keys of their own and an end of support, which people are told of in time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.maker_world import DAY_MS, make_maker

from fleetward.keyholder.maker.lives import list_lives
from fleetward.keyholder.maker.products import (
    add_product,
    list_products_of,
    replace_product_key,
    set_support,
    support_ends_at_ms,
    tell_notice,
)
from fleetward.keyholder.maker.refreshing import refresh
from fleetward.trust.errors import Malformed, Refused


def at(day: str) -> int:
    return int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000


@pytest.mark.parametrize(
    ("today", "words"),
    [
        ("2030-12-30", ""),
        ("2030-12-31", "within 12 months"),
        ("2031-06-29", "within 12 months"),
        ("2031-06-30", "within 6 months"),
        ("2031-11-29", "within 6 months"),
        ("2031-11-30", "within 1 month"),
        ("2031-12-31", "within 1 month"),
        ("2032-01-01", "support ended on 2031-12-31"),
    ],
)
def test_notices_come_twelve_six_and_one_month_ahead(today: str, words: str) -> None:
    assert tell_notice("2031-12-31", at(today)).endswith(words)
    assert bool(tell_notice("2031-12-31", at(today))) == bool(words)


def test_the_last_day_of_support_is_whole() -> None:
    assert support_ends_at_ms("2031-12-31") == at("2032-01-01")
    assert support_ends_at_ms("") == 0


@pytest.mark.parametrize("day", ["", "2031-13-01", "2031-02-30", "31.12.2031", "20311231", "soon"])
def test_a_day_that_is_none_is_refused(day: str, tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    with pytest.raises(Malformed) as caught:
        add_product(maker.desk, "kiosk", day, "")
    assert caught.value.reason == "bad_day"
    assert not maker.desk.repository.verify().products


@pytest.mark.parametrize("name", ["root", "targets", "snapshot", "timestamp", "A", "", "a/b", "-a"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    with pytest.raises(Malformed) as caught:
        add_product(maker.desk, name, "2031-12-31", "")
    assert caught.value.reason == "bad_product"
    assert not [key for key in maker.keys.names() if key.startswith("product-")]


def test_a_product_is_added_once_and_its_end_can_be_moved(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    add_product(maker.desk, "kiosk", "2031-12-31", "")
    with pytest.raises(Refused) as caught:
        add_product(maker.desk, "kiosk", "2032-12-31", "")
    assert caught.value.reason == "product_exists"
    set_support(maker.desk, "kiosk", "2033-01-31")
    [product] = list_products_of(maker.desk.repository.verify(), maker.desk.now_ms)
    assert product.support_ends == "2033-01-31"
    manifest = maker.release("kiosk", "1", {"a": b"a"})
    assert manifest.support_ends_at_ms == at("2033-02-01")


def test_a_new_key_keeps_what_was_released(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    maker.release("kiosk", "1", {"a": b"a"})
    before = maker.keys.open("product-kiosk").public
    replace_product_key(maker.desk, "kiosk", "")
    assert maker.keys.open("product-kiosk").public != before
    assert maker.leaving("kiosk", "1").manifest.version == "1"
    assert maker.release("kiosk", "2", {"a": b"b"}).counter == 2


def test_a_refresh_brings_back_what_ran_out(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    maker.release("kiosk", "1", {"a": b"a"})
    late = maker.at(maker.desk.now_ms + 100 * DAY_MS)
    with pytest.raises(Refused) as caught:
        late.leaving("kiosk", "1")
    assert caught.value.reason == "timestamp_expired"
    refresh(late.desk)
    assert late.leaving("kiosk", "1").manifest.version == "1"
    state = late.desk.repository.verify()
    lives = {each.role: each for each in list_lives(state, late.desk.now_ms)}
    assert lives["timestamp"].days_left == 90
    assert lives["kiosk"].days_left == 265
    later = maker.at(maker.desk.now_ms + 400 * DAY_MS)
    lives = {each.role: each for each in refresh(later.desk)}
    assert lives["kiosk"].days_left == lives["targets"].days_left == 365


def test_a_product_that_ran_out_does_not_hold_up_another(tmp_path: Path) -> None:
    maker = make_maker(tmp_path)
    maker.release("kiosk", "1", {"a": b"a"})
    late = maker.at(maker.desk.now_ms + 300 * DAY_MS)
    late.release("pump", "1", {"a": b"a"})
    later = maker.at(maker.desk.now_ms + 380 * DAY_MS)
    later.release("pump", "2", {"a": b"b"})
    assert later.leaving("pump", "2").manifest.counter == 2
    with pytest.raises(Refused) as caught:
        later.leaving("kiosk", "1")
    assert caught.value.reason == "delegated_expired"
    assert later.release("kiosk", "2", {"a": b"b"}).counter == 2
    assert later.leaving("kiosk", "1").manifest.counter == 1
