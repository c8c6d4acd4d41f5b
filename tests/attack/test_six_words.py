"""Attack: pass one machine off as another while a person compares six words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from fleetward.trust.errors import Malformed
from fleetward.trust.wordlist import WORDS
from fleetward.trust.words import device_words, normalise_words

OWNER = hashlib.sha256(b"the owner").hexdigest()
OTHER_OWNER = hashlib.sha256(b"somebody else").hexdigest()
PUMP = "pump" + "a" * 28
TRIES = 20_000


def make_id(number: int) -> str:
    """Make a device id as an attacker would who draws one key after another."""
    return (
        hashlib.sha256(number.to_bytes(8, "big"))
        .hexdigest()[:32]
        .translate(str.maketrans("0189", "wxyz"))
    )


def test_drawing_keys_does_not_reach_another_machines_words() -> None:
    wanted = device_words(OWNER, PUMP).split()
    nearest = 0
    for number in range(TRIES):
        words = device_words(OWNER, make_id(number)).split()
        nearest = max(nearest, sum(a == b for a, b in zip(words, wanted, strict=True)))
    # Three equal words by chance: 20 in 2^33 a try. Six would take 2^66 tries.
    assert nearest <= 2


def test_words_learnt_under_another_owner_are_of_no_use() -> None:
    assert device_words(OWNER, PUMP) != device_words(OTHER_OWNER, PUMP)


def test_moving_letters_between_owner_and_machine_changes_the_words() -> None:
    shifted = {device_words(OWNER[:-n], OWNER[-n:] + PUMP) for n in range(1, 64)}
    assert device_words(OWNER, PUMP) not in shifted


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words[:5],
        lambda words: [*words, words[0]],
        lambda words: [*words[:5], words[5][:-1] + "\u0430"],
        lambda words: [*words[:5], words[5] + "\u200b"],
        lambda words: [*words[:5], ""],
    ],
    ids=["five", "seven", "cyrillic-letter", "invisible-letter", "empty"],
)
def test_words_that_only_look_alike_are_refused(
    change: Callable[[list[str]], list[str]],
) -> None:
    words = device_words(OWNER, PUMP).split()
    with pytest.raises(Malformed):
        normalise_words(" ".join(change(words)))


def test_one_misheard_letter_never_makes_another_word() -> None:
    known = set(WORDS)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for word in WORDS:
        for at in range(len(word)):
            heard = {word[:at] + letter + word[at + 1 :] for letter in letters}
            assert heard & known == {word}
