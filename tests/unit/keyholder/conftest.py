"""The fixtures of an owner, for every test here."""

from __future__ import annotations

from tests.unit.keyholder.access_scene import scene
from tests.unit.keyholder.owner_fixtures import (
    clock,
    data,
    desk,
    made_once,
    one_server,
    owner,
    passphrase_file,
    quick_keys,
    server,
)

__all__ = [
    "clock",
    "data",
    "desk",
    "made_once",
    "one_server",
    "owner",
    "passphrase_file",
    "quick_keys",
    "scene",
    "server",
]
