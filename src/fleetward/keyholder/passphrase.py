"""A passphrase or a PIN: from the terminal, or from a file that only its owner can read.

It is never an argument: arguments stand in the list of processes and in the shell's history.
"""

from __future__ import annotations

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Final

from fleetward.runtime.files import read_bounded
from fleetward.trust.errors import Malformed, Refused

MIN_CHARACTERS: Final = 12
"""With scrypt at 0.2 s a guess, twelve characters of a person's choice outlast a thief's budget."""
MAX_BYTES: Final = 1024


def read_passphrase_file(path: Path) -> bytes:
    """Return the passphrase in a file, without the line break at its end.

    Raises `Refused` when other users could read the file.
    """
    content = read_bounded(path, MAX_BYTES)
    found = path.lstat()
    if stat.S_IMODE(found.st_mode) & 0o077 or found.st_uid not in (os.geteuid(), 0):
        raise Refused(
            f"Expected {path} to be readable by its owner alone; others can read it. "
            f"Run: chmod 600 {path}",
            reason="passphrase_file_open",
        )
    return content.removesuffix(b"\n").removesuffix(b"\r")


def ask_passphrase(
    file: Path | None, *, twice: bool = False, of: str = "the owner's folder"
) -> bytes:
    """Return a passphrase from `file`, or from the terminal; `twice` for a new one.

    Raises `Refused` without a terminal, or when the two differ; `Malformed` for a new one that is
    too short.
    """
    if file is not None:
        passphrase = read_passphrase_file(file)
    elif not sys.stdin.isatty():
        raise Refused(
            "Expected a passphrase; there is no terminal to ask at. Name a file of mode 600 "
            "by --passphrase-file.",
            reason="no_passphrase",
        )
    else:
        passphrase = getpass.getpass(f"Passphrase of {of}: ").encode("utf-8")
        if twice and getpass.getpass("Once more: ").encode("utf-8") != passphrase:
            raise Refused("The two passphrases differ. Start again.", reason="passphrases_differ")
    if twice and len(passphrase) < MIN_CHARACTERS:
        raise Malformed(
            f"Expected a passphrase of at least {MIN_CHARACTERS} characters, "
            f"{len(passphrase)} came. Six words of a dice list are a good one.",
            reason="passphrase_short",
        )
    return passphrase


def ask_pin(file: Path | None, *, of: str) -> bytes:
    """Return the PIN of a token from `file`, or from the terminal. It is asked for once.

    Raises `Refused` without a terminal, or when others could read the file.
    """
    if file is not None:
        return read_passphrase_file(file)
    if not sys.stdin.isatty():
        raise Refused(
            "Expected the PIN of a token; there is no terminal to ask at. Name a file of mode 600 "
            "by --passphrase-file, or by pin-source=file:/… in the URI.",
            reason="no_passphrase",
        )
    return getpass.getpass(f"PIN of the token {of}: ").encode("utf-8")
