"""How the owner's tools answer: one document on stdout, words to a person on stderr.

Exit status 0 is done, 1 is refused or failed with a reason, 2 is misuse.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import msgspec

from fleetward.keyholder.place import Unnamed
from fleetward.trust.errors import FleetwardError, Misuse


def emit(shown: Any, as_json: bool, words: str) -> None:  # noqa: FBT001
    """Print the one answer of a command: JSON, or the words for a person."""
    if as_json:
        sys.stdout.write(msgspec.json.encode(shown).decode("utf-8") + "\n")
    else:
        sys.stdout.write(words + "\n")
    sys.stdout.flush()


def say(words: str) -> None:
    """Tell a person something beside the answer."""
    sys.stderr.write(words + "\n")
    sys.stderr.flush()


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
