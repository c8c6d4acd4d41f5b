"""The one place where a person's own key is opened by what he named: a sealed file or a token.

`pkcs11:…` is a key on a token (`token_uri`), everything else the path of a sealed key. What is
named comes from the command line, or from a technician's or a maker's own folder; no document has
such a field.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from fleetward.keyholder.passphrase import ask_passphrase, ask_pin
from fleetward.keyholder.speak import say
from fleetward.keyholder.token_uri import TokenUri, is_token_uri, read_token_uri
from fleetward.runtime.files import read_bounded
from fleetward.runtime.keys import MAX_SEALED_BYTES, open_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import Signer

if TYPE_CHECKING:
    from fleetward.keyholder.token_keys import TokenSigner

KEY_HELP: Final = "a sealed key's file, or pkcs11:… for one on a token"


def open_named_key(named: str, passphrase_file: Path | None, *, of: str = "your key") -> Signer:
    """Return the key that a person named, with its passphrase or PIN from a file or the terminal.

    Raises what opening raises; `Refused` when the support for tokens is not installed.
    """
    if is_token_uri(named):
        return open_named_token(read_token_uri(named), passphrase_file)
    sealed = read_bounded(Path(named), MAX_SEALED_BYTES)
    return open_key(sealed, ask_passphrase(passphrase_file, of=of))


def open_named_token(
    uri: TokenUri, pin_file: Path | None, *, make: bool = False, or_make: bool = False
) -> TokenSigner:
    """Return a key on a token, or make it there; say what is known against it.

    `pin_file` goes before the URI's own. Raises as `token_keys.open_token_key`.
    """
    try:  # loaded where a token is named, and nowhere else
        from fleetward.keyholder.token_keys import make_token_key, open_token_key
    except ModuleNotFoundError as e:
        raise _not_installed(e) from e
    pins: list[bytes] = []

    def ask(token: str) -> bytes:
        pins[:] = pins or [ask_pin(pin_file or uri.pin_file, of=token)]
        return pins[0]

    try:
        signer = (make_token_key if make else open_token_key)(uri, ask)
    except Refused as e:
        if not or_make or e.reason != "no_such_token_key":
            raise
        signer = make_token_key(uri, ask)
    for warning in signer.warnings:
        say(warning)
    return signer


def _not_installed(error: ModuleNotFoundError) -> Refused:
    if (error.name or "").split(".")[0] not in ("pkcs11", "asn1crypto"):
        raise error
    return Refused(
        "Expected the support for tokens; it is not installed. Install it beside Fleetward: "
        "pip install 'fleetward[hsm]'.",
        reason="no_token_support",
    )
