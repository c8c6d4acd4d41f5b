"""The demo's technician: Tom of Makers Ltd, his folder, and what the owner lets him ask for.

Done once, by the same code as `fleetward requester init` and `fleetward owner policy requester|
access`. Every session still takes the owner's yes. A demo that was made before gains him at its
next start; who takes him out of the policy again does not see him come back.
"""

from __future__ import annotations

import os
import pwd
import secrets
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Final

from fleetward.demo.owning import PASSPHRASE_BYTES, OwnerSide
from fleetward.demo.places import DemoPlaces, note_staged, read_mark
from fleetward.keyholder.access.policy_rules import Limits, allow_scope, name_requester
from fleetward.keyholder.access.requester_folder import (
    RequesterFacts,
    RequesterFolder,
    make_requester,
)
from fleetward.keyholder.passphrase import read_passphrase_file
from fleetward.keyholder.policy_changes import Change
from fleetward.keyholder.signing import PolicyDraft
from fleetward.runtime.clock import Clock
from fleetward.runtime.files import atomic_write, make_private_directory
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.keys import PublicKey
from fleetward.trust.policy import Policy

TECHNICIAN: Final = "Tom"
ORGANISATION: Final = "Makers Ltd"
PORTS: Final = "8000-8999"
LONGEST_SECONDS: Final = 3600
STAGED: Final = "technician"
_ORDINARY: Final = range(1000, 60_000)
"""User ids of people on Debian (login.defs)."""
_NO_LOGIN: Final = ("nologin", "false", "sync", "")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the policy in force lets the technician ask for here. Empty: not that."""

    named: bool = False
    user: str = ""
    ports: bool = False
    folder: str = ""


def find_user() -> str:
    """Return whom a terminal may be opened as here, or an empty text when nobody fits.

    That is who runs the demo. Where he is root: who became root by sudo, else the first ordinary
    user with a shell. Root is never chosen.
    """
    if os.geteuid() != 0:
        return _name_of(os.geteuid())
    by_sudo = os.environ.get("SUDO_USER", "")
    people = [each for each in pwd.getpwall() if each.pw_uid in _ORDINARY]
    people.sort(key=lambda each: (each.pw_name != by_sudo, each.pw_uid))
    for each in people:
        if Path(each.pw_shell).name not in _NO_LOGIN and os.access(each.pw_shell, os.X_OK):
            return each.pw_name
    return ""


def name_technician(places: DemoPlaces, owner: OwnerSide, clock: Clock) -> None:
    """Make the technician's folder and name him to the owner's machines, once.

    Raises as `make_requester` and `change_policy` do; then it is tried again at the next start.
    """
    if STAGED in read_mark(places).staged:
        return
    key = _make_folder(places, owner.owner, clock)
    if key.key_id not in owner.desk.documents().policy.access.requesters:
        owner.change_policy(_all_of(_list_changes(places, key)), clock)
    note_staged(places, STAGED)


def read_allowed(policy: Policy) -> Allowed:
    """Return what the policy lets the technician ask for; the owner may have changed it since."""
    asking = [policy.keys[key_id].person for key_id in policy.access.requesters]
    if TECHNICIAN not in asking:
        return Allowed()
    rules = policy.access.rules or {}
    user, folder = (
        next(iter(rules[kind].allowed), "") if kind in rules else ""
        for kind in ("terminal", "files")
    )
    return Allowed(named=True, user=user, ports="tcp" in rules, folder=folder)


def _make_folder(places: DemoPlaces, owner_root: str, clock: Clock) -> PublicKey:
    if not places.technician_passphrase.exists():
        passphrase = secrets.token_urlsafe(PASSPHRASE_BYTES).encode("ascii")
        atomic_write(places.technician_passphrase, passphrase + b"\n")
    passphrase = read_passphrase_file(places.technician_passphrase)
    if places.technician.exists():
        return RequesterFolder.open(places.technician).signer(passphrase).public
    facts = RequesterFacts(
        person=TECHNICIAN,
        org=ORGANISATION,
        owner_root=owner_root,
        created_at=to_rfc3339(clock.wall_ms()),
        data=str(places.data),
    )
    _, signer = make_requester(places.technician, passphrase, facts)
    return signer.public


def _list_changes(places: DemoPlaces, key: PublicKey) -> list[Change]:
    make_private_directory(places.machine_files)
    atomic_write(
        places.machine_files / "settings.txt",
        b"A file of this machine. A technician reads it in a session.\n",
    )
    limits = Limits(LONGEST_SECONDS, 1, watched=False)
    changes = [
        name_requester(TECHNICIAN, key, ORGANISATION),
        allow_scope("tcp", PORTS, limits),
        allow_scope("logs", "*", limits),
        allow_scope("files", str(places.machine_files), limits),
    ]
    user = find_user()
    if user:
        changes.append(allow_scope("terminal", user, limits))
    return changes


def _all_of(changes: list[Change]) -> Change:
    def change(draft: PolicyDraft) -> PolicyDraft:
        return reduce(lambda done, each: each(done), changes, draft)

    return change


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""
