"""A technician's folder: his key, whose machines he services, and where their server is.

    requester.toml      person, organisation, the owner root that he was told, the server
    requester.key       sealed under his passphrase; not there when his key is on a token
    server-ca.pem       the server's own CA, where it has one
    seen.json           the newest head, policy and roster that he saw
    requests/HASH.json  the session key of one request, until its session has ended

A session key lies open in a 0600 file for as long as its request waits: it opens nothing without
the owner's yes, and nothing a second time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import msgspec

from fleetward.keyholder.access.learning import Learned, Seen, learn_owner, read_seen
from fleetward.keyholder.access.requester_line import write_requester_key
from fleetward.keyholder.api import ApiClient
from fleetward.keyholder.folder import OwnerFolder
from fleetward.keyholder.named_key import open_named_token
from fleetward.keyholder.passphrase import ask_passphrase
from fleetward.keyholder.place import Place, api_address, find_server, read_token
from fleetward.keyholder.token_uri import TokenUri, read_token_uri
from fleetward.runtime.files import atomic_write, make_private_directory, read_bounded
from fleetward.runtime.http.times import to_rfc3339
from fleetward.runtime.keys import FileSigner, make_key, open_key, seal_key
from fleetward.trust.canonical import from_base64url, to_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.fields import require_digest
from fleetward.trust.keys import ED25519, PublicKey, Signer

DEFAULT_FOLDER: Final = "fleetward-requester"
"""Below the home directory."""
MAX_NAME: Final = 80
_FORMAT: Final = 1
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class RequesterFacts:
    """What `requester.toml` says. Either `data`, or `server` and `token_file`."""

    person: str
    org: str
    owner_root: str
    created_at: str
    server: str = ""
    token_file: str = ""
    data: str = ""
    key: str = ""
    """The URI of a key on a token, and then what its public half must be."""
    public: str = ""


class KeptRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request that was made here, with the private half of its session key; base64url."""

    request: str
    session_key: str
    device: str
    created_at: str

    @property
    def envelope(self) -> bytes:
        """The signed request."""
        return from_base64url(self.request)

    @property
    def private(self) -> bytes:
        """The session key."""
        return from_base64url(self.session_key)


class RequesterFolder:
    """One technician's folder for one owner."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path

    @classmethod
    def open(cls, path: Path) -> RequesterFolder:
        """Return the folder at `path`. Raises `Refused` when there is none, or others may read."""
        if not (path / "requester.toml").is_file():
            raise Refused(
                f"Expected a technician's folder at {path}; there is none. Name it by --as, or "
                "make one by `fleetward requester init`.",
                reason="no_requester_folder",
            )
        if path.stat().st_mode & 0o077:
            raise Refused(
                f"Expected {path} to be closed to other users; it is open. "
                f"See who could read it, then: chmod 700 {path}",
                reason="folder_open",
            )
        return cls(path)

    def facts(self) -> RequesterFacts:
        """Return what `requester.toml` says. Raises `Malformed`."""
        try:
            text = read_bounded(self.path / "requester.toml", _MAX_BYTES).decode("utf-8")
            values = tomllib.loads(text)
            if values.pop("format") != _FORMAT:
                raise TypeError("another format")
            facts = RequesterFacts(**values)
        except (ValueError, TypeError, KeyError) as e:
            raise Malformed(
                f"Expected requester.toml of format {_FORMAT} in {self.path}; {e}.",
                reason="bad_requester_toml",
            ) from e
        if not all(isinstance(v, str) for v in values.values()):
            raise Malformed("Expected texts in requester.toml.", reason="bad_requester_toml")
        return facts

    def signer(self, passphrase: bytes) -> FileSigner:
        """Return the requester's key. Raises `Refused` for a wrong passphrase."""
        return open_key(read_bounded(self.path / "requester.key", _MAX_BYTES), passphrase)

    def open_signer(self, passphrase_file: Path | None) -> Signer:
        """Return the requester's key, out of the folder or on its token; asks for what it needs.

        Raises `Refused` for a wrong passphrase or PIN, `Untrusted` for another key on the token.
        """
        facts = self.facts()
        if not facts.key:
            return self.signer(ask_passphrase(passphrase_file, of="your folder"))
        if (self.path / "requester.toml").lstat().st_uid != os.geteuid():
            raise Refused(
                f"Expected {self.path} to be yours; it belongs to somebody else, and names a "
                "library to load. Make a folder of your own.",
                reason="folder_not_yours",
            )
        signer = open_named_token(read_token_uri(facts.key), passphrase_file)
        if write_requester_key(signer.public) != facts.public:
            signer.close()
            raise Untrusted(
                f"Expected the key {facts.public} on the token; {signer.public.key_id} is there. "
                "Put in the token that this folder was made with, or make another folder.",
                reason="another_token_key",
            )
        return signer

    def delegation(self) -> bytes:
        """Return the delegation by which this technician asks, or nothing."""
        path = self.path / "delegation.json"
        return read_bounded(path, _MAX_BYTES) if path.exists() else b""

    def keep_delegation(self, data: bytes) -> None:
        """Keep a verified delegation, in the place of the one before."""
        atomic_write(self.path / "delegation.json", data)

    def client(self) -> ApiClient:
        """Return a client of the folder's server. Raises `Refused`, `Unreachable`."""
        facts = self.facts()
        place = self._place(facts)
        authority = ""
        with contextlib.suppress(Unreachable):
            authority = read_bounded(self.path / "server-ca.pem", _MAX_BYTES).decode("ascii")
        return ApiClient(place.api, place.token, authority or place.server_ca_pem)

    def learn(self, client: ApiClient) -> Learned:
        """Return the owner's verified documents, and remember how new they are."""
        before = Seen()
        path = self.path / "seen.json"
        if path.exists():
            before = read_seen(read_bounded(path, _MAX_BYTES))
        learned = learn_owner(client, self.facts().owner_root, before)
        if learned.seen != before:
            atomic_write(path, msgspec.json.encode(learned.seen))
        return learned

    def keep(self, hash_: str, kept: KeptRequest) -> None:
        """Keep the session key of a request."""
        make_private_directory(self.path / "requests")
        atomic_write(self._kept_path(hash_), msgspec.json.encode(kept))

    def kept(self, hash_: str) -> KeptRequest:
        """Return a request that was made here. Raises `Refused` when it was not."""
        try:
            data = read_bounded(self._kept_path(hash_), _MAX_BYTES)
            return msgspec.json.decode(data, type=KeptRequest)
        except Unreachable as e:
            raise Refused(
                f"The session key of {hash_[:16]}… is not in {self.path}: the request was made "
                "from another folder, or its session has ended. Ask again.",
                reason="no_session_key",
            ) from e
        except (msgspec.MsgspecError, UnicodeDecodeError) as e:
            raise Malformed(f"Expected a kept request; {e}.", reason="bad_kept_request") from e

    def kept_hashes(self) -> list[str]:
        """Return the requests that were made here and whose session keys are still there."""
        found = (self.path / "requests").glob("*.json")
        return sorted(p.stem for p in found if len(p.stem) == 64)

    def find_kept(self, named: str) -> str:
        """Return the whole hash of a request made here. Raises `Refused`."""
        found = [h for h in self.kept_hashes() if h.startswith(named.lower())]
        if len(named) < 8 or len(found) != 1:
            raise Refused(
                f"Expected a request that was made from {self.path}, got {named[:80]!r}. Those "
                f"that wait: {', '.join(h[:16] for h in self.kept_hashes()) or 'none'}.",
                reason="no_session_key",
            )
        return found[0]

    def forget(self, hash_: str) -> None:
        """Delete the session key of a request: its session has ended, or will never be."""
        self._kept_path(hash_).unlink(missing_ok=True)

    def _kept_path(self, hash_: str) -> Path:
        return self.path / "requests" / f"{require_digest(hash_, 'the request')}.json"

    @staticmethod
    def _place(facts: RequesterFacts) -> Place:
        if facts.data:
            return find_server(
                Path(facts.data), "", Path(facts.token_file) if facts.token_file else None
            )
        return Place(api_address(facts.server), read_token(Path(facts.token_file)))


