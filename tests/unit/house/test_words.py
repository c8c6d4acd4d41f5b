"""The word list keeps its rules, and six words are made and read in one way only."""

from __future__ import annotations

import hashlib
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetward.trust.errors import Malformed, Misuse
from fleetward.trust.wordlist import WORDS
from fleetward.trust.words import device_words, normalise_words, six_words

LIST_SHA256 = "874f8b46616a8289a77660b58a9e272c28509315d0c8a7239a6493f2fdf00f77"
"""The list is part of a format: changing it changes what people have written down."""

OWNER = "ab" * 32
DEVICE = "a" * 32


def test_list_is_the_one_that_people_have_seen() -> None:
    assert hashlib.sha256("\n".join(WORDS).encode("ascii")).hexdigest() == LIST_SHA256


def test_list_holds_2048_sorted_plain_words() -> None:
    assert len(WORDS) == 2048
    assert list(WORDS) == sorted(set(WORDS))
    assert all(word.isascii() and word.isalpha() and word.islower() for word in WORDS)
    assert all(3 <= len(word) <= 8 for word in WORDS)


def test_no_two_words_begin_alike() -> None:
    assert len({word[:5] for word in WORDS}) == len(WORDS)
    assert not [pair for pair in itertools.pairwise(WORDS) if pair[1].startswith(pair[0])]


def test_no_two_words_differ_by_one_letter() -> None:
    seen: dict[str, str] = {}
    for word in WORDS:
        shortened = {word[:at] + word[at + 1 :] for at in range(len(word))}
        changed = {f"{word[:at]}_{word[at + 1 :]}" for at in range(len(word))}
        for form in {word} | shortened | changed:
            clash = seen.setdefault(form, word)
            near = form in (word, clash) or "_" in form
            assert clash == word or not near, (clash, word)


@pytest.mark.parametrize(
    ("digest", "words"),
    [
        (bytes(32), " ".join([WORDS[0]] * 6)),
        (b"\xff" * 32, " ".join([WORDS[2047]] * 6)),
        ((1 << 190).to_bytes(32, "big"), " ".join([WORDS[0]] * 5 + [WORDS[1]])),
        ((1 << 189).to_bytes(32, "big"), " ".join([WORDS[0]] * 6)),
        ((1 << 255).to_bytes(32, "big"), " ".join([WORDS[1024]] + [WORDS[0]] * 5)),
    ],
)
def test_first_66_bits_choose_the_words(digest: bytes, words: str) -> None:
    assert six_words(digest) == words


@given(st.binary(min_size=32, max_size=64))
def test_words_carry_exactly_the_first_66_bits(digest: bytes) -> None:
    number = 0
    for word in six_words(digest).split(" "):
        number = number << 11 | WORDS.index(word)
    assert number == int.from_bytes(digest[:9], "big") >> 6


def test_short_hash_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(Misuse) as caught:
        six_words(bytes(31))
    assert caught.value.reason == "digest_too_short"


def test_device_words_are_fixed_by_owner_and_device() -> None:
    words = device_words("00" * 32, "a" * 32)
    assert words == "uptown pollen sombrero town energy shipmate"
    digest = hashlib.sha256(
        b"fleetward.device-words.v1\0" + b"00" * 32 + b"\0" + b"a" * 32
    ).digest()
    assert words == six_words(digest)


def test_another_owner_or_device_has_other_words() -> None:
    shown = {
        device_words(OWNER, DEVICE),
        device_words("cd" * 32, DEVICE),
        device_words(OWNER, "b" * 32),
        device_words(OWNER + "a", DEVICE[1:]),
    }
    assert len(shown) == 4


@pytest.mark.parametrize("owner", ["ü", "a\0b"])
def test_strange_identifiers_have_no_words(owner: str) -> None:
    with pytest.raises(Misuse):
        device_words(owner, DEVICE)


@given(
    st.lists(st.sampled_from(WORDS), min_size=6, max_size=6),
    st.lists(st.sampled_from([" ", "-", "  ", " - ", "\n", "\u2013"]), min_size=7, max_size=7),
    st.booleans(),
)
def test_typed_words_are_read_however_they_are_spaced(
    words: list[str], gaps: list[str], upper: bool
) -> None:
    text = gaps[6] + "".join(word + gap for word, gap in zip(words, gaps, strict=False))
    assert normalise_words(text.upper() if upper else text) == " ".join(words)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "words_wrong_count"),
        ("zoom zoom zoom zoom zoom", "words_wrong_count"),
        ("zoom " * 7, "words_wrong_count"),
        ("zoom zoom zoom zoom zoom zom", "words_unknown"),
        ("zoom zoom zoom zoom zoom zo\u200bom", "words_unknown"),
        ("zoom, zoom zoom zoom zoom zoom", "words_unknown"),
        ("zoom " * 5_000, "words_too_long"),
    ],
)
def test_anything_else_is_refused_with_its_reason(text: str, reason: str) -> None:
    with pytest.raises(Malformed) as caught:
        normalise_words(text)
    assert caught.value.reason == reason


@given(st.text(max_size=300))
def test_hostile_text_raises_nothing_but_malformed(text: str) -> None:
    try:
        words = normalise_words(text)
    except Malformed:
        return
    assert all(word in WORDS for word in words.split(" "))
