"""Products: a role, a key and an end of support for each.

`targets` delegates `PRODUCT/*/release.json` to the role `PRODUCT`, terminating, so that a product's
key releases this product and no other. Until when the maker mends it stands in the delegation, and
is signed with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from tuf.api.metadata import DelegatedRole, Delegations, Metadata, Targets

from fleetward.keyholder.maker.desk import MakerDesk
from fleetward.keyholder.maker.key_ring import NEXT, ComingKeys, product_key
from fleetward.keyholder.maker.lives import TARGETS_DAYS, end_of
from fleetward.keyholder.maker.repository import Verified
from fleetward.keyholder.maker.signing import sign_change
from fleetward.keyholder.maker.tuf_keys import write_tuf_key
from fleetward.trust.errors import Malformed, Refused
from fleetward.trust.keys import PublicKey
from fleetward.trust.release_manifest import check_product
from fleetward.trust.releases.names import TOP_LEVEL

SUPPORT_FIELD: Final = "x-fleetward-support-ends"
NOTICE_MONTHS: Final = (1, 6, 12)
"""Ahead of the end of support people are told, this many months before."""
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


@dataclass(frozen=True, slots=True)
class Product:
    """A product, as the verified metadata says."""

    name: str
    support_ends: str
    """The last day on which the maker mends it; empty when he has not said."""
    notice: str
    """What people are to be told now: nothing, or how near the end is."""


def add_product(desk: MakerDesk, name: str, support_ends: str, named: str) -> Product:
    """Add a product with a key of its own, made here or `named` elsewhere.

    Raises `Refused` for a name that is taken, `Malformed` for one that cannot be.
    """
    check_product(name)
    read_day(support_ends)
    if name in TOP_LEVEL:
        raise Malformed(f"A product cannot be called {name!r}.", reason="bad_product")
    with desk.folder.locked():
        state = desk.repository.verify()
        if name in state.products:
            raise Refused(
                f"Expected a new name; the product {name!r} is there. Change its end of support by "
                f"`fleetward maker product set {name} --support-ends`.",
                reason="product_exists",
            )
        ring, key = desk.keys, product_key(name)
        if key in ring.names():  # a program was killed before the product was signed
            public = ring.open(key).public
        else:
            public = (ring.note(key, named) if named else ring.make(key)).public
        targets = state.open("targets", Targets)
        _delegate(targets.signed, name, public, support_ends)
        first: Metadata[Targets] = Metadata(Targets(expires=end_of(TARGETS_DAYS, desk.now_ms)))
        first.signed.version = 0  # the signing raises it
        edited = {"targets": targets, name: first}
        desk.repository.commit(sign_change(state, edited, ring, desk.now_ms), desk.now_ms)
    return Product(name, support_ends, tell_notice(support_ends, desk.now_ms))


def set_support(desk: MakerDesk, name: str, support_ends: str) -> Product:
    """Say another end of support. Raises as `MakerDesk.require_product`."""
    read_day(support_ends)
    with desk.folder.locked():
        state = desk.require_product(name)
        targets = state.open("targets", Targets)
        _role(targets.signed, name).unrecognized_fields[SUPPORT_FIELD] = support_ends
        files = sign_change(state, {"targets": targets}, desk.keys, desk.now_ms)
        desk.repository.commit(files, desk.now_ms)
    return Product(name, support_ends, tell_notice(support_ends, desk.now_ms))


def replace_product_key(desk: MakerDesk, name: str, named: str) -> None:
    """Give a product another key, made here or `named` elsewhere; what it released stays."""
    with desk.folder.locked():
        state = desk.require_product(name)
        coming = f"{product_key(name)}{NEXT}"
        if coming in desk.keys.names():  # a program was killed before the change was signed
            public = desk.keys.open(coming).public
        else:
            public = (desk.keys.note(coming, named) if named else desk.keys.make(coming)).public
        targets = state.open("targets", Targets)
        ends = _support_of(_role(targets.signed, name))
        targets.signed.revoke_key(_role(targets.signed, name).keyids[0], name)
        _delegate(targets.signed, name, public, ends)
        edited = {"targets": targets, name: state.open(name, Targets)}
        files = sign_change(state, edited, ComingKeys(desk.keys), desk.now_ms)
        desk.repository.commit(files, desk.now_ms)
        desk.keys.promote(product_key(name))


def list_products_of(state: Verified, now_ms: int) -> tuple[Product, ...]:
    """Return every product, as the verified metadata says."""
    targets = state.open("targets", Targets).signed
    found = []
    for name in state.products:
        ends = _support_of(_role(targets, name))
        found.append(Product(name, ends, tell_notice(ends, now_ms)))
    return tuple(found)


def support_ends_at_ms(ends: str) -> int:
    """Return the first millisecond after the last day of support; 0 when none was said."""
    if not ends:
        return 0
    day = read_day(ends)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return int(start.timestamp()) * 1000 + 86_400_000


def tell_notice(ends: str, now_ms: int) -> str:
    """Say how near the end of support is, if it is 12, 6 or 1 months or less ahead."""
    if not ends:
        return "the maker has not said until when it is mended"
    today = datetime.fromtimestamp(now_ms // 1000, UTC).date()
    day = read_day(ends)
    if today > day:
        return f"support ended on {ends}"
    for months in NOTICE_MONTHS:
        if today >= _months_before(day, months):
            unit = "month" if months == 1 else "months"
            return f"support ends on {ends}, within {months} {unit}"
    return ""


def read_day(text: str) -> date:
    """Return a day written as YYYY-MM-DD. Raises `Malformed`."""
    try:
        if _DATE.fullmatch(text) is None:
            raise ValueError("another form")
        return date.fromisoformat(text)
    except ValueError as e:
        raise Malformed(
            f"Expected a day as YYYY-MM-DD, got {text[:20]!r}.", reason="bad_day"
        ) from e


def _months_before(day: date, months: int) -> date:
    at = day.year * 12 + day.month - 1 - months
    for last in (day.day, 30, 29, 28):
        try:
            return date(at // 12, at % 12 + 1, last)
        except ValueError:  # no such day in that month
            continue
    raise Malformed("A month without a 28th.", reason="bad_day")


def _delegate(targets: Targets, name: str, public: PublicKey, support_ends: str) -> None:
    if targets.delegations is None or targets.delegations.roles is None:
        targets.delegations = Delegations({}, {})
    roles = targets.delegations.roles
    key = write_tuf_key(public)
    role = DelegatedRole(
        name, [key.keyid], 1, terminating=True, paths=[f"{name}/*/release.json"],
        unrecognized_fields={SUPPORT_FIELD: support_ends} if support_ends else {},
    )  # fmt: skip
    assert roles is not None  # made above
    roles[name] = role
    targets.delegations.keys[key.keyid] = key


def _role(targets: Targets, name: str) -> DelegatedRole:
    if targets.delegations is None or targets.delegations.roles is None:
        raise Malformed("Expected products in the metadata.", reason="no_such_product")
    return targets.delegations.roles[name]


def _support_of(role: DelegatedRole) -> str:
    ends = role.unrecognized_fields.get(SUPPORT_FIELD)
    return ends if isinstance(ends, str) and _DATE.fullmatch(ends) else ""
