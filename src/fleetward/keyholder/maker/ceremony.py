"""The root ceremony: who may say what this maker's keys are, on as many computers as he likes.

    begin_maker     keys of the roles, root keys that are made here, a draft of root 1
    (elsewhere)     `maker key sign DRAFT` on the computers of the others
    continue_maker  takes their signatures, signs with what is here, and publishes when enough did
    replace_key     drafts the next root; then the same again

Each step may be killed and run again. Until enough people have signed there is no repository, and
nothing can be released; of a next root, the one before it stays in force.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from tuf.api.metadata import Metadata, Root, Targets

from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.folder import MakerFacts, MakerFolder, check_name
from fleetward.keyholder.maker.key_ring import NEXT, ONLINE, ComingKeys, KeyRing
from fleetward.keyholder.maker.people import read_person
from fleetward.keyholder.maker.repository import FIRST_ROOT, Repository, make_folders
from fleetward.keyholder.maker.root_draft import (
    DraftState,
    RootPerson,
    draft_first,
    draft_next,
    is_complete,
    merge_signatures,
    name_of,
    read_draft,
    sign_draft,
    tell_draft,
)
from fleetward.keyholder.maker.signing import sign_change, sign_first
from fleetward.keyholder.maker.tuf_keys import is_same_key, read_tuf_key
from fleetward.runtime.files import atomic_write, read_bounded, sync_directory
from fleetward.runtime.http.times import to_rfc3339
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.releases import limits
from fleetward.trust.releases.names import name_file

PEOPLE: Final = 3
THRESHOLD: Final = 2
_ROOT: Final = "root-"
KeyMaker: TypeAlias = Callable[[MakerFolder], KeyRing]


@dataclass(frozen=True, slots=True)
class InitWish:
    """What the person who begins says."""

    name: str
    person: str = ""
    people: int = PEOPLE
    threshold: int = THRESHOLD
    keys: tuple[str, ...] = ()
    """Root keys of this person that are elsewhere: sealed files, or `pkcs11:…`."""
    others: tuple[Path, ...] = ()
    """Public keys of the other people."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a root is."""

    draft: DraftState
    file: Path | None
    """The draft that waits for signatures; None when the root is in force."""
    root: str
    """SHA-256 of the first root: what an owner's policy names; empty before there is one."""
    here: tuple[str, ...]
    """Root keys that lie in this folder."""


def begin_maker(path: Path, wish: InitWish, open_ring: KeyMaker, now_ms: int) -> MakerFolder:
    """Make a folder with its keys and the draft of root 1, complete or not at all.

    Raises `Refused` when something lies at `path`, `Malformed` for people that cannot be.
    """
    others = tuple(read_person(each) for each in wish.others)
    made = wish.people - len(others) - len(wish.keys)
    if made < 0:
        raise Malformed(
            f"Expected at most {wish.people} root keys, {wish.people - made} are named. Say how "
            "many there are by --people.",
            reason="too_many_people",
        )
    folder = MakerFolder.create(path, MakerFacts(wish.name, to_rfc3339(now_ms)))
    try:
        keys = open_ring(folder)
        people = [*_own_people(keys, wish, made), *others]
        roles = {role: keys.make(role).public for role in ONLINE}
        draft = draft_first(wish.name, people, wish.threshold, roles, now_ms)
        _sign_here(draft, keys, None)
        make_folders(Repository(folder.repository))
        atomic_write(folder.drafts / FIRST_ROOT, draft.to_bytes())
        return folder.publish(path)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise


def continue_maker(desk: MakerDesk, come: tuple[bytes, ...] = ()) -> Progress:
    """Take signatures from drafts that came back, sign with what is here, publish when it is time.

    Raises `Untrusted` for a draft that was changed on its way. Once more is no error.
    """
    with desk.folder.locked():
        desk.repository.finish()
        before = _read_root(desk)
        file = _find_draft(desk)
        if file is None:
            if before is None:
                raise Refused(
                    f"Expected a draft of a root in {desk.folder.drafts}; there is none.",
                    reason="no_draft",
                )
            return _tell(desk, before, None)
        draft = read_draft(read_bounded(file, limits.MAX_ROOT_BYTES))
        previous = before.signed if before is not None else None
        if before is not None and draft.signed.version <= before.signed.version:
            _settle(desk, file)  # a program was killed when all but this was done
            return _tell(desk, before, None)
        for each in come:
            merge_signatures(draft, read_draft(each), previous)
        if not is_complete(draft, previous):
            _sign_here(draft, desk.keys, previous)
        atomic_write(file, draft.to_bytes())
        if not is_complete(draft, previous):
            return _tell(desk, draft, file)
        _publish(desk, draft)
        _settle(desk, file)
        return _tell(desk, draft, None)


