"""Whom the policy names for updates: makers by product, the director, origins of downloads.

A root is read from a file that the maker gave, or from the server for the director, and must be
signed by itself; its digest is what goes into the policy. Whether it is the maker's, two people
compare by six words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from fleetward.keyholder.api import ApiClient, NotThere
from fleetward.keyholder.policy_changes import Change
from fleetward.keyholder.signing import PolicyDraft
from fleetward.runtime.files import read_bounded
from fleetward.trust.canonical import from_base64url
from fleetward.trust.errors import Malformed, Refused, Unreachable, Untrusted
from fleetward.trust.fields import require_digest
from fleetward.trust.origin import read_origin
from fleetward.trust.policy import Policy
from fleetward.trust.release_manifest import check_product
from fleetward.trust.words import six_words

MAX_ROOT_BYTES: Final = 512 * 1024
"""As `trust.releases.limits`, which loads more than a command needs that names no root."""
MAX_ORIGINS: Final = 32
DIRECTOR_PATH: Final = "/updates/director/root"


class _DirectorRow(msgspec.Struct, frozen=True):
    """The director's root as the server offers it."""

    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    root: str


@dataclass(frozen=True, slots=True)
class NamedRoot:
    """A root that somebody may name in a policy."""

    digest: str

    @property
    def words(self) -> str:
        """Six words of the digest, to compare by telephone."""
        return six_words(bytes.fromhex(self.digest))


def check_root(data: bytes) -> NamedRoot:
    """Return a root that is signed by itself. Raises `Malformed` or `Untrusted`."""
    from fleetward.trust.releases.trusted import TrustedSet  # a third of a second: only where used

    TrustedSet(data, 0)
    return NamedRoot(hashlib.sha256(data).hexdigest())


def read_root(text: str) -> NamedRoot:
    """Return the root that a person named by its SHA-256, or by the file that the maker gave.

    Raises `Malformed`, `Untrusted`, or `Unreachable` when there is no such file.
    """
    plain = text.strip().lower()
    if len(plain) == 64 and set(plain) <= set("0123456789abcdef"):
        return NamedRoot(require_digest(plain, "a root's SHA-256"))
    return check_root(read_bounded(Path(text), MAX_ROOT_BYTES))


def fetch_director(client: ApiClient) -> NamedRoot | None:
    """Return the root of the server's director, or None where it has none.

    Raises `Malformed` or `Untrusted` for one that is not signed by itself, or not the one it names.
    """
    try:
        row = client.get(DIRECTOR_PATH, _DirectorRow)
    except NotThere:
        return None
    found = check_root(from_base64url(row.root))
    if found.digest != row.sha256:
        raise Untrusted(
            "The server names one root of its director and shows another.", reason="another_root"
        )
    return found


def ask_director(client: ApiClient) -> str:
    """Return the digest of the director's root for a first policy, or nothing where none is had.

    A server that does not answer, or not for this token, ends no ceremony: `owner policy set
    director` asks again. One that answers with what is no root does. Raises as `fetch_director`.
    """
    try:
        found = fetch_director(client)
    except (Refused, Unreachable):
        return ""
    return "" if found is None else found.digest


def set_maker(product: str, digest: str) -> Change:
    """Return the change that names a product's maker by the digest of his root; empty: no more."""
    check_product(product)

    def change(draft: PolicyDraft) -> PolicyDraft:
        makers = {name: known for name, known in draft.roots.makers.items() if name != product}
        if digest:
            makers[product] = digest
        elif len(makers) == len(draft.roots.makers):
            raise Refused(f"The policy names no maker of {product}.", reason="unknown_maker")
        return replace(draft, roots=replace(draft.roots, makers=makers))

    return change


def set_director(digest: str) -> Change:
    """Return the change that names the director by the digest of its root; empty: none."""
    return lambda draft: replace(draft, roots=replace(draft.roots, director=digest))


def set_origins(origins: Sequence[str]) -> Change:
    """Return the change of where machines may fetch parts from, besides the server.

    Raises `Malformed` or `Refused` for what no machine would ask.
    """
    for origin in origins:
        read_origin(origin)
    if len(origins) > MAX_ORIGINS:
        raise Malformed(f"Expected at most {MAX_ORIGINS} origins.", reason="bad_origin")
    wanted = tuple(sorted(set(origins)))
    return lambda draft: replace(draft, roots=replace(draft.roots, download_origins=wanted))


def find_maker(policy: Policy, product: str) -> str:
    """Return the digest of the root of a product's maker. Raises `Refused` when none is named."""
    digest = policy.roots.makers.get(check_product(product))
    if digest is None:
        known = ", ".join(sorted(policy.roots.makers)) or "no product yet"
        raise Refused(
            f"Your policy does not say who makes {product}; it names {known}. Ask the maker for "
            f"his root.json, then: fleetward owner policy set maker {product} root.json",
            reason="no_maker",
        )
    return digest


def describe_roots(policy: Policy) -> dict[str, Any]:
    """Return makers, director and origins as JSON."""
    return {
        "makers": {
            product: {"sha256": digest, "words": NamedRoot(digest).words}
            for product, digest in sorted(policy.roots.makers.items())
        },
        "director": _describe_director(policy.roots.director),
        "origins": list(policy.roots.download_origins),
    }


def _describe_director(digest: str) -> dict[str, str] | None:
    return {"sha256": digest, "words": _say_words(digest)} if digest else None


def tell_roots(policy: Policy) -> str:
    """Return the same in lines for a person."""
    roots = policy.roots
    lines = ["Software is made by:"]
    lines += [
        f"  {product}: {NamedRoot(digest).words} ({digest[:16]}…)"
        for product, digest in sorted(roots.makers.items())
    ] or ["  nobody yet: fleetward owner policy set maker PRODUCT root.json"]
    lines.append(
        f"Its director: {_say_words(roots.director)} ({roots.director[:16]}…)"
        if roots.director
        else "It has no director, so no machine is told of updates by the server: "
        "fleetward owner policy set director"
    )
    if roots.download_origins:
        lines.append(f"Parts also come from: {', '.join(roots.download_origins)}")
    return "\n".join(lines)


def say_root(what: str, root: NamedRoot, undo: str) -> str:
    """Return what a person compares before a root goes into the policy."""
    return (
        f"The root of {what}: {root.digest}\nIn six words: {root.words}\n"
        f"Compare them with whoever holds it, by telephone. If they differ: {undo}"
    )


def _say_words(digest: str) -> str:
    """Say a director's digest, which a policy holds as text of any kind."""
    try:
        return NamedRoot(require_digest(digest, "the director's root")).words
    except Malformed:
        return "not a digest"