def make_requester(
    path: Path, passphrase: bytes, facts: RequesterFacts, server_ca: Path | None = None
) -> tuple[RequesterFolder, FileSigner]:
    """Make a technician's folder with a key in it, complete or not at all.

    Raises `Refused`, `Malformed`.
    """
    signer = make_key(ED25519)

    def seal_into(building: Path) -> None:
        sealed = seal_key(signer, passphrase, "fleetward requester")
        atomic_write(building / "requester.key", sealed)

    return _make_folder(path, facts, server_ca, seal_into), signer


def make_requester_on_token(
    path: Path,
    uri: TokenUri,
    facts: RequesterFacts,
    server_ca: Path | None = None,
    pin_file: Path | None = None,
) -> tuple[RequesterFolder, PublicKey]:
    """Make a technician's folder whose key is on a token; a key is made there if there is none.

    Raises as `make_requester`, and what the token refuses.
    """
    _check_facts(path, facts)
    signer = open_named_token(uri, pin_file, or_make=True)
    try:
        whole = replace(facts, key=uri.text, public=write_requester_key(signer.public))
        return _make_folder(path, whole, server_ca, lambda _: None), signer.public
    finally:
        signer.close()


def _check_facts(path: Path, facts: RequesterFacts) -> None:
    require_digest(facts.owner_root, "the owner root")
    for what, text, least in (("person", facts.person, 1), ("organisation", facts.org, 0)):
        if not least <= len(text) <= MAX_NAME or not text.isprintable():
            raise Malformed(
                f"Expected the {what} to be at most {MAX_NAME} printable characters.",
                reason="bad_name",
            )
    if path.is_symlink() or path.exists():
        raise Refused(
            f"Expected nothing at {path}; something is there. Name another place by --out.",
            reason="folder_exists",
        )
    RequesterFolder._place(facts)  # a server that cannot be named is told before a key is made


def _make_folder(
    path: Path,
    facts: RequesterFacts,
    server_ca: Path | None,
    put_key: Callable[[Path], None],
) -> RequesterFolder:
    _check_facts(path, facts)
    building = OwnerFolder.create(path).path
    try:
        put_key(building)
        if server_ca is not None:
            atomic_write(building / "server-ca.pem", read_bounded(server_ca, _MAX_BYTES))
        atomic_write(building / "requester.toml", _write_facts(facts))
        OwnerFolder(building).publish(path)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise
    return RequesterFolder(path)


def keep_request(
    folder: RequesterFolder, made: tuple[str, bytes], private: bytes, device: str, now_ms: int
) -> None:
    """Keep a request's session key. `made` are the request's hash and bytes."""
    hash_, envelope = made
    kept = KeptRequest(to_base64url(envelope), to_base64url(private), device, to_rfc3339(now_ms))
    folder.keep(hash_, kept)


def _write_facts(facts: RequesterFacts) -> bytes:
    lines = [f"format = {_FORMAT}"]
    names = ["person", "org", "owner_root", "created_at", "server", "token_file", "data"]
    for name in [*names, *(["key", "public"] if facts.key else [])]:
        text = getattr(facts, name).replace("\\", "\\\\").replace('"', '\\"')
        lines.append(f'{name} = "{text}"')
    return ("\n".join(lines) + "\n").encode("utf-8")
