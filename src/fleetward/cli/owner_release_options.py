"""What `owner approve` and `owner withdraw` are told about a release: for whom, when, where.

It reads the words of the command line, and asks where somebody is there to answer. It opens no key
but when it is told to, and signs nothing.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fleetward.cli.owner_close import find_machines
from fleetward.cli.owner_options import open_desk
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.desk import Desk
from fleetward.keyholder.documents import OwnerDocuments
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.hand import reach_server
from fleetward.keyholder.named_key import open_named_key
from fleetward.keyholder.place import Unnamed, find_owner
from fleetward.keyholder.updates.terms import Chosen, make_selector, read_moment, read_windows
from fleetward.runtime.clock import SystemClock
from fleetward.trust.errors import Refused
from fleetward.trust.keys import Signer
from fleetward.trust.release_approval import Terms

WORDS_OF_CHOICE: Final = ("group", "site", "model")
CHOOSE: Final = (
    "Expected for which machines: --all, --group GROUP, --site SITE, --model MODEL, or --device "
    "NAME; each may repeat."
)


@dataclass(frozen=True, slots=True)
class Near:
    """Where the owner's folder, the server and the key are, as options say it."""

    owner: Path | None
    data: Path | None
    server: str
    token_file: Path | None
    passphrase_file: Path | None
    key: str | None

    def desk(self) -> Desk:
        """Return the desk; with a key of one's own, none of the folder's is opened."""
        if self.key is None:
            return open_desk(self.owner, self.data, self.passphrase_file)
        return Desk(OwnerFolder.open(find_owner(self.owner, self.data)), b"", SystemClock())

    def signer(self, desk: Desk) -> Signer:
        """Return the key that signs. Raises `Refused`."""
        if self.key is None:
            return desk.signer("approver")
        return open_named_key(self.key, self.passphrase_file, of=Path(self.key).name)

    def has_server(self) -> bool:
        """Whether a server was named."""
        return self.data is not None or bool(self.server)

    def client(self, folder: OwnerFolder) -> ApiClient:
        """Return the server's client. Raises `Unnamed` when none was named."""
        return reach_server(folder, self.data, self.server, self.token_file)


@dataclass(frozen=True, slots=True)
class ReleaseWish:
    """An approval as the command line says it."""

    named: str
    standing: bool = False
    wait: str = ""
    groups: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    everything: bool = False
    not_before: str = ""
    until: str = ""
    windows: tuple[str, ...] = ()
    reason: str = ""
    origin: Path | None = None
    out: Path | None = None
    draft: Path | None = None
    yes: bool = False

    def check(self, *, for_sessions: bool) -> None:
        """Raise `Unnamed` for options that do not go together."""
        if for_sessions:
            raise Unnamed(
                "--only, --for, --watch and --no-follow belong to a session, which is named by 8 "
                "digits of its id. A release is approved by --all, --group, --until and the like.",
                reason="bad_options",
            )
        if self.standing == ("/" in self.named):
            raise Unnamed(
                "Expected PRODUCT/VERSION, as kiosk/1.1; or PRODUCT alone with --standing and "
                f"--wait 3d. Got {self.named[:80]!r}.",
                reason="bad_options",
            )
        if self.draft is None and self.standing != bool(self.wait):
            raise Unnamed(
                "A standing approval says how long each machine waits after it first saw a "
                "release: --standing --wait 3d. No other has a --wait.",
                reason="bad_options",
            )

    @property
    def is_of_release(self) -> bool:
        """Whether anything of it is about a release and not about a session."""
        chosen = self.groups or self.sites or self.models or self.devices or self.everything
        times = self.not_before or self.until or self.windows or self.wait
        return bool("/" in self.named or self.standing or chosen or times or self.reason
                    or self.origin or self.out)  # fmt: skip


def read_terms(documents: OwnerDocuments, wish: ReleaseWish, seconds: int, now_ms: int) -> Terms:
    begins = read_moment(wish.not_before, now_ms) if wish.not_before else now_ms
    return Terms(
        selector=make_selector(_choose(documents, wish)),
        not_before_ms=begins,
        not_after_ms=read_moment(wish.until, now_ms) if wish.until else begins + seconds * 1000,
        windows=read_windows(wish.windows),
        reason=wish.reason,
    )


def _choose(documents: OwnerDocuments, wish: ReleaseWish) -> Chosen:
    """Return the machines that were named, or ask where somebody is there. Raises `Unnamed`."""
    chosen = Chosen(
        everything=wish.everything,
        devices=find_machines(documents, list(wish.devices), everywhere=False)
        if wish.devices
        else (),
        groups=wish.groups,
        models=wish.models,
        sites=wish.sites,
    )
    if not chosen.says_nothing:
        return chosen
    if not sys.stdin.isatty():
        raise Unnamed(CHOOSE, reason="no_machines")
    sys.stderr.write("For which machines? all, group NAME, site NAME, model NAME, or names: ")
    sys.stderr.flush()
    return read_choice(documents, sys.stdin.readline())


def read_choice(documents: OwnerDocuments, line: str) -> Chosen:
    """Return the machines that a person typed. Raises `Unnamed` for nothing, `Refused`."""
    kind, _, rest = line.strip().partition(" ")
    name = rest.strip()
    if kind == "all" and not name:
        return Chosen(everything=True)
    if kind in WORDS_OF_CHOICE and name:
        groups, sites, models = (((name,) if kind == word else ()) for word in WORDS_OF_CHOICE)
        return Chosen(groups=groups, sites=sites, models=models)
    if not kind:
        raise Unnamed(CHOOSE, reason="no_machines")
    named = [each.strip() for each in line.split(",") if each.strip()]
    return Chosen(devices=find_machines(documents, named, everywhere=False))


def ask_yes(*, yes: bool) -> None:
    """Have a person say yes. Raises `Refused` for anything else, and without a terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(
            "Nobody is here to say yes. In a script: --yes, after the words were compared.",
            reason="not_confirmed",
        )
    sys.stderr.write("Sign this? Type yes: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() != "yes":
        raise Refused("Nothing was signed.", reason="not_confirmed")