def replace_key(desk: MakerDesk, old: str, new: RootPerson | None, named: str) -> Progress:
    """Draft the next root, in which one key is another, and go on as `continue_maker`.

    `old` is a person, or one of the roles targets, snapshot and timestamp; `new` the public key of
    somebody else, or else `named` a key elsewhere, or nothing: then one is made here. An empty
    `old` drafts a root that only lasts longer.
    """
    with desk.folder.locked():
        desk.repository.require_begun()
        before = _read_root(desk)
        if before is None or _find_draft(desk) is not None:
            raise Refused(
                "Expected no root that still waits for signatures; there is one in "
                f"{desk.folder.drafts}. Go on with it: fleetward maker init. Or remove it.",
                reason="draft_waits",
            )
        people = list_people(before.signed)
        roles: dict[str, PublicKey] = {}
        if old in ONLINE:
            if new is not None:
                raise Malformed(
                    f"Expected a key that can sign here for {old}: leave NEW out and one is made, "
                    "or name a sealed file or pkcs11:….",
                    reason="public_key_only",
                )
            roles[old] = _make_or_note(desk.keys, f"{old}{NEXT}", named)
        elif old:
            people = _replace_person(desk, people, old, new, named)
        draft = draft_next(before, people, roles, desk.now_ms)
        name = name_file("root", draft.signed.version)
        atomic_write(desk.folder.drafts / name, draft.to_bytes())
    return continue_maker(desk)


def list_people(root: Root) -> list[RootPerson]:
    """Return who has root keys, as the root names them."""
    return [
        RootPerson(name_of(root, key_id) or key_id[:8], read_tuf_key(root.keys[key_id]))
        for key_id in root.roles["root"].keyids
    ]


def _own_people(keys: KeyRing, wish: InitWish, made: int) -> list[RootPerson]:
    count = made + len(wish.keys)
    publics = [
        keys.note(f"{_ROOT}{number}", wish.keys[number - 1]).public
        if number <= len(wish.keys)
        else keys.make(f"{_ROOT}{number}").public
        for number in range(1, count + 1)
    ]
    person = check_name(wish.person or "root key")
    names = (
        [person] if count == 1 and wish.person else [f"{person} {n}" for n in range(1, count + 1)]
    )
    return [RootPerson(name, public) for name, public in zip(names, publics, strict=True)]


def _replace_person(
    desk: MakerDesk, people: list[RootPerson], old: str, new: RootPerson | None, named: str
) -> list[RootPerson]:
    places = [at for at, each in enumerate(people) if each.name == old]
    if len(places) != 1:
        names = ", ".join(repr(each.name) for each in people)
        raise Refused(
            f"Expected one of {names}, or {', '.join(ONLINE)}, got {old[:40]!r}.",
            reason="no_such_key",
        )
    if new is None:
        taken = {name for name in desk.keys.names() if name.startswith(_ROOT)}
        free = next(n for n in range(1, 1000) if f"{_ROOT}{n}" not in taken)
        new = RootPerson(old, _make_or_note(desk.keys, f"{_ROOT}{free}", named))
    return [new if at == places[0] else each for at, each in enumerate(people)]


def _make_or_note(keys: KeyRing, name: str, named: str) -> PublicKey:
    return (keys.note(name, named) if named else keys.make(name)).public


def _sign_here(draft: Metadata[Root], keys: KeyRing, before: Root | None) -> None:
    """Sign with every root key that lies here and has not signed."""
    for name in root_keys_here(keys):
        signer = keys.open(name)
        known = [draft.signed, *([before] if before is not None else [])]
        if any(
            is_same_key(root.keys[key_id], signer.public)
            for root in known
            for key_id in root.roles["root"].keyids
        ):
            sign_draft(draft, signer, before)


def root_keys_here(keys: KeyRing) -> tuple[str, ...]:
    """Return the names of the root keys that lie in the folder."""
    return tuple(name for name in keys.names() if name.startswith(_ROOT))


def _publish(desk: MakerDesk, draft: Metadata[Root]) -> None:
    if draft.signed.version == 1:
        atomic_write(desk.folder.first_root, draft.to_bytes())
        files = sign_first(draft, desk.keys, desk.now_ms)
    else:
        state = desk.repository.verify()
        edited = {"targets": state.open("targets", Targets)}
        files = sign_change(state, edited, ComingKeys(desk.keys), desk.now_ms, draft)
    desk.repository.commit(files, desk.now_ms)


def _settle(desk: MakerDesk, file: Path) -> None:
    for role in ONLINE:
        desk.keys.promote(role)
    file.unlink()
    sync_directory(file.parent)


def _read_root(desk: MakerDesk) -> Metadata[Root] | None:
    return desk.repository.verify().open("root", Root) if desk.repository.is_begun else None


def _find_draft(desk: MakerDesk) -> Path | None:
    found = sorted(desk.folder.drafts.glob("*.root.json"))
    return found[0] if found else None


def _tell(desk: MakerDesk, draft: Metadata[Root], file: Path | None) -> Progress:
    first = desk.repository.read(FIRST_ROOT)
    digest = hashlib.sha256(first).hexdigest() if first is not None else ""
    return Progress(tell_draft(draft), file, digest, root_keys_here(desk.keys))
