"""The options that the maker's commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import MakerFolder, find_maker
from fleetward.keyholder.maker.key_ring import FolderKeys, ask_once
from fleetward.runtime.clock import SystemClock

MakerOption = Annotated[
    Path | None,
    typer.Option("--maker", help="The maker's folder; ~/.fleetward/maker if not named."),
]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="File of mode 600; else you are asked.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Named = Annotated[str, typer.Argument(help="PRODUCT/VERSION")]


def open_desk(
    maker: Path | None,
    passphrase_file: Path | None = None,
    ask: Callable[[], bytes] | None = None,
) -> MakerDesk:
    """Return the desk of a command. Raises `Refused` when there is no such folder."""
    folder = MakerFolder.open(find_maker(maker))
    keys = FolderKeys(folder, ask or ask_once(passphrase_file), passphrase_file)
    return MakerDesk.of(folder, keys, SystemClock().wall_ms())
