"""Turn a hash into six words that two people can compare, and read such words back.

Six words carry 66 bits. That is enough when both sides compare words that each has computed for
itself from a hash that the other cannot choose freely; it is not a key and not a password.

    >>> device_words("00" * 32, "a" * 32)
    'uptown pollen sombrero town energy shipmate'
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from fleetward.trust.errors import Malformed, Misuse
from fleetward.trust.wordlist import WORDS

WORD_COUNT: Final = 6
"""Six words: a person reads them aloud in one breath, and 66 bits resist a search while waiting."""

_BITS_PER_WORD: Final = 11
_MIN_DIGEST_BYTES: Final = 32
"""Only whole SHA-256 hashes are shown: a shorter one would be a mistake of the caller."""

_MAX_TEXT_CHARS: Final = 256
"""Six words of eight letters take 53 characters; the rest is room for spaces and dashes."""

_DEVICE_DOMAIN: Final = b"fleetward.device-words.v1\0"
_KNOWN: Final = frozenset(WORDS)
_SEPARATORS: Final = re.compile(r"[\s\-\u2010-\u2015]+")


def six_words(digest: bytes) -> str:
    """Name a hash by the six words that its first 66 bits choose, separated by single spaces.

    Raises Misuse when fewer than 32 bytes are given.
    """
    if len(digest) < _MIN_DIGEST_BYTES:
        raise Misuse(
            f"Six words need a hash of at least {_MIN_DIGEST_BYTES} bytes, {len(digest)} came. "
            "Hash the value with SHA-256 first.",
            reason="digest_too_short",
        )
    wanted_bits = WORD_COUNT * _BITS_PER_WORD
    number = int.from_bytes(digest, "big") >> (len(digest) * 8 - wanted_bits)
    shifts = range(wanted_bits - _BITS_PER_WORD, -1, -_BITS_PER_WORD)
    return " ".join(WORDS[(number >> shift) & 0x7FF] for shift in shifts)


def device_words(owner_root: str, device_id: str) -> str:
    """Name a device as one owner's people compare it: the owner's root is part of the hash.

    It does not check that the device exists, nor that it belongs to that owner.
    Raises Misuse when an argument is not ASCII or contains a zero byte.
    """
    hashed = hashlib.sha256(_DEVICE_DOMAIN)
    hashed.update(_plain_bytes(owner_root) + b"\0" + _plain_bytes(device_id))
    return six_words(hashed.digest())


def normalise_words(text: str) -> str:
    """Bring six typed words into the one form that can be compared.

    Accepts upper case, surrounding space, and any run of spaces or dashes between words. It does
    not guess at misspelt words. Raises Malformed when the text is not six words of the list.
    """
    if len(text) > _MAX_TEXT_CHARS:
        raise Malformed(
            f"Expected six words, {len(text)} characters came. Type the six words alone.",
            reason="words_too_long",
        )
    words = [word for word in _SEPARATORS.split(text.lower()) if word]
    if len(words) != WORD_COUNT:
        raise Malformed(
            f"Expected six words, {len(words)} came. Type all six, separated by spaces.",
            reason="words_wrong_count",
        )
    for place, word in enumerate(words, start=1):
        if word not in _KNOWN:
            raise Malformed(
                f"Word {place} is {word!r}, which is not a word of the list. "
                "Ask for it to be spelt, and type it again.",
                reason="words_unknown",
            )
    return " ".join(words)


def _plain_bytes(text: str) -> bytes:
    """Encode an identifier; a zero byte would let two different pairs hash to the same words."""
    if not text.isascii() or "\0" in text:
        raise Misuse(
            "Six words are made from plain ASCII identifiers, and something else came.",
            reason="words_of_strange_identifier",
        )
    return text.encode("ascii")
