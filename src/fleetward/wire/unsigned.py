"""The closed enumeration of all that a machine accepts unsigned.

Everything else that reaches a machine is refused and journalled. No string of these becomes a
path, URL, host, query, pattern or argument. `decode_pushed` and `decode_reply` are the only ways
in; a test walks this union and fails when it grows without a change to that test.
"""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

import msgspec

from fleetward.trust.errors import Malformed
from fleetward.wire.access import AccessReply, RecordingReply
from fleetward.wire.audit import BlobReply, ProofReply, Receipt
from fleetward.wire.identity import HelloReply, NonceReply, Refusal
from fleetward.wire.orders import Documents, Order, Reduce
from fleetward.wire.updates import UpdateAnswer

MAX_MESSAGE_BYTES: Final = 1024 * 1024
"""The broker's own limit for a message."""

Pushed: TypeAlias = Documents | Order | Reduce
"""Pushed by the server: two carriers of signed bytes, and reductions."""

Reply: TypeAlias = (
    NonceReply
    | HelloReply
    | Receipt
    | ProofReply
    | BlobReply
    | Documents
    | AccessReply
    | RecordingReply
    | UpdateAnswer
    | Refusal
)
"""Answers to what the machine asked."""

_pushed: Final[msgspec.json.Decoder[Pushed]] = msgspec.json.Decoder(Pushed)
_reply: Final[msgspec.json.Decoder[Reply]] = msgspec.json.Decoder(Reply)


def decode_pushed(data: bytes) -> Pushed:
    """Return a pushed message. Raises `Malformed`."""
    _check_size(data)
    try:
        word = _pushed.decode(data)
        _check_keys(data)
        return word
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected a carrier or a reduction: {e}", reason="unknown_word") from e


def decode_reply(data: bytes) -> Reply:
    """Return an answer. Raises `Malformed`."""
    _check_size(data)
    try:
        answer = _reply.decode(data)
        _check_keys(data)
        return answer
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as e:
        raise Malformed(f"Expected one of the known answers: {e}", reason="unknown_word") from e


def _check_size(data: bytes) -> None:
    if len(data) > MAX_MESSAGE_BYTES:
        raise Malformed("Expected a message of at most 1 MiB.", reason="too_large")


def _check_keys(data: bytes) -> None:
    """Return when no key of a message that was decoded stands twice: two readers of it must not
    read two things."""
    json.loads(data, object_pairs_hook=_require_once)


def _require_once(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise Malformed("Expected each key of a message once.", reason="duplicate_key")
