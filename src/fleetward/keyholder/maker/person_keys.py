"""A root key of a person who is not at the maker's folder: made, and signed with, on his computer.

What leaves it is a public key, and a signature in a draft. Neither the folder nor any repository
is needed here.
"""

from __future__ import annotations

from pathlib import Path

from fleetward.keyholder.maker.folder import check_name
from fleetward.keyholder.maker.key_ring import make_key_on_token, open_own_key
from fleetward.keyholder.maker.people import write_person
from fleetward.keyholder.maker.root_draft import (
    DraftState,
    RootPerson,
    check_draft,
    read_draft,
    sign_draft,
    tell_draft,
)
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.speak import say
from fleetward.runtime.files import atomic_write, read_bounded
from fleetward.runtime.keys import make_key, seal_key
from fleetward.trust.errors import Refused
from fleetward.trust.keys import ED25519, Signer
from fleetward.trust.releases import limits


def make_person_key(
    person: str, out: Path, token: str, passphrase_file: Path | None
) -> dict[str, str]:
    """Make a key, sealed at `out` or on a token, and its public half at `out`.pub.

    Raises `Refused` when something lies there, and what a token raises.
    """
    check_name(person)
    public_file = out.with_name(f"{out.name}.pub")
    for path in (public_file, *(() if token else (out,))):
        if path.exists() or path.is_symlink():
            raise Refused(f"Expected nothing at {path}; something is there.", reason="file_exists")
    signer: Signer
    if token:
        signer, kept = make_key_on_token(token, passphrase_file)
    else:
        made = make_key(ED25519)
        secret = ask_passphrase(passphrase_file, twice=True, of="your key")
        atomic_write(out, seal_key(made, secret, f"fleetward maker root {person}"))
        signer, kept = made, str(out)
    atomic_write(public_file, write_person(RootPerson(person, signer.public)), 0o644)
    return {
        "person": person,
        "key": kept,
        "public": str(public_file),
        "key_id": signer.public.key_id,
    }


def sign_file(
    draft_file: Path, named: str, previous: Path | None, passphrase_file: Path | None
) -> DraftState:
    """Sign a draft in its place, after it was told what it says.

    Raises `Untrusted` for one that was changed after somebody signed it, `Refused` for a key that
    it does not name.
    """
    draft = read_draft(read_bounded(draft_file, limits.MAX_ROOT_BYTES))
    before = None
    if previous is not None:
        before = read_draft(read_bounded(previous, limits.MAX_ROOT_BYTES)).signed
    check_draft(draft, before)
    state = tell_draft(draft)
    people = ", ".join(name for name, _ in state.people)
    say(
        f"Root {state.version} of {state.maker}: {state.threshold} of {people}, until "
        f"{state.ends_at}\n  in six words: {state.words}\nCompare them with the others'."
    )
    sign_draft(draft, open_own_key(named, passphrase_file), before)
    atomic_write(draft_file, draft.to_bytes(), 0o644)
    return tell_draft(draft)
