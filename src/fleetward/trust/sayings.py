"""Ages, lengths and counts in a person's words: the same in every program.

>>> say_age(7 * 3600), say_length(5400), say_count(2, "key")
('7 h', '1 h 30 min', '2 keys')
"""

from __future__ import annotations


def say_age(seconds: int) -> str:
    """Return an age, roughly."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size or (unit != "days" and seconds >= size):
            return f"{seconds // size} {unit}"
    return f"{max(seconds, 0)} s"


def say_length(seconds: int) -> str:
    """Return a length, wholly: nothing that somebody agrees to is rounded."""
    parts = (seconds // 3600, "h"), (seconds % 3600 // 60, "min"), (seconds % 60, "s")
    return " ".join(f"{number} {unit}" for number, unit in parts if number) or "0 s"


def say_person(person: str, org: str) -> str:
    """Return a person with the organisation, where there is one."""
    return f"{person} ({org})" if org else person


def say_count(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
