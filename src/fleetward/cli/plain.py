"""How every command of `fleetward` shows its help and its misuse: as plain text."""

from __future__ import annotations

from typing import Final, TypedDict


class _Settings(TypedDict):
    add_completion: bool
    rich_markup_mode: None


PLAIN: Final[_Settings] = {"add_completion": False, "rich_markup_mode": None}
"""Without frames and colours a help text can be searched, copied and read aloud."""
