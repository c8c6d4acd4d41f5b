"""Generated runbooks, values and bytes: a value stays one word, and no error is a stray one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runbook_world import Maker, scope_of

from fleetward.keyholder.access.scope_words import parse_scope, write_scope
from fleetward.trust.access import read_scope
from fleetward.trust.access_serial import BAUDS, SerialScope
from fleetward.trust.envelope import RoleKey, seal
from fleetward.trust.errors import FleetwardError, Refused
from fleetward.trust.runbook import (
    CLASSES,
    RUNBOOK_TYPE,
    Argument,
    ChoiceArgument,
    Hole,
    IntegerArgument,
    TextArgument,
    fill_in,
    make_runbook_payload,
    plan_run,
    read_runbook,
    verify_runbook,
)

MAKER = Maker()
ALPHABET = "abXY09-_./:;$`|=+@, \n\x00\u0430\u0661"
names = st.sampled_from(["a", "b_2", "unit", "day"])
bounds = st.tuples(st.integers(1, 12), st.integers(0, 8)).map(lambda p: (p[0], p[0] + p[1]))
words = st.text("abc-./{}$;", min_size=1, max_size=12)
values = st.one_of(
    st.text(ALPHABET, max_size=14),
    words,
    st.integers(-5, 40).map(str),
    st.sampled_from(["--", "-x", "..", "a/../b", "a;b", "$(id)", "a\nb", "0", "00", "\u0661"]),
)


texts = st.builds(
    lambda name, classes, ends: TextArgument(name, tuple(classes), *ends),
    names,
    st.lists(st.sampled_from(sorted(CLASSES)), unique=True, min_size=1, max_size=5),
    bounds,
)
numbers = st.builds(lambda name, ends: IntegerArgument(name, *ends), names, bounds)
choices = st.builds(
    lambda name, given_: ChoiceArgument(name, tuple(given_)),
    names,
    st.lists(words, unique=True, min_size=1, max_size=3),
)
arguments: st.SearchStrategy[list[Argument]] = st.lists(
    st.one_of(texts, numbers, choices), max_size=4, unique_by=lambda a: a.name
)


@given(arguments, st.lists(values, min_size=4, max_size=4))
def test_a_value_that_is_taken_is_one_harmless_word(
    declared: list[Argument], drawn: list[str]
) -> None:
    holes = tuple(Hole(argument.name) for argument in declared)
    book = MAKER.sign([("/bin/true", "first", *holes, "last")], *declared)
    assert read_runbook(book.raw) == verify_runbook(book.raw, RoleKey(MAKER.key.public, "mia"))
    given_ = {argument.name: value for argument, value in zip(declared, drawn, strict=False)}
    scope = scope_of(book, **given_)
    try:
        plan = plan_run(book, scope)
    except Refused:
        assert any(not argument.fits(given_[argument.name]) for argument in declared)
        return
    (step,) = plan.steps
    assert step == ("/bin/true", "first", *(given_[a.name] for a in declared), "last")
    for argument in declared:
        value = given_[argument.name]
        if isinstance(argument, TextArgument):
            allowed = set("".join(CLASSES[name] for name in argument.characters))
            assert set(value) <= allowed
            assert argument.low <= len(value) <= argument.high
            assert not value.startswith("-") and ".." not in value
        elif isinstance(argument, IntegerArgument):
            assert str(int(value)) == value and argument.low <= int(value) <= argument.high
        else:
            assert value in argument.choices
    # The same scope after a journey as text, and as a signed document.
    assert parse_scope(write_scope(scope)) == scope
    assert read_scope(scope.to_json()) == scope


junk: Any = st.recursive(
    st.one_of(st.text(ALPHABET, max_size=8), st.integers(-3, 300), st.booleans()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["argument", "kind", "name", "low", "x"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(
        st.sampled_from(
            ["arguments", "description", "name", "run_as", "seconds", "steps", "version", "extra"]
        ),
        junk,
        min_size=1,
    )
)
def test_a_document_of_anything_is_read_or_refused_in_our_words(changes: dict[str, Any]) -> None:
    book = MAKER.sign([("/bin/true",)])
    payload = {**make_runbook_payload(book), **changes, "type": RUNBOOK_TYPE}
    try:
        raw = seal(payload, [MAKER.key])
    except FleetwardError:
        return
    try:
        found = read_runbook(raw)
    except FleetwardError as e:
        assert type(e).__name__ == "Malformed"
        return
    assert make_runbook_payload(found) == payload
    with pytest.raises(Refused):
        fill_in(found, {"nobody": "x"})


@given(junk)
def test_a_scope_of_anything_is_read_or_refused_in_our_words(value: Any) -> None:
    for kind in ("runbook", "serial"):
        said = {**value, "kind": kind} if isinstance(value, dict) else value
        try:
            read_scope(said)
        except FleetwardError as e:
            assert type(e).__name__ == "Malformed"


@given(st.from_regex(r"/dev(/[A-Za-z0-9._:+@-]{1,8}){1,4}", fullmatch=True), st.sampled_from(BAUDS))
def test_a_port_is_the_same_after_every_journey(path: str, baud: int) -> None:
    scope = SerialScope(path, baud)
    try:
        assert read_scope(scope.to_json()) == scope
    except FleetwardError:
        assert {".", ".."} & set(path.split("/"))
        return
    assert parse_scope(write_scope(scope)) == scope
