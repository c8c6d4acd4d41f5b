"""How the owner's tools answer: one document on stdout, words to a person on stderr.

Exit status 0 is done, 1 is refused or failed with a reason, 2 is misuse.

Words and reasons may hold texts of a server or a machine. Whoever put them there has made them
harmless, each on its own line; here, at the last place before the terminal, nothing passes that a
terminal would obey, whoever forgot it. JSON escapes the same.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any, Final

import msgspec

from fleetward.keyholder.place import Unnamed
from fleetward.trust.errors import FleetwardError, Misuse

_OBEYED: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]"
)
"""Controls, their eight-bit forms, and what turns a line round. Tab and line feed are none."""


def emit(shown: Any, as_json: bool, words: str) -> None:  # noqa: FBT001
    """Print the one answer of a command: JSON, or the words for a person."""
    if as_json:
        sys.stdout.write(write_json(shown) + "\n")
    else:
        sys.stdout.write(make_plain(words) + "\n")
    sys.stdout.flush()


def say(words: str) -> None:
    """Tell a person something beside the answer."""
    sys.stderr.write(make_plain(words) + "\n")
    sys.stderr.flush()


def make_plain(words: str) -> str:
    """Return words without anything that a terminal would obey."""
    return _OBEYED.sub("\N{REPLACEMENT CHARACTER}", words)


def write_json(shown: Any) -> str:
    """Return JSON on one line that says the same and that a terminal does not obey."""
    text = msgspec.json.encode(shown).decode("utf-8")
    return _OBEYED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Turn an error of ours into its words on stderr and the exit status."""
    try:
        yield
    except Misuse as e:
        say(f"{e.message} [{e.reason}] This is a fault of the program, not of yours.")
        raise SystemExit(1) from e
    except Unnamed as e:
        say(f"{e.message} [{e.reason}]")
        raise SystemExit(2) from e
    except FleetwardError as e:
        say(f"{e.message} [{e.reason}]")
        raise SystemExit(1) from e
