"""From bytes to parsed metadata, before anything in it is believed.

What is checked here is form alone; nobody has verified a signature yet.

1. The file is not larger than its kind may be, and holds no more parts than a release needs.
2. It is UTF-8 and JSON without floats, and no object names a key twice.
3. It is of the kind that was asked for, and of specification version 1 (`tuf.api.metadata`).
4. The library reads nothing into it: what it would write again says the same as what came. (It
   takes a version of null for 1, and a date in more than one spelling.)
5. Versions and thresholds are whole numbers within 53 bits.
6. Every key is of a type and scheme of section 4.2 of the specification, or ECDSA on P-384. The
   library knows more (OpenPGP, ML-DSA, RSA with older padding), and lets others be registered.

Unknown fields are accepted and count as signed, as section 4.1 demands: here, strictness is the
specification's and not ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, NoReturn, TypeVar

from tuf.api.metadata import Key, Metadata, Role, Root, Signed, Snapshot, Targets, Timestamp
from tuf.api.serialization import MetadataDeserializer

from fleetward.trust.errors import FleetwardError, Malformed
from fleetward.trust.releases import limits

T = TypeVar("T", Root, Timestamp, Snapshot, Targets)

KEY_SCHEMES: Final = frozenset(
    {
        ("ed25519", "ed25519"),
        ("ecdsa", "ecdsa-sha2-nistp256"),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),  # the older spelling of the same
        ("ecdsa", "ecdsa-sha2-nistp384"),
        ("rsa", "rsassa-pss-sha256"),
    }
)


def read_metadata(data: bytes, kind: type[T], words: str, max_bytes: int) -> Metadata[T]:
    """Return what the bytes say, by the rules above. Nothing in it is trusted yet.

    `words` names the role in messages and reasons. Raises `Malformed` and nothing else, whatever
    the bytes are.
    """
    # Rule 1.
    if len(data) > max_bytes:
        raise Malformed(
            f"Expected at most {max_bytes} bytes of {words}, got more.", reason=f"{words}_too_large"
        )
    containers = data.count(b"{") + data.count(b"[")
    if containers > limits.MAX_JSON_CONTAINERS or data.count(b",") > limits.MAX_JSON_ITEMS:
        raise Malformed(f"The {words} file has too many parts.", reason=f"{words}_too_large")
    try:
        strict = _StrictJson()
        metadata: Metadata[T] = Metadata.from_bytes(data, strict)
        if not isinstance(metadata.signed, kind):
            raise Malformed(
                f"Expected {words}, got a file of type {metadata.signed.type}.",
                reason=f"{words}_wrong_type",
            )
        # Rule 4.
        if metadata.signed.to_dict() != strict.read(data)["signed"]:
            raise ValueError("another meaning")
        _check(metadata.signed)
    except FleetwardError:
        raise
    except Exception as e:  # the boundary to the library, which raises many kinds
        raise Malformed(
            f"The {words} file is no metadata: {type(e).__name__}.", reason=f"{words}_malformed"
        ) from e
    return metadata


class _StrictJson(MetadataDeserializer):
    """JSON by rule 2. Raises whatever it meets; `read_metadata` translates."""

    def deserialize(self, raw_data: bytes) -> Metadata[Any]:
        return Metadata.from_dict(self.read(raw_data))

    @staticmethod
    def read(data: bytes) -> dict[str, Any]:
        """Return what the bytes say, without any sense made of it."""
        read: dict[str, Any] = _DECODER.decode(data.decode("utf-8"))
        return read


def _refuse_number(text: str) -> NoReturn:
    raise ValueError("a number that is not whole")


def _pair_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key that stands twice")
    return found


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_pair_once, parse_float=_refuse_number, parse_constant=_refuse_number
)


def _check(signed: Signed) -> None:
    # Rule 5.
    for number in (signed.version, *_list_numbers(signed)):
        if type(number) is not int or not 0 < number <= limits.MAX_VERSION:
            raise ValueError("a number out of range")
    # Rule 6.
    for key in _list_keys(signed):
        if (key.keytype, key.scheme) not in KEY_SCHEMES:
            raise ValueError("a key of another type")


def _list_numbers(signed: Signed) -> Iterator[int]:
    """Yield every version and threshold that a file states about others."""
    roles: Iterable[Role] = ()
    if isinstance(signed, Timestamp):
        yield signed.snapshot_meta.version
    elif isinstance(signed, Snapshot):
        yield from (meta.version for meta in signed.meta.values())
    elif isinstance(signed, Root):
        roles = signed.roles.values()
    elif isinstance(signed, Targets) and signed.delegations is not None:
        roles = (signed.delegations.roles or {}).values()
        if signed.delegations.succinct_roles is not None:
            roles = (signed.delegations.succinct_roles,)
    yield from (role.threshold for role in roles)


def _list_keys(signed: Signed) -> Iterable[Key]:
    if isinstance(signed, Root):
        return signed.keys.values()
    if isinstance(signed, Targets) and signed.delegations is not None:
        return signed.delegations.keys.values()
    return ()
